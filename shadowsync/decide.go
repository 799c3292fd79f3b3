package shadowsync

import (
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// decision is what a sync has to do to make both sides alike.
type decision struct {
	up, down             []patch.Change
	deleteUp, deleteDown bool
	conflicts            []Conflict
	doubts               int
}

// decide compares both documents with what is known of the last sync
// (shadow-sync.md 2.2, 2.3, 2.5).
func decide(r Record, local, upstream Doc, p Policy, at Moment) decision {
	switch {
	case p.Direction == Up:
		return r.overwriteUp(local, upstream)
	case p.Direction == Down:
		return r.overwriteDown(local, upstream)
	case local.Exists && upstream.Exists:
		m := Merge(r.Base, local, upstream, p, at)
		return decision{
			up: r.notAdopted(patch.Diff(upstream.State, m.State), upstream), down: patch.Diff(local.State, m.State),
			conflicts: m.Conflicts, doubts: m.Doubts,
		}
	case local.Exists:
		return r.deletedUpstream(local, p)
	case upstream.Exists:
		return r.deletedHere(upstream, p)
	}
	return decision{}
}

// overwriteUp makes upstream what local is. A shadow that never was here is no
// reason to delete one there; a tombstone is.
func (r Record) overwriteUp(local, upstream Doc) decision {
	if local.Exists {
		return decision{up: r.notAdopted(patch.Diff(upstream.State, local.State), upstream)}
	}
	return decision{deleteUp: upstream.Exists && (r.Both || local.Version > 0)}
}

// overwriteDown is overwriteUp seen from the other side.
func (r Record) overwriteDown(local, upstream Doc) decision {
	if upstream.Exists {
		return decision{down: patch.Diff(local.State, upstream.State)}
	}
	return decision{deleteDown: local.Exists && (r.Both || upstream.Version > 0)}
}

// deletedUpstream: upstream has no document. If it never had one the local one
// is new to it; else it was deleted there.
func (r Record) deletedUpstream(local Doc, p Policy) decision {
	if !r.Both {
		return decision{up: patch.Diff(doc.Value{}, local.State)}
	}
	kept := patch.Since(r.Base, local.State)
	c := Conflict{Local: kept, Winner: LocalWins}
	switch {
	case !kept.Exists():
		return decision{deleteDown: true}
	case p.OnDelete == DeleteWins:
		c.Winner = CloudWins
		return decision{deleteDown: true, conflicts: []Conflict{c}}
	}
	return decision{up: patch.Diff(doc.Value{}, kept), down: patch.Diff(local.State, kept), conflicts: []Conflict{c}}
}

// deletedHere is deletedUpstream seen from the other side.
func (r Record) deletedHere(upstream Doc, p Policy) decision {
	if !r.Both {
		return decision{down: patch.Diff(doc.Value{}, upstream.State)}
	}
	kept := patch.Since(r.Base, upstream.State)
	c := Conflict{Upstream: kept, Winner: CloudWins}
	switch {
	case !kept.Exists():
		return decision{deleteUp: true}
	case p.OnDelete == DeleteWins:
		c.Winner = LocalWins
		return decision{deleteUp: true, conflicts: []Conflict{c}}
	}
	return decision{up: patch.Diff(upstream.State, kept), down: patch.Diff(doc.Value{}, kept), conflicts: []Conflict{c}}
}

// notAdopted leaves out the changes that upstream already answered with a
// value of its own, and would again (shadow-sync.md 2.3, "adopt").
func (r Record) notAdopted(changes []patch.Change, upstream Doc) []patch.Change {
	if !r.Adopted.Exists() {
		return changes
	}
	var out []patch.Change
	for _, c := range changes {
		given := r.Adopted.Get(c.Path...)
		adopted := given.Exists() && given.EqualFloat(upstream.State.Get(c.Path...)) && c.New.EqualFloat(r.Base.Get(c.Path...))
		if !adopted {
			out = append(out, c)
		}
	}
	return out
}
