package plain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/home"
)

var pump = iot.ShadowKey{Thing: "pump"}

// house is a local shadow service with one shadow, in memory.
type house struct {
	mu     sync.Mutex
	doc    *doc.Shadow
	record []byte
	busy   int // commits that find the document moved
}

func (h *house) snapshot() home.Snapshot {
	s := home.Snapshot{Record: h.record}
	if h.doc != nil {
		s.Version, s.Deleted = h.doc.Version, h.doc.Deleted
		if h.doc.Live() {
			s.Doc = h.doc
		} else {
			s.DeletedAt = time.Unix(h.doc.Time, 0)
		}
	}
	return s
}

func (h *house) Snapshot(context.Context, iot.ShadowKey, string) (home.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.snapshot(), nil
}

func (h *house) Commit(_ context.Context, key iot.ShadowKey, _ string, w home.Write) (home.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy > 0 && w.IfVersion != nil {
		h.busy--
		return home.Snapshot{}, iot.Errorf(iot.Conflict, "Version conflict")
	}
	next, err := h.doc, error(nil)
	switch {
	case w.IfVersion != nil && *w.IfVersion != h.snapshot().Version:
		return home.Snapshot{}, iot.Errorf(iot.Conflict, "Version conflict")
	case w.Delete:
		next, _, err = doc.Delete(next, key, "", time.Now())
	case w.Update != nil:
		next, err = doc.Next(next, *w.Update, doc.DefaultLimits(), time.Now())
	}
	if err != nil {
		return home.Snapshot{}, err
	}
	h.doc = next
	if w.Record != nil {
		h.record = w.Record
	}
	return h.snapshot(), nil
}

func (h *house) Each(_ context.Context, _ string, f func(iot.ShadowKey, time.Time) error) error {
	h.mu.Lock()
	some := h.doc != nil || h.record != nil
	h.mu.Unlock()
	if some {
		return f(pump, time.Time{})
	}
	return nil
}

func (h *house) write(t *testing.T, body string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := doc.ParseRequest([]byte(body), doc.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if h.doc, err = doc.Next(h.doc, r, doc.Limits{}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func (h *house) version() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.doc.Version
}

func (h *house) remove(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	if h.doc, _, err = doc.Delete(h.doc, pump, "", time.Now()); err != nil {
		t.Fatal(err)
	}
}

// broker is a plain upstream.
type broker struct {
	mu       sync.Mutex
	takes    map[topic.Filter]func(iot.Message, func())
	retained map[string]string
	said     []string
}

func (b *broker) Subscribe(filter topic.Filter, take func(iot.Message, func())) {
	b.takes[filter] = take
}

func (b *broker) Publish(name string, payload []byte, retain bool, done func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, name+" "+string(payload))
	if retain {
		b.retained[name] = string(payload)
	}
	done(nil)
}

// send is a message of an app.
func (b *broker) send(name, payload string) {
	for filter, take := range b.takes {
		if topic.Match(filter, topic.Name(name)) {
			take(iot.Message{Topic: name, Payload: []byte(payload)}, func() {})
		}
	}
	time.Sleep(time.Second)
}

// answers takes out what was said since, without the root.
func (b *broker) answers() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, s := range b.said {
		if !strings.HasPrefix(s, "R/pump/~/doc ") {
			out = append(out, strings.TrimPrefix(s, "R/pump/~/"))
		}
	}
	b.said = nil
	return out
}

func (b *broker) doc() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.retained["R/pump/~/doc"]
}

type bench struct {
	*Carrier
	house  *house
	broker *broker
	policy shadowsync.Policy
	stop   func()
}

func (b *bench) run(t *testing.T) {
	t.Helper()
	b.broker.takes = make(map[topic.Filter]func(iot.Message, func()))
	var err error
	cfg := Config{Uplink: "plant", Root: "R", Limits: doc.DefaultLimits(), For: func(iot.ShadowKey) (shadowsync.Policy, bool) { return b.policy, true }}
	if b.Carrier, err = New(cfg, b.house, b.broker, clock.NewSystem(), NewFigures(metrics.New()), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func inBubble(t *testing.T, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{house: &house{}, broker: &broker{retained: make(map[string]string)}, policy: shadowsync.DefaultPolicy()}
		b.run(t)
		defer func() { b.stop() }()
		f(b)
	})
}

func TestCarrier_TheRetainedCopyFollowsTheDocument(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.house.write(t, `{"state":{"desired":{"on":1}}}`)
		b.Online(7)
		time.Sleep(time.Second)
		if got := b.broker.doc(); !strings.HasPrefix(got, `{"state":{"desired":{"on":1},"delta":{"on":1}},"metadata":`) || !strings.HasSuffix(got, `,"version":1,"timestamp":946684800,"epoch":7}`) {
			t.Errorf("doc is %s", got)
		}
		b.broker.answers()
		for i := range 100 {
			b.house.write(t, fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, i))
			b.Hint(pump)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		b.broker.mu.Lock()
		docs := len(b.broker.said)
		b.broker.mu.Unlock()
		if docs > 8 || !strings.Contains(b.broker.doc(), `"n":99`) {
			t.Errorf("%d documents in a second, the last %s; want at most one each 200 ms, and the newest", docs, b.broker.doc())
		}
		b.house.remove(t)
		b.Hint(pump)
		time.Sleep(time.Second)
		if got := b.broker.doc(); !strings.HasPrefix(got, `{"deleted":true,"version":102,`) {
			t.Errorf("after the delete doc is %s", got)
		}
		time.Sleep(49 * time.Hour)
		if got := b.broker.doc(); got != "" {
			t.Errorf("49 hours after the delete doc is %s", got)
		}
	})
}

func TestCarrier_ARestartSendsAgainOnlyWhatUpstreamLacks(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.house.write(t, `{"state":{"desired":{"on":1}}}`)
		b.Online(1)
		time.Sleep(time.Second)
		b.stop()
		docs := func(epoch uint64) int {
			b.run(t)
			b.broker.mu.Lock()
			b.broker.said = nil
			b.broker.mu.Unlock()
			b.Online(epoch)
			time.Sleep(10 * time.Second)
			b.stop()
			b.broker.mu.Lock()
			defer b.broker.mu.Unlock()
			return len(b.broker.said)
		}
		if n := docs(1); n != 0 {
			t.Errorf("%d documents in the same session; want none", n)
		}
		if n := docs(2); n != 1 {
			t.Errorf("%d documents after a lost session; want all again", n)
		}
		b.run(t)
	})
}

func TestCarrier_RequestsGetTheAnswersOfAWS(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.Online(1)
		b.broker.send("R/pump/~/get", `{"clientToken":"g"}`)
		b.broker.send("R/pump/~/update", `{"state":{"desired":{"on":1}},"clientToken":"u"}`)
		b.broker.send("R/pump/~/update", `{"state":{"desired":{"on":2}},"version":9,"clientToken":"v"}`)
		b.broker.send("R/pump/~/update", `{"state":1}`)
		b.broker.send("R/pump/~/delete", `{"clientToken":"d"}`)
		var names []string
		all := b.broker.answers()
		for _, a := range all {
			name, _, _ := strings.Cut(a, " ")
			names = append(names, name)
		}
		want := []string{"get/rejected", "update/accepted", "update/delta", "update/documents", "update/rejected", "update/rejected", "delete/accepted"}
		if !slices.Equal(names, want) {
			t.Fatalf("answers %v", all)
		}
		for i, part := range map[int]string{0: `"code":404`, 1: `"state":{"desired":{"on":1}}`, 3: `"current":{`, 4: `{"code":409,"message":"Version conflict","clientToken":"v"}`, 5: `"code":400`, 6: `{"version":1,`} {
			if !strings.Contains(all[i], part) {
				t.Errorf("answer %s; want %s in it", all[i], part)
			}
		}
	})
}

// A token has one effect (I4), also after a restart and when the document has
// changed since.
func TestCarrier_ARepeatedTokenIsAnsweredAndNotExecuted(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.Online(1)
		const request = `{"state":{"desired":{"on":1}},"clientToken":"once","baseVersion":0}`
		b.broker.send("R/pump/~/update", request)
		first := b.broker.answers()[0]
		b.house.write(t, `{"state":{"desired":{"on":5}}}`)
		b.stop()
		b.run(t)
		b.Online(1)
		b.broker.send("R/pump/~/update", request)
		again := b.broker.answers()
		if len(again) != 1 || again[0] != first || b.house.version() != 2 {
			t.Errorf("first %s, again %v, version %d", first, again, b.house.version())
		}
		time.Sleep(25 * time.Hour)
		b.broker.send("R/pump/~/update", request)
		if b.house.version() != 3 {
			t.Error("a token is remembered for longer than a day")
		}
	})
}

func TestCarrier_AnIntentSlotIsTakenOnce(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.Online(1)
		const slot = `{"state":{"desired":{"on":1}},"clientToken":"w1"}`
		b.broker.send("R/pump/~/want/app", slot)
		b.broker.send("R/pump/~/want/app", slot)
		time.Sleep(72 * time.Hour) // longer than tokens are remembered
		b.stop()
		b.run(t)
		b.Online(1)
		b.broker.send("R/pump/~/want/app", slot)
		// The second is told again: the first answer may have been lost.
		if got := b.broker.answers(); len(got) != 4 || b.house.version() != 1 {
			t.Errorf("answers %v, version %d; want one effect", got, b.house.version())
		}
		b.broker.send("R/pump/~/want/app", ``)
		b.broker.send("R/pump/~/want/app", `{"state":{"reported":{"on":1}},"clientToken":"w2"}`)
		b.broker.send("R/pump/~/want/app", `{"state":{"reported":{"on":1}},"clientToken":"w2"}`)
		if got := b.broker.answers(); len(got) != 1 || !strings.HasPrefix(got[0], "update/rejected") {
			t.Errorf("answers %v; want one refusal: an intent is for desired", got)
		}
	})
}

func TestCarrier_ADocumentThatMovesIsDecidedAgain(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.house.busy = 3
		b.broker.send("R/pump/~/update", `{"state":{"desired":{"on":1}}}`)
		if got := b.broker.answers(); len(got) != 3 || !strings.HasPrefix(got[0], "update/accepted") {
			t.Errorf("answers %v", got)
		}
	})
}

func TestCarrier_MoreRequestsThanMayWaitAreRefused(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.cfg.InboxMax = 2 // read by take alone
		refused := 0
		for range 5 {
			b.take(iot.Message{Topic: "R/pump/~/update", Payload: []byte(`{"state":{}}`)}, func() {})
		}
		time.Sleep(time.Second)
		for _, a := range b.broker.answers() {
			if strings.Contains(a, `"code":429`) {
				refused++
			}
		}
		if refused == 0 || refused > 3 {
			t.Errorf("%d of 5 refused", refused)
		}
	})
}

func TestDecide_LeafVersionsDecideWhatStays(t *testing.T) {
	// Version 1 sets a and o.x, version 2 sets b and o.y at second 200.
	var d *doc.Shadow
	for i, body := range []string{`{"state":{"desired":{"a":1,"o":{"x":1}},"reported":{"r":1}}}`, `{"state":{"desired":{"b":1,"o":{"y":1}},"reported":{"s":1}}}`} {
		r, err := doc.ParseRequest([]byte(body), doc.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if d, err = doc.Next(d, r, doc.Limits{}, time.Unix(int64(100*(i+1)), 0)); err != nil {
			t.Fatal(err)
		}
	}
	snap := home.Snapshot{Doc: d, Version: d.Version}
	const all = `"state":{"desired":{"a":9,"b":9,"o":{"x":9,"y":9},"n":9}}`
	for name, c := range map[string]struct {
		winner  shadowsync.Winner
		request string
		patch   string
		skipped []string
	}{
		"cloudWins":                      {shadowsync.CloudWins, `{` + all + `,"baseVersion":1}`, `{"a":9,"b":9,"n":9,"o":{"x":9,"y":9}}`, nil},
		"localWins":                      {shadowsync.LocalWins, `{` + all + `,"baseVersion":1}`, `{"a":9,"n":9,"o":{"x":9}}`, []string{"/desired/b", "/desired/o/y"}},
		"localWins, saw it":              {shadowsync.LocalWins, `{` + all + `,"baseVersion":2}`, `{"a":9,"b":9,"n":9,"o":{"x":9,"y":9}}`, nil},
		"localWins, says nothing":        {shadowsync.LocalWins, `{` + all + `}`, `{"a":9,"b":9,"n":9,"o":{"x":9,"y":9}}`, nil},
		"latest, issued before":          {shadowsync.Latest, `{` + all + `,"baseVersion":1,"issuedAt":150000}`, `{"a":9,"n":9,"o":{"x":9}}`, []string{"/desired/b", "/desired/o/y"}},
		"latest, issued after":           {shadowsync.Latest, `{` + all + `,"baseVersion":1,"issuedAt":250000}`, `{"a":9,"b":9,"n":9,"o":{"x":9,"y":9}}`, nil},
		"latest, time alone":             {shadowsync.Latest, `{` + all + `,"issuedAt":50000}`, `{"n":9}`, []string{"/desired/a", "/desired/b", "/desired/o/x", "/desired/o/y"}},
		"localWins, a whole object gone": {shadowsync.LocalWins, `{"state":{"desired":{"o":null}},"baseVersion":1}`, `{}`, []string{"/desired/o"}},
		"localWins, the section gone":    {shadowsync.LocalWins, `{"state":{"desired":null},"baseVersion":1}`, `{"a":null,"o":{"x":null}}`, []string{"/desired/b", "/desired/o/y"}},
	} {
		p := shadowsync.Policy{Desired: c.winner}
		plan := Decide(Request{Key: pump, Op: topic.Update, Payload: []byte(c.request)}, snap, Record{}, p, doc.DefaultLimits(), time.Unix(300, 0))
		if plan.Write == nil {
			t.Errorf("%s: answered %s", name, plan.Replies)
			continue
		}
		if got := plan.Write.Update.Desired.String(); got != c.patch || !slices.Equal(plan.Skipped, c.skipped) {
			t.Errorf("%s: patch %s skipped %v; want %s and %v", name, got, plan.Skipped, c.patch, c.skipped)
		}
	}
}

func TestDecide_ADeleteKeepsWhatChangedSince(t *testing.T) {
	var d *doc.Shadow
	for i, body := range []string{`{"state":{"desired":{"a":1}}}`, `{"state":{"reported":{"b":1}}}`} {
		r, _ := doc.ParseRequest([]byte(body), doc.Limits{})
		d, _ = doc.Next(d, r, doc.Limits{}, time.Unix(int64(i), 0))
	}
	snap := home.Snapshot{Doc: d, Version: d.Version}
	decide := func(payload string, onDelete shadowsync.OnDelete) Plan {
		return Decide(Request{Key: pump, Op: topic.Delete, Payload: []byte(payload)}, snap, Record{}, shadowsync.Policy{OnDelete: onDelete}, doc.DefaultLimits(), time.Unix(9, 0))
	}
	if p := decide(`{"baseVersion":1}`, shadowsync.UpdateWins); p.Write.Delete || p.Write.Update.Desired.String() != `{"a":null}` || !slices.Equal(p.Skipped, []string{"/reported/b"}) {
		t.Errorf("older: %+v", p.Write)
	}
	if p := decide(`{"baseVersion":1,"clientToken":"app-7"}`, shadowsync.UpdateWins); len(p.Conflicts) != 1 || p.Conflicts[0].Winner != shadowsync.LocalWins || p.Conflicts[0].Writer != "app-7" {
		t.Errorf("conflicts %+v; want what stays told, with who wanted it gone", p.Conflicts)
	}
	for _, p := range []Plan{decide(`{"baseVersion":2}`, shadowsync.UpdateWins), decide(`{"baseVersion":1}`, shadowsync.DeleteWins), decide(``, shadowsync.UpdateWins)} {
		if !p.Write.Delete || p.Write.Update != nil {
			t.Errorf("whole: %+v", p.Write)
		}
	}
}

func TestDecide_OnlyWritableKeysAreTaken(t *testing.T) {
	p := shadowsync.Policy{Writable: []string{"on"}}
	plan := Decide(Request{Key: pump, Op: topic.Update, Payload: []byte(`{"state":{"desired":{"on":1,"safe":1}}}`)}, home.Snapshot{}, Record{}, p, doc.DefaultLimits(), time.Unix(1, 0))
	if plan.Write.Update.Desired.String() != `{"on":1}` || !slices.Equal(plan.Skipped, []string{"/desired/safe"}) {
		t.Errorf("%s skipped %v", plan.Write.Update.Desired, plan.Skipped)
	}
}

func TestParse_TakesOnlyRequests(t *testing.T) {
	for name, want := range map[string]string{
		"R/pump/~/get": "pump get ", "R/pump/conf/update": "pump~conf update ", "R/pump/~/want/a1": "pump want a1",
		"R/pump/~/update/accepted": "", "R/pump/~/doc": "", "R/pump//get": "", "X/pump/~/get": "", "R/p mp/~/get": "", "R/pump/~/want/": "", "R/get": "",
	} {
		key, op, app, ok := parse("R", name)
		got := ""
		if ok {
			got = fmt.Sprintf("%s %s %s", key, op, app)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRecord_RemembersTheLast1024TokensForADay(t *testing.T) {
	var r Record
	now := time.Unix(1_000_000, 0)
	for i := range 2000 {
		r = r.with(Done{Token: fmt.Sprint(i), Op: topic.Update, Version: int64(i), Time: now.Unix()}, now)
	}
	if _, ok := r.find("975", topic.Update, now); ok || len(r.Done) != tokensMax {
		t.Errorf("%d tokens kept", len(r.Done))
	}
	again, err := Decode(r.Encode())
	if d, ok := again.find("1999", topic.Update, now); err != nil || !ok || d.Version != 1999 {
		t.Errorf("read back %+v, %v", d, err)
	}
	if _, ok := r.find("1999", topic.Update, now.Add(tokenAge)); ok {
		t.Error("a token is older than a day")
	}
}

func FuzzDecide(f *testing.F) {
	f.Add("update", []byte(`{"state":{"desired":{"a":{"b":null}}},"baseVersion":1}`))
	f.Fuzz(func(t *testing.T, op string, payload []byte) {
		d, err := doc.Next(nil, doc.Request{Desired: doc.ObjectValue(doc.Member{Key: "a", Value: doc.ObjectValue(doc.Member{Key: "b", Value: doc.IntValue(1)})})}, doc.Limits{}, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		snap := home.Snapshot{Doc: d, Version: 1}
		p := shadowsync.Policy{Desired: shadowsync.LocalWins, Reported: shadowsync.Latest}
		plan := Decide(Request{Key: pump, Op: topic.Op(op), App: "x", Payload: payload}, snap, Record{}, p, doc.DefaultLimits(), time.Unix(2, 0))
		if plan.Write == nil || plan.Write.Delete {
			return
		}
		if after, err := doc.Next(d, *plan.Write.Update, doc.Limits{}, time.Unix(3, 0)); err == nil {
			for _, r := range plan.Conclude(d, after, time.Unix(3, 0)) {
				if _, err := doc.ParseValue(r.Payload); err != nil {
					t.Errorf("%s %s: %v", r.Name, r.Payload, err)
				}
			}
		}
	})
}

// Each gateway is the only authority under its own root: no request for one is
// one for another, and no filter of one takes what another is asked.
func TestTopics_NoGatewayHearsAnother(t *testing.T) {
	roots := []string{"shadow/g1", "shadow/g10", "shadow/g", "shadow/g1/x"}
	for _, mine := range roots {
		for _, other := range roots {
			name := prefix(other, iot.ShadowKey{Thing: "pump"}) + "update"
			_, _, _, taken := parse(mine, name)
			if taken != (mine == other) {
				t.Errorf("root %s takes %s: %v", mine, name, taken)
			}
		}
	}
}
