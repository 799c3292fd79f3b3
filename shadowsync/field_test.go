package shadowsync

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/status"
)

// FL-001: what the cloud changed during an outage, and nobody announced, is
// found by comparing states.
func TestFL_001_ChangesOfAnOutageAreFoundByComparing(t *testing.T) {
	inBubble(t, onlyPump, func(b *bench) {
		b.sky.write(pump, `{"state":{"desired":{"on":1}}}`)
		b.connect()
		time.Sleep(5 * time.Second)
		b.sky.set(false)
		b.Offline()
		time.Sleep(24 * time.Hour)
		b.sky.mu.Lock()
		takes := b.sky.takes
		b.sky.takes = nil // the session is lost: no message comes
		b.sky.serve(pump, topic.Update, []byte(`{"state":{"desired":{"on":2}}}`))
		b.sky.takes = takes
		b.sky.mu.Unlock()
		b.connect()
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":2}}`)
	})
}

// FL-002: any number of outages, at any moment of a sync.
func TestFL_002_TheSyncSurvivesAnyNumberOfOutages(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		for n := range 200 {
			b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"n":`+strings.Repeat("1", 1+n%9)+`}}}`))
			b.connect()
			time.Sleep(time.Duration(n) * 7 * time.Millisecond)
			b.sky.set(false)
			b.Offline()
			time.Sleep(time.Duration(n%5) * time.Minute)
		}
		b.connect()
		time.Sleep(time.Minute)
		b.agree(t, pump, b.house.state(pump))
	})
}

// FL-002: the link is up, something waits, and nothing moves.
func TestFL_002_AWatchdogBeginsAnewWhenNothingMoves(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		o := b.newOwner(context.Background())
		tr := o.track(pump)
		tr.loaded, o.online = true, true
		tr.state.Online, tr.state.Known, tr.state.Phase = true, true, Getting // and no timeout: it would wait for ever
		o.show(tr)
		o.moved = o.clk.Now()
		time.Sleep(stuckAfter - time.Second)
		o.watch(o.clk.Now())
		if tr.state.Phase != Getting {
			t.Fatal("it begins anew although something moved within the minute")
		}
		time.Sleep(2 * time.Second)
		o.watch(o.clk.Now())
		if tr.state.Phase != Idle || !tr.state.Wants(o.clk.Now()) {
			t.Errorf("phase %s after a minute without a move; want a sync that waits for its turn", tr.state.Phase)
		}
	})
}

// FL-004: a shadow created again is not deleted by the tombstone of the old one.
func TestFL_004_AShadowCreatedAgainIsNotDeletedByAnOldTombstone(t *testing.T) {
	inBubble(t, onlyPump, func(b *bench) {
		b.sky.write(pump, `{"state":{"desired":{"on":1}}}`)
		b.connect()
		time.Sleep(5 * time.Second)
		b.sky.mu.Lock()
		b.sky.serve(pump, topic.Delete, []byte(`{}`))
		b.sky.mu.Unlock()
		time.Sleep(5 * time.Second)
		b.agree(t, pump, "null")
		b.sky.write(pump, `{"state":{"desired":{"on":2}}}`)
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":2}}`)
		b.sky.set(false)
		b.Offline()
		time.Sleep(time.Hour)
		b.connect()
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":2}}`)
	})
}

// FL-007: one way stays one way when versions conflict.
func TestFL_007_TheDirectionHoldsOnTheConflictPath(t *testing.T) {
	b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"reported":{"a":1}}`)})
	b.policy.Direction = Up
	b.toPush(`{"reported":{"a":1}}`, `{"reported":{"a":2}}`)
	b.give(rejected(b.state.Record.Push.Token, 409, "Version conflict"))
	b.give(b.upstream(`{"reported":{"a":9,"b":9}}`, 6))
	b.give(Stored{}, b.local(`{"reported":{"a":2}}`, 3), Stored{})
	if got := b.sent(); !strings.Contains(got, `"state":{"reported":{"a":2,"b":null}},"version":6`) {
		t.Errorf("sent %s; want upstream overwritten", got)
	}
	for _, e := range b.effects {
		if _, down := e.(Commit); down {
			t.Error("a conflict brought upstream's values down")
		}
	}
}

// FL-009: a program writes the desired state of another device while the uplink
// is away; it goes up by the stated rule.
func TestFL_009_DesiredWrittenOfflineGoesUp(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.Hint(pump, b.house.write(t, pump, `{"state":{"desired":{"on":true}}}`))
		time.Sleep(24 * time.Hour)
		b.connect()
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":true}}`)
		if s := b.Status(); len(s) != 1 || s[0].State != status.Synced {
			t.Errorf("status %+v", s)
		}
	})
}
