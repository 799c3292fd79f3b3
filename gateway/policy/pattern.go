package policy

import (
	"strings"
	"unicode/utf8"
)

type partKind byte

const (
	literal  partKind = iota
	star              // any run of characters, also none
	question          // exactly one character
	variable          // ${name}
)

// part is a piece of a template; text is a literal's text or a variable's name.
type part struct {
	kind partKind
	text string
}

// template is a text with wildcards and, in documents of the newer version,
// variables.
type template []part

// parseTemplate takes a text apart. `${*}`, `${?}` and `${$}` are the characters
// themselves (security.md 1.3).
func parseTemplate(s string, variables bool) (template, error) {
	var t template
	for s != "" {
		i := strings.IndexAny(s, "*?$")
		if i < 0 {
			return t.add(literal, s), nil
		}
		t = t.add(literal, s[:i])
		s = s[i:]
		switch {
		case s[0] == '*':
			t, s = t.add(star, "*"), s[1:]
		case s[0] == '?':
			t, s = t.add(question, "?"), s[1:]
		case !variables || !strings.HasPrefix(s, "${"):
			t, s = t.add(literal, "$"), s[1:]
		default:
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return nil, malformed("variable %q has no closing brace", s)
			}
			t, s = t.addVariable(s[2:end]), s[end+1:]
		}
	}
	return t, nil
}

func (t template) add(kind partKind, text string) template {
	if text == "" {
		return t
	}
	if n := len(t); kind == literal && n > 0 && t[n-1].kind == literal {
		t[n-1].text += text
		return t
	}
	return append(t, part{kind, text})
}

func (t template) addVariable(name string) template {
	if name == "*" || name == "?" || name == "$" {
		return t.add(literal, name)
	}
	return append(t, part{variable, name})
}

func (t template) uses(f func(name string) bool) bool {
	for _, p := range t {
		if p.kind == variable && f(p.text) {
			return true
		}
	}
	return false
}

// source is the text t was parsed from, but for escapes.
func (t template) source() string {
	var b strings.Builder
	for _, p := range t {
		if p.kind == variable {
			b.WriteString("${" + p.text + "}")
			continue
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// text fills in the variables and takes wildcards as the characters they are.
// A variable without a value makes it false, and is handed to missing.
func (t template) text(c *Connection, missing func(string)) (string, bool) {
	var b strings.Builder
	for _, p := range t {
		if p.kind != variable {
			b.WriteString(p.text)
			continue
		}
		value, ok := c.variable(p.text)
		if !ok {
			missing(p.text)
			return "", false
		}
		b.WriteString(value)
	}
	return b.String(), true
}

// pattern fills in the variables: their values are literal text, whatever
// wildcards they hold (security.md 1.3).
func (t template) pattern(c *Connection, missing func(string)) (pattern, bool) {
	var p pattern
	for _, piece := range t {
		value := piece.text
		switch piece.kind {
		case star, question:
			p.addWild(piece.kind)
			continue
		case variable:
			var ok bool
			if value, ok = c.variable(piece.text); !ok {
				missing(piece.text)
				return pattern{}, false
			}
		}
		p.addText(value)
	}
	return p, true
}

// Wildcards among the runes of a pattern.
const (
	runStar     rune = -1
	runQuestion rune = -2
)

// pattern is a filled-in template: a literal beginning, then runes and
// wildcards.
type pattern struct {
	prefix string
	rest   []rune
}

func (p *pattern) addText(s string) {
	if p.rest == nil {
		p.prefix += s
		return
	}
	p.rest = append(p.rest, []rune(s)...)
}

func (p *pattern) addWild(kind partKind) {
	if kind == question {
		p.rest = append(p.rest, runQuestion)
		return
	}
	if n := len(p.rest); n == 0 || p.rest[n-1] != runStar {
		p.rest = append(p.rest, runStar)
	}
}

// match reports whether the pattern covers all of s. It remembers only the last
// star: going back further can never help, so the cost is bounded by the
// product of the lengths (security.md 1.2, 4).
func (p pattern) match(s string) bool {
	if !strings.HasPrefix(s, p.prefix) {
		return false
	}
	s = s[len(p.prefix):]
	if len(p.rest) == 0 {
		return s == ""
	}
	i, j := 0, 0        // next rune of the pattern, next byte of s
	back, from := -1, 0 // behind the last star; where it may resume in s
	for j < len(s) {
		r, size := rune(s[j]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[j:])
		}
		switch {
		case i < len(p.rest) && p.rest[i] == runStar:
			if i+1 == len(p.rest) {
				return true
			}
			i++
			back, from = i, j
		case i < len(p.rest) && (p.rest[i] == r || p.rest[i] == runQuestion):
			i++
			j += size
		case back < 0:
			return false
		default:
			_, size = utf8.DecodeRuneInString(s[from:])
			from += size
			i, j = back, from
		}
	}
	for i < len(p.rest) && p.rest[i] == runStar {
		i++
	}
	return i == len(p.rest)
}

// arnTemplate is a resource: everything, or an ARN field by field.
type arnTemplate struct {
	all    bool
	fields [6]template
}

// arn splits t at its first five colons; false when it is neither `*` nor an
// ARN of six fields.
func (t template) arn() (arnTemplate, bool) {
	if len(t) == 1 && t[0].kind == star {
		return arnTemplate{all: true}, true
	}
	var a arnTemplate
	field := 0
	for _, p := range t {
		if p.kind != literal {
			a.fields[field] = append(a.fields[field], p)
			continue
		}
		pieces := strings.SplitN(p.text, ":", 6-field)
		for i, piece := range pieces {
			if i > 0 {
				field++
			}
			a.fields[field] = a.fields[field].add(literal, piece)
		}
	}
	scheme := a.fields[0]
	ok := field == 5 && len(a.fields[5]) > 0 && len(scheme) == 1 && scheme[0].kind == literal && scheme[0].text == "arn"
	return a, ok
}

func (a arnTemplate) uses(f func(name string) bool) bool {
	for _, t := range a.fields {
		if t.uses(f) {
			return true
		}
	}
	return false
}

// within reports whether the first five fields cover the ARNs of scope; a
// wildcard stays inside its field.
func (a arnTemplate) within(c *Connection, s Scope, missing func(string)) bool {
	own := [5]string{"arn", "aws", "iot", s.Region, s.Account}
	for i, value := range own {
		if s.AnyAccount && i >= 3 {
			continue
		}
		p, ok := a.fields[i].pattern(c, missing)
		if !ok || !p.match(value) {
			return false
		}
	}
	return true
}
