package doc

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind is the JSON type of a Value.
type Kind uint8

// The kinds of value. The zero Value is Absent: nothing stands there.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// Value is a JSON value that never changes. Numbers keep the text they were
// written with; members of objects are sorted by key and unique.
type Value struct {
	kind Kind
	// deep marks a container that was too deep to be built; nulls tells what
	// was seen inside. Neither leaves ParseRequest or ParseValue.
	deep  bool
	nulls nullsSeen
	text  string   // literal of a number or bool, decoded string
	parts []Member // members of an object; elements of an array, without keys
}

// Member is one member of an object.
type Member struct {
	Key   string
	Value Value
}

// NullValue is the JSON null: in a patch it removes what stands there.
func NullValue() Value { return Value{kind: Null, text: "null"} }

// BoolValue is true or false.
func BoolValue(b bool) Value { return Value{kind: Bool, text: strconv.FormatBool(b)} }

// StringValue is a string; bytes that are not UTF-8 become U+FFFD.
func StringValue(s string) Value {
	return Value{kind: String, text: strings.ToValidUTF8(s, "\uFFFD")}
}

// IntValue is an integer.
func IntValue(i int64) Value { return Value{kind: Number, text: strconv.FormatInt(i, 10)} }

// FloatValue is the shortest number that reads back as f; what JSON cannot say
// (NaN, infinities) is null.
func FloatValue(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return NullValue()
	}
	return Value{kind: Number, text: strconv.FormatFloat(f, 'g', -1, 64)}
}

// ArrayValue is an array of items.
func ArrayValue(items ...Value) Value {
	parts := make([]Member, len(items))
	for i, item := range items {
		parts[i].Value = item
	}
	return Value{kind: Array, parts: parts}
}

// ObjectValue is an object; of two members with one key the later wins, an
// Absent value is left out.
func ObjectValue(members ...Member) Value {
	kept := make([]Member, 0, len(members))
	for _, m := range members {
		if m.Value.kind != Absent {
			kept = append(kept, m)
		}
	}
	return Value{kind: Object, parts: sortMembers(kept)}
}

// sortMembers sorts in place by key; of equal keys the last one stays.
func sortMembers(ms []Member) []Member {
	sorted := true
	for i := 1; i < len(ms) && sorted; i++ {
		sorted = ms[i-1].Key < ms[i].Key
	}
	if sorted {
		return ms
	}
	slices.SortStableFunc(ms, func(a, b Member) int { return strings.Compare(a.Key, b.Key) })
	out := ms[:0]
	for i, m := range ms {
		if i+1 == len(ms) || ms[i+1].Key != m.Key {
			out = append(out, m)
		}
	}
	return out
}

// Kind is the type of v.
func (v Value) Kind() Kind { return v.kind }

// Exists reports whether anything stands there; null does.
func (v Value) Exists() bool { return v.kind != Absent }

// Text is the content of a string, or the literal of any other scalar.
func (v Value) Text() string { return v.text }

// Bool is the content of a bool; ok is false for other kinds.
func (v Value) Bool() (b, ok bool) { return v.text == "true", v.kind == Bool }

// Float is a number as float64, rounded; ok is false for other kinds and for
// numbers beyond float64.
func (v Value) Float() (f float64, ok bool) {
	if v.kind != Number {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.text, 64)
	return f, err == nil
}

// Len is the number of members or elements, 0 for scalars.
func (v Value) Len() int { return len(v.parts) }

// Members goes through an object's members in the order of their keys.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.kind != Object {
			return
		}
		for _, m := range v.parts {
			if !yield(m.Key, m.Value) {
				return
			}
		}
	}
}

// Items goes through an array's elements.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.kind != Array {
			return
		}
		for _, m := range v.parts {
			if !yield(m.Value) {
				return
			}
		}
	}
}

// find gives the place of key among the members, and whether it is there.
func (v Value) find(key string) (int, bool) {
	if v.kind != Object {
		return 0, false
	}
	return slices.BinarySearchFunc(v.parts, key, func(m Member, k string) int { return strings.Compare(m.Key, k) })
}

// Get is what stands at path, Absent when nothing does. The empty path is v.
func (v Value) Get(path ...string) Value {
	for _, key := range path {
		i, ok := v.find(key)
		if !ok {
			return Value{}
		}
		v = v.parts[i].Value
	}
	return v
}

// With is v with w at path. Objects on the way are made where none stand; an
// Absent w takes the member away and leaves its object, even if empty.
// To build a patch set NullValue where something is to be removed.
func (v Value) With(w Value, path ...string) Value {
	if len(path) == 0 {
		return w
	}
	if v.kind != Object {
		if w.kind == Absent {
			return v
		}
		v = Value{kind: Object}
	}
	i, found := v.find(path[0])
	var below Value
	if found {
		below = v.parts[i].Value
	}
	below = below.With(w, path[1:]...)
	parts := make([]Member, 0, len(v.parts)+1)
	parts = append(parts, v.parts[:i]...)
	if below.kind != Absent {
		parts = append(parts, Member{path[0], below})
	}
	if found {
		i++
	}
	return Value{kind: Object, parts: append(parts, v.parts[i:]...)}
}

// Equal compares by shadow.md section 5: same type and value, numbers by
// value, objects whatever the order of members, arrays element by element.
func (v Value) Equal(w Value) bool { return v.equal(w, equalNumbers) }

// EqualFloat is Equal with numbers compared as float64: an upstream may have
// kept no more of them (shadow-sync.md 2.1).
func (v Value) EqualFloat(w Value) bool {
	return v.equal(w, func(a, b string) bool {
		x, _ := strconv.ParseFloat(a, 64)
		y, _ := strconv.ParseFloat(b, 64)
		return x == y
	})
}

func (v Value) equal(w Value, numbers func(a, b string) bool) bool {
	if v.kind != w.kind || len(v.parts) != len(w.parts) {
		return false
	}
	switch v.kind {
	case Number:
		return v.text == w.text || numbers(v.text, w.text)
	case Array, Object:
		for i := range v.parts {
			if v.parts[i].Key != w.parts[i].Key || !v.parts[i].Value.equal(w.parts[i].Value, numbers) {
				return false
			}
		}
		return true
	}
	return v.text == w.text
}

// Depth is the number of container levels: 0 for a scalar, 1 for `{}`
// (shadow.md section 9).
func (v Value) Depth() int {
	if v.kind != Array && v.kind != Object {
		return 0
	}
	deepest := 0
	for i := range v.parts {
		deepest = max(deepest, v.parts[i].Value.Depth())
	}
	return deepest + 1
}

// MarshalJSON gives the compact text of v; Absent is null.
func (v Value) MarshalJSON() ([]byte, error) { return v.Append(nil), nil }

// String is the compact text of v.
func (v Value) String() string { return string(v.Append(nil)) }

// validText reports whether a decoded text may stand in a document.
func validText(s string) bool { return utf8.ValidString(s) }
