// Package sift tells from the bytes of a payload alone that a filter fails.
//
// Most messages match no filter, and reading them as JSON only to find that
// out is most of what a rule costs. A comparison of a member with a constant
// cannot be true unless the member's name stands in the text with a value for
// which it is true; wherever that name stands, at any depth and however often.
// So a Sieve looks for the names, which is quick, and says "fails" only when no
// place fits: never for a message whose filter could be true. What it cannot
// judge, a text with escapes for one, it lets pass, and the filter decides.
package sift

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/iotsql/library"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Sieve is what can be learned of one filter; the nil Sieve rejects nothing. It
// never changes and may be shared.
type Sieve struct {
	// left and right are those of AND, where one may be nil, or of OR.
	left, right *Sieve
	both        bool // OR: only when both reject

	name    name
	compare func(a, b value.Value) value.Value
	with    value.Value
	whole   bool
	number  *ordering // nil when the constant is no number
}

// ordering is a comparison with a number, for numbers that are written plainly.
type ordering struct {
	with                value.Num
	less, same, greater bool
}

func (o *ordering) holds(n value.Num) bool {
	switch value.Cmp(n, o.with) {
	case -1:
		return o.less
	case 0:
		return o.same
	}
	return o.greater
}

// orderingOf is nil for a constant that is no number.
func orderingOf(op string, with value.Value) *ordering {
	if k := with.Kind(); k != value.Int && k != value.Decimal {
		return nil
	}
	n, ok := with.Number()
	if !ok {
		return nil
	}
	return &ordering{with: n, less: op[0] == '<', same: strings.HasSuffix(op, "="), greater: op[0] == '>'}
}

// mirrored are the operators a Sieve knows, with those that say the same when
// the constant stands on the left.
var mirrored = map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// Of gives the Sieve of a filter, nil when nothing can be learned of it. For
// whole see value.Number.
func Of(filter syntax.Expression, whole bool) *Sieve {
	x, ok := filter.(*syntax.Binary)
	if !ok {
		return nil
	}
	switch x.Op {
	case "AND", "OR":
		s := &Sieve{left: Of(x.Left, whole), right: Of(x.Right, whole), both: x.Op == "OR"}
		if s.left == nil && s.right == nil || s.both && (s.left == nil || s.right == nil) {
			return nil
		}
		return s
	}
	op, known := mirrored[x.Op]
	if !known {
		return nil
	}
	if constant, left := x.Left.(*syntax.Literal); left {
		return comparison(x.Right, op, constant, whole)
	}
	if constant, right := x.Right.(*syntax.Literal); right {
		return comparison(x.Left, x.Op, constant, whole)
	}
	return nil
}

func comparison(of syntax.Expression, op string, constant *syntax.Literal, whole bool) *Sieve {
	s := &Sieve{compare: library.Binaries[op], with: constant.Value, whole: whole, number: orderingOf(op, constant.Value)}
	switch x := of.(type) {
	case *syntax.Name:
		s.name = nameOf(x.Name)
	case *syntax.Member:
		if !path(x) {
			return nil
		}
		s.name = nameOf(x.Name)
	default:
		return nil
	}
	return s
}

// path reports whether x leads to a member of the payload by names alone.
func path(x *syntax.Member) bool {
	switch of := x.Of.(type) {
	case *syntax.Name:
		return true
	case *syntax.Member:
		return path(of)
	}
	return false
}

// Rejects reports that the filter is not true for a payload. False says
// nothing. It does not allocate.
func (s *Sieve) Rejects(text string) bool {
	return s != nil && strings.HasPrefix(text, "{") && strings.IndexByte(text, '\\') < 0 && s.fails(text)
}

func (s *Sieve) fails(text string) bool {
	if s.compare != nil {
		return s.nowhere(text)
	}
	if s.both {
		return s.left.fails(text) && s.right.fails(text)
	}
	return s.left != nil && s.left.fails(text) || s.right != nil && s.right.fails(text)
}

// nowhere looks at every place where the name stands before a colon.
func (s *Sieve) nowhere(text string) bool {
	for {
		rest, found := s.name.after(text)
		if !found {
			return true
		}
		if value, is := strings.CutPrefix(space(rest), ":"); is && s.fits(space(value)) {
			return false
		}
		text = rest
	}
}

// space is text without the white space in front.
func space(text string) string {
	for text != "" && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n') {
		text = text[1:]
	}
	return text
}

// token is the length of the number or word that text begins with; -1 when
// nothing ends it.
func token(text string) int {
	for i := range len(text) {
		switch text[i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return -1
}

// fits reports whether the comparison may be true for the value that text
// begins with.
func (s *Sieve) fits(text string) bool {
	if text == "" {
		return true // no JSON: not for us to say
	}
	var v value.Value
	switch text[0] {
	case '{', '[':
		return false // is never equal to a constant, nor less, nor greater
	case '"':
		end := strings.IndexByte(text[1:], '"')
		if end < 0 {
			return true
		}
		v = value.Text(text[1 : 1+end])
	default:
		end := token(text)
		if end < 0 {
			return true
		}
		if n, plain := value.Plain(text[:end]); plain && s.number != nil {
			return s.number.holds(n)
		}
		var ok bool
		if v, ok = value.Parse(text[:end], s.whole); !ok {
			return true
		}
	}
	is, ok := s.compare(v, s.with).Bool()
	return ok && is
}
