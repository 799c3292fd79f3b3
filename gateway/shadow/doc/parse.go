package doc

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
)

// depthCeiling is the deepest nesting that is ever built, whatever the limits
// say: what recursion may cost.
const depthCeiling = 100

// nullsSeen says where a skipped value had nulls.
type nullsSeen uint8

const (
	anyNull   nullsSeen = 1 << iota // somewhere
	arrayNull                       // below an array
)

// parser reads one JSON text (RFC 8259) that is known to be UTF-8. It builds
// containers down to level max and checks, without building, what is deeper:
// recursion and memory are bounded by max and by the length of the text.
type parser struct {
	text    string
	at      int
	max     int
	scratch []Member
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// take consumes c, which may have white space before it.
func (p *parser) take(c byte) bool {
	p.space()
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

// end reports whether nothing but white space is left.
func (p *parser) end() bool {
	p.space()
	return p.at == len(p.text)
}

// value reads a value whose container, if it is one, has the given level.
func (p *parser) value(level int) (Value, bool) {
	p.space()
	switch p.peek() {
	case '{', '[':
		if level > p.max {
			return p.deep()
		}
		if p.text[p.at] == '{' {
			return p.object(level)
		}
		return p.array(level)
	case '"':
		s, ok := p.str()
		return Value{kind: String, text: s}, ok
	}
	return p.word()
}

// deep checks a container without building it.
func (p *parser) deep() (Value, bool) {
	v := Value{kind: Array, deep: true}
	if p.text[p.at] == '{' {
		v.kind = Object
	}
	nulls, ok := p.skip()
	v.nulls = nulls
	return v, ok
}

// word reads a number, true, false or null.
func (p *parser) word() (Value, bool) {
	for _, w := range [...]Value{{kind: Null, text: "null"}, {kind: Bool, text: "true"}, {kind: Bool, text: "false"}} {
		if strings.HasPrefix(p.text[p.at:], w.text) {
			p.at += len(w.text)
			return w, true
		}
	}
	start := p.at
	if !p.number() {
		return Value{}, false
	}
	return Value{kind: Number, text: p.text[start:p.at]}, true
}

// number passes over a number literal.
func (p *parser) number() bool {
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if !p.digits() {
		return false
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return false
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		return p.digits()
	}
	return true
}

func (p *parser) digits() bool {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > start
}

// str reads a string. Lone surrogates become U+FFFD.
func (p *parser) str() (string, bool) {
	start := p.at + 1
	escaped, ok := p.passString()
	if !ok {
		return "", false
	}
	raw := p.text[start : p.at-1]
	if !escaped {
		return raw, true
	}
	return unescape(raw), true
}

// passString passes over a string and reports whether it has escapes.
func (p *parser) passString() (escaped, ok bool) {
	if p.peek() != '"' {
		return false, false
	}
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return escaped, true
		case c < 0x20:
			return false, false
		case c == '\\':
			escaped = true
			if p.at++; !p.passEscape() {
				return false, false
			}
		}
	}
	return false, false
}

// passEscape passes over what follows a backslash but for its last byte.
func (p *parser) passEscape() bool {
	switch p.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if p.at+4 >= len(p.text) {
			return false
		}
		_, ok := hex4(p.text[p.at+1:])
		p.at += 4
		return ok
	}
	return false
}

// hex4 reads four hexadecimal digits.
func hex4(s string) (rune, bool) {
	r := rune(0)
	for i := range 4 {
		c := rune(s[i])
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | c
	}
	return r, true
}

// unescape decodes a string body whose escapes are known to be well formed.
func unescape(raw string) string {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, used := unescapeRune(raw[i+1:])
			out = utf8.AppendRune(out, r)
			i += used
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// unescapeRune reads XXXX, or XXXX\uXXXX when that is a surrogate pair, and
// tells how many bytes it used.
func unescapeRune(s string) (rune, int) {
	r, _ := hex4(s)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if strings.HasPrefix(s[4:], `\u`) {
		second, _ := hex4(s[6:])
		if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
			return pair, 10
		}
	}
	return utf8.RuneError, 4
}

// object reads an object; of equal keys the last wins.
func (p *parser) object(level int) (Value, bool) {
	p.at++
	mark := len(p.scratch)
	if !p.take('}') {
		for {
			key, v, ok := p.member(level + 1)
			if !ok {
				return Value{}, false
			}
			p.scratch = append(p.scratch, Member{key, v})
			if p.take(',') {
				continue
			}
			if !p.take('}') {
				return Value{}, false
			}
			break
		}
	}
	return Value{kind: Object, parts: sortMembers(p.since(mark))}, true
}

func (p *parser) member(level int) (key string, v Value, ok bool) {
	p.space()
	if key, ok = p.str(); !ok || !p.take(':') {
		return "", Value{}, false
	}
	v, ok = p.value(level)
	return key, v, ok
}

func (p *parser) array(level int) (Value, bool) {
	p.at++
	mark := len(p.scratch)
	if !p.take(']') {
		for {
			v, ok := p.value(level + 1)
			if !ok {
				return Value{}, false
			}
			p.scratch = append(p.scratch, Member{Value: v})
			if p.take(',') {
				continue
			}
			if !p.take(']') {
				return Value{}, false
			}
			break
		}
	}
	return Value{kind: Array, parts: p.since(mark)}, true
}

// since takes what was put on the scratch pad after mark.
func (p *parser) since(mark int) []Member {
	var parts []Member
	if n := len(p.scratch) - mark; n > 0 {
		parts = make([]Member, n)
		copy(parts, p.scratch[mark:])
	}
	p.scratch = p.scratch[:mark]
	return parts
}

// skip checks one value of any depth without recursion and builds nothing but
// one byte for each open container.
func (p *parser) skip() (nulls nullsSeen, ok bool) {
	var open []byte
	arrays := 0
	for {
		p.space()
		switch c := p.peek(); c {
		case '{', '[':
			p.at++
			if c == '[' {
				arrays++
			}
			if open = append(open, c+2); !p.take(c + 2) {
				if c == '{' && !p.passKey() {
					return 0, false
				}
				continue
			}
			p.at-- // empty: let the loop below close it
		case '"':
			if _, ok := p.passString(); !ok {
				return 0, false
			}
		default:
			v, ok := p.word()
			if !ok {
				return 0, false
			}
			nulls |= seen(v, arrays)
		}
		done, ok := p.closing(&open, &arrays)
		if done || !ok {
			return nulls, ok
		}
	}
}

func seen(v Value, arrays int) nullsSeen {
	switch {
	case v.kind != Null:
		return 0
	case arrays > 0:
		return anyNull | arrayNull
	}
	return anyNull
}

// closing goes on after a value: it closes what ends here and stops before the
// next value, or reports done when nothing is open any more.
func (p *parser) closing(open *[]byte, arrays *int) (done, ok bool) {
	for len(*open) > 0 {
		end := (*open)[len(*open)-1]
		if p.take(',') {
			return false, end == ']' || p.passKey()
		}
		if !p.take(end) {
			return false, false
		}
		if end == ']' {
			*arrays--
		}
		*open = (*open)[:len(*open)-1]
	}
	return true, true
}

func (p *parser) passKey() bool {
	p.space()
	_, ok := p.passString()
	return ok && p.take(':')
}

// ParseValue reads any JSON text that nests at most 100 levels; of equal keys
// the last wins. Errors are UnsupportedMedia or InvalidRequest.
func ParseValue(text []byte) (Value, error) {
	if !utf8.Valid(text) {
		return Value{}, iot.Errorf(iot.UnsupportedMedia, "not UTF-8")
	}
	p := parser{text: string(text), max: depthCeiling}
	v, ok := p.value(1)
	if !ok || !p.end() {
		return Value{}, invalid("Invalid JSON")
	}
	if v.tooDeep(depthCeiling) {
		return Value{}, invalid("JSON contains too many levels of nesting; maximum is %d", depthCeiling)
	}
	return v, nil
}
