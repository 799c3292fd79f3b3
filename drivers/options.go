package drivers

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Kind is the kind of an option's value.
type Kind string

// The kinds of options.
const (
	Bool     Kind = "bool"
	Integer  Kind = "integer"
	Number   Kind = "number"
	Text     Kind = "text"
	Duration Kind = "duration"
	Group    Kind = "map"
	// Free is a value of any form, which a Shaped driver reads by itself.
	Free Kind = "free"
)

// Option describes one key of `options`.
type Option struct {
	Name string
	Kind Kind
	// Default is the value when the key is absent: bool, int64, float64, string
	// or time.Duration by Kind. Groups take their members' defaults.
	Default any
	// Allowed lists the only values, when not empty.
	Allowed []any
	// Min and Max bound numbers and, in seconds, durations; both 0 is no bound.
	Min, Max float64
	// Members describes the keys of a Group.
	Members []Option
	Doc     string
}

// Options are checked options, every default filled in. Values are bool,
// int64, float64, string, time.Duration or Options by Kind.
type Options map[string]any

// Int reads an Integer option; a name outside the schema is 0.
func (o Options) Int(name string) int64 { v, _ := o[name].(int64); return v }

// Float reads a Number option.
func (o Options) Float(name string) float64 { v, _ := o[name].(float64); return v }

// Bool reads a Bool option.
func (o Options) Bool(name string) bool { v, _ := o[name].(bool); return v }

// Text reads a Text option.
func (o Options) Text(name string) string { v, _ := o[name].(string); return v }

// Duration reads a Duration option.
func (o Options) Duration(name string) time.Duration { v, _ := o[name].(time.Duration); return v }

// Group reads a Group option.
func (o Options) Group(name string) Options { v, _ := o[name].(Options); return v }

// Problem is one fault in the configuration of a part. Path leads from the
// part's entry to the place: `readings.temperature.unit`, `filters[2]`.
type Problem struct {
	Path    string
	Message string
	Hint    string
}

// String is PATH: MESSAGE (HINT).
func (p Problem) String() string {
	if p.Hint == "" {
		return p.Path + ": " + p.Message
	}
	return p.Path + ": " + p.Message + " (" + p.Hint + ")"
}

// CheckOptions reads raw by schema: unknown keys, wrong types and values
// outside their bounds are problems. The result has every default.
func CheckOptions(schema []Option, raw map[string]any) (Options, []Problem) {
	return checkOptions(schema, raw, "options")
}

func checkOptions(schema []Option, raw map[string]any, path string) (Options, []Problem) {
	out, problems := Options{}, []Problem(nil)
	for _, o := range schema {
		value, ps := o.read(raw[o.Name], path+"."+o.Name)
		out[o.Name] = value
		problems = append(problems, ps...)
	}
	for _, key := range sortedKeys(raw) {
		if !slices.ContainsFunc(schema, func(o Option) bool { return o.Name == key }) {
			problems = append(problems, Problem{Path: path + "." + key, Message: fmt.Sprintf("unknown option %q", key), Hint: "known: " + optionNames(schema)})
		}
	}
	return out, problems
}

func (o Option) read(raw any, path string) (any, []Problem) {
	if o.Kind == Group {
		members, ok := raw.(map[string]any)
		if raw != nil && !ok {
			return Options{}, []Problem{{Path: path, Message: fmt.Sprintf("want a map with %s", optionNames(o.Members))}}
		}
		return checkOptions(o.Members, members, path)
	}
	if raw == nil {
		return o.Default, nil
	}
	value, ok := o.convert(raw)
	if !ok {
		return o.Default, []Problem{{Path: path, Message: fmt.Sprintf("want %s, got %v", o.Kind, raw)}}
	}
	if msg := o.outside(value); msg != "" {
		return o.Default, []Problem{{Path: path, Message: msg}}
	}
	return value, nil
}

func (o Option) convert(raw any) (any, bool) {
	switch o.Kind {
	case Free:
		return raw, true
	case Bool:
		v, ok := raw.(bool)
		return v, ok
	case Text:
		v, ok := raw.(string)
		return v, ok
	case Integer:
		f, ok := Numeric(raw)
		return int64(f), ok && f == math.Trunc(f)
	case Number:
		return Numeric(raw)
	case Duration:
		return ParseDuration(raw)
	}
	return nil, false
}

func (o Option) outside(value any) string {
	if len(o.Allowed) > 0 && !slices.Contains(o.Allowed, value) {
		return fmt.Sprintf("%v is not one of %s", value, listValues(o.Allowed))
	}
	if o.Min == 0 && o.Max == 0 {
		return ""
	}
	f, _ := Numeric(value)
	if d, ok := value.(time.Duration); ok {
		f = d.Seconds()
	}
	if f < o.Min || f > o.Max {
		return fmt.Sprintf("%v is outside %v to %v", value, o.Min, o.Max)
	}
	return ""
}

// Numeric reads any of Go's number types, as a configuration parser leaves them.
func Numeric(raw any) (float64, bool) {
	switch v := raw.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return 0, false
}

// ParseDuration reads a duration as written, `20ms` or 168h, or one that is
// already parsed. Negative durations are refused.
func ParseDuration(raw any) (time.Duration, bool) {
	switch v := raw.(type) {
	case time.Duration:
		return v, v >= 0
	case string:
		d, err := time.ParseDuration(v)
		return d, err == nil && d >= 0
	case int:
		return 0, v == 0
	}
	return 0, false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func optionNames(schema []Option) string {
	var names []string
	for _, o := range schema {
		names = append(names, o.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func listValues(values []any) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, fmt.Sprint(v))
	}
	return strings.Join(texts, ", ")
}
