package shadowsync

import (
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// Conflict is a place that both sides changed to different values since they
// last agreed. Absent stands for a removal; the empty path for a delete of the
// whole shadow on the side whose value is Absent.
type Conflict struct {
	Path            doc.Path
	Local, Upstream doc.Value
	// Winner is CloudWins or LocalWins.
	Winner Winner
	// Writer is who wrote the upstream side: the token of the request, or else
	// the version in which it was found. AWS tells no more.
	Writer string
}

// Merged is the outcome of a Merge.
type Merged struct {
	State     doc.Value
	Conflicts []Conflict
	// Doubts counts the conflicts that Latest had to leave to the default
	// because of the clock.
	Doubts int
}

// Merge is the three-way merge of shadow-sync.md 2.2. known is what both sides
// last had in common; all states are canonical. Both objects are merged member
// by member, anything else is atomic: the side that differs from known wins,
// and if both do the policy decides. The result is a fixed point: merging it
// again with either side gives it again.
func Merge(known doc.Value, local, upstream Doc, p Policy, at Moment) Merged {
	m := merger{local: local, upstream: upstream, policy: p, at: at}
	var state doc.Value
	for _, section := range [...]string{desired, reported} {
		merged := m.merge(doc.Path{section}, known.Get(section), local.State.Get(section), upstream.State.Get(section))
		state = state.With(merged, section)
	}
	m.out.State = state.Canonical()
	return m.out
}

type merger struct {
	local, upstream Doc
	policy          Policy
	at              Moment
	out             Merged
}

func (m *merger) merge(path doc.Path, known, local, upstream doc.Value) doc.Value {
	if members(known, local, upstream) {
		var out doc.Value
		for _, key := range patch.Keys(known, local, upstream) {
			out = out.With(m.merge(patch.Join(path, key), known.Get(key), local.Get(key), upstream.Get(key)), key)
		}
		return out
	}
	switch {
	case local.EqualFloat(upstream):
		return local
	case len(path) > 1 && path[0] == desired && !m.policy.writable(path[1]):
		return local
	case local.EqualFloat(known):
		return upstream
	case upstream.EqualFloat(known):
		return local
	}
	return m.decide(Conflict{Path: path, Local: local, Upstream: upstream})
}

// members reports whether a place is merged member by member: both are
// objects, or one is gone and the other is what an object has become.
func members(known, local, upstream doc.Value) bool {
	l, u := local.Kind() == doc.Object, upstream.Kind() == doc.Object
	if l && u {
		return true
	}
	return known.Kind() == doc.Object && (l && !upstream.Exists() || u && !local.Exists())
}

func (m *merger) decide(c Conflict) doc.Value {
	c.Winner = m.policy.winner(c.Path[0])
	if c.Winner == Latest {
		c.Winner = m.later(c.Path)
	}
	m.out.Conflicts = append(m.out.Conflicts, c)
	if c.Winner == CloudWins {
		return c.Upstream
	}
	return c.Local
}

// later is the side of the later edit; the section's default when they are
// equal, one is not known, or the clock is in doubt.
func (m *merger) later(path doc.Path) Winner {
	if m.at.ClockDoubtful {
		m.out.Doubts++
		return settled(path[0])
	}
	here, there := m.local.edited(path), m.upstream.edited(path)
	if here == 0 || there == 0 {
		return settled(path[0])
	}
	ahead := time.Duration(here-there)*time.Second + m.at.Offset
	switch {
	case ahead > 0:
		return LocalWins
	case ahead < 0:
		return CloudWins
	}
	return settled(path[0])
}
