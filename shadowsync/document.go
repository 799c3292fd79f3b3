package shadowsync

import (
	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

// The sections of a document.
const (
	desired  = "desired"
	reported = "reported"
)

// markerKey is the member of `reported` under which gateways leave the number
// of their last push (shadow-sync.md 2.4 rule 5). It is never synced itself.
const markerKey = "$gw"

// Doc is one side's document as sync sees it.
type Doc struct {
	// Exists is false for a shadow that never was or was deleted.
	Exists bool
	// Version is the document's, or the tombstone's; 0 when nobody told.
	Version int64
	// State is canonical: Absent, or an object with the members desired and
	// reported, of which none is empty at any depth (shadow-sync.md 2.1).
	State doc.Value

	// stamps and meta tell the edit times: a local document has the first, an
	// upstream one the second.
	stamps *doc.Shadow
	meta   doc.Value
	// marks are the numbers of pushes by gateway id.
	marks doc.Value
}

// LocalDoc is the local document s, which may be nil or a tombstone. version
// is the one an update must name.
func LocalDoc(s *doc.Shadow, version int64) Doc {
	d := Doc{Exists: s.Live(), Version: version}
	if d.Exists {
		d.stamps = s
		d.State, _ = canonical(s.Desired.State(), s.Reported.State())
	}
	return d
}

// UpstreamDoc is a document as upstream tells it: the members state and
// metadata of its answers.
func UpstreamDoc(state, meta doc.Value, version int64) Doc {
	d := Doc{Exists: true, Version: version, meta: meta}
	d.State, d.marks = canonical(state.Get(desired), state.Get(reported))
	return d
}

// canonical gives the state in canonical form, and the markers taken out of it.
func canonical(wanted, told doc.Value) (state, marks doc.Value) {
	marks = told.Get(markerKey)
	if marks.Exists() {
		told = told.With(doc.Value{}, markerKey)
	}
	return doc.ObjectValue(
		doc.Member{Key: desired, Value: wanted},
		doc.Member{Key: reported, Value: told},
	).Canonical(), marks
}

// edited is the time in seconds of the newest edit at or below path, 0 when it
// is not known.
func (d Doc) edited(path doc.Path) int64 {
	if d.stamps != nil && len(path) > 0 {
		section := d.stamps.Section(path[0])
		newest := section.Stamp(path[1:]...).Time
		for leaf := range section.Leaves() {
			if within(leaf.Path, path[1:]) {
				newest = max(newest, leaf.Time)
			}
		}
		return newest
	}
	return newestIn(d.meta.Get(path...))
}

// within reports whether path is at or below top.
func within(path, top doc.Path) bool {
	if len(path) < len(top) {
		return false
	}
	for i := range top {
		if path[i] != top[i] {
			return false
		}
	}
	return true
}

func newestIn(meta doc.Value) int64 {
	if at := meta.Get("timestamp"); at.Kind() == doc.Number {
		seconds, _ := at.Float()
		return int64(seconds)
	}
	newest := int64(0)
	for _, below := range meta.Members() {
		newest = max(newest, newestIn(below))
	}
	for item := range meta.Items() {
		newest = max(newest, newestIn(item))
	}
	return newest
}

// Change is one place where a document is to become another: the value that
// is to stand there, and the one that stood there. Absent means nothing.
type Change struct {
	Path     doc.Path
	New, Old doc.Value
}

// diff gives the changes that make from into to, both canonical, with numbers
// compared as float64. Objects on both sides are looked into, everything else
// is replaced whole; a section is always looked into, so that what is not
// synced in it (markers) stays.
func diff(from, to doc.Value) []Change { return appendDiff(nil, nil, from, to) }

func appendDiff(changes []Change, at doc.Path, from, to doc.Value) []Change {
	switch {
	case from.EqualFloat(to):
		return changes
	case len(at) > 1 && (from.Kind() != doc.Object || to.Kind() != doc.Object):
		return append(changes, Change{Path: at, New: to, Old: from})
	}
	for _, key := range keysOf(from, to) {
		changes = appendDiff(changes, join(at, key), from.Get(key), to.Get(key))
	}
	return changes
}

func join(at doc.Path, key string) doc.Path {
	path := make(doc.Path, len(at)+1)
	copy(path, at)
	path[len(at)] = key
	return path
}

// keysOf gives the keys of all objects, in an order that never varies.
func keysOf(objects ...doc.Value) []string {
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

// apply makes the changes to a canonical state.
func apply(state doc.Value, changes []Change) doc.Value {
	for _, c := range changes {
		state = state.With(c.New, c.Path...)
	}
	return state.Canonical()
}

// request is the update that makes the changes.
func request(changes []Change) doc.Request {
	var patch doc.Value
	for _, c := range changes {
		value := c.New
		if !value.Exists() {
			value = doc.NullValue()
		}
		patch = patch.With(value, c.Path...)
	}
	return doc.Request{Desired: patch.Get(desired), Reported: patch.Get(reported)}
}

// agree is what is known of the last common values: where local and upstream
// are equal now their value, elsewhere what was known before.
func agree(known, local, upstream doc.Value) doc.Value {
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
	for _, key := range keysOf(known, local, upstream) {
		out = out.With(agreeAt(known.Get(key), local.Get(key), upstream.Get(key)), key)
	}
	return out
}

// object reports whether v can be looked into: nothing is an object without
// members.
func object(v doc.Value) bool { return v.Kind() == doc.Object || !v.Exists() }

// changedSince gives the leaves of state that differ from known, Absent when
// there are none.
func changedSince(known, state doc.Value) doc.Value {
	if known.EqualFloat(state) {
		return doc.Value{}
	}
	if known.Kind() != doc.Object || state.Kind() != doc.Object {
		return state
	}
	var out doc.Value
	for key, below := range state.Members() {
		if changed := changedSince(known.Get(key), below); changed.Exists() {
			out = out.With(changed, key)
		}
	}
	return out
}
