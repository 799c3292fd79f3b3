package plain

import (
	"slices"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync"
)

// filter leaves out of a patch what changed locally since the app saw the
// document, as the policy says, and what upstream may not set.
type filter struct {
	doc     *doc.Shadow // nil when there is none
	policy  shadowsync.Policy
	extras  extras
	skipped []string
	// overruled are the places that changed meanwhile and are set all the same.
	overruled []string
}

func (f *filter) section(name string, patch doc.Value) doc.Value {
	winner := f.policy.Reported
	if name == "desired" {
		winner = f.policy.Desired
	}
	now := f.doc.Section(name)
	if patch.Kind() == doc.Null {
		patch = f.spelledOut(name, now)
		if !patch.Exists() {
			return doc.NullValue()
		}
	}
	if patch.Kind() != doc.Object {
		return patch
	}
	return f.object(name, winner, now, nil, patch)
}

// spelledOut is the removal of a section as the removal of its leaves, when
// some of them may have to stay; Absent when none has.
func (f *filter) spelledOut(name string, now doc.Section) doc.Value {
	if !f.extras.hasBase && !f.extras.hasIssued && (name != "desired" || f.policy.Writable == nil) {
		return doc.Value{}
	}
	var patch doc.Value
	for leaf := range now.Leaves() {
		patch = patch.With(doc.NullValue(), leaf.Path...)
	}
	return patch
}

func (f *filter) object(name string, winner shadowsync.Winner, now doc.Section, at doc.Path, patch doc.Value) doc.Value {
	out := doc.ObjectValue()
	for key, value := range patch.Members() {
		path := append(slices.Clone(at), key)
		switch {
		case len(path) == 1 && name == "desired" && f.policy.Writable != nil && !slices.Contains(f.policy.Writable, key):
			f.skip(name, path)
		case value.Kind() == doc.Object && (now.Get(path...).Kind() == doc.Object || !now.Get(path...).Exists()):
			if kept := f.object(name, winner, now, path, value); kept.Len() > 0 || value.Len() == 0 {
				out = out.With(kept, key)
			}
		case f.local(name, winner, now, path):
			f.skip(name, path)
		default:
			if f.extras.hasBase && f.newest(now, path).Version > f.extras.base {
				f.overruled = append(f.overruled, "/"+name+path.String())
			}
			out = out.With(value, key)
		}
	}
	return out
}

func (f *filter) skip(name string, path doc.Path) {
	f.skipped = append(f.skipped, "/"+name+path.String())
}

// local reports whether what stands at path stays (shadow-sync.md 2.6).
func (f *filter) local(name string, winner shadowsync.Winner, now doc.Section, path doc.Path) bool {
	newest := f.newest(now, path)
	changed := f.extras.hasBase && newest.Version > f.extras.base
	switch winner {
	case shadowsync.LocalWins:
		return changed
	case shadowsync.Latest:
		if f.extras.hasIssued {
			return (changed || !f.extras.hasBase) && newest.Time*1000 > f.extras.issued
		}
		return changed && name == "reported" // the section's default
	}
	return false
}

// newest is the stamp of the last change at or below path.
func (f *filter) newest(now doc.Section, path doc.Path) doc.Stamp {
	newest := now.Stamp(path...)
	for leaf := range now.Leaves() {
		if len(leaf.Path) > len(path) && slices.Equal(leaf.Path[:len(path)], path) {
			newest.Version, newest.Time = max(newest.Version, leaf.Version), max(newest.Time, leaf.Time)
		}
	}
	return newest
}
