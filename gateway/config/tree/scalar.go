package tree

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/config/value"
	"github.com/tidehold/tidehold/gateway/spelling"
)

// Get reads a scalar with parse; form names it for people, def is its default
// in the notation of the file: empty is T's zero value.
func Get[T any](m *Map, key, form, def string, parse func(string) (T, error)) T {
	n := m.ask(key, form, def)
	if n != nil {
		return scalar(m, n, key, form, def, parse)
	}
	return fallback(def, parse)
}

func scalar[T any](m *Map, n *Node, key, form, def string, parse func(string) (T, error)) T {
	if n.Kind != Scalar {
		m.wrongKind(n, key, form)
		return fallback(def, parse)
	}
	v, err := parse(n.Text)
	if err != nil {
		m.run.report.fail(n.Pos, join(m.path, key), err.Error(), "")
		return fallback(def, parse)
	}
	return v
}

func fallback[T any](def string, parse func(string) (T, error)) (zero T) {
	if def == "" || def == Required {
		return zero
	}
	v, err := parse(def)
	if err != nil {
		panic("config: a default does not parse: " + err.Error())
	}
	return v
}

// Text reads a text.
func (m *Map) Text(key, def string) string {
	return Get(m, key, "text", def, func(s string) (string, error) { return s, nil })
}

// Bool reads on, off, true or false.
func (m *Map) Bool(key, def string) bool { return Get(m, key, "on or off", def, value.ParseBool) }

// Integer reads a whole number from low to high.
func (m *Map) Integer(key, def string, low, high int64) int64 {
	form := fmt.Sprintf("whole number from %d to %d", low, high)
	return Get(m, key, form, def, func(s string) (int64, error) { return value.ParseInteger(s, low, high) })
}

// Duration reads a duration.
func (m *Map) Duration(key, def string) time.Duration {
	return Get(m, key, "duration", def, value.ParseDuration)
}

// Size reads a number of bytes from low to high.
func (m *Map) Size(key, def string, low, high int64) int64 {
	return Get(m, key, "size", def, func(s string) (int64, error) {
		n, err := value.ParseSize(s)
		if err == nil && (n < low || n > high) {
			err = fmt.Errorf("%q is outside %d to %d bytes", s, low, high)
		}
		return n, err
	})
}

// Rate reads an amount per second.
func (m *Map) Rate(key, def string) float64 { return Get(m, key, "rate", def, value.ParseRate) }

// Word reads one of a few words. def may be empty: none.
func (m *Map) Word(key, def string, words ...string) string {
	n := m.ask(key, "one of "+strings.Join(words, ", "), def)
	if def == Required {
		def = ""
	}
	if n == nil {
		return def
	}
	if n.Kind != Scalar {
		m.wrongKind(n, key, "one of "+strings.Join(words, ", "))
		return def
	}
	if slices.Contains(words, n.Text) {
		return n.Text
	}
	if as, ok := onOff(n.Text, words); ok {
		return as
	}
	hint := ""
	if near, ok := spelling.Nearest(n.Text, words); ok {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	m.run.report.fail(n.Pos, join(m.path, key), fmt.Sprintf("%q is not one of %s", n.Text, strings.Join(words, ", ")), hint)
	return def
}

// onOff lets true and false stand for the words on and off.
func onOff(text string, words []string) (string, bool) {
	word := map[string]string{"true": "on", "false": "off"}[strings.ToLower(text)]
	return word, word != "" && slices.Contains(words, word)
}

// Texts reads a list of texts; an entry without a value is reported, `~` is a
// text.
func (m *Map) Texts(key, form string, def ...string) []string {
	n := m.ask(key, form, strings.Join(def, ", "))
	if len(def) == 1 && def[0] == Required {
		def = nil
	}
	if n == nil {
		return def
	}
	if n.Kind != List {
		m.wrongKind(n, key, form)
		return def
	}
	texts := make([]string, 0, len(n.Values))
	for i, item := range n.Values {
		if item.Kind != Scalar && item.Text == "" {
			m.run.report.fail(item.Pos, fmt.Sprintf("%s[%d]", join(m.path, key), i), fmt.Sprintf("want a text, got %s", item.Kind), "")
			continue
		}
		texts = append(texts, item.Text)
	}
	return texts
}

// TextMap reads a map of texts; never nil.
func (m *Map) TextMap(key string) map[string]string {
	texts := make(map[string]string)
	n := m.ask(key, "map of texts", "")
	if n == nil {
		return texts
	}
	if n.Kind != Mapping {
		m.wrongKind(n, key, "a map")
		return texts
	}
	for i, k := range n.Keys {
		item := n.Values[i]
		if item.Kind == List || item.Kind == Mapping {
			m.wrongKind(item, key+"."+k.Text, "a text")
			continue
		}
		texts[k.Text] = item.Text
	}
	return texts
}
