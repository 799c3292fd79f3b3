package value

import (
	"fmt"
	"slices"
	"strings"
)

// ParsePerSecond reads a change per second: a number, with or without `/s`.
func ParsePerSecond(s string) (float64, error) {
	return ParseNumber(strings.TrimSuffix(s, "/s"))
}

// LevelOr reads one of words, or a number, as the text it was written as.
func LevelOr(words []string) func(string) (string, error) {
	return func(s string) (string, error) {
		if _, err := ParseNumber(s); err != nil && !slices.Contains(words, s) {
			return "", fmt.Errorf("%q is no level and not one of %s", s, strings.Join(words, ", "))
		}
		return s, nil
	}
}
