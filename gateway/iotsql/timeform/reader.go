package timeform

import (
	"errors"
	"fmt"
	"strings"
)

// ErrText means that a text does not match its pattern, or names no real date.
var ErrText = errors.New("timeform: text does not match the pattern")

// sign says which signs a number may have (java.time's SignStyle, strict).
type sign uint8

const (
	unsigned sign = iota
	minusOnly
	exceedsPad // a + exactly when there are more digits than the pattern has
)

// step reads one piece of a text.
type step struct {
	piece
	min, max int
	sign     sign
	reserve  int  // digits that belong to the steps behind
	optional bool // the beginning of an optional part …
	skip     int  // … which ends this many steps further
	ends     bool // the end of one
	numeric  bool
	fraction bool
}

// Reader is a compiled pattern of java.time.format.DateTimeFormatter (JDK 11,
// English, strict parsing, resolved without adjusting days).
type Reader struct{ steps []step }

// readerLetters are the letters understood.
const readerLetters = "GyuMLdDEahKHkmsSAnNVzXxZO"

// NewReader compiles pattern.
func NewReader(pattern string) (*Reader, error) {
	pieces, err := cut(pattern, readerLetters)
	if err != nil {
		return nil, err
	}
	r := &Reader{}
	var open []int
	for _, p := range pieces {
		switch {
		case p.letter != 0:
			s, err := fieldStep(p)
			if err != nil {
				return nil, fmt.Errorf("%w %q", err, pattern)
			}
			r.steps = append(r.steps, s)
		case p.text == "[":
			open = append(open, len(r.steps))
			r.steps = append(r.steps, step{optional: true})
		case p.text == "]" && len(open) == 0, p.text == "{", p.text == "}", p.text == "#":
			return nil, fmt.Errorf("%w %q: %s", ErrPattern, pattern, p.text)
		case p.text == "]":
			start := open[len(open)-1]
			open = open[:len(open)-1]
			r.steps[start].skip = len(r.steps) - start
			r.steps = append(r.steps, step{ends: true})
		default:
			r.steps = append(r.steps, step{piece: p})
		}
	}
	for _, start := range open { // an open part ends with the pattern
		r.steps[start].skip = len(r.steps) - start
	}
	r.reserve()
	return r, nil
}

// reserve keeps digits back for fields of fixed width that follow a number
// without a text between (adjacent value parsing).
func (r *Reader) reserve() {
	first := -1
	for i := range r.steps {
		s := &r.steps[i]
		switch {
		case !s.numeric:
			first = -1
		case first >= 0 && s.min == s.max && s.sign == unsigned:
			r.steps[first].reserve += s.max
		default:
			first = i
		}
	}
}

const anyDigits = 19

// fieldStep says how java.time reads a run of letters.
func fieldStep(p piece) (step, error) {
	s := step{piece: p}
	number := func(lo, hi int, sg sign) (step, error) {
		s.min, s.max, s.sign, s.numeric = lo, hi, sg, true
		return s, nil
	}
	switch p.letter {
	case 'y', 'u':
		switch {
		case p.count == 2:
			return number(2, 2, unsigned)
		case p.count < 4:
			return number(p.count, anyDigits, minusOnly)
		case p.count <= anyDigits:
			return number(p.count, anyDigits, exceedsPad)
		}
	case 'M', 'L':
		if p.count > 2 && p.count < 5 {
			return s, nil
		}
		fallthrough
	case 'd', 'H', 'h', 'K', 'k', 'm', 's':
		switch p.count {
		case 1:
			return number(1, anyDigits, minusOnly)
		case 2:
			return number(2, 2, unsigned)
		}
	case 'D':
		switch {
		case p.count == 1:
			return number(1, anyDigits, minusOnly)
		case p.count <= 3:
			return number(p.count, 3, unsigned)
		}
	case 'S':
		if p.count <= 9 {
			s.fraction = true
			return number(p.count, p.count, unsigned)
		}
	case 'A', 'n', 'N':
		if p.count <= anyDigits {
			return number(p.count, anyDigits, unsigned)
		}
	default:
		return textStep(s)
	}
	return s, ErrPattern
}

// widths are the greatest counts of the letters that are read as text.
var widths = map[byte]int{'E': 4, 'a': 1, 'G': 4, 'V': 2, 'z': 4, 'X': 5, 'x': 5, 'Z': 5, 'O': 4}

func textStep(s step) (step, error) {
	if s.count > widths[s.letter] || s.letter == 'V' && s.count != 2 || s.letter == 'O' && s.count != 1 && s.count != 4 {
		return s, ErrPattern
	}
	return s, nil
}

// cursor is the state of reading one text.
type cursor struct {
	text   string
	at     int
	fields fields
}

// Epoch reads text, all of it, and gives its milliseconds since the Unix
// epoch. Year, month and day must be there; the time of day defaults to
// midnight, the zone to UTC.
func (r *Reader) Epoch(text string) (int64, error) {
	c := cursor{text: text}
	if !c.steps(r.steps) || c.at != len(text) {
		return 0, ErrText
	}
	return c.fields.resolve()
}

// steps runs all steps; an optional part that fails is passed over.
func (c *cursor) steps(all []step) bool {
	for i := 0; i < len(all); i++ {
		s := all[i]
		switch {
		case s.ends:
		case s.optional:
			before := *c
			if !c.steps(all[i+1 : i+s.skip]) {
				*c = before
			}
			i += s.skip - 1
		case !c.step(s):
			return false
		}
	}
	return true
}

func (c *cursor) step(s step) bool {
	switch {
	case s.letter == 0:
		if !strings.HasPrefix(c.text[c.at:], s.text) {
			return false
		}
		c.at += len(s.text)
		return true
	case s.fraction:
		return c.fraction(s)
	case s.numeric:
		return c.number(s)
	}
	return c.word(s)
}

func (c *cursor) fraction(s step) bool {
	n, end := digits(c.text, c.at, s.max)
	if end-c.at != s.max {
		return false
	}
	for range 9 - s.max {
		n *= 10
	}
	c.at = end
	return c.fields.set('n', int64(n))
}

func (c *cursor) number(s step) bool {
	start := c.at
	negative, plus := false, false
	if start < len(c.text) {
		switch {
		case c.text[start] == '-' && s.sign != unsigned:
			negative = true
			start++
		case c.text[start] == '+' && s.sign == exceedsPad:
			plus = true
			start++
		}
	}
	n, end := longest(c.text, start, s)
	width := end - start
	if width < s.min || s.sign == exceedsPad && !negative && plus != (width > s.min) || negative && n == 0 {
		return false
	}
	if negative {
		n = -n
	}
	if (s.letter == 'y' || s.letter == 'u') && s.count == 2 {
		n += 2000
	}
	c.at = end
	return c.fields.set(s.letter, n)
}

// longest reads digits for s, leaving those it must keep back.
func longest(text string, at int, s step) (n int64, end int) {
	end = at
	for end < len(text) && end-at < s.max+s.reserve && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	if s.reserve > 0 {
		end = max(min(at+s.min, end), end-s.reserve)
	}
	if end-at > 18 { // beyond every field
		return 0, at
	}
	for _, c := range []byte(text[at:end]) {
		n = n*10 + int64(c-'0')
	}
	return n, end
}
