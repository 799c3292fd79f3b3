package value

import (
	"fmt"
	"slices"
	"strings"
)

// Variables of the templates of `uplinks` (contract section 5).
const (
	Gateway = "gateway"
	Name    = "name"
	Topic   = "topic"
	Rest    = "rest"
)

// Variables gives the names in braces of a template, in order. A brace without
// its partner or a name that is not in allowed is an error; "1" in allowed
// stands for the levels 1 to 8.
func Variables(text string, allowed ...string) ([]string, error) {
	var names []string
	rest := text
	for {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			return names, nil
		}
		length := strings.IndexAny(rest[open+1:], "{}")
		if rest[open] == '}' || length < 0 || rest[open+1+length] != '}' {
			return nil, fmt.Errorf("template %q: a brace has no partner", text)
		}
		name := rest[open+1 : open+1+length]
		if !permitted(name, allowed) {
			return nil, fmt.Errorf("template %q: {%s} is unknown here: want %s", text, name, listed(allowed))
		}
		names = append(names, name)
		rest = rest[open+length+2:]
	}
}

func permitted(name string, allowed []string) bool {
	if len(name) == 1 && name[0] >= '1' && name[0] <= '8' {
		name = "1"
	}
	return slices.Contains(allowed, name)
}

func listed(allowed []string) string {
	var words []string
	for _, a := range allowed {
		if a == "1" {
			words = append(words, "{1} to {8}")
			continue
		}
		words = append(words, "{"+a+"}")
	}
	return strings.Join(words, ", ")
}

// Fill replaces {gateway} and {name}, the variables that are known beforehand.
func Fill(text, gateway, name string) string {
	return strings.NewReplacer("{gateway}", gateway, "{name}", name).Replace(text)
}
