package shadowsync

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

func parse(t testing.TB, text string) doc.Value {
	t.Helper()
	v, err := doc.ParseValue([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// of is an existing document of which desired is given.
func of(t testing.TB, text string) Doc {
	t.Helper()
	d := Doc{Exists: true, Version: 1}
	d.State, _ = canonical(parse(t, text), doc.Value{})
	return d
}

func TestMerge_FollowsSection2_2(t *testing.T) {
	const none = `{}`
	for name, c := range map[string]struct {
		known, local, upstream string
		cloud, here            string // merged under cloudWins and localWins
		conflicts              int
	}{
		"equal":                     {none, `{"a":1}`, `{"a":1}`, `{"a":1}`, `{"a":1}`, 0},
		"numbers as float64":        {none, `{"a":9007199254740993}`, `{"a":9007199254740992}`, `{"a":9007199254740993}`, `{"a":9007199254740993}`, 0},
		"local changed":             {`{"a":1}`, `{"a":2}`, `{"a":1}`, `{"a":2}`, `{"a":2}`, 0},
		"upstream changed":          {`{"a":1}`, `{"a":1}`, `{"a":2}`, `{"a":2}`, `{"a":2}`, 0},
		"both changed":              {`{"a":1}`, `{"a":2}`, `{"a":3}`, `{"a":3}`, `{"a":2}`, 1},
		"first sync is a union":     {none, `{"a":1,"b":{"c":1}}`, `{"b":{"d":2},"e":3}`, `{"a":1,"b":{"c":1,"d":2},"e":3}`, `{"a":1,"b":{"c":1,"d":2},"e":3}`, 0},
		"removed here":              {`{"a":1,"b":1}`, `{"b":1}`, `{"a":1,"b":1}`, `{"b":1}`, `{"b":1}`, 0},
		"removed there":             {`{"a":1,"b":1}`, `{"a":1,"b":1}`, `{"b":1}`, `{"b":1}`, `{"b":1}`, 0},
		"removed and changed":       {`{"a":1}`, none, `{"a":2}`, `{"a":2}`, none, 1},
		"object gone, one leaf new": {`{"o":{"a":1,"b":1}}`, none, `{"o":{"a":2,"b":1}}`, `{"o":{"a":2}}`, none, 1},
		"object gone, leaf added":   {`{"o":{"a":1}}`, none, `{"o":{"a":1,"n":2}}`, `{"o":{"n":2}}`, `{"o":{"n":2}}`, 0},
		"arrays are whole":          {`{"a":[1,2]}`, `{"a":[1,3]}`, `{"a":[2,2]}`, `{"a":[2,2]}`, `{"a":[1,3]}`, 1},
		"type changed here":         {`{"a":1}`, `{"a":{"x":1}}`, `{"a":1}`, `{"a":{"x":1}}`, `{"a":{"x":1}}`, 0},
		"type against value":        {`{"a":1}`, `{"a":{"x":1}}`, `{"a":2}`, `{"a":2}`, `{"a":{"x":1}}`, 1},
		"two types":                 {`{"a":1}`, `{"a":{"x":1}}`, `{"a":{"y":2}}`, `{"a":{"x":1,"y":2}}`, `{"a":{"x":1,"y":2}}`, 0},
		"empty object is nothing":   {none, `{"a":{}}`, none, none, none, 0},
	} {
		t.Run(name, func(t *testing.T) {
			known := of(t, c.known).State
			for winner, want := range map[Winner]string{CloudWins: c.cloud, LocalWins: c.here} {
				got := Merge(known, of(t, c.local), of(t, c.upstream), Policy{Desired: winner}, Moment{})
				if !got.State.Equal(of(t, want).State) || len(got.Conflicts) != c.conflicts {
					t.Errorf("%s: got %s and %d conflicts, want %s and %d", winner, got.State, len(got.Conflicts), want, c.conflicts)
				}
			}
		})
	}
}

func TestMerge_LatestAsksTheClocksAndKnowsWhenNotTo(t *testing.T) {
	at := func(seconds int64) doc.Value {
		return parse(t, fmt.Sprintf(`{"desired":{"a":{"timestamp":%d}},"reported":{"a":{"timestamp":%d}}}`, seconds, seconds))
	}
	both := func(v int, seconds int64) Doc {
		return UpstreamDoc(parse(t, fmt.Sprintf(`{"desired":{"a":%d},"reported":{"a":%d}}`, v, v)), at(seconds), 1)
	}
	p := Policy{Desired: Latest, Reported: Latest}
	for name, c := range map[string]struct {
		local, upstream int64
		at              Moment
		desired         string
		reported        string
		doubts          int
	}{
		"local is later":         {100, 90, Moment{}, "1", "1", 0},
		"upstream is later":      {90, 100, Moment{}, "2", "2", 0},
		"equal":                  {90, 90, Moment{}, "2", "1", 0},
		"not known":              {0, 90, Moment{}, "2", "1", 0},
		"the local clock is off": {90, 100, Moment{Offset: time.Minute}, "1", "1", 0},
		"the clock is doubtful":  {100, 90, Moment{ClockDoubtful: true}, "2", "1", 2},
	} {
		got := Merge(doc.Value{}, both(1, c.local), both(2, c.upstream), p, c.at)
		if got.State.Get("desired", "a").Text() != c.desired || got.State.Get("reported", "a").Text() != c.reported || got.Doubts != c.doubts {
			t.Errorf("%s: got %s and %d doubts; want %s, %s and %d", name, got.State, got.Doubts, c.desired, c.reported, c.doubts)
		}
	}
}

func TestMerge_KeysThatUpstreamMayNotSetStayLocal(t *testing.T) {
	got := Merge(doc.Value{}, of(t, `{"safe":1}`), of(t, `{"safe":2,"open":3,"lock":4}`), Policy{Writable: []string{"open"}}, Moment{})
	if want := of(t, `{"safe":1,"open":3}`).State; !got.State.Equal(want) || len(got.Conflicts) != 0 {
		t.Errorf("got %s, want %s", got.State, want)
	}
}

// random is a document of few keys and values, so that they meet.
func random(r *rand.Rand, depth int) doc.Value {
	switch n := r.IntN(6); {
	case depth == 0 || n < 2 && depth > 0 && depth < 3:
		if r.IntN(4) == 0 {
			return doc.ArrayValue(doc.IntValue(int64(r.IntN(2))))
		}
		return doc.IntValue(int64(r.IntN(3)))
	}
	var members []doc.Member
	for _, key := range []string{"a", "b", "c"} {
		if r.IntN(3) > 0 {
			members = append(members, doc.Member{Key: key, Value: random(r, depth-1)})
		}
	}
	return doc.ObjectValue(members...)
}

// checkMerge holds the laws of 2.2 for one triple.
func checkMerge(t testing.TB, known doc.Value, local, upstream Doc, p Policy) {
	t.Helper()
	m := Merge(known, local, upstream, p, Moment{})
	merged := Doc{Exists: true, State: m.State}
	if again := Merge(known, local, merged, p, Moment{}); !again.State.EqualFloat(m.State) {
		t.Errorf("known %s, local %s, upstream %s: merged %s; with local again %s", known, local.State, upstream.State, m.State, again.State)
	}
	if again := Merge(known, merged, upstream, p, Moment{}); !again.State.EqualFloat(m.State) {
		t.Errorf("known %s, local %s, upstream %s: merged %s; with upstream again %s", known, local.State, upstream.State, m.State, again.State)
	}
	if len(m.Conflicts) == 0 {
		if mirror := Merge(known, upstream, local, p, Moment{}); !mirror.State.EqualFloat(m.State) {
			t.Errorf("known %s: %s with %s gives %s, the other way round %s", known, local.State, upstream.State, m.State, mirror.State)
		}
	}
	for _, from := range []Doc{local, upstream} {
		changes := patch.Diff(from.State, m.State)
		if got := patch.Apply(from.State, changes); !got.EqualFloat(m.State) {
			t.Errorf("changes from %s to %s lead to %s", from.State, m.State, got)
		}
		s := &doc.Shadow{}
		before, err := doc.Next(s, doc.Request{Desired: from.State.Get(desired), Reported: from.State.Get(reported)}, doc.Limits{}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		after, err := doc.Next(before, patch.Request(changes), doc.Limits{}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if got := LocalDoc(after, 0).State; !got.EqualFloat(m.State) {
			t.Errorf("the update from %s to %s makes %s", from.State, m.State, got)
		}
	}
	if a := patch.Agree(known, m.State, m.State); !a.EqualFloat(m.State) {
		t.Errorf("both sides %s agree on %s", m.State, a)
	}
}

func TestMerge_IsAFixedPointAndSymmetric(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	section := func() doc.Value {
		v, _ := canonical(random(r, 3), random(r, 3))
		return v
	}
	for range 20_000 {
		p := Policy{Desired: Winner(r.IntN(2)), Reported: Winner(r.IntN(2))}
		checkMerge(t, section(), Doc{Exists: true, State: section()}, Doc{Exists: true, State: section()}, p)
		if t.Failed() {
			return
		}
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":1}`), []byte(`{"a":{"b":[1]}}`), []byte(`{"a":{"b":null}}`), true)
	f.Fuzz(func(t *testing.T, known, local, upstream []byte, cloud bool) {
		side := func(text []byte) doc.Value {
			r, err := doc.ParseRequest(append(append([]byte(`{"state":{"desired":`), text...), "}}"...), doc.Limits{})
			if err != nil || r.Desired.Kind() != doc.Object {
				t.Skip()
			}
			s, err := doc.Next(nil, doc.Request{Desired: r.Desired}, doc.Limits{}, time.Time{})
			if err != nil {
				t.Skip()
			}
			return LocalDoc(s, 0).State
		}
		p := Policy{Desired: LocalWins}
		if cloud {
			p.Desired = CloudWins
		}
		checkMerge(t, side(known), Doc{Exists: true, State: side(local)}, Doc{Exists: true, State: side(upstream)}, p)
	})
}
