package shadow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

func reported(n int64) *doc.Request {
	return &doc.Request{Reported: doc.Value{}.With(doc.IntValue(n), "n")}
}

func TestCommit_DocumentAndRecordGoTogether(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx := context.Background()
	zero, one := int64(0), int64(1)
	s, err := h.Commit(ctx, classic, "cloud", SyncCommit{IfVersion: &zero, Update: reported(1), Record: []byte("base")})
	if err != nil || s.Version != 1 || string(s.Record) != "base" || s.Doc.Reported.Get("n").Text() != "1" {
		t.Fatalf("%+v, %v", s, err)
	}
	if said := h.pub.take(); len(said) != 2 || !strings.HasSuffix(said[0].Topic, "update/accepted") {
		t.Errorf("local devices heard %v", lines(said))
	}
	_, err = h.Commit(ctx, classic, "cloud", SyncCommit{IfVersion: &zero, Update: reported(2), Record: []byte("lost")})
	if !errors.Is(err, ErrMoved) {
		t.Errorf("stale version: %v, want ErrMoved", err)
	}
	_, err = h.Commit(ctx, classic, "cloud", SyncCommit{Delete: true, Record: []byte("lost"),
		Update: &doc.Request{Reported: doc.Value{}.With(doc.StringValue(strings.Repeat("x", 9000)), "n")}})
	if iot.CodeOf(err) != iot.TooLarge {
		t.Errorf("too large: %v", err)
	}
	s, err = h.Snapshot(ctx, classic, "cloud")
	if err != nil || s.Version != 1 || string(s.Record) != "base" || len(h.pub.take()) != 0 {
		t.Errorf("a refused commit left %+v, %v", s, err)
	}
	s, err = h.Commit(ctx, classic, "cloud", SyncCommit{IfVersion: &one, Record: []byte("base 2")})
	if err != nil || s.Version != 1 || string(s.Record) != "base 2" || s.Doc == nil || len(h.pub.take()) != 0 {
		t.Errorf("record alone: %+v, %v", s, err)
	}
	s, err = h.Commit(ctx, classic, "cloud", SyncCommit{Delete: true, Update: reported(5)})
	if err != nil || s.Version != 3 || string(s.Record) != "base 2" || s.Doc.Reported.Get("n").Text() != "5" {
		t.Errorf("delete, then update: %+v, %v", s, err)
	}
	h.pub.take()
	s, err = h.Commit(ctx, classic, "cloud", SyncCommit{Delete: true, Record: []byte{}})
	if err != nil || !s.Deleted || s.Version != 4 || s.Record != nil || s.DeletedAt.Unix() != 1_700_000_000 {
		t.Errorf("delete: %+v, %v", s, err)
	}
	if said := h.pub.take(); len(said) != 1 || !strings.HasSuffix(said[0].Topic, "delete/accepted") {
		t.Errorf("local devices heard %v", lines(said))
	}
	if s, err = h.Commit(ctx, classic, "cloud", SyncCommit{Delete: true}); err != nil || s.Version != 4 {
		t.Errorf("deleted already: %+v, %v", s, err)
	}
}

func TestCommit_FailedOneLeavesDocumentAndRecord(t *testing.T) {
	fail := false
	h := newHouse(t, Config{}, store.Options{Fault: func(p store.FaultPoint, _ uint64) error {
		if p == store.FaultCommit && fail {
			return errors.New("injected")
		}
		return nil
	}})
	ctx := context.Background()
	if _, err := h.Commit(ctx, classic, "cloud", SyncCommit{Update: reported(1), Record: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	fail = true
	_, err := h.Commit(ctx, classic, "cloud", SyncCommit{Update: reported(2), Record: []byte("b")})
	if err == nil || iot.CodeOf(err) != iot.Internal {
		t.Errorf("got %v", err)
	}
	fail = false
	if s, err := h.Snapshot(ctx, classic, "cloud"); err != nil || s.Version != 1 || string(s.Record) != "a" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRecords_OfOneUplinkAndItsOwn(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx := context.Background()
	own := iot.ShadowKey{}
	for i, c := range []struct {
		key    iot.ShadowKey
		uplink string
	}{{own, "cloud"}, {keyOf(2), "cloud"}, {keyOf(1), "cloud"}, {keyOf(1), "other"}} {
		if _, err := h.Commit(ctx, c.key, c.uplink, SyncCommit{Record: fmt.Appendf(nil, "r%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(uplink string) (out []string) {
		err := h.Records(ctx, uplink, func(key iot.ShadowKey, record []byte) error {
			out = append(out, key.String()+"="+string(record))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return out
	}
	if got := read("cloud"); !slices.Equal(got, []string{"thing-1=r2", "thing-2=r1"}) {
		t.Errorf("records %v", got)
	}
	if s, err := h.Snapshot(ctx, own, "cloud"); err != nil || string(s.Record) != "r0" || s.Doc != nil {
		t.Errorf("own record: %+v, %v", s, err)
	}
	if _, err := h.Commit(ctx, own, "cloud", SyncCommit{Update: reported(1)}); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("document without thing: %v", err)
	}
	if err := h.Forget(ctx, "cloud"); err != nil || len(read("cloud")) != 0 || len(read("other")) != 1 {
		t.Errorf("after Forget: %v, %v", err, read("other"))
	}
}

func TestKeys_LastChangedFirstWithTombstones(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx := context.Background()
	for n := range 3 {
		h.update(t, keyOf(n), `{"state":{}}`)
		h.clk.move(time.Second)
	}
	if _, err := h.Delete(ctx, keyOf(0), iot.Origin{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := h.Keys(ctx, func(k KeyState) error {
		got = append(got, fmt.Sprintf("%s v%d %v", k.Key, k.Version, k.Deleted))
		return nil
	})
	if want := []string{"thing-0 v2 true", "thing-2 v1 false", "thing-1 v1 false"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// A gateway that syncs sends a push again under the same token when it does
// not know what became of it: the recorded answer comes, nothing is done twice.
func TestToken_OfAGatewayIsAnsweredAgainNotExecutedAgain(t *testing.T) {
	path := ""
	h := newHouse(t, Config{}, store.Options{})
	path = h.db.Path()
	push := `{"state":{"desired":{"a":1}},"version":0,"clientToken":"gw:north:1"}`
	first := h.ask(t, "north", classic, topic.Update, push)
	h.clk.move(time.Minute)
	h.ask(t, "app", classic, topic.Update, `{"state":{"desired":{"a":2}}}`)
	h.db.Close() // a restart forgets nothing
	clk := h.clk
	h = newHouse(t, Config{}, store.Options{Path: path})
	h.clk = clk
	h.Service.clk = clk

	again := h.ask(t, "north", classic, topic.Update, push)
	if len(again) != 1 || string(again[0].Payload) != string(first[0].Payload) || again[0].Topic != first[0].Topic {
		t.Errorf("got %v, want %v alone", lines(again), lines(first[:1]))
	}
	if got := h.ask(t, "south", classic, topic.Update, push); !strings.Contains(string(got[0].Payload), `"code":409`) {
		t.Errorf("another client's token is its own: %v", lines(got))
	}
	other := strings.Replace(push, `"a":1`, `"a":3`, 1)
	if got := h.ask(t, "north", classic, topic.Update, other); !strings.Contains(string(got[0].Payload), `"code":409`) {
		t.Errorf("another request under that token is another request: %v", lines(got))
	}
	if got := h.ask(t, "north", keyOf(1), topic.Update, push); len(got) != 3 {
		t.Errorf("the same request to another shadow is another request: %v", lines(got))
	}
	gone := `{"clientToken":"gw:north:2"}`
	deleted := h.ask(t, "north", classic, topic.Delete, gone)
	h.ask(t, "app", classic, topic.Update, `{"state":{"desired":{"a":9}}}`)
	if got := h.ask(t, "north", classic, topic.Delete, gone); len(got) != 1 || string(got[0].Payload) != string(deleted[0].Payload) {
		t.Errorf("repeated delete: %v", lines(got))
	}
	if s, _ := h.Snapshot(context.Background(), classic, ""); s.Version != 4 || s.Deleted {
		t.Errorf("the re-created shadow must live: %+v", s)
	}
	h.clk.move(25 * time.Hour)
	if got := h.ask(t, "north", classic, topic.Update, push); !strings.Contains(string(got[0].Payload), `"code":409`) {
		t.Errorf("after a day nothing is remembered: %v", lines(got))
	}
}

func TestToken_OfOthersIsNeverRemembered(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	for i := range 3 {
		h.ask(t, "sdk", classic, topic.Update, `{"state":{},"clientToken":"same"}`)
		if s, _ := h.Snapshot(context.Background(), classic, ""); s.Version != int64(i+1) {
			t.Errorf("version %d, want %d", s.Version, i+1)
		}
	}
}

func TestToken_TheLast1024OfAClientAreKept(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{Durability: store.Normal})
	send := func(i int) []iot.Message {
		return h.ask(t, "north", classic, topic.Update, fmt.Sprintf(`{"state":{},"clientToken":"gw:n:%d"}`, i))
	}
	const sent = answersPerClient + 3*answersTrimEvery
	for i := range sent {
		send(i)
	}
	var rows int
	err := h.db.Read(context.Background(), func(tx *store.Tx) error {
		_, err := tx.QueryRow("SELECT count(*) FROM shadow_answer", nil, &rows)
		return err
	})
	if err != nil || rows < answersPerClient || rows >= answersPerClient+answersTrimEvery {
		t.Errorf("%d answers kept, %v", rows, err)
	}
	if got := send(sent - answersPerClient); len(got) != 1 {
		t.Error("the 1024th last must be remembered")
	}
	if got := send(0); len(got) == 1 {
		t.Error("the first must be forgotten")
	}
}

func TestToken_OfASyncCommitMakesItHappenOnce(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx := context.Background()
	c := SyncCommit{Update: reported(1), Record: []byte("r1"), Token: "app-7"}
	first, err := h.Commit(ctx, classic, "plain", c)
	if err != nil || first.Repeated || !strings.Contains(string(first.Accepted), `"clientToken":"app-7"`) {
		t.Fatalf("%+v, %v", first, err)
	}
	h.pub.take()
	c.Record = []byte("r2")
	again, err := h.Commit(ctx, classic, "plain", c)
	if err != nil || !again.Repeated || string(again.Accepted) != string(first.Accepted) || again.Version != 1 || string(again.Record) != "r1" {
		t.Errorf("%+v, %v", again, err)
	}
	if said := h.pub.take(); len(said) != 0 {
		t.Errorf("repetition said %v", lines(said))
	}
}
