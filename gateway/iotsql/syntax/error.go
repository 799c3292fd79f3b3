package syntax

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error says why a statement or a template was refused. Line and Column count
// from 1, columns in characters.
type Error struct {
	Line, Column int
	// Token is the offending piece as written; empty at the end of the text.
	Token string
	// Expected says what would have been right.
	Expected string
}

// Error gives the sentence for people: place, token and what was expected.
func (e *Error) Error() string {
	found := "the end of the text"
	if e.Token != "" {
		found = strconv.Quote(e.Token)
	}
	return fmt.Sprintf("sql line %d, column %d: found %s, expected %s", e.Line, e.Column, found, e.Expected)
}

// ErrorAt makes the Error for byte position of text.
func ErrorAt(text string, position int, tok, expected string) *Error {
	line, column := Place(text, position)
	return &Error{Line: line, Column: column, Token: tok, Expected: expected}
}

// Place gives line and column of byte position, both from 1.
func Place(text string, position int) (line, column int) {
	before := text[:position]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

// tokenLengthMax bounds how much of a statement an error repeats.
const tokenLengthMax = 40

func clip(s string) string {
	if utf8.RuneCountInString(s) <= tokenLengthMax {
		return s
	}
	return string([]rune(s)[:tokenLengthMax]) + "…"
}

// durationMS gives whole × factor as text.
func durationMS(whole string, factor int64) (string, bool) {
	n, err := strconv.ParseInt(whole, 10, 64)
	const longest = 100 * 365 * 86_400_000
	if err != nil || n > longest/factor {
		return "", false
	}
	return strconv.FormatInt(n*factor, 10), true
}
