// Package patch tells what differs between two documents, place by place, and
// what a third document shows of such a difference. It is pure.
//
// All documents are canonical (shadow-sync.md 2.1): nothing, or an object with
// the members desired and reported, without empty objects. Numbers are compared
// as float64.
package patch

import (
	"encoding/json"
	"fmt"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

// The sections of a document.
const (
	Desired  = "desired"
	Reported = "reported"
)

// Change is one place where a document is to become another: the value that
// is to stand there, and the one that stood there. Absent means nothing.
type Change struct {
	Path     doc.Path
	New, Old doc.Value
	// At is when Old was last written, in seconds of upstream's clock; 0 when
	// that is not known.
	At int64
}

// Diff gives the changes that make from into to. Objects on both sides are
// looked into, everything else is replaced whole; a section is always looked
// into, so that what is not synced in it (markers) stays.
func Diff(from, to doc.Value) []Change { return appendDiff(nil, nil, from, to) }

func appendDiff(changes []Change, at doc.Path, from, to doc.Value) []Change {
	switch {
	case from.EqualFloat(to):
		return changes
	case len(at) > 1 && (from.Kind() != doc.Object || to.Kind() != doc.Object):
		return append(changes, Change{Path: at, New: to, Old: from})
	}
	for _, key := range Keys(from, to) {
		changes = appendDiff(changes, Join(at, key), from.Get(key), to.Get(key))
	}
	return changes
}

// Join is the path of a member of the object at a path; that path stays as it
// is.
func Join(at doc.Path, key string) doc.Path {
	path := make(doc.Path, len(at)+1)
	copy(path, at)
	path[len(at)] = key
	return path
}

// Keys gives the keys of all objects, in an order that never varies.
func Keys(objects ...doc.Value) []string {
	var keys []string
	seen := make(map[string]bool)
	for _, o := range objects {
		for key := range o.Members() {
			if !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// Apply makes the changes to a state.
func Apply(state doc.Value, changes []Change) doc.Value {
	for _, c := range changes {
		state = state.With(c.New, c.Path...)
	}
	return state.Canonical()
}

// Request is the update that makes the changes.
func Request(changes []Change) doc.Request {
	var patch doc.Value
	for _, c := range changes {
		value := c.New
		if !value.Exists() {
			value = doc.NullValue()
		}
		patch = patch.With(value, c.Path...)
	}
	return doc.Request{Desired: patch.Get(Desired), Reported: patch.Get(Reported)}
}

// Agree is what is known of the last common values: where local and upstream
// are equal now their value, elsewhere what was known before.
func Agree(known, local, upstream doc.Value) doc.Value {
	return agreeAt(known, local, upstream).Canonical()
}

func agreeAt(known, local, upstream doc.Value) doc.Value {
	switch {
	case local.EqualFloat(upstream):
		return local
	case !object(local) || !object(upstream):
		return known
	case !object(known):
		if !local.Exists() || !upstream.Exists() {
			return known
		}
		known = doc.Value{}
	}
	out := known
	for _, key := range Keys(known, local, upstream) {
		out = out.With(agreeAt(known.Get(key), local.Get(key), upstream.Get(key)), key)
	}
	return out
}

// object reports whether v can be looked into: nothing is an object without
// members.
func object(v doc.Value) bool { return v.Kind() == doc.Object || !v.Exists() }

// Since gives the leaves of state that differ from known, Absent when there are
// none.
func Since(known, state doc.Value) doc.Value {
	if known.EqualFloat(state) {
		return doc.Value{}
	}
	if known.Kind() != doc.Object || state.Kind() != doc.Object {
		return state
	}
	var out doc.Value
	for key, below := range state.Members() {
		if changed := Since(known.Get(key), below); changed.Exists() {
			out = out.With(changed, key)
		}
	}
	return out
}

type changeJSON struct {
	Path []string        `json:"path"`
	New  json.RawMessage `json:"new,omitempty"`
	Old  json.RawMessage `json:"old,omitempty"`
	At   int64           `json:"at,omitempty"`
}

// MarshalJSON gives the stored form.
func (c Change) MarshalJSON() ([]byte, error) {
	out := changeJSON{Path: c.Path, At: c.At}
	if c.New.Exists() {
		out.New = c.New.Append(nil)
	}
	if c.Old.Exists() {
		out.Old = c.Old.Append(nil)
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads a stored form. A place outside of the sections is an
// error.
func (c *Change) UnmarshalJSON(text []byte) error {
	var in changeJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	if len(in.Path) == 0 || in.Path[0] != Desired && in.Path[0] != Reported {
		return fmt.Errorf("change at %q, outside the document", in.Path)
	}
	*c = Change{Path: in.Path, At: in.At}
	for _, side := range [...]struct {
		text json.RawMessage
		into *doc.Value
	}{{in.New, &c.New}, {in.Old, &c.Old}} {
		if len(side.text) == 0 {
			continue
		}
		v, err := doc.ParseValue(side.text)
		if err != nil {
			return fmt.Errorf("change at %q: %w", in.Path, err)
		}
		*side.into = v
	}
	return nil
}
