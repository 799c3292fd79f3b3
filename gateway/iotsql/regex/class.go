package regex

import (
	"errors"
	"strings"
)

// Java's classes know intersections, `[a-z&&[^aeiou]]`, and classes within
// classes, `[0-9[^a]]`, which neither matcher does. Each consumes one character,
// so they are written as a group that does the same with look-ahead:
//
//	[A&&B]   (?:(?=[A])[B])
//	[^A&&B]  (?:(?!(?:(?=[A])[B]))[\s\S])
//	[A[^B]]  (?:[A]|[^B])

var errEmptyClass = errors.New("regex: a class or one side of && is empty")

// isNested reports whether the class at the start of s needs a group.
func isNested(s string) bool {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], `\Q`):
			end := strings.Index(s[i:], `\E`)
			if end < 0 {
				return false
			}
			i += end + 1
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], "&&"), depth > 0 && strings.HasPrefix(s[i:], "[^"):
			return true
		case s[i] == '[':
			depth++
		case s[i] == ']':
			if depth--; depth == 0 {
				return false
			}
		}
	}
	return false
}

// nested reads the class at t.at and gives its group.
func (t *translator) nested() (string, error) {
	t.at++
	negated := t.peek('^')
	var sides, parts []string
	var text strings.Builder
	for t.at < len(t.in) {
		switch {
		case strings.HasPrefix(t.in[t.at:], "&&"):
			t.at += 2
			side := union(parts, text.String(), false)
			sides = append(sides, side)
			parts = nil
			text.Reset()
		case t.peek(']'):
			last := union(parts, text.String(), negated && len(sides) == 0)
			return intersection(append(sides, last), negated && (len(sides) > 0 || len(parts) > 0))
		case t.in[t.at] == '[':
			part, err := t.nested()
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		default:
			text.WriteString(t.member())
		}
	}
	return "", errors.New("regex: a class has no end")
}

// peek consumes c, if it is next.
func (t *translator) peek(c byte) bool {
	if t.at == len(t.in) || t.in[t.at] != c {
		return false
	}
	t.at++
	return true
}

// member reads one character or escape of a class.
func (t *translator) member() string {
	if t.in[t.at] != '\\' {
		t.at++
		return t.in[t.at-1 : t.at]
	}
	inner := translator{in: t.in, at: t.at}
	inner.escape(true)
	t.at = inner.at
	return inner.rest.String()
}

// union matches one character of the classes or of text. A negated text alone
// is a plain class.
func union(parts []string, text string, negated bool) string {
	switch {
	case text != "" && negated && len(parts) == 0:
		return "[^" + text + "]"
	case text != "":
		parts = append(parts, "["+text+"]")
	}
	if len(parts) == 1 {
		return parts[0]
	}
	if len(parts) == 0 {
		return ""
	}
	return "(?:" + strings.Join(parts, "|") + ")"
}

// intersection matches a character that all sides match, or not all of them.
func intersection(sides []string, negated bool) (string, error) {
	var b strings.Builder
	for i, side := range sides {
		switch {
		case side == "":
			return "", errEmptyClass
		case i < len(sides)-1:
			b.WriteString("(?=" + side + ")")
		default:
			b.WriteString(side)
		}
	}
	switch {
	case negated:
		return `(?:(?!` + b.String() + `)[\s\S])`, nil
	case len(sides) > 1:
		return "(?:" + b.String() + ")", nil
	}
	return b.String(), nil
}
