package patch

import (
	"maps"
	"slices"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

// Edited tells when a place of a document, or one below it, was last written, in
// seconds of the clock behind Change.At; 0 when that is not known.
type Edited func(doc.Path) int64

// Shows reports whether state shows any value that the changes set: what they
// set is set whole or not at all. Changes that only remove are seen, if
// removals count, when all of them are done: others remove things too.
func Shows(changes []Change, state doc.Value, removals bool) bool {
	set := false
	for _, c := range changes {
		for _, leaf := range leaves(c.Path, c.New) {
			set = true
			if state.Get(leaf.path...).EqualFloat(leaf.value) {
				return true
			}
		}
		removals = removals && !state.Get(c.Path...).Exists()
	}
	return removals && !set
}

// Untouched reports whether something of what the changes replace stands in
// state as it was: then nobody made them, for they are made whole or not at all.
// A value that somebody wrote again since is no longer as it was.
func Untouched(changes []Change, state doc.Value, edited Edited) bool {
	for _, c := range changes {
		for _, leaf := range leaves(c.Path, c.Old) {
			if !state.Get(leaf.path...).EqualFloat(leaf.value) {
				continue
			}
			if at := edited(leaf.path); c.At == 0 || at <= c.At {
				return true
			}
		}
	}
	return false
}

// Touched reports whether state shows that somebody wrote the place of a leaf
// of c since: it has another value, or none where there was one. Where nothing
// was and nothing is, nobody can tell.
func (c Change) Touched(state doc.Value, leaf doc.Path) bool {
	if c.Old.Exists() || state.Get(leaf...).Exists() {
		return true
	}
	for n := 1; n < len(leaf); n++ {
		if !object(state.Get(leaf[:n]...)) {
			return true
		}
	}
	return false
}

// Leaves gives the paths of what c sets and of what it replaces.
func (c Change) Leaves() []doc.Path {
	var paths []doc.Path
	for _, leaf := range append(leaves(c.Path, c.Old), leaves(c.Path, c.New)...) {
		if !slices.ContainsFunc(paths, func(p doc.Path) bool { return slices.Equal(p, leaf.path) }) {
			paths = append(paths, leaf.path)
		}
	}
	return paths
}

type leaf struct {
	path  doc.Path
	value doc.Value
}

// leaves gives the leaves of the value v at a path, in the order of their names.
func leaves(at doc.Path, v doc.Value) []leaf {
	if !v.Exists() {
		return nil
	}
	if v.Kind() != doc.Object {
		return []leaf{{at, v}}
	}
	below := v.Flatten()
	out := make([]leaf, 0, len(below))
	for _, text := range slices.Sorted(maps.Keys(below)) {
		out = append(out, leaf{slices.Concat(at, doc.ParsePath(text)), below[text]})
	}
	return out
}
