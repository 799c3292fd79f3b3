package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

func TestHandleTopic_AnswersLeaveAsAcceptedDeltaDocuments(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	got := lines(h.ask(t, "c", classic, topic.Update, `{"state":{"desired":{"led":"on"}},"clientToken":"t"}`))
	want := []string{
		`$aws/things/known/shadow/update/accepted {"state":{"desired":{"led":"on"}},"metadata":{"desired":{"led":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000,"clientToken":"t"}`,
		`$aws/things/known/shadow/update/delta {"version":1,"timestamp":1700000000,"state":{"led":"on"},"metadata":{"led":{"timestamp":1700000000}},"clientToken":"t"}`,
		`$aws/things/known/shadow/update/documents {"current":{"state":{"desired":{"led":"on"}},"metadata":{"desired":{"led":{"timestamp":1700000000}}},"version":1},"timestamp":1700000000,"clientToken":"t"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, m := range h.ask(t, "c", classic, topic.Get, "") {
		if m.Retain || m.QoS != 1 || m.Topic != "$aws/things/known/shadow/get/accepted" {
			t.Errorf("answer %+v", m)
		}
	}
}

func TestHandleTopic_IgnoresWillsAndWhatIsNoRequest(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	name := topic.Shadow(classic, topic.Update)
	r, _ := topic.ParseReserved(name)
	called := 0
	h.HandleTopic(iot.Message{Topic: name, Payload: []byte(`{"state":{}}`), Origin: iot.Origin{Will: true}}, r, func(error) { called++ })
	r.Kind = topic.ShadowAnswer
	h.HandleTopic(iot.Message{Topic: name, Payload: []byte(`{"state":{}}`)}, r, func(error) { called++ })
	if _, err := h.Get(context.Background(), classic, ""); called != 2 || iot.CodeOf(err) != iot.NotFound || len(h.pub.take()) != 0 {
		t.Errorf("done called %d times, get: %v", called, err)
	}
}

func TestHandleTopic_RequireThingRefusesUnknownThings(t *testing.T) {
	h := newHouse(t, Config{RequireThing: true}, store.Options{})
	for _, op := range []topic.Op{topic.Get, topic.Update, topic.Delete} {
		got := h.ask(t, "c", iot.ShadowKey{Thing: "stranger"}, op, `{"state":{},"clientToken":"t"}`)
		if len(got) != 1 || string(got[0].Payload) != `{"code":404,"message":"Thing not found","clientToken":"t"}` {
			t.Errorf("%s: %v", op, lines(got))
		}
	}
	h.update(t, classic, `{"state":{}}`)
}

func TestHandleTopic_MoreThanTheInFlightLimitIs429(t *testing.T) {
	h := newHouse(t, Config{MaxInFlight: 10}, store.Options{CommitDelay: 30 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range 25 {
		wg.Add(1)
		h.send("one", classic, topic.Update, fmt.Sprintf(`{"state":{},"clientToken":"%d"}`, i), func(error) { wg.Done() })
		if i < 5 {
			wg.Add(1)
			h.send("two", classic, topic.Update, `{"state":{}}`, func(error) { wg.Done() })
		}
	}
	wg.Wait()
	refused := 0
	for _, m := range h.pub.take() {
		if strings.HasPrefix(string(m.Payload), `{"code":429,"message":"Too Many Requests"`) {
			refused++
		}
	}
	if d, _ := h.committed(context.Background(), classic, false); refused != 15 || d.Version != 15 {
		t.Errorf("%d refused, version %d; want 15 and 15", refused, d.Version)
	}
	h.ask(t, "one", classic, topic.Update, `{"state":{}}`)
	if len(h.inFlight.n) != 0 {
		t.Errorf("still counted: %v", h.inFlight.n)
	}
}

func TestHandleTopic_MoreThanTheRateIs429(t *testing.T) {
	h := newHouse(t, Config{MaxRate: 2}, store.Options{})
	codes := func(n int) (out []string) {
		for range n {
			m := h.ask(t, "c", classic, topic.Get, "")
			out = append(out, string(m[0].Payload)[:11])
		}
		return out
	}
	if got := codes(4); !slices.Equal(got, []string{`{"code":404`, `{"code":404`, `{"code":429`, `{"code":429`}) {
		t.Errorf("got %v", got)
	}
	h.clk.move(500 * time.Millisecond)
	if got := codes(2); !slices.Equal(got, []string{`{"code":404`, `{"code":429`}) {
		t.Errorf("half a second later: %v", got)
	}
	h.clk.move(time.Hour)
	h.rate.forgetFull(h.clk.Now())
	if len(h.rate.m) != 0 {
		t.Errorf("full buckets stay: %v", h.rate.m)
	}
}

// Thousands of requests of several clients over many shadows: per shadow the
// answers must come in the order of the requests, versions without a hole, and
// accepted, delta, documents of one request together.
func TestOrder_PipelinedRequestsOfManyShadows(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{CommitDelay: time.Millisecond})
	const clients, shadows, rounds = 4, 25, 60
	var wg sync.WaitGroup
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range rounds {
				for n := range shadows {
					key := iot.ShadowKey{Thing: iot.ThingName(fmt.Sprintf("thing-%d-%d", c, n))}
					wg.Add(1)
					h.send("c", key, kindOf(i), fmt.Sprintf(`{"state":{"desired":{"n":%d}},"clientToken":"%d"}`, i, i), func(err error) {
						if err != nil {
							t.Error(err)
						}
						wg.Done()
					})
				}
			}
		}()
	}
	wg.Wait()
	checkOrder(t, h.pub.take(), clients*shadows, rounds)
}

// kindOf mixes updates, gets, refused updates and deletes.
func kindOf(i int) topic.Op {
	switch {
	case i%7 == 3:
		return topic.Get
	case i%20 == 19:
		return topic.Delete
	}
	return topic.Update
}

func checkOrder(t *testing.T, said []iot.Message, shadows, rounds int) {
	t.Helper()
	byThing := map[iot.ShadowKey][]string{}
	versions := map[iot.ShadowKey]int64{}
	for _, m := range said {
		r, _ := topic.ParseReserved(m.Topic)
		var body struct {
			ClientToken string
			Version     int64
		}
		if err := json.Unmarshal(m.Payload, &body); err != nil {
			t.Fatal(err)
		}
		if r.Op == topic.Update && r.Answer == topic.Accepted {
			// The request right after a delete takes one version more.
			if step := body.Version - versions[r.Key]; step != 1 && !(step == 2 && strings.HasSuffix(byThing[r.Key][len(byThing[r.Key])-1], "delete/accepted")) {
				t.Fatalf("%s: version %d after %d", r.Key, body.Version, versions[r.Key])
			}
			versions[r.Key] = body.Version
		}
		byThing[r.Key] = append(byThing[r.Key], fmt.Sprintf("%s %s/%s", body.ClientToken, r.Op, r.Answer))
	}
	var want []string
	for i := range rounds {
		switch op := kindOf(i); op {
		case topic.Update:
			for _, answer := range []string{topic.Accepted, topic.Delta, topic.Documents} {
				want = append(want, fmt.Sprintf("%d update/%s", i, answer))
			}
		default:
			want = append(want, fmt.Sprintf("%d %s/accepted", i, op))
		}
	}
	if len(byThing) != shadows {
		t.Errorf("answers of %d shadows, want %d", len(byThing), shadows)
	}
	for key, got := range byThing {
		if !slices.Equal(got, want) {
			t.Fatalf("%s:\n got %v\nwant %v", key, got, want)
		}
	}
}

func TestOrder_GetAndRefusalKeepTheirPlaceBehindPendingUpdates(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{CommitDelay: 20 * time.Millisecond})
	var wg sync.WaitGroup
	wg.Add(4)
	for _, r := range []struct {
		op      topic.Op
		payload string
	}{
		{topic.Update, `{"state":{"reported":{"a":1}}}`}, {topic.Get, ""}, {topic.Update, "no json"}, {topic.Update, `{"state":{"reported":{"a":2}}}`},
	} {
		h.send("c", classic, r.op, r.payload, func(error) { wg.Done() })
	}
	wg.Wait()
	var got []string
	for _, m := range h.pub.take() {
		got = append(got, strings.TrimPrefix(m.Topic, "$aws/things/known/shadow/"))
	}
	want := []string{"update/accepted", "update/documents", "get/accepted", "update/rejected", "update/accepted", "update/documents"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A get or a refusal of a shadow with nothing under way must not wait for the
// writer: here the writer stands still.
func TestGet_NeedsNoWriterWhenNothingIsUnderWay(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	h.update(t, classic, `{"state":{"reported":{"a":1}}}`)
	hold := make(chan struct{})
	h.db.WriteAsync("hold", func(*store.Tx) error { <-hold; return nil }, func(error) {})
	defer close(hold)
	h.cache.drop(classic) // not even in memory
	for _, payload := range []string{"", `{"clientToken":"x"}`} {
		if got := h.ask(t, "c", classic, topic.Get, payload); !strings.HasSuffix(got[0].Topic, "get/accepted") {
			t.Errorf("got %v", lines(got))
		}
	}
	if got := h.ask(t, "c", classic, topic.Update, "no json"); !strings.HasSuffix(got[0].Topic, "update/rejected") {
		t.Errorf("got %v", lines(got))
	}
	if _, err := h.Get(context.Background(), classic, ""); err != nil {
		t.Error(err)
	}
}

func TestUpdate_OfAPairOfCallersEachGetsItsOwnVersion(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	seen := make(chan int64, 100)
	var wg sync.WaitGroup
	for range 100 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			body, err := h.Update(context.Background(), classic, []byte(`{"state":{"reported":{"a":1}}}`), iot.Origin{})
			var a struct{ Version int64 }
			if err != nil || json.Unmarshal(body, &a) != nil {
				t.Error(err)
			}
			seen <- a.Version
		}()
	}
	wg.Wait()
	close(seen)
	var versions []int64
	for v := range seen {
		versions = append(versions, v)
	}
	slices.Sort(versions)
	for i, v := range versions {
		if v != int64(i+1) {
			t.Fatalf("versions %v", versions)
		}
	}
	if len(h.lanes.m) != 0 || len(h.slots) != 0 {
		t.Errorf("left behind: %d lanes, %d slots", len(h.lanes.m), len(h.slots))
	}
}

func TestUpdate_ErrorsCarryTheCodesAndPublishNothing(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx := context.Background()
	h.update(t, classic, `{"state":{"reported":{"a":1}}}`)
	h.pub.take()
	for payload, want := range map[string]iot.Code{
		"{": iot.InvalidRequest, `{"state":{},"version":9}`: iot.Conflict, "\xff": iot.UnsupportedMedia,
		`{"state":{"reported":{"b":"` + strings.Repeat("x", 9000) + `"}}}`: iot.TooLarge,
	} {
		if _, err := h.Update(ctx, classic, []byte(payload), iot.Origin{}); iot.CodeOf(err) != want {
			t.Errorf("%.20q: %v, want code %v", payload, err, want)
		}
	}
	if _, err := h.Delete(ctx, iot.ShadowKey{Thing: "none"}, iot.Origin{}); iot.CodeOf(err) != iot.NotFound {
		t.Errorf("delete: %v", err)
	}
	if said := h.pub.take(); len(said) != 0 {
		t.Errorf("published %v", lines(said))
	}
}

func TestList_PagesNamedLiveShadowsInOrder(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx := context.Background()
	h.update(t, classic, `{"state":{}}`)
	for _, name := range []iot.ShadowName{"d", "b", "a", "c", "gone"} {
		h.update(t, iot.ShadowKey{Thing: "known", Shadow: name}, `{"state":{}}`)
	}
	if _, err := h.Delete(ctx, iot.ShadowKey{Thing: "known", Shadow: "gone"}, iot.Origin{}); err != nil {
		t.Fatal(err)
	}
	first, next, err := h.List(ctx, "known", "", 3)
	if err != nil || !slices.Equal(first, []iot.ShadowName{"a", "b", "c"}) || next != "c" {
		t.Errorf("first page %v, next %q, %v", first, next, err)
	}
	rest, next, err := h.List(ctx, "known", next, 3)
	if err != nil || !slices.Equal(rest, []iot.ShadowName{"d"}) || next != "" {
		t.Errorf("second page %v, next %q, %v", rest, next, err)
	}
	if none, next, err := h.List(ctx, "stranger", "", 0); err != nil || len(none) != 0 || next != "" {
		t.Errorf("unknown thing: %v %q %v", none, next, err)
	}
	for _, size := range []int{-1, 101} {
		if _, _, err := h.List(ctx, "known", "", size); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("size %d: %v", size, err)
		}
	}
	if h.live.Load() != 5 {
		t.Errorf("counted %d documents, want 5", h.live.Load())
	}
}

func TestTombstone_NumberingGoesOnFor48HoursThenStartsAgain(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx := context.Background()
	key := func(n int) iot.ShadowKey { return iot.ShadowKey{Thing: "known", Shadow: iot.ShadowName(fmt.Sprint(n))} }
	for i := range 3 {
		h.update(t, key(i), `{"state":{"reported":{"a":1}}}`)
		if _, err := h.Delete(ctx, key(i), iot.Origin{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Commit(ctx, key(2), "cloud", SyncCommit{Record: []byte("r")}); err != nil {
		t.Fatal(err)
	}
	version := func(n int) int64 {
		t.Helper()
		h.update(t, key(n), `{"state":{}}`)
		s, err := h.Snapshot(ctx, key(n), "cloud")
		if err != nil {
			t.Fatal(err)
		}
		return s.Version
	}
	h.clk.move(47 * time.Hour)
	if got := version(0); got != 3 {
		t.Errorf("within 48 h: version %d, want 3", got)
	}
	h.clk.move(2 * time.Hour)
	if got := version(1); got != 1 {
		t.Errorf("after 49 h: version %d, want 1", got)
	}
	h.clk.move(1000 * time.Hour)
	if err := h.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if s, _ := h.Snapshot(ctx, key(2), "cloud"); !s.Deleted || s.Version != 2 {
		t.Errorf("with a sync record the tombstone stays: %+v", s)
	}
	if _, err := h.Commit(ctx, key(2), "cloud", SyncCommit{Record: []byte{}}); err != nil {
		t.Fatal(err)
	}
	h.clk.move(47 * time.Hour)
	if err := h.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if s, _ := h.Snapshot(ctx, key(2), "cloud"); !s.Deleted {
		t.Error("48 h more after the record went")
	}
	h.clk.move(2 * time.Hour)
	if got := version(2); got != 1 {
		t.Errorf("at last: version %d, want 1", got)
	}
}

func TestWatch_HearsEveryCommitInOrderWithItsOrigin(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	var heard []string
	h.Watch(func(c Change) {
		heard = append(heard, fmt.Sprintf("%s v%d deleted=%v by %s%s", c.Key, c.Version, c.Deleted, c.Origin.ClientID, c.Origin.Uplink))
	})
	h.ask(t, "dev", classic, topic.Update, `{"state":{"desired":{"a":1}}}`)
	h.ask(t, "dev", classic, topic.Update, `{"state":{},"version":7}`)
	h.ask(t, "dev", classic, topic.Get, "")
	if _, err := h.Commit(context.Background(), classic, "cloud", SyncCommit{Update: &doc.Request{}}); err != nil {
		t.Fatal(err)
	}
	h.ask(t, "dev", classic, topic.Delete, "")
	want := []string{"known v1 deleted=false by dev", "known v2 deleted=false by cloud", "known v3 deleted=true by dev"}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
}

func TestCache_ForgetsTheLeastRecentlyUsedAndReadsAgain(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	h.cache.max = 4000
	for i := range 50 {
		h.update(t, iot.ShadowKey{Thing: iot.ThingName(fmt.Sprint(i))}, fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, i))
	}
	if h.cache.size() > 4000 || h.cache.order.Len() == 0 || len(h.cache.byKey) != h.cache.order.Len() {
		t.Errorf("%d bytes in %d entries", h.cache.size(), h.cache.order.Len())
	}
	for i := range 50 {
		key := iot.ShadowKey{Thing: iot.ThingName(fmt.Sprint(i))}
		h.update(t, key, `{"state":{"reported":{"m":1}}}`)
		body, err := h.Get(context.Background(), key, "")
		if err != nil || !strings.Contains(string(body), fmt.Sprintf(`{"reported":{"m":1,"n":%d}}`, i)) {
			t.Fatalf("%s, %v", body, err)
		}
	}
}

func TestNew_SaysWhatIsMissing(t *testing.T) {
	db := openDB(t, store.Options{})
	if _, err := New(Config{}, db, nil, &record{}, nil, metrics.New(), nil); err == nil {
		t.Error("no clock: want an error")
	}
	if _, err := New(Config{RequireThing: true}, db, &movable{}, &record{}, nil, metrics.New(), nil); err == nil {
		t.Error("nobody knows the things: want an error")
	}
}

func TestHandleTopic_ClosedStoreGivesNoAnswerButAnError(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	h.db.Close()
	var got error
	h.send("c", classic, topic.Update, `{"state":{}}`, func(err error) { got = err })
	if !errors.Is(got, store.ErrClosed) || len(h.pub.take()) != 0 {
		t.Errorf("got %v", got)
	}
	if _, err := h.Update(context.Background(), classic, []byte(`{"state":{}}`), iot.Origin{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
}
