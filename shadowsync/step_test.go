package shadowsync

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// table drives a State by hand.
type table struct {
	t       *testing.T
	state   State
	policy  Policy
	now     time.Time
	seq     uint64
	effects []Effect
}

func newTable(t *testing.T, r Record) *table {
	p := DefaultPolicy()
	p.Gateway, p.Upstream = "gw", "sky"
	r.Upstream = "sky"
	return &table{t: t, state: State{Record: r}, policy: p, now: time.Unix(1000, 0)}
}

func (b *table) give(events ...Event) {
	for _, e := range events {
		b.seq++
		b.now = b.now.Add(time.Second)
		b.state, b.effects = Step(b.state, e, b.policy, Moment{Now: b.now, Seq: b.seq})
	}
}

// sent is the payload of the request among the last effects.
func (b *table) sent() string {
	b.t.Helper()
	for _, e := range b.effects {
		if p, ok := e.(Publish); ok {
			return string(p.Op) + " " + string(p.Payload)
		}
	}
	b.t.Fatalf("nothing is sent; effects %v", b.effects)
	return ""
}

func (b *table) has(want Effect) bool {
	for _, e := range b.effects {
		if c, ok := e.(Count); ok && c == want {
			return true
		}
	}
	return false
}

// upstream answers the get under way with a state, or with 404 when it is empty.
func (b *table) upstream(state string, version int64) Answer {
	if state == "" {
		return Answer{Op: topic.Get, Kind: topic.Rejected, Token: b.state.token, Code: 404}
	}
	return Answer{Op: topic.Get, Kind: topic.Accepted, Token: b.state.token, Version: version, Doc: UpstreamDoc(parse(b.t, state), doc.Value{}, version)}
}

func (b *table) local(state string, version int64) LocalRead {
	d := UpstreamDoc(parse(b.t, state), doc.Value{}, version)
	d.Exists = state != "{}"
	return LocalRead{Doc: d}
}

// toPush goes as far as the push of what local has and upstream has not.
func (b *table) toPush(upstream, local string) {
	b.give(Online{}, Turn{})
	b.give(b.upstream(upstream, 5))
	b.give(b.local(local, 3), Stored{})
	if b.state.Phase == Storing { // a base was stored first
		b.give(Stored{})
	}
	if b.state.Phase != Pushing {
		b.t.Fatalf("phase is %s, want pushing", b.state.Phase)
	}
}

func rejected(token string, code int, reason string) Answer {
	return Answer{Op: topic.Update, Kind: topic.Rejected, Token: token, Code: code, Reason: reason}
}

func TestStep_ThePushIsOnDiskBeforeItIsSent(t *testing.T) {
	b := newTable(t, Record{})
	b.give(Online{}, Turn{})
	if got := b.sent(); got != `get {"clientToken":"gw:gw:2"}` {
		t.Errorf("sent %s", got)
	}
	b.give(b.upstream("", 0), b.local(`{"reported":{"a":1}}`, 3))
	stored, ok := b.effects[len(b.effects)-1].(Store)
	if !ok || !strings.Contains(string(stored.Record), `"push":{"token":"gw:gw:4"`) {
		t.Fatalf("effects %v; want the push record stored, and nothing sent", b.effects)
	}
	b.give(Stored{})
	if got := b.sent(); got != `update {"state":{},"clientToken":"gw:gw:4"}` {
		t.Errorf("sent %s; a new shadow is made first, empty and without version", got)
	}
	b.give(Answer{Op: topic.Update, Kind: topic.Accepted, Token: "gw:gw:4", Version: 1})
	b.give(Stored{}, b.local(`{"reported":{"a":1}}`, 3), Stored{})
	if got := b.sent(); !strings.HasPrefix(got, `update {"state":{"reported":{"a":1}},"version":1,`) {
		t.Errorf("sent %s; values go up with the version that they are to follow", got)
	}
}

func TestStep_OnlyEqualLeavesBecomeCommonWhenAPushIsAccepted(t *testing.T) {
	b := newTable(t, Record{})
	b.toPush(`{"desired":{"down":1}}`, `{"reported":{"up":2}}`)
	b.give(Answer{Op: topic.Update, Kind: topic.Accepted, Token: b.state.Record.Push.Token, Version: 6})
	if r := b.state.Record; r.Push != nil || r.Base.String() != `{"reported":{"up":2}}` || r.Cloud != 6 {
		t.Errorf("record %s; want base with the pushed leaf alone", r.Encode())
	}
	b.give(Stored{}, b.local(`{"reported":{"up":2}}`, 3))
	commit, ok := b.effects[0].(Commit)
	if !ok || commit.IfVersion != 3 || string(commit.Update.Append(nil)) != `{"state":{"desired":{"down":1}}}` {
		t.Fatalf("effects %v; want the commit of what came down", b.effects)
	}
	b.give(Committed{Version: 4}, b.local(`{"desired":{"down":1},"reported":{"up":2}}`, 4))
	if !b.state.InSync() || b.state.Record.Base.String() != `{"desired":{"down":1},"reported":{"up":2}}` {
		t.Errorf("record %s, phase %s", b.state.Record.Encode(), b.state.Phase)
	}
	b.give(LocalChanged{Version: 4})
	if b.state.Dirty {
		t.Error("the echo of our own commit asks for another sync")
	}
}

// A removed section must not take the markers with it: they are how a push is
// recognised.
func TestStep_ARemovedSectionLeavesTheMarkers(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
	b.policy.Marker = true
	b.toPush(`{"desired":{"$gw":{"gw":77}},"reported":{"a":1,"$gw":{"gw":77}}}`, `{"desired":{"x":1}}`)
	if got := b.sent(); !strings.Contains(got, `"desired":{"$gw":{"gw":4},"x":1},"reported":{"$gw":{"gw":4},"a":null}`) {
		t.Errorf("sent %s; want the markers and the removal of the one member", got)
	}
}

// A marker tells only when it stood there before: else somebody may have taken
// it away. So a document without both gets them first, and values after that.
func TestStep_MarkersStandBeforeValuesAreSent(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
	b.policy.Marker = true
	b.toPush(`{"reported":{"a":1,"$gw":{"gw":77}}}`, `{"reported":{"a":2}}`)
	if got := b.sent(); !strings.HasPrefix(got, `update {"state":{"desired":{"$gw":{"gw":4}},"reported":{"$gw":{"gw":4}}},"version":5,`) {
		t.Errorf("sent %s; want the markers alone", got)
	}
	b.give(Answer{Op: topic.Update, Kind: topic.Accepted, Token: b.state.Record.Push.Token, Version: 6})
	b.give(Stored{}, b.local(`{"reported":{"a":2}}`, 3), Stored{})
	if got := b.sent(); !strings.Contains(got, `"a":2`) || !strings.Contains(got, `"version":6`) {
		t.Errorf("sent %s; want the value", got)
	}
}

// Both markers are gone only when both sections were removed since: whoever did
// that had seen the push or did it at the same time, so nothing of it goes up
// again, whatever the policy; both values are told.
func TestStep_WithoutItsMarkersNothingOfAPushComesBack(t *testing.T) {
	for upstream, version := range map[string]int64{`{"reported":{"z":9}}`: 8, "": 0} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
		b.policy.Marker, b.policy.Desired = true, LocalWins
		b.toPush(`{"desired":{"$gw":{"gw":77}},"reported":{"a":1,"$gw":{"gw":77}}}`, `{"desired":{"x":1},"reported":{"a":1}}`)
		b.give(Offline{}, Online{}, Turn{})
		b.give(b.upstream(upstream, version))
		b.give(b.local(`{"desired":{"x":1},"reported":{"a":1}}`, 4))
		if got := b.state.Record.Base.Get("desired", "x"); !got.Exists() || b.state.Conflicts != 1 || b.state.Last != CloudWins {
			t.Errorf("upstream %q: base %s, %d conflicts, winner %s; want x taken as done and told", upstream, b.state.Record.Base, b.state.Conflicts, b.state.Last)
		}
	}
}

// A value that stands again as it was before the push tells by its time whether
// it was ever replaced: an app that saw the push and took it back must not be
// overruled.
func TestStep_AValueWrittenAgainIsNotTheOneFromBefore(t *testing.T) {
	meta := func(at int) doc.Value {
		return parse(t, fmt.Sprintf(`{"desired":{"on":{"timestamp":%d}}}`, at))
	}
	for at, want := range map[int]string{100: `{"desired":{"on":1}}`, 107: `{"desired":{"on":2}}`} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"desired":{"on":1}}`)})
		b.policy.Desired = LocalWins
		b.give(Online{}, Turn{})
		get := b.upstream(`{"desired":{"on":1}}`, 5)
		get.Doc = UpstreamDoc(parse(t, `{"desired":{"on":1}}`), meta(100), 5)
		b.give(get, b.local(`{"desired":{"on":2}}`, 3), Stored{}, Offline{}, Online{}, Turn{})
		get = b.upstream(`{"desired":{"on":1}}`, 8)
		get.Doc = UpstreamDoc(parse(t, `{"desired":{"on":1}}`), meta(at), 8)
		b.give(get, b.local(`{"desired":{"on":2}}`, 3))
		if r := b.state.Record; r.Push != nil || r.Base.String() != want {
			t.Errorf("written at %d: base %s, want %s", at, r.Base, want)
		}
	}
}

func TestStep_AConflictOnRemovalsIsNoSuccessThoughOneOfThemIsDone(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1,"b":1,"c":1}}`)})
	b.toPush(`{"reported":{"a":1,"b":1,"c":1}}`, `{"reported":{"c":1}}`)
	b.give(rejected(b.state.Record.Push.Token, 409, "Version conflict"))
	b.give(b.upstream(`{"reported":{"b":1,"c":1}}`, 6)) // somebody else removed a
	if r := b.state.Record; r.Push != nil || !r.Base.Get("reported", "b").Exists() {
		t.Errorf("record %s; want the push undone and b still common", r.Encode())
	}
	b.give(Stored{}, b.local(`{"reported":{"c":1}}`, 3), Stored{})
	if got := b.sent(); !strings.Contains(got, `{"reported":{"b":null}},"version":6`) {
		t.Errorf("sent %s; want the removal of b again", got)
	}
}

func TestStep_ALostAnswerIsFoundInTheDocument(t *testing.T) {
	for name, c := range map[string]struct {
		upstream string
		version  int64
		base     string
		count    Effect
	}{
		"not applied":                {`{"reported":{"a":1,"b":1}}`, 5, `{"reported":{"a":1,"b":1}}`, nil},
		"applied":                    {`{"reported":{"a":2,"b":2}}`, 6, `{"reported":{"a":2,"b":2}}`, nil},
		"applied, one overwritten":   {`{"reported":{"a":2,"b":9}}`, 7, `{"reported":{"a":2,"b":2}}`, nil},
		"all overwritten":            {`{"reported":{"a":8,"b":9}}`, 7, `{"reported":{"a":2,"b":2}}`, Count{Ambiguous}},
		"one overwritten, one as is": {`{"reported":{"a":1,"b":9}}`, 7, `{"reported":{"a":1,"b":1}}`, Count{Ambiguous}},
	} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1,"b":1}}`)})
		b.toPush(`{"reported":{"a":1,"b":1}}`, `{"reported":{"a":2,"b":2}}`)
		b.give(Offline{}, Online{}, Turn{})
		b.give(b.upstream(c.upstream, c.version))
		if c.count != nil { // then what stands here has a say
			b.give(b.local(`{"reported":{"a":2,"b":2}}`, 4))
		}
		if r := b.state.Record; r.Push != nil || r.Base.String() != c.base || c.count != nil && !b.has(c.count) {
			t.Errorf("%s: base %s, want %s; effects %v", name, r.Base, c.base, b.effects)
		}
	}
}

func TestStep_AnUpstreamThatRepeatsItsAnswersIsAskedAgain(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
	b.policy.Answers = true
	b.toPush(`{"reported":{"a":1}}`, `{"reported":{"a":2}}`)
	first := b.sent()
	b.give(Offline{}, Online{}, Turn{})
	if got := b.sent(); got != first {
		t.Errorf("sent %s, then %s; want the same words", first, got)
	}
	b.give(Offline{}, Online{})
	b.now = b.now.Add(25 * time.Hour)
	b.give(Turn{})
	if got := b.sent(); !strings.HasPrefix(got, "get ") {
		t.Errorf("after a day sent %s; nobody remembers that long", got)
	}
}

func TestStep_DeletesFollowSection2_5(t *testing.T) {
	base := `{"reported":{"a":1,"b":1}}`
	for name, c := range map[string]struct {
		upstream, local string
		onDelete        OnDelete
		want            string // of the last effects
	}{
		"deleted there, unchanged here":           {"", base, UpdateWins, "delete local"},
		"deleted there, changed here":             {"", `{"reported":{"a":2,"b":1}}`, UpdateWins, `change local {"state":{"reported":{"b":null}}}`},
		"deleted there, changed here, deleteWins": {"", `{"reported":{"a":2,"b":1}}`, DeleteWins, "delete local"},
		"deleted here, unchanged there":           {base, `{}`, UpdateWins, `delete {"clientToken":"gw:gw:4"}`},
		"deleted here, changed there":             {`{"reported":{"a":2,"b":1}}`, `{}`, UpdateWins, `update {"state":{"reported":{"b":null}},"version":5,"clientToken":"gw:gw:4"}`},
		"deleted here, changed there, deleteWins": {`{"reported":{"a":2,"b":1}}`, `{}`, DeleteWins, `delete {"clientToken":"gw:gw:4"}`},
	} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, base)})
		b.policy.OnDelete = c.onDelete
		b.give(Online{}, Turn{})
		b.give(b.upstream(c.upstream, 5))
		b.give(b.local(c.local, 3))
		got := ""
		if commit, ok := b.effects[len(b.effects)-1].(Commit); ok && commit.Delete {
			got = "delete local"
		} else if ok {
			got = "change local " + string(commit.Update.Append(nil))
		} else {
			b.give(Stored{})
			got = b.sent()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// What was deleted upstream goes here before the rest makes the shadow anew:
// else it would look as if it were new here too.
func TestStep_AShadowMadeAnewHasNothingOfTheOldOne(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1,"b":1}}`)})
	b.give(Online{}, Turn{})
	b.give(b.upstream("", 0))
	b.give(b.local(`{"reported":{"a":2,"b":1}}`, 3), Committed{Version: 4}, b.local(`{"reported":{"a":2}}`, 4), Stored{})
	if got := b.sent(); !strings.HasPrefix(got, `update {"state":{},`) {
		t.Errorf("sent %s; want an empty shadow", got)
	}
	b.give(Answer{Op: topic.Update, Kind: topic.Accepted, Token: b.state.Record.Push.Token, Version: 8})
	b.give(Stored{})
	b.give(b.upstream(`{}`, 8), b.local(`{"reported":{"a":2}}`, 4), Stored{})
	if got := b.sent(); !strings.HasPrefix(got, `update {"state":{"reported":{"a":2}},"version":8,`) {
		t.Errorf("sent %s; want what changed here, and nothing that was deleted", got)
	}
}

func TestStep_ADeleteUpstreamLooksFirst(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
	b.give(Online{}, Turn{})
	b.give(b.upstream(`{"reported":{"a":1}}`, 5), b.local(`{"reported":{"a":1}}`, 3), Stored{})
	b.give(LocalChanged{}, Turn{}, b.local(`{}`, 4))
	if got := b.sent(); !strings.HasPrefix(got, "get ") {
		t.Errorf("sent %s; want a get before the delete", got)
	}
}

func TestStep_VersionsThatGoBackStartAUnion(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 9, Base: parse(t, `{"reported":{"a":1,"b":1}}`)})
	b.give(Online{}, Turn{})
	b.give(b.upstream(`{"reported":{"b":1}}`, 2))
	b.give(b.local(`{"reported":{"a":1,"b":1}}`, 3))
	if !b.has(Count{Rebased}) {
		t.Errorf("effects %v; want the rebase counted", b.effects)
	}
	b.give(Stored{})
	if got := b.sent(); !strings.Contains(got, `{"reported":{"a":1}}`) {
		t.Errorf("sent %s; want the union, no removal", got)
	}
}

func TestStep_OneWaySyncsOverwrite(t *testing.T) {
	b := newTable(t, Record{})
	b.policy.Direction = Up
	b.toPush(`{"desired":{"a":1,"b":1}}`, `{"desired":{"a":2}}`)
	if got := b.sent(); !strings.Contains(got, `{"desired":{"a":2,"b":null}}`) {
		t.Errorf("up sent %s", got)
	}
	b = newTable(t, Record{})
	b.policy.Direction = Down
	b.give(Online{}, Turn{})
	b.give(b.upstream(`{"desired":{"a":1}}`, 5), b.local(`{"desired":{"a":2,"b":1}}`, 3))
	if c, ok := b.effects[0].(Commit); !ok || string(c.Update.Append(nil)) != `{"state":{"desired":{"a":1,"b":null}}}` {
		t.Errorf("down does %v", b.effects)
	}
}

// An upstream that puts values of its own is followed once, or left alone where
// the local side must not follow.
func TestStep_AValueOfUpstreamsOwnIsAdopted(t *testing.T) {
	for _, direction := range []Direction{Both, Up} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":"x"}}`)})
		b.policy.Direction = direction
		b.toPush(`{"reported":{"a":"x"}}`, `{"reported":{"a":"y"}}`)
		given := UpstreamDoc(parse(t, `{"reported":{"a":"Y"}}`), doc.Value{}, 6)
		b.give(Answer{Op: topic.Update, Kind: topic.Documents, Token: b.state.Record.Push.Token, Version: 6, Previous: 5, Doc: given})
		if !b.has(Count{Adopted}) {
			t.Errorf("effects %v; want it counted", b.effects)
		}
		b.give(Stored{}, b.local(`{"reported":{"a":"y"}}`, 3))
		commit, ok := b.effects[0].(Commit)
		switch {
		case direction == Both && (!ok || commit.Update.Reported.String() != `{"a":"Y"}`):
			t.Errorf("effects %v; want the local side to follow", b.effects)
		case direction == Up:
			b.give(Stored{})
			if b.state.Phase != Idle || b.state.Record.Push != nil {
				t.Errorf("phase %s, effects %v; want rest", b.state.Phase, b.effects)
			}
		}
	}
}

func TestStep_NewsOfOthersAreFollowedAndGapsAreAsked(t *testing.T) {
	b := newTable(t, Record{})
	b.give(Online{}, Turn{})
	b.give(b.upstream(`{"desired":{"a":1}}`, 5), b.local(`{"desired":{"a":1}}`, 3), Stored{})
	news := func(version, previous int64) Answer {
		return Answer{Op: topic.Update, Kind: topic.Documents, Version: version, Previous: previous, Doc: UpstreamDoc(parse(t, `{"desired":{"a":2}}`), doc.Value{}, version)}
	}
	b.give(news(4, 3), news(5, 4))
	if b.state.Dirty || !b.state.Known {
		t.Error("old news are taken for new")
	}
	b.give(news(6, 5))
	if !b.state.Dirty || b.state.Upstream.Version != 6 {
		t.Error("the next version is not followed")
	}
	b.give(news(9, 8))
	if b.state.Known {
		t.Error("a gap was not noticed")
	}
}

func TestStep_AnAnnouncedVersionWithoutDocumentIsAskedFor(t *testing.T) {
	b := newTable(t, Record{})
	b.give(Online{}, Turn{})
	b.give(b.upstream(`{"desired":{"a":1}}`, 5), b.local(`{"desired":{"a":1}}`, 3), Stored{})
	b.give(Answer{Op: topic.Update, Kind: topic.Accepted, Version: 6})
	if b.state.Deadline().IsZero() {
		t.Fatal("nothing waits for the document")
	}
	b.now = b.now.Add(time.Minute)
	b.give(Tick{})
	if b.state.Known || !b.state.Wants(b.now) {
		t.Error("the missing document is not asked for")
	}
}

func TestStep_ADiskThatFailsForgetsThePushThatWasNotSent(t *testing.T) {
	b := newTable(t, Record{})
	b.give(Online{}, Turn{})
	b.give(b.upstream("", 0), b.local(`{"reported":{"a":1}}`, 3), Failed{})
	if b.state.Record.Push != nil || b.state.Phase != Idle || !b.state.Dirty {
		t.Errorf("push %v, phase %s", b.state.Record.Push, b.state.Phase)
	}
}

// Any order of events leaves the machine alive: it never waits for nothing.
func TestStep_AnyOrderOfEventsIsSurvived(t *testing.T) {
	all := []Event{
		Online{}, Offline{}, Turn{}, Tick{}, LocalChanged{}, Stored{}, Committed{Version: 2}, Moved{}, Refused{Reason: "no"}, Failed{},
		Unsent{Reason: "x"}, Unsent{Reason: "y", Never: true}, Answer{Op: topic.Update, Kind: topic.Accepted, Version: 3},
		Answer{Op: topic.Delete, Kind: topic.Accepted, Version: 3}, LocalRead{},
	}
	for seed := range 500 {
		b := newTable(t, Record{})
		for i := range 60 {
			n := (seed*31 + i*i*7 + i*seed) % (len(all) + 2)
			switch n {
			case len(all):
				b.give(b.upstream(`{"desired":{"a":1}}`, int64(i)+1))
			case len(all) + 1:
				if b.state.Record.Push != nil {
					b.give(rejected(b.state.Record.Push.Token, []int{409, 413, 429, 500}[i%4], "no"))
				}
			default:
				b.give(all[n])
			}
			if got, err := Decode(b.state.Record.Encode()); err != nil || string(got.Encode()) != string(b.state.Record.Encode()) {
				t.Fatalf("record does not read back: %v", err)
			}
		}
		b.give(Offline{}, Stored{}, Failed{}, Online{})
		if b.state.Phase == Idle && !b.state.Wants(b.now.Add(time.Hour)) {
			t.Fatalf("seed %d: online, idle and content without a sync", seed)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((Record{Upstream: "u", Both: true, Cloud: 3, Push: &Push{Token: "t", Changes: []patch.Change{{Path: doc.Path{"desired", "a"}, New: doc.IntValue(1)}}}}).Encode())
	f.Fuzz(func(t *testing.T, stored []byte) {
		r, err := Decode(stored)
		if err != nil {
			return
		}
		again, err := Decode(r.Encode())
		if err != nil || string(again.Encode()) != string(r.Encode()) {
			t.Errorf("%q: %v", stored, err)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	f.Add("$aws/things/t/shadow/update/documents", []byte(`{"previous":{"version":1},"current":{"state":{"desired":{"a":1}},"version":2}}`))
	f.Fuzz(func(t *testing.T, name string, payload []byte) {
		r, _ := topic.ParseReserved(name)
		a, err := ParseAnswer(r, payload)
		if err != nil {
			return
		}
		b := newTable(t, Record{})
		b.give(Online{}, a, Turn{}, a, Offline{})
	})
}

// A new shadow is made empty, so it does not matter who made it, and how often.
func TestStep_AShadowThatWasToBeMadeIsLookedFor(t *testing.T) {
	for upstream, want := range map[string]string{
		"":                     `update {"state":{},"clientToken":`,
		`{"desired":{"on":1}}`: `update {"state":{"reported":{"a":1}},"version":5,`,
	} {
		b := newTable(t, Record{})
		b.policy.Answers = true
		b.toPush("", `{"reported":{"a":1}}`)
		b.give(Offline{}, Online{}, Turn{})
		if got := b.sent(); !strings.HasPrefix(got, "get ") {
			t.Fatalf("sent %s; want a look first", got)
		}
		b.give(b.upstream(upstream, 5), Stored{}, b.local(`{"reported":{"a":1}}`, 3), Stored{})
		if got := b.sent(); !strings.HasPrefix(got, want) {
			t.Errorf("upstream %s: sent %q, want %q", upstream, got, want)
		}
	}
}

// What decides must not act: no network, no disk, no lock, no clock, no
// goroutine.
func TestCore_IsPure(t *testing.T) {
	for _, name := range []string{"document.go", "merge.go", "policy.go", "decide.go", "patch/patch.go", "patch/trace.go", "record.go", "state.go", "step.go", "resolve.go", "answer.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{`"net"`, `"os"`, `"sync"`, `"context"`, "time.Now", "time.Since", "time.After", "time.Sleep", "\tgo ", "math/rand"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s has %s", name, word)
			}
		}
	}
}
