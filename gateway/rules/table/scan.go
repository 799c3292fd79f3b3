package table

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
)

// kind is what a token is.
type kind uint8

const (
	word      kind = iota // a bare identifier or keyword
	name                  // an identifier in quotes
	text                  // a string
	parameter             // :a.b, text is what follows the colon
	symbol                // anything else
)

// token is one token of SQLite's SQL; white space and comments are none.
type token struct {
	kind     kind
	text     string
	from, to int
}

func (t token) is(keyword string) bool { return t.kind == word && strings.EqualFold(t.text, keyword) }

// names reports whether t can be the name of a table or column.
func (t token) names() bool { return t.kind == word || t.kind == name }

// scan takes a statement apart, as SQLite does.
func scan(sql string) ([]token, error) {
	if !utf8.ValidString(sql) || strings.ContainsRune(sql, 0) {
		return nil, iot.Errorf(iot.InvalidRequest, "the statement is not UTF-8 text")
	}
	var tokens []token
	for at := 0; at < len(sql); {
		t, err := scanOne(sql, at)
		if err != nil {
			return nil, err
		}
		if t.to > at && t.from < t.to {
			tokens = append(tokens, t)
		}
		at = max(t.to, at+1)
	}
	return tokens, nil
}

// scanOne reads what stands at a place; from == to is something to leave out.
func scanOne(sql string, at int) (token, error) {
	rest := sql[at:]
	c := rest[0]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
		return token{to: at, from: at}, nil
	case strings.HasPrefix(rest, "--"):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		return token{from: at + end, to: at + end}, nil
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			return token{}, unclosed(at, "/*")
		}
		return token{from: at + end + 4, to: at + end + 4}, nil
	case c == '\'' || c == '"' || c == '`' || c == '[':
		return scanQuoted(sql, at)
	case c == ':' || c == '?' || c == '@' || c == '$' || c == '#':
		return scanParameter(sql, at)
	}
	if n := identifier(rest); n > 0 {
		return token{word, rest[:n], at, at + n}, nil
	}
	if c >= '0' && c <= '9' { // a number, and with it a name that SQLite refuses
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && !nameRune(r) })
		if n < 0 {
			n = len(rest)
		}
		return token{symbol, rest[:n], at, at + n}, nil
	}
	_, n := utf8.DecodeRuneInString(rest)
	return token{symbol, rest[:n], at, at + n}, nil
}

func unclosed(at int, what string) error {
	return iot.Errorf(iot.InvalidRequest, "the statement opens %s at byte %d and never closes it", what, at+1)
}

func scanQuoted(sql string, at int) (token, error) {
	quote := sql[at]
	kind, closing := name, quote
	switch quote {
	case '\'':
		kind = text
	case '[':
		closing = ']'
	}
	var out strings.Builder
	for i := at + 1; i < len(sql); i++ {
		if sql[i] != closing {
			out.WriteByte(sql[i])
			continue
		}
		if closing != ']' && i+1 < len(sql) && sql[i+1] == closing {
			out.WriteByte(closing)
			i++
			continue
		}
		return token{kind, out.String(), at, i + 1}, nil
	}
	return token{}, unclosed(at, string(quote))
}

// scanParameter reads :a.b; the other forms of SQLite mean nothing here.
func scanParameter(sql string, at int) (token, error) {
	end := at + 1
	for sql[at] == ':' {
		n := identifier(sql[end:])
		if n == 0 {
			break
		}
		end += n
		if end >= len(sql) || sql[end] != '.' || identifier(sql[end+1:]) == 0 {
			return token{parameter, sql[at+1 : end], at, end}, nil
		}
		end++
	}
	return token{}, iot.Errorf(iot.InvalidRequest, "%q at byte %d: a parameter is written :name or :name.name", sql[at:min(len(sql), at+8)], at+1)
}

// identifier is the length of the name that s begins with.
func identifier(s string) int {
	first, _ := utf8.DecodeRuneInString(s)
	if s == "" || first >= '0' && first <= '9' || !nameRune(first) {
		return 0
	}
	if n := strings.IndexFunc(s, func(r rune) bool { return !nameRune(r) }); n >= 0 {
		return n
	}
	return len(s)
}

// nameRune reports whether r stands in names; SQLite also takes a `$`.
func nameRune(r rune) bool {
	return r == '_' || r == '$' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r > unicode.MaxASCII
}
