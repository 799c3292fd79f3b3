package syntax

import (
	"strings"
	"unicode/utf8"
)

// Part is a piece of a template: literal text, or an expression and its
// source.
type Part struct {
	Text string
	X    Expression // nil for literal text
}

// ParseTemplate takes a text with `${expression}` in it apart. The brace that
// ends an expression is found by tokens; `$` before anything else is text.
func ParseTemplate(text string, d Dialect) ([]Part, error) {
	if !utf8.ValidString(text) {
		return nil, &Error{Line: 1, Column: 1, Token: "invalid bytes", Expected: "text in UTF-8"}
	}
	var parts []Part
	for rest := 0; rest < len(text); {
		start := strings.Index(text[rest:], "${")
		if start < 0 {
			return append(parts, Part{Text: text[rest:]}), nil
		}
		start += rest
		if start > rest {
			parts = append(parts, Part{Text: text[rest:start]})
		}
		tokens, end, err := braced(text, start+len("${"))
		if err != nil {
			return nil, err
		}
		p := &parser{text: text, dialect: d, tokens: tokens}
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		if p.peek().kind != endOfText {
			return nil, p.unexpected(`"}" or an operator`)
		}
		parts = append(parts, Part{Text: text[start:end], X: x})
		rest = end
	}
	return parts, nil
}

// braced gives the tokens up to the brace that ends the expression at start,
// and the place behind it.
func braced(text string, start int) (tokens []token, end int, err error) {
	l := lexer{text: text, at: start}
	for depth := 0; ; {
		t, err := l.next()
		switch {
		case err != nil:
			return nil, 0, err
		case t.kind == endOfText:
			return nil, 0, ErrorAt(text, t.at, "", `"}" to end the expression`)
		case t.isPunct("{"):
			depth++
		case t.isPunct("}") && depth == 0:
			t.kind = endOfText
			return append(tokens, t), l.at, nil
		case t.isPunct("}"):
			depth--
		}
		tokens = append(tokens, t)
	}
}
