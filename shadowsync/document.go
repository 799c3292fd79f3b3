package shadowsync

import (
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// The sections of a document.
const (
	desired  = patch.Desired
	reported = patch.Reported
)

// markerKey is the member of each section under which gateways leave the number
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
	// marks has, by section, the numbers of pushes by gateway id.
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
	for _, section := range [...]struct {
		name string
		v    *doc.Value
	}{{desired, &wanted}, {reported, &told}} {
		if m := section.v.Get(markerKey); m.Exists() {
			marks = marks.With(m, section.name)
			*section.v = section.v.With(doc.Value{}, markerKey)
		}
	}
	return doc.ObjectValue(
		doc.Member{Key: desired, Value: wanted},
		doc.Member{Key: reported, Value: told},
	).Canonical(), marks
}

// mark is the number that the last push of a gateway left, 0 when no section
// shows one: then every section was removed since, whole or with its document.
func (d Doc) mark(gateway string) int64 {
	if n := integer(d.marks.Get(desired, gateway)); n != 0 {
		return n
	}
	return integer(d.marks.Get(reported, gateway))
}

// marked reports whether both sections have a mark of the gateway.
func (d Doc) marked(gateway string) bool {
	return d.marks.Get(desired, gateway).Exists() && d.marks.Get(reported, gateway).Exists()
}

// pushed is the document after a push of ours was accepted as version: what was
// written at these places has no time that is known.
func (d Doc) pushed(p *Push, version int64, gateway string, marks bool) Doc {
	d.Exists, d.Version, d.State = true, version, patch.Apply(d.State, p.Changes)
	for _, c := range p.Changes {
		d.meta = d.meta.With(doc.Value{}, c.Path...)
	}
	if marks {
		seq := doc.IntValue(int64(p.Seq))
		d.marks = d.marks.With(seq, desired, gateway).With(seq, reported, gateway)
	}
	return d
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
