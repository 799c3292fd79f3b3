// Package template expands the topic templates of `uplinks` (contract section
// 5): {gateway}, {name}, {topic}, {rest} and {1} to {8}. Anything else in braces
// is an error, and so is an unclosed brace.
//
// The package is pure. Configuration checks with it what telemetry and commands
// expand with it later.
package template

import (
	"fmt"
	"strings"

	"github.com/tidehold/tidehold/gateway/topic"
)

// Template is a checked template. The zero Template expands to nothing.
type Template struct {
	text  string
	parts []part
}

// part is text, or a value when name is set. level is 1..8 for {1}..{8}.
type part struct {
	text, name string
	level      int
}

// Values are what a template may say.
type Values struct {
	// Gateway is the gateway's id, Name the entry's name.
	Gateway, Name string
	// Topic is the whole source topic, Rest what the last `#` of the entry's
	// filter matched in it.
	Topic, Rest string
}

// The names in braces; {1}..{8} besides.
const (
	gateway = "gateway"
	name    = "name"
	whole   = "topic"
	rest    = "rest"
)

const levelMax = 8

// Parse checks a template. The error says what is wrong and what is allowed.
func Parse(text string) (Template, error) {
	t := Template{text: text}
	for left := text; left != ""; {
		open := strings.IndexAny(left, "{}")
		if open < 0 {
			t.parts = append(t.parts, part{text: left})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, part{text: left[:open]})
		}
		end := strings.IndexByte(left[open:], '}')
		if left[open] == '}' || end < 0 {
			return Template{}, fmt.Errorf("template %q: brace without its partner", text)
		}
		p, err := parsePart(left[open+1 : open+end])
		if err != nil {
			return Template{}, fmt.Errorf("template %q: %w", text, err)
		}
		t.parts = append(t.parts, p)
		left = left[open+end+1:]
	}
	return t, nil
}

func parsePart(s string) (part, error) {
	switch s {
	case gateway, name, whole, rest:
		return part{name: s}, nil
	}
	if len(s) == 1 && s[0] >= '1' && s[0] <= '0'+levelMax {
		return part{name: s, level: int(s[0] - '0')}, nil
	}
	return part{}, fmt.Errorf("unknown {%s}; known are {gateway}, {name}, {topic}, {rest} and {1} to {8}", s)
}

// ParseTopic checks a template for the topic that messages matching from are
// sent to: it may not hold wildcards, must not be empty, and {rest} and {1} to
// {8} must be there in every topic that from covers.
func ParseTopic(text string, from topic.Filter) (Template, error) {
	t, err := Parse(text)
	if err != nil {
		return t, err
	}
	if text == "" {
		return Template{}, fmt.Errorf("template is empty: give the topic to send to")
	}
	if strings.ContainsAny(text, "+#\x00") {
		return Template{}, fmt.Errorf("template %q: a topic to send to holds no wildcard", text)
	}
	fixed, open := levelsOf(from)
	for _, p := range t.parts {
		if p.name == rest && !open {
			return Template{}, fmt.Errorf("template %q: {rest} needs a filter that ends in #, not %q", text, from)
		}
		if p.level > fixed && !open {
			return Template{}, fmt.Errorf("template %q: {%d} is not there in topics of %q", text, p.level, from)
		}
	}
	return t, nil
}

// ParseFilter checks a template for a filter to subscribe to: it may only say
// {gateway} and {name}, and must be a filter once they are put in.
func ParseFilter(text string) (Template, error) {
	t, err := Parse(text)
	if err != nil {
		return t, err
	}
	for _, p := range t.parts {
		if p.name != "" && p.name != gateway && p.name != name {
			return Template{}, fmt.Errorf("template %q: {%s} has no value here; known are {gateway} and {name}", text, p.name)
		}
	}
	if _, err := topic.ParseFilter(t.Expand(Values{Gateway: "g", Name: "n"})); err != nil {
		return Template{}, fmt.Errorf("template %q: %w", text, err)
	}
	return t, nil
}

// levelsOf gives the levels every topic of a filter has, and whether it may
// have more.
func levelsOf(f topic.Filter) (fixed int, open bool) {
	n := topic.Levels(string(f))
	if f == "#" || strings.HasSuffix(string(f), "/#") {
		return n - 1, true
	}
	return n, false
}

// Expand puts the values in. A level that the topic does not have is empty.
func (t Template) Expand(v Values) string {
	var b strings.Builder
	var levels []string
	for _, p := range t.parts {
		switch {
		case p.name == "":
			b.WriteString(p.text)
		case p.name == gateway:
			b.WriteString(v.Gateway)
		case p.name == name:
			b.WriteString(v.Name)
		case p.name == whole:
			b.WriteString(v.Topic)
		case p.name == rest:
			b.WriteString(v.Rest)
		default:
			if levels == nil {
				levels = strings.Split(v.Topic, "/")
			}
			if p.level <= len(levels) {
				b.WriteString(levels[p.level-1])
			}
		}
	}
	return b.String()
}

// String gives the template as it was written.
func (t Template) String() string { return t.text }

// Rest is what the last `#` of a filter matched in a topic that the filter
// covers, empty without `#` and for the level above it.
func Rest(f topic.Filter, name string) string {
	fixed, open := levelsOf(f)
	if !open {
		return ""
	}
	for range fixed {
		at := strings.IndexByte(name, '/')
		if at < 0 {
			return ""
		}
		name = name[at+1:]
	}
	return name
}
