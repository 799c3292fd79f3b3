package iotsql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Template is a text with `${expression}` in it (rules.md section 7).
type Template struct {
	of    *Statement
	parts []part
}

// part is literal text, or an expression with its source.
type part struct {
	text string
	eval eval // nil for text
}

// ParseTemplate reads a template of an action of the rule s: it uses s's
// version and variables. The error is an *Error, with places in text.
func ParseTemplate(text string, s *Statement) (*Template, error) {
	return parseTemplate(text, s, inTemplate)
}

// ParseErrorTemplate reads a template of an error action, where functions that
// look outside the message are refused.
func ParseErrorTemplate(text string, s *Statement) (*Template, error) {
	return parseTemplate(text, s, inErrorTemplate)
}

func parseTemplate(text string, s *Statement, where region) (*Template, error) {
	t := &Template{of: s}
	if !utf8.ValidString(text) {
		return nil, &Error{Line: 1, Column: 1, Token: "invalid bytes", Expected: "text in UTF-8"}
	}
	for rest := 0; rest < len(text); {
		start := strings.Index(text[rest:], "${")
		if start < 0 {
			t.parts = append(t.parts, part{text: text[rest:]})
			break
		}
		start += rest
		if start > rest {
			t.parts = append(t.parts, part{text: text[rest:start]})
		}
		end, err := closingBrace(text, start+2)
		if err != nil {
			return nil, err
		}
		e, err := templateExpression(text[:end], start+2, s, where)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{text: text[start : end+1], eval: e})
		rest = end + 1
	}
	return t, nil
}

// closingBrace finds the brace that ends the expression at start, by tokens.
func closingBrace(text string, start int) (int, error) {
	l := lexer{text: text, at: start}
	for depth := 0; ; {
		t, err := l.next()
		switch {
		case err != nil:
			return 0, err
		case t.kind == endOfText:
			return 0, errorAt(text, t.at, "", `"}" to end the expression`)
		case t.isPunct("{"):
			depth++
		case t.isPunct("}") && depth == 0:
			return t.at, nil
		case t.isPunct("}"):
			depth--
		}
	}
}

// templateExpression compiles the expression from start to the end of text.
func templateExpression(text string, start int, s *Statement, where region) (eval, error) {
	p := &parser{text: text, dialect: s.dialect}
	l := lexer{text: text, at: start}
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		p.tokens = append(p.tokens, t)
		if t.kind == endOfText {
			break
		}
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.peek().kind != endOfText {
		return nil, p.unexpected(`"}" or an operator`)
	}
	c := &compiler{text: text, dialect: s.dialect, vars: s.vars, region: where}
	e, err := c.expression(x)
	return e.eval, err
}

// Constant reports whether the template is a text without expressions.
func (t *Template) Constant() bool {
	for _, p := range t.parts {
		if p.eval != nil {
			return false
		}
	}
	return true
}

// Eval gives the text for the message that the rule's statement has just been
// evaluated for with ctx: variables keep their values. An expression that is
// Undefined or Null is an error, and the action fails.
func (t *Template) Eval(ctx *Context) (string, error) {
	sc := &ctx.scope
	if sc.of != t.of || sc.ctx != ctx {
		sc = ctx.begin(t.of)
		t.of.setAll(sc)
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.eval == nil {
			b.WriteString(p.text)
			continue
		}
		text, ok := p.eval(sc).AsText()
		if !ok {
			return "", fmt.Errorf("template %s is Undefined", p.text)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// setAll evaluates the variables of a statement that was not evaluated
// before; those with a memory are Undefined.
func (s *Statement) setAll(sc *scope) {
	sc.seen = resize(sc.seen, len(s.stateful))
	for i := range s.sets {
		sc.vars = append(sc.vars, s.sets[i].eval(sc))
	}
}
