package syntax

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind is the kind of a token.
type tokenKind uint8

const (
	endOfText tokenKind = iota
	word                // a name or keyword
	quotedName
	variableName // text without @
	stringText
	numberText
	durationText // text holds milliseconds
	punctuation
)

// token is one piece of a statement. text is what it means, source how it was
// written.
type token struct {
	kind   tokenKind
	text   string
	source string
	at     int
}

// is reports whether t is the keyword k, given in upper case.
func (t token) is(k string) bool { return t.kind == word && strings.EqualFold(t.text, k) }

// isPunct reports whether t is the punctuation p.
func (t token) isPunct(p string) bool { return t.kind == punctuation && t.text == p }

// lexer cuts a text into tokens.
type lexer struct {
	text string
	at   int
}

// lex gives all tokens of text; the last one is endOfText.
func lex(text string) ([]token, error) {
	if !utf8.ValidString(text) {
		return nil, &Error{Line: 1, Column: 1, Token: "invalid bytes", Expected: "text in UTF-8"}
	}
	l := lexer{text: text}
	var tokens []token
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		if t.kind == endOfText {
			return tokens, nil
		}
	}
}

func (l *lexer) fail(at int, tok, expected string) error {
	return ErrorAt(l.text, at, tok, expected)
}

// next gives the token at the lexer's place.
func (l *lexer) next() (token, error) {
	if err := l.space(); err != nil {
		return token{}, err
	}
	start := l.at
	if start == len(l.text) {
		return token{kind: endOfText, at: start}, nil
	}
	t, err := l.scan()
	t.at, t.source = start, l.text[start:l.at]
	return t, err
}

func (l *lexer) space() error {
	for l.at < len(l.text) {
		rest := l.text[l.at:]
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			l.at++
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return l.fail(l.at, "/*", "*/ to end the comment")
			}
			l.at += end + 4
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) scan() (token, error) {
	r, _ := utf8.DecodeRuneInString(l.text[l.at:])
	switch {
	case r == '\'' || r == '"':
		s, err := l.quoted(byte(r), "a closing quote")
		return token{kind: stringText, text: s}, err
	case r == '`':
		s, err := l.quoted('`', "a closing backtick")
		return token{kind: quotedName, text: s}, err
	case r == '@':
		return l.variable()
	case r >= '0' && r <= '9':
		return l.number()
	case isNameStart(r):
		return token{kind: word, text: l.run(isNamePart)}, nil
	}
	return l.punct(r)
}

func isNameStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func isNamePart(r rune) bool { return isNameStart(r) || r >= '0' && r <= '9' || unicode.IsDigit(r) }

// run consumes all runes that belong.
func (l *lexer) run(belongs func(rune) bool) string {
	start := l.at
	for l.at < len(l.text) {
		r, size := utf8.DecodeRuneInString(l.text[l.at:])
		if !belongs(r) {
			break
		}
		l.at += size
	}
	return l.text[start:l.at]
}

// quoted reads text between quotes; a doubled quote stands for one.
func (l *lexer) quoted(quote byte, expected string) (string, error) {
	start := l.at
	for i := start + 1; i < len(l.text); i++ {
		if l.text[i] != quote {
			continue
		}
		if i+1 < len(l.text) && l.text[i+1] == quote {
			i++
			continue
		}
		l.at = i + 1
		inside := l.text[start+1 : i]
		return strings.ReplaceAll(inside, string(quote)+string(quote), string(quote)), nil
	}
	l.at = len(l.text)
	return "", l.fail(start, clip(l.text[start:]), expected)
}

const variableNameMax = 64

func (l *lexer) variable() (token, error) {
	start := l.at
	l.at++
	name := l.run(func(r rune) bool {
		return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	})
	if name == "" || len(name) > variableNameMax {
		return token{}, l.fail(start, clip(l.text[start:max(l.at, start+1)]), "@ and 1 to 64 of a-z A-Z 0-9 _")
	}
	return token{kind: variableName, text: name}, nil
}

// durations gives the milliseconds of each unit.
var durations = map[string]int64{"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

// number reads digits[.digits][e[+-]digits], or a duration.
func (l *lexer) number() (token, error) {
	start := l.at
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
	whole := l.run(isDigit)
	if rest := l.text[l.at:]; len(rest) > 1 && rest[0] == '.' && isDigit(rune(rest[1])) {
		l.at++
		l.run(isDigit)
	}
	l.exponent(isDigit)
	kind, text := numberText, l.text[start:l.at]
	unitAt := l.at
	unit := l.run(isNamePart)
	if factor, ok := durations[unit]; ok && text == whole {
		ms, fits := durationMS(whole, factor)
		if !fits {
			return token{}, l.fail(start, l.text[start:l.at], "a shorter duration")
		}
		return token{kind: durationText, text: ms}, nil
	}
	if unit != "" {
		return token{}, l.fail(unitAt, unit, "no letter straight after a number")
	}
	return token{kind: kind, text: text}, nil
}

func (l *lexer) exponent(isDigit func(rune) bool) {
	rest := l.text[l.at:]
	if rest == "" || rest[0] != 'e' && rest[0] != 'E' {
		return
	}
	skip := 1
	if len(rest) > 1 && (rest[1] == '+' || rest[1] == '-') {
		skip = 2
	}
	if len(rest) > skip && isDigit(rune(rest[skip])) {
		l.at += skip
		l.run(isDigit)
	}
}

// punctuations lists longer ones before their beginnings.
var punctuations = []string{
	"<=", ">=", "<>", "!=", "(", ")", "[", "]", "{", "}", ",", ".", ":", "=", "<", ">", "+", "-", "*", "/", "%",
}

func (l *lexer) punct(r rune) (token, error) {
	for _, p := range punctuations {
		if strings.HasPrefix(l.text[l.at:], p) {
			l.at += len(p)
			return token{kind: punctuation, text: p}, nil
		}
	}
	return token{}, l.fail(l.at, string(r), "a name, a literal or an operator")
}
