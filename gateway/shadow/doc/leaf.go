package doc

import (
	"iter"
	"slices"
	"strings"
)

// Path leads to a place in a section, one key for each level.
type Path []string

var pathEscapes = strings.NewReplacer("~", "~0", "/", "~1")
var pathUnescapes = strings.NewReplacer("~1", "/", "~0", "~")

// String is the JSON Pointer (RFC 6901) of p: different paths have different
// texts.
func (p Path) String() string {
	var b strings.Builder
	for _, key := range p {
		b.WriteByte('/')
		b.WriteString(pathEscapes.Replace(key))
	}
	return b.String()
}

// ParsePath reads what String wrote; a text without leading slash is the empty
// path.
func ParsePath(text string) Path {
	text, ok := strings.CutPrefix(text, "/")
	if !ok {
		return nil
	}
	p := Path(strings.Split(text, "/"))
	for i, key := range p {
		p[i] = pathUnescapes.Replace(key)
	}
	return p
}

// Leaf is a scalar or an array of a section with its place and stamp.
type Leaf struct {
	Path  Path
	Value Value
	// Stamp has the time of the last update that named the leaf and the
	// version of the last that changed it.
	Stamp
}

// Leaves goes through the leaves in the order of their paths. Empty objects
// count as absent (shadow-sync.md 2.1).
func (s Section) Leaves() iter.Seq[Leaf] {
	return func(yield func(Leaf) bool) {
		walk(s.state, s.meta, nil, yield)
	}
}

func walk(v Value, m meta, at Path, yield func(Leaf) bool) bool {
	switch v.kind {
	case Absent:
		return true
	case Object:
		for i, part := range v.parts {
			below := meta{}
			if len(m.parts) > 0 {
				below = m.parts[i]
			}
			if !walk(part.Value, below, append(at, part.Key), yield) {
				return false
			}
		}
		return true
	}
	return yield(Leaf{Path: slices.Clone(at), Value: v, Stamp: m.Stamp})
}

// Get is what stands at path, Absent when nothing does.
func (s Section) Get(path ...string) Value { return s.state.Get(path...) }

// Stamp tells when the leaf at path last changed. Where no leaf is any more it
// is the last removal from the nearest object that is still there: not before
// the leaf's own. The zero Stamp means never.
func (s Section) Stamp(path ...string) Stamp {
	v, m := s.state, s.meta
	for _, key := range path {
		i, ok := v.find(key)
		if !ok {
			break
		}
		v, m = v.parts[i].Value, m.parts[i]
	}
	return m.Stamp
}

// Flatten gives the leaves of v by the text of their paths; empty objects
// count as absent.
func (v Value) Flatten() map[string]Value {
	out := make(map[string]Value)
	walk(v, meta{}, nil, func(l Leaf) bool {
		out[l.Path.String()] = l.Value
		return true
	})
	return out
}

// Canonical is v without empty objects, Absent when nothing is left: two
// documents are in sync when their canonical forms are equal.
func (v Value) Canonical() Value {
	if v.kind != Object {
		return v
	}
	parts := make([]Member, 0, len(v.parts))
	for _, part := range v.parts {
		if below := part.Value.Canonical(); below.kind != Absent {
			parts = append(parts, Member{part.Key, below})
		}
	}
	if len(parts) == 0 {
		return Value{}
	}
	return Value{kind: Object, parts: parts}
}

// Diff is the patch that makes a section from into to, up to empty objects:
// Absent when they agree already, Null when the section has to go.
func Diff(from, to Value) Value {
	from, to = from.Canonical(), to.Canonical()
	switch {
	case from.Equal(to):
		return Value{}
	case to.kind == Absent:
		return NullValue()
	case from.kind != Object || to.kind != Object:
		return to
	}
	patch := merged{}
	for _, part := range from.parts {
		if d := Diff(part.Value, to.Get(part.Key)); d.kind != Absent {
			patch.parts = append(patch.parts, Member{part.Key, d})
		}
	}
	for _, part := range to.parts {
		if !from.Get(part.Key).Exists() {
			patch.parts = append(patch.parts, part)
		}
	}
	return Value{kind: Object, parts: sortMembers(patch.parts)}
}
