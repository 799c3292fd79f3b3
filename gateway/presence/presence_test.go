package presence

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

func open(t *testing.T, path string) (*Board, *store.DB) {
	t.Helper()
	db, err := store.Open(context.Background(), store.Options{Path: path, Schemas: []store.Schema{Schema()}})
	if err != nil {
		t.Fatal(err)
	}
	b := New(db, metrics.New(), slog.New(slog.DiscardHandler))
	if err := b.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	return b, db
}

// come and go speak with the broker's own words.
func (b *Board) come(id, session string, ms int64) {
	m, _ := lifecycle.Connected(lifecycle.Subject{ID: iot.ClientID(id), Session: session, IP: "10.0.0.7"}, time.UnixMilli(ms))
	b.Hear(m)
}

func (b *Board) leave(id, session string, ms int64) {
	m, _ := lifecycle.Disconnected(lifecycle.Subject{ID: iot.ClientID(id), Session: session}, lifecycle.Lost, time.UnixMilli(ms))
	b.Hear(m)
}

func TestHear_FollowsTheConnectionThatCounts(t *testing.T) {
	b, db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	b.come("pump", "1", 1000)
	b.come("pump", "2", 2000)
	b.leave("pump", "1", 3000) // the old one, told late
	if got, _ := b.Of("pump"); got != (State{Connected: true, At: 2000, Session: "2", IP: "10.0.0.7"}) {
		t.Errorf("after a takeover: %+v", got)
	}
	b.leave("pump", "2", 4000)
	if got, _ := b.Of("pump"); got != (State{At: 4000, Session: "2", IP: "10.0.0.7", Reason: lifecycle.Lost}) {
		t.Errorf("after the end: %+v", got)
	}
	if _, known := b.Of("ghost"); known {
		t.Error("somebody is known who never came")
	}
	b.Hear(iot.Message{Topic: "dt/pump", Payload: []byte(`{"clientId":"ghost","eventType":"connected"}`)})
	b.Hear(iot.Message{Topic: events + "connected/x", Payload: []byte("{")})
	if len(b.known) != 1 {
		t.Errorf("known: %v", b.known)
	}
}

func TestRun_KeepsLastSeenOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	b, db := open(t, path)
	b.come("gone", "1", 1000)
	b.leave("gone", "1", 2000)
	b.come("here", "2", 3000)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	db.Close()
	b, db = open(t, path)
	defer db.Close()
	for id, want := range map[iot.ClientID]State{
		"gone": {At: 2000, Session: "1", IP: "10.0.0.7", Reason: lifecycle.Lost}, "here": {At: 3000, Session: "2", IP: "10.0.0.7", Reason: unknown},
	} {
		if got, known := b.Of(id); !known || got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
}

func TestSet_IsBoundedAndForgetsWhoIsAwayLongest(t *testing.T) {
	b, db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	b.come("stays", "s", 1)
	b.come("away", "a", 2)
	b.leave("away", "a", 3)
	for i := range clientsMax - 1 {
		b.come(fmt.Sprint(i), "s", int64(10+i))
	}
	if _, known := b.Of("away"); known || len(b.known) != clientsMax {
		t.Errorf("%d clients, the one that is away is known: %t", len(b.known), known)
	}
	if _, known := b.Of("stays"); !known {
		t.Error("a connected client was forgotten before one that is away")
	}
	b.flush(context.Background())
	if len(b.dirty) != 0 {
		t.Errorf("%d changes were not written", len(b.dirty))
	}
}

// TestSet_MakesRoomForManyAtOnce: clients with ever new names do not pay for a
// look at all others each.
func TestSet_MakesRoomForManyAtOnce(t *testing.T) {
	b, db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	for i := range clientsMax + 1 {
		b.come(fmt.Sprint(i), "s", int64(i))
		b.leave(fmt.Sprint(i), "s", int64(i))
	}
	if got := len(b.known); got != clientsMax-forgetAtOnce+1 {
		t.Errorf("%d clients known", got)
	}
	for i, want := range map[int]bool{0: false, forgetAtOnce - 1: false, forgetAtOnce: true, clientsMax: true} {
		if _, known := b.Of(iot.ClientID(fmt.Sprint(i))); known != want {
			t.Errorf("client %d is known: %t", i, known)
		}
	}
}

// TestFlush_ForgetsWhoWasForgotten: the store and what waits for it hold no more
// clients than are known.
func TestFlush_ForgetsWhoWasForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	b, db := open(t, path)
	for i := range clientsMax + 1 {
		if i == clientsMax {
			b.flush(context.Background()) // all are stored before some are forgotten
		}
		b.come(fmt.Sprint(i), "s", int64(i))
		b.leave(fmt.Sprint(i), "s", int64(i))
	}
	if len(b.dirty) != 1 || !b.stale {
		t.Errorf("%d changes wait, stale: %t", len(b.dirty), b.stale)
	}
	b.flush(context.Background())
	db.Close()
	again, db := open(t, path)
	defer db.Close()
	if len(again.known) != len(b.known) || len(again.known) != clientsMax-forgetAtOnce+1 {
		t.Errorf("%d clients are stored, %d known", len(again.known), len(b.known))
	}
}
