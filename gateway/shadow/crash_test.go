package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// copyFiles is the crash: what is in the files at this moment is all that is
// left. The log is copied last, so that it may be torn but not too old.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		in, err := os.Open(from + suffix)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(to + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
		in.Close()
		out.Close()
	}
}

// What was accepted before the copy was taken is in the copy, whole, and
// numbering goes on from there.
func TestCrash_WhatWasAcceptedIsThere(t *testing.T) {
	dir := t.TempDir()
	// No checkpoint: it would move pages between the two files while they are
	// being copied, which a crash does not do.
	h := newHouse(t, Config{}, store.Options{Path: filepath.Join(dir, "state.db"), CheckpointPages: 1 << 30})
	const shadows = 20
	var accepted [shadows]atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range shadows {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int64(1); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := h.Update(context.Background(), keyOf(n), fmt.Appendf(nil, `{"state":{"reported":{"n":%d,"pad":"%s"}}}`, i, strings.Repeat("x", n*10)), iot.Origin{})
				if err != nil {
					t.Error(err)
					return
				}
				accepted[n].Store(i)
			}
		}()
	}
	for round := range 5 {
		time.Sleep(50 * time.Millisecond)
		var before [shadows]int64
		for n := range shadows {
			before[n] = accepted[n].Load()
		}
		copyPath := filepath.Join(dir, fmt.Sprintf("copy%d.db", round))
		copyFiles(t, h.db.Path(), copyPath)
		checkCopy(t, copyPath, before[:])
	}
	close(stop)
	wg.Wait()
}

func keyOf(n int) iot.ShadowKey {
	return iot.ShadowKey{Thing: iot.ThingName(fmt.Sprintf("thing-%d", n))}
}

func checkCopy(t *testing.T, path string, before []int64) {
	t.Helper()
	h := newHouse(t, Config{}, store.Options{Path: path})
	for n, least := range before {
		if least == 0 {
			continue
		}
		body, err := h.Get(context.Background(), keyOf(n), "")
		if err != nil {
			t.Fatalf("%s: %v", keyOf(n), err)
		}
		var got struct {
			State   struct{ Reported struct{ N int64 } }
			Version int64
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if got.Version < least || got.State.Reported.N != got.Version {
			t.Errorf("%s: version %d holds n=%d, accepted were %d", keyOf(n), got.Version, got.State.Reported.N, least)
		}
		h.update(t, keyOf(n), fmt.Sprintf(`{"state":{},"version":%d}`, got.Version))
	}
}

// The n-th commit fails, for each n in turn: its requests hear 500, nothing of
// them is there, and whatever was accepted before or after stays.
func TestCommit_AFailedOneChangesNothingAndTheClientHears500(t *testing.T) {
	for n := uint64(2); n < 8; n++ { // the first commit is Load's
		h := newHouse(t, Config{}, store.Options{Fault: func(p store.FaultPoint, at uint64) error {
			if p == store.FaultCommit && at == n {
				return errors.New("injected")
			}
			return nil
		}})
		want := int64(0)
		for i := range 6 {
			got := h.ask(t, "c", classic, topic.Update, fmt.Sprintf(`{"state":{"desired":{"n":%d}},"clientToken":"t%d"}`, i, i))
			if i == int(n)-2 {
				wantText := fmt.Sprintf(`{"code":500,"message":"Internal service failure","clientToken":"t%d"}`, i)
				if len(got) != 1 || string(got[0].Payload) != wantText || !strings.HasSuffix(got[0].Topic, "update/rejected") {
					t.Errorf("commit %d: got %v", n, lines(got))
				}
			} else if want++; len(got) != 3 {
				t.Errorf("commit %d update %d: got %v", n, i, lines(got))
			}
			s, err := h.Snapshot(context.Background(), classic, "")
			if err != nil || s.Version != want {
				t.Errorf("commit %d update %d: version %d, want %d (%v)", n, i, s.Version, want, err)
			}
			if cur, _ := h.committed(context.Background(), classic, false); cur.Current() != want {
				t.Errorf("commit %d update %d: memory has version %d, want %d", n, i, cur.Current(), want)
			}
		}
		if h.live.Load() != 1 {
			t.Errorf("%d documents, want 1", h.live.Load())
		}
	}
}

// A failing group holds several batches of one shadow, and others.
func TestCommit_AFailedGroupTakesAllItsBatchesBack(t *testing.T) {
	fail := atomic.Bool{}
	h := newHouse(t, Config{}, store.Options{Fault: func(p store.FaultPoint, _ uint64) error {
		if p == store.FaultCommit && fail.Load() {
			return errors.New("injected")
		}
		return nil
	}})
	for n := range 3 {
		h.update(t, keyOf(n), `{"state":{"reported":{"ok":true}}}`)
	}
	h.pub.take()
	fail.Store(true)
	var wg sync.WaitGroup
	hold, holding := make(chan struct{}), make(chan struct{})
	h.db.WriteAsync("hold", func(*store.Tx) error { close(holding); <-hold; return nil }, func(error) {})
	<-holding
	for i := range 30 {
		wg.Add(1)
		h.send("c", keyOf(i%3), topic.Update, `{"state":{"reported":{"ok":false}}}`, func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	close(hold)
	wg.Wait()
	for _, m := range h.pub.take() {
		if !strings.HasSuffix(m.Topic, "update/rejected") {
			t.Errorf("said %s", m.Topic)
		}
	}
	if c := h.well.Components()[component]; c.State != metrics.Degraded || !strings.Contains(c.Error, "injected") {
		t.Errorf("health while commits fail: %+v", c)
	}
	fail.Store(false)
	defer func() {
		if c := h.well.Components()[component]; c.State != metrics.OK {
			t.Errorf("health afterwards: %+v", c)
		}
	}()
	for n := range 3 {
		body, err := h.Update(context.Background(), keyOf(n), []byte(`{"state":{},"version":1}`), iot.Origin{})
		if err != nil || !strings.Contains(string(body), `"version":2`) {
			t.Errorf("%s: %s, %v", keyOf(n), body, err)
		}
	}
}

// A document that cannot be read is a failure of that shadow alone.
func TestCommit_ADamagedDocumentFailsOnlyItsShadow(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	h.update(t, keyOf(1), `{"state":{}}`)
	h.update(t, keyOf(2), `{"state":{}}`)
	err := h.db.Write(context.Background(), "damage", func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE shadow SET body=x'0102' WHERE thing='thing-1'")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.cache.drop(keyOf(1))
	if got := h.ask(t, "c", keyOf(1), topic.Update, `{"state":{}}`); !strings.Contains(string(got[0].Payload), `"code":500`) {
		t.Errorf("got %v", lines(got))
	}
	if got := h.ask(t, "c", keyOf(1), topic.Get, ""); !strings.Contains(string(got[0].Payload), `"code":500`) {
		t.Errorf("got %v", lines(got))
	}
	h.update(t, keyOf(2), `{"state":{}}`)
}

// While the commit is under way nobody sees what may still fail.
func TestGet_SeesNothingThatIsNotCommitted(t *testing.T) {
	reached, goOn := make(chan struct{}), make(chan struct{})
	slow := atomic.Bool{}
	h := newHouse(t, Config{}, store.Options{Fault: func(p store.FaultPoint, _ uint64) error {
		if p == store.FaultCommit && slow.Load() {
			reached <- struct{}{}
			<-goOn
		}
		return nil
	}})
	h.update(t, classic, `{"state":{"reported":{"a":1}}}`)
	h.pub.take()
	slow.Store(true)
	done := make(chan error, 1)
	h.send("c", classic, topic.Update, `{"state":{"reported":{"a":2}}}`, func(err error) { done <- err })
	<-reached
	for _, inMemory := range []bool{true, false} {
		if !inMemory {
			h.cache.drop(classic)
		}
		body, err := h.Get(context.Background(), classic, "")
		if err != nil || !strings.Contains(string(body), `"version":1,`) {
			t.Errorf("in memory %v: %s, %v", inMemory, body, err)
		}
	}
	if said := h.pub.take(); len(said) != 0 {
		t.Errorf("said before the commit: %v", lines(said))
	}
	slow.Store(false)
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if body, err := h.Get(context.Background(), classic, ""); err != nil || !strings.Contains(string(body), `"version":2,`) {
		t.Errorf("afterwards: %s, %v", body, err)
	}
}

// Two batches of a lane in one transaction, should a store ever do that: the
// second builds on the first.
func TestBatch_SecondOfAGroupBuildsOnTheFirst(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	h.update(t, classic, `{"state":{"reported":{"n":0}}}`)
	l := &lane{busy: 2}
	var batches []*batch
	err := h.db.Write(context.Background(), "two batches", func(tx *store.Tx) error {
		for i := range 2 {
			r := h.read(classic, topic.Update, fmt.Appendf(nil, `{"state":{"reported":{"n%d":1}}}`, i), iot.Origin{})
			b := &batch{s: h.Service, lane: l, key: classic, taken: true, requests: []*request{r}}
			if err := b.execute(tx); err != nil {
				return err
			}
			batches = append(batches, b)
		}
		return nil
	})
	if err != nil || l.open != 2 || batches[1].next.Version != 3 {
		t.Fatalf("%v, %d open, version %d", err, l.open, batches[1].next.Version)
	}
	if got := batches[1].next.Reported.State().String(); got != `{"n":0,"n0":1,"n1":1}` {
		t.Errorf("got %s", got)
	}
}
