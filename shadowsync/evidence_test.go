package shadowsync

import (
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
)

// An update names the version it follows: who made the next one decides.
func TestStep_WhoMadeTheNextVersionTellsWhatBecameOfAPush(t *testing.T) {
	const applied, undone = `{"desired":{"x":1},"reported":{"a":1}}`, `{"reported":{"a":1}}`
	for name, c := range map[string]struct {
		news Answer
		base string
	}{
		"accepted of somebody else":        {Answer{Op: topic.Update, Kind: topic.Accepted, Version: 6}, undone},
		"document of somebody else":        {Answer{Op: topic.Update, Kind: topic.Documents, Version: 6, Previous: 5}, undone},
		"delete by somebody else":          {Answer{Op: topic.Delete, Kind: topic.Accepted, Version: 5}, undone},
		"shown as what was before":         {before(t, `{"desired":{"x":1},"reported":{"a":1}}`), applied},
		"not shown as what was before":     {before(t, `{"desired":{"x":7},"reported":{"a":1}}`), undone},
		"nobody said who made version six": {Answer{Op: topic.Update, Kind: topic.Accepted, Version: 7}, undone},
	} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
		b.policy.Desired = LocalWins
		b.toPush(`{"reported":{"a":1}}`, `{"desired":{"x":1},"reported":{"a":1}}`)
		b.give(Offline{}, Online{}, c.news, Turn{})
		b.give(b.upstream(`{"reported":{"a":1}}`, 8))
		assumed := b.state.Phase == Reading
		if want := name == "nobody said who made version six"; assumed != want {
			t.Errorf("%s: had to be assumed: %v, want %v", name, assumed, want)
		}
		b.give(b.local(`{"desired":{"x":1},"reported":{"a":1}}`, 4))
		if r := b.state.Record; r.Push != nil || r.Base.String() != c.base {
			t.Errorf("%s: base %s, want %s", name, r.Base, c.base)
		}
	}
}

func before(t *testing.T, state string) Answer {
	return Answer{Op: topic.Update, Kind: topic.Documents, Version: 7, Previous: 6, Before: UpstreamDoc(parse(t, state), parse(t, `{}`), 6)}
}

// Where nothing tells whether a new leaf never came or was removed again, it is
// a conflict: the policy decides and both values are told.
func TestStep_ALeafThatMayHaveBeenRemovedIsAConflict(t *testing.T) {
	for _, winner := range []Winner{CloudWins, LocalWins} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
		b.policy.Desired = winner
		b.toPush(`{"reported":{"a":1}}`, `{"desired":{"x":1},"reported":{"a":1}}`)
		b.give(Offline{}, Online{}, Turn{})
		b.give(b.upstream(`{"reported":{"a":1}}`, 8), b.local(`{"desired":{"x":1},"reported":{"a":1}}`, 4))
		if b.state.Conflicts != 1 || b.state.Last != winner {
			t.Errorf("%s: %d conflicts, winner %s", winner, b.state.Conflicts, b.state.Last)
		}
		if gone := b.state.Record.Base.Get("desired", "x").Exists(); gone != (winner == CloudWins) {
			t.Errorf("%s: counts as removed upstream: %v", winner, gone)
		}
	}
}

// A newer local value of the leaf is not touched by what became of an older one.
func TestStep_ANewerLocalValueIsNotRemovedByADoubt(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
	b.toPush(`{"reported":{"a":1}}`, `{"desired":{"x":1},"reported":{"a":1}}`)
	b.give(Offline{}, Online{}, Turn{})
	b.give(b.upstream(`{"reported":{"a":1}}`, 8), b.local(`{"desired":{"x":2},"reported":{"a":1}}`, 5))
	if b.state.Conflicts != 0 || b.state.Record.Base.Get("desired", "x").Exists() {
		t.Errorf("%d conflicts, base %s; want the newer value on its way", b.state.Conflicts, b.state.Record.Base)
	}
}

// An upstream under a new name is the old one when its document goes on from
// what both sides had; else nothing is known, and nothing is removed.
func TestStep_AnUpstreamThatMovedIsRecognised(t *testing.T) {
	for name, c := range map[string]struct {
		upstream string
		version  int64
		rebased  bool
	}{
		"moved as it was":                 {`{"reported":{"a":1,"b":1}}`, 5, false},
		"moved, and changed meanwhile":    {`{"reported":{"a":1}}`, 9, false},
		"another, which knows it not":     {``, 0, true},
		"another, with an older document": {`{"reported":{"a":1,"b":1}}`, 2, true},
		"another, with nothing in common": {`{"reported":{"z":7}}`, 9, true},
	} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1,"b":1}}`)})
		b.state.Record.Upstream = "old.example:8883"
		b.give(Online{}, Turn{})
		b.give(b.upstream(c.upstream, c.version))
		b.give(b.local(`{"reported":{"a":1,"b":1}}`, 3))
		if b.has(Count{Rebased}) != c.rebased {
			t.Errorf("%s: rebased %v, want %v", name, !c.rebased, c.rebased)
		}
		for _, e := range b.effects {
			if commit, down := e.(Commit); c.rebased && down && commit.Delete {
				t.Errorf("%s: the local document is deleted for it", name)
			}
		}
	}
}

// Two histories that leave the same document, the same times and the same
// version, and ask for opposite outcomes. In the first the push arrived, and
// somebody who saw its new leaf took it away: to push it again undoes a newer
// removal. In the second it never arrived, and nobody touched its place: to drop
// it undoes the newer value. So where upstream repeats no answer, keeps no marker
// and lost the messages in between, no program can be right in both
// (DESIGN.md, "What nobody can know").
func TestStep_TwoHistoriesLookTheSameAndWantTheOpposite(t *testing.T) {
	key := iot.ShadowKey{Thing: "pump"}
	at := time.Unix(1_700_000_000, 0)
	history := func(updates ...string) string {
		var s *doc.Shadow
		for n, u := range append([]string{`{"state":{"desired":{"k":0},"reported":{"a":1}}}`}, updates...) {
			r, err := doc.ParseRequest([]byte(u), doc.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if s, err = doc.Next(s, r, doc.Limits{}, at.Add(time.Duration(n)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		body, err := doc.Get(s, key, "t", at.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	seen := history(`{"state":{"desired":{"x":1}}}`, `{"state":{"desired":{"x":null},"reported":{"a":1}}}`)
	lost := history(`{"state":{"reported":{"a":1}}}`, `{"state":{"reported":{"a":1}}}`)
	if seen != lost {
		t.Fatalf("the histories can be told apart:\n%s\n%s", seen, lost)
	}
	for _, winner := range []Winner{CloudWins, LocalWins} {
		b := newTable(t, Record{Both: true, Cloud: 1, Base: parse(t, `{"desired":{"k":0},"reported":{"a":1}}`)})
		b.policy.Desired = winner
		b.give(Online{}, Turn{})
		b.give(b.upstream(`{"desired":{"k":0},"reported":{"a":1}}`, 1), b.local(`{"desired":{"k":0,"x":1},"reported":{"a":1}}`, 2), Stored{}, Offline{}, Online{}, Turn{})
		a, err := ParseAnswer(topic.Reserved{Kind: topic.ShadowAnswer, Key: key, Op: topic.Get, Answer: topic.Accepted}, []byte(seen))
		if err != nil {
			t.Fatal(err)
		}
		a.Token = b.state.token
		b.give(a, b.local(`{"desired":{"k":0,"x":1},"reported":{"a":1}}`, 2))
		if !b.has(Count{Ambiguous}) || b.state.Conflicts != 1 || b.state.Last != winner {
			t.Errorf("%s: %d conflicts, winner %s; want it counted, told, and left to the policy", winner, b.state.Conflicts, b.state.Last)
		}
	}
}
