package regex

import (
	"fmt"
	"slices"
	"strings"
)

// posix are Java's names of ASCII classes, in Go's spelling.
var posix = map[string]string{
	"Lower": "lower", "Upper": "upper", "ASCII": "ascii", "Alpha": "alpha", "Digit": "digit", "Alnum": "alnum",
	"Punct": "punct", "Graph": "graph", "Print": "print", "Blank": "blank", "Cntrl": "cntrl", "XDigit": "xdigit",
	"Space": "space",
}

// ranges are the same classes for the backtracking matcher.
var ranges = map[string]string{
	"lower": "a-z", "upper": "A-Z", "ascii": `\x00-\x7f`, "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9",
	"punct": `!-/:-@\[-` + "`" + `{-~`, "graph": "!-~", "print": " -~", "blank": ` \t`, "cntrl": `\x00-\x1f\x7f`,
	"xdigit": "0-9a-fA-F", "space": ` \t\n\x0b\f\r`,
}

// perl are the escapes that mean ASCII in Java and in Go, but not in the
// backtracking matcher.
var perl = map[byte]string{'w': "a-zA-Z0-9_", 'd': "0-9", 's': ` \t\n\x0b\f\r`}

// translator rewrites what Java spells differently: the names of classes, and
// for the backtracking matcher possessive quantifiers as atomic groups.
type translator struct {
	in          string
	at          int
	plain, rest strings.Builder
	// atoms are the places in rest where the last atom began, one per open
	// group; the last is the present one.
	atoms []int
	opens []int
}

// translate gives expr for Go's regexp and for the backtracking matcher.
func translate(expr string) (plain, rest string, err error) {
	t := translator{in: expr, atoms: []int{-1}}
	for t.at < len(expr) {
		switch c := expr[t.at]; c {
		case '\\':
			t.begin()
			t.escape(false)
		case '[':
			t.begin()
			if err := t.bracket(); err != nil {
				return "", "", err
			}
		case '(':
			t.opens = append(t.opens, t.rest.Len())
			t.atoms = append(t.atoms, -1)
			t.both(1)
		case ')':
			t.both(1)
			t.closeGroup()
		case '*', '+', '?', '{':
			t.quantifier()
		default:
			t.begin()
			t.both(1)
		}
	}
	return t.plain.String(), t.rest.String(), nil
}

// begin marks the start of an atom.
func (t *translator) begin() { t.atoms[len(t.atoms)-1] = t.rest.Len() }

func (t *translator) closeGroup() {
	if len(t.opens) == 0 {
		return
	}
	start := t.opens[len(t.opens)-1]
	t.opens = t.opens[:len(t.opens)-1]
	t.atoms = t.atoms[:len(t.atoms)-1]
	t.atoms[len(t.atoms)-1] = start
}

// both copies n bytes.
func (t *translator) both(n int) {
	n = min(n, len(t.in)-t.at)
	t.plain.WriteString(t.in[t.at : t.at+n])
	t.rest.WriteString(t.in[t.at : t.at+n])
	t.at += n
}

// escape copies a backslash and what belongs to it.
func (t *translator) escape(inClass bool) {
	s := t.in[t.at:]
	if strings.HasPrefix(s, `\Q`) {
		end := strings.Index(s, `\E`)
		if end < 0 {
			end = len(s)
		}
		t.quote(s[2:end])
		t.at = min(t.at+end+2, len(t.in))
		return
	}
	if len(s) > 3 && (s[1] == 'p' || s[1] == 'P') && s[2] == '{' {
		if end := strings.IndexByte(s, '}'); end > 0 && posix[s[3:end]] != "" {
			t.posix(posix[s[3:end]], s[1] == 'P', inClass)
			t.at += end + 1
			return
		}
	}
	if len(s) == 1 {
		t.both(1)
		return
	}
	if !t.code(s) && !t.named(s, inClass) && !t.spaces(s[1], inClass) {
		t.perl(s[1], inClass)
	}
}

// code writes a character that Java spells by its number, \0 with up to three
// octal digits, \cX or \e, in the way both matchers read.
func (t *translator) code(s string) bool {
	char, length := byte(0), 2
	switch {
	case s[1] == 'e':
		char = 0x1b
	case s[1] == 'c' && len(s) > 2:
		char, length = s[2]^64, 3
	case s[1] == '0' && len(s) > 2 && isOctal(s[2]):
		for ; length < len(s) && length < 5 && isOctal(s[length]) && char < 32; length++ {
			char = char<<3 | (s[length] - '0')
		}
	default:
		return false
	}
	t.write(fmt.Sprintf(`\x%02x`, char))
	t.at += length
	return true
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }

// blank are the horizontal and vertical white space of Java's \h and \v, which
// Go does not know or reads as one character.
var blank = map[byte]string{
	'h': "\t \u00a0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000", 'v': "\n\v\f\r\u0085\u2028\u2029",
}

// spaces spells \h, \v, their opposites and \R out. An opposite in a class is
// left to the matchers, which refuse it.
func (t *translator) spaces(letter byte, inClass bool) bool {
	set, ok := blank[letter|0x20]
	negated := letter < 'a'
	switch {
	case letter == 'R' && !inClass:
		t.write("(?:\r\n|[" + blank['v'] + "])")
	case !ok, inClass && negated:
		return false
	case inClass:
		t.write(set)
	case negated:
		t.write("[^" + set + "]")
	default:
		t.write("[" + set + "]")
	}
	t.at += 2
	return true
}

// aliases are Java's other names of categories.
var aliases = map[string]string{
	"Letter": "L", "Digit": "Nd", "Punctuation": "P", "Control": "Cc", "javaLetter": "L", "javaDigit": "Nd", "javaISOControl": "Cc",
}

// named writes \p{IsLatin}, \p{IsLu}, \p{sc=Latin}, \p{gc=Lu} and the like the way
// both matchers spell them, as \p{Latin}. What they do not know they refuse.
func (t *translator) named(s string, inClass bool) bool {
	end := strings.IndexByte(s, '}')
	if len(s) < 4 || s[1]|0x20 != 'p' || s[2] != '{' || end < 0 {
		return false
	}
	name := s[3:end]
	if kind, rest, ok := strings.Cut(name, "="); ok {
		if !slices.Contains([]string{"sc", "script", "gc", "general_category"}, kind) {
			return false
		}
		name = rest
	} else if rest, ok := strings.CutPrefix(name, "Is"); ok {
		name = rest
	} else if aliases[name] == "" {
		return false
	}
	if short := aliases[name]; short != "" {
		name = short
	}
	t.write(s[:3] + name + "}")
	t.at += end + 1
	return true
}

// write puts the same text into both patterns.
func (t *translator) write(text string) {
	t.plain.WriteString(text)
	t.rest.WriteString(text)
}

// perl copies a one-letter escape, spelling ASCII classes out for rest.
func (t *translator) perl(letter byte, inClass bool) {
	set, ok := perl[letter|0x20]
	negated := letter < 'a'
	switch {
	case !ok, inClass && negated: // the latter is rare and stays Unicode
		t.both(2)
		return
	case inClass:
		t.rest.WriteString(set)
	case negated:
		t.rest.WriteString("[^" + set + "]")
	default:
		t.rest.WriteString("[" + set + "]")
	}
	t.plain.WriteString(t.in[t.at : t.at+2])
	t.at += 2
}

func (t *translator) quote(literal string) {
	for i := range len(literal) {
		if strings.IndexByte(`\.+*?()|[]{}^$-&`, literal[i]) >= 0 {
			t.plain.WriteByte('\\')
			t.rest.WriteByte('\\')
		}
		t.plain.WriteByte(literal[i])
		t.rest.WriteByte(literal[i])
	}
}

func (t *translator) posix(class string, negated, inClass bool) {
	caret := ""
	if negated {
		caret = "^"
	}
	if inClass {
		t.plain.WriteString("[:" + caret + class + ":]")
		if negated { // which the backtracking matcher shall refuse
			t.rest.WriteString(`\P{` + class + "}")
			return
		}
		t.rest.WriteString(ranges[class])
		return
	}
	t.plain.WriteString("[[:" + caret + class + ":]]")
	t.rest.WriteString("[" + caret + ranges[class] + "]")
}

// bracket copies a class, or writes it as a group.
func (t *translator) bracket() error {
	if !isNested(t.in[t.at:]) {
		t.class(0)
		return nil
	}
	group, err := t.nested()
	t.write(group)
	return err
}

// class copies a bracketed class. A class within a class joins it in Java.
func (t *translator) class(depth int) {
	if depth == 0 {
		t.both(1)
	} else {
		t.at++
	}
	if t.at < len(t.in) && t.in[t.at] == '^' {
		t.both(1)
	}
	if t.at < len(t.in) && t.in[t.at] == ']' {
		t.both(1) // an unclosed class for Java; let the matchers judge
	}
	for t.at < len(t.in) {
		switch c := t.in[t.at]; {
		case c == '\\':
			t.escape(true)
		case c == '[':
			t.class(depth + 1)
		case c == ']' && depth > 0:
			t.at++
			return
		case c == ']':
			t.both(1)
			return
		default:
			t.both(1)
		}
	}
}

// quantifier copies *, +, ? or {…} and what modifies it; a possessive one
// makes its atom an atomic group.
func (t *translator) quantifier() {
	length := 1
	if t.in[t.at] == '{' {
		if end := strings.IndexByte(t.in[t.at:], '}'); end > 0 {
			length = end + 1
		}
	}
	atom := t.atoms[len(t.atoms)-1]
	t.both(length)
	if t.at == len(t.in) {
		return
	}
	switch {
	case t.in[t.at] == '?':
		t.both(1)
	case t.in[t.at] == '+' && atom >= 0:
		t.plain.WriteString("+") // which Go refuses
		t.at++
		whole := t.rest.String()
		t.rest.Reset()
		t.rest.WriteString(whole[:atom] + "(?>" + whole[atom:] + ")")
	}
}
