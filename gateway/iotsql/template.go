package iotsql

import (
	"fmt"
	"strings"

	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
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
	parts, err := syntax.ParseTemplate(text, s.dialect)
	if err != nil {
		return nil, err
	}
	t := &Template{of: s}
	c := &compiler{text: text, dialect: s.dialect, vars: s.vars, region: where}
	for _, p := range parts {
		e, err := c.optional(p.X)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{p.Text, e})
	}
	return t, nil
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
