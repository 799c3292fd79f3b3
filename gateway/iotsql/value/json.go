package value

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// DepthMax is the deepest nesting that counts as JSON.
const DepthMax = 100

// Valid reports whether text is one strict JSON value (RFC 8259) in UTF-8 with
// at most DepthMax levels. It does not allocate.
func Valid(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	s := scanner{text: text}
	s.space()
	return s.skip(0) && s.end()
}

// StartsCollection reports whether text begins as an object or an array does.
func StartsCollection(text string) bool {
	text = strings.TrimLeft(text, " \t\r\n")
	return text != "" && (text[0] == '{' || text[0] == '[')
}

// Parse reads text as Valid describes; of repeated keys the last one wins. For
// whole see Number.
func Parse(text string, whole bool) (Value, bool) {
	if !Valid(text) {
		return Value{}, false
	}
	return ParseValid(text, whole), true
}

// ParseValid reads a text that Valid has accepted.
func ParseValid(text string, whole bool) Value {
	s := scanner{text: text, whole: whole}
	s.space()
	return s.value()
}

// scanner walks over JSON text.
type scanner struct {
	text  string
	at    int
	whole bool
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) end() bool {
	s.space()
	return s.at == len(s.text)
}

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// take consumes c, if it is next, and the space behind it.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.at == len(s.text) {
		return false
	}
	s.at++
	s.space()
	return true
}

// skip moves over one value and reports whether it is well formed.
func (s *scanner) skip(depth int) bool {
	switch c := s.peek(); {
	case c == '{':
		return depth < DepthMax && s.skipAll('}', depth+1)
	case c == '[':
		return depth < DepthMax && s.skipAll(']', depth+1)
	case c == '"':
		return s.skipString()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.skipNumber()
}

// skipAll moves over the members or elements of a collection.
func (s *scanner) skipAll(closing byte, depth int) bool {
	s.at++
	s.space()
	if s.take(closing) {
		return true
	}
	for {
		if closing == '}' {
			if s.peek() != '"' || !s.skipString() {
				return false
			}
			s.space()
			if !s.take(':') {
				return false
			}
		}
		if !s.skip(depth) {
			return false
		}
		s.space()
		if s.take(',') {
			continue
		}
		return s.take(closing)
	}
}

func (s *scanner) word(w string) bool {
	if !strings.HasPrefix(s.text[s.at:], w) {
		return false
	}
	s.at += len(w)
	return true
}

func (s *scanner) skipString() bool {
	_, ok := s.skipText()
	return ok
}

// plain are the bytes that say nothing inside a string.
var plain = plainBytes()

func plainBytes() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}

// skipText moves over a string and tells whether it holds an escape.
func (s *scanner) skipText() (escaped, ok bool) {
	text := s.text
	for i := s.at + 1; i < len(text); i++ {
		c := text[i]
		if plain[c] {
			continue
		}
		if c == '"' {
			s.at = i + 1
			return escaped, true
		}
		width := 0
		if c == '\\' {
			width = escapeWidth(text[i:])
		}
		if width == 0 {
			return escaped, false
		}
		escaped = true
		i += width - 1
	}
	return escaped, false
}

// escapeWidth is the length of the escape at the start of s, 0 for a bad one.
func escapeWidth(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[1]) < 0 {
			return 0
		}
		return 2
	}
	if len(s) < 6 {
		return 0
	}
	for _, c := range []byte(s[2:6]) {
		if hexDigit(c) < 0 {
			return 0
		}
	}
	return 6
}

func hexDigit(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

func (s *scanner) skipNumber() bool {
	if s.peek() == '-' {
		s.at++
	}
	start := s.at
	if !s.digits() || s.text[start] == '0' && s.at > start+1 {
		return false
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	next := skipDigits(s.text, s.at)
	moved := next > s.at
	s.at = next
	return moved
}

// value makes a Value of what is next in a well-formed text.
func (s *scanner) value() Value {
	switch s.peek() {
	case '{':
		return s.object()
	case '[':
		return s.array()
	case '"':
		return Text(s.string())
	case 't':
		s.at += len("true")
		return Bool(true)
	case 'f':
		s.at += len("false")
		return Bool(false)
	case 'n':
		s.at += len("null")
		return NullValue()
	}
	start := s.at
	s.skipNumber()
	return Number(s.text[start:s.at], s.whole, true)
}

func (s *scanner) string() string {
	start := s.at + 1
	s.skipString()
	inside := s.text[start : s.at-1]
	if strings.IndexByte(inside, '\\') < 0 {
		return inside
	}
	return unescape(inside)
}

func (s *scanner) array() Value {
	items := []Value{}
	s.at++
	s.space()
	for !s.take(']') {
		items = append(items, s.value())
		s.space()
		s.take(',')
	}
	return List(items)
}

func (s *scanner) object() Value {
	var b Builder
	s.at++
	s.space()
	for !s.take('}') {
		key := s.string()
		s.space()
		s.take(':')
		b.Set(key, s.value())
		s.space()
		s.take(',')
	}
	return b.Value()
}

// unescape gives the text of the inside of a JSON string. Half a surrogate
// pair becomes U+FFFD.
func unescape(inside string) string {
	dst := make([]byte, 0, len(inside))
	for i := 0; i < len(inside); {
		if inside[i] != '\\' {
			dst = append(dst, inside[i])
			i++
			continue
		}
		if inside[i+1] != 'u' {
			dst = append(dst, plainEscape(inside[i+1]))
			i += 2
			continue
		}
		r := hexRune(inside[i+2 : i+6])
		i += 6
		if utf16.IsSurrogate(r) {
			next := rune(utf8.RuneError)
			if strings.HasPrefix(inside[i:], `\u`) {
				next = hexRune(inside[i+2 : i+6])
			}
			if r = utf16.DecodeRune(r, next); r != utf8.RuneError {
				i += 6
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return string(dst)
}

func plainEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

func hexRune(s string) (r rune) {
	for i := range len(s) {
		r = r<<4 | hexDigit(s[i])
	}
	return r
}

// AppendJSON writes v as compact JSON; Undefined writes nothing. Numbers that
// came as text are written as they came.
func AppendJSON(dst []byte, v Value) []byte {
	switch v.kind {
	case Null:
		return append(dst, "null"...)
	case Boolean:
		if v.small != 0 {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case Int, Decimal:
		if v.text != "" {
			return append(dst, v.text...)
		}
		n, _ := v.Num()
		return n.append(dst)
	case String:
		return appendString(dst, v.text)
	case Array:
		return appendArray(dst, v)
	case Object:
		return appendObject(dst, v)
	}
	return dst
}

func appendArray(dst []byte, v Value) []byte {
	dst = append(dst, '[')
	for i, item := range v.coll.items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendJSON(dst, item)
	}
	return append(dst, ']')
}

func appendObject(dst []byte, v Value) []byte {
	dst = append(dst, '{')
	for i, item := range v.coll.items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, v.coll.keys[i]), ':')
		dst = AppendJSON(dst, item)
	}
	return append(dst, '}')
}

const hexDigits = "0123456789abcdef"

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}
