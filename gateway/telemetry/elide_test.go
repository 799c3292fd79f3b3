package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

func TestAckTimes_ElideFollowsP95WithinItsBounds(t *testing.T) {
	for _, step := range []struct {
		took time.Duration
		n    int
		want time.Duration
	}{
		{time.Millisecond, 1, elideMin}, {30 * time.Millisecond, 200, elideMin}, {300 * time.Millisecond, 6, elideMin},
		{300 * time.Millisecond, 128, 600 * time.Millisecond}, {5 * time.Second, 128, elideMax}, {30 * time.Millisecond, 128, elideMin},
	} {
		var a ackTimes
		for range 100 {
			a.add(20 * time.Millisecond)
		}
		for range step.n {
			a.add(step.took)
		}
		if got := a.elide(); got != step.want {
			t.Errorf("%d acknowledgements after %v: elide %v, want %v", step.n, step.took, got, step.want)
		}
	}
}

// written is what the file says of its blocks and numbers.
type written struct {
	NextBlock  int64  `json:"next_block"`
	ReservedTo uint64 `json:"reserved_to"`
	Rows       int    `json:"-"`
}

func (h *house) written() (w written) {
	h.t.Helper()
	err := h.db.Read(context.Background(), func(tx *store.Tx) error {
		var text string
		if _, err := tx.QueryRow("SELECT v FROM mark WHERE name='log'", nil, &text); err != nil {
			return err
		}
		if _, err := tx.QueryRow("SELECT count(*) FROM seg", nil, &w.Rows); err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &w)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return w
}

// wroteBytes is what this process has written to files.
func wroteBytes(t *testing.T) (n int) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "wchar: "); ok {
			n, _ = strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return n
}

// accepted collects the topics whose done came.
type accepted struct {
	mu     sync.Mutex
	topics []string
	closed bool
}

func (a *accepted) say(h *house, name string) {
	h.s.Append(iot.Message{Topic: name, Payload: []byte(`{"v":1}`), QoS: 1, Origin: iot.Origin{Source: "drv/a/b"}, Arrived: time.Now()}, func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err == nil && !a.closed {
			a.topics = append(a.topics, name)
		}
	})
}

// cut takes no more: the power is gone.
func (a *accepted) cut() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	return a.topics
}

// T-28.
func TestElision_AnHourOnlineWritesNoRowAndAPowerCutLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := 36_000 // 10 per second
		if testing.Short() {
			n = 3_000
		}
		var commits atomic.Int64
		h, c, all := enter(t, Config{Uplinks: oneUplink}), newCloud(t), &accepted{}
		h.leave()
		h.fault = func(p store.FaultPoint, _ uint64) error {
			if p == store.FaultCommit {
				commits.Add(1)
			}
			return nil
		}
		h.open()
		c.rtt = 30 * time.Millisecond
		stop := h.drain("cloud", c)
		all.say(h, "first")
		rest(time.Minute)
		before, wrote := h.written(), wroteBytes(t)
		commits.Store(0)
		for i := range n {
			all.say(h, fmt.Sprint("t/", i))
			time.Sleep(100 * time.Millisecond)
		}
		after := h.written()
		if after.NextBlock != before.NextBlock || after.Rows != 0 {
			t.Errorf("%d blocks were written, %d rows are left", after.NextBlock-before.NextBlock, after.Rows)
		}
		t.Logf("%d messages: %d commits, %d bytes written, %.1f per message", n, commits.Load(), wroteBytes(t)-wrote, float64(wroteBytes(t)-wrote)/float64(n))
		h.check()
		for i := range 20 { // the power goes while some are on their way
			all.say(h, fmt.Sprint("last/", i))
			time.Sleep(7 * time.Millisecond)
		}
		said := all.cut()
		if len(said) < n+1 || len(said) > n+20 {
			t.Errorf("%d messages were accepted of %d", len(said), n+21)
		}
		h.powerCut(stop)
		c.cut()
		time.Sleep(time.Second)
		stop = h.drain("cloud", c)
		rest(time.Minute)
		stop()
		h.check()
		arrived := map[string]bool{}
		for _, name := range c.topics() {
			arrived[strings.TrimPrefix(name, "gw/gw-1/t/")] = true
		}
		for _, name := range said {
			if !arrived[name] {
				t.Errorf("%s was accepted and never came", name)
			}
		}
		for key, v := range c.judge.Verdicts() {
			if v.Missing != 0 || !v.Marked || v.Changed != 0 || v.Reordered != 0 || len(v.Holes) != 0 {
				t.Errorf("%s: %+v", key, v)
			}
		}
		h.leave()
	})
}

// T-29.
func TestElision_ACrashNeverGivesANumberTwiceAndTellsWhatItSkipped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c, all := enter(t, Config{Uplinks: oneUplink}), newCloud(t), &accepted{}
		for round := range 5 {
			stop := h.drain("cloud", c)
			all.say(h, fmt.Sprint("first/", round))
			rest(time.Minute)
			before := h.written()
			c.silence(true) // they arrive, and nobody hears that
			for i := range 3 {
				all.say(h, fmt.Sprintf("sent/%d/%d", round, i))
			}
			rest(100 * time.Millisecond)
			if w := h.written(); w.NextBlock != before.NextBlock {
				t.Fatal("they were written; they should wait for their acknowledgement")
			}
			h.powerCut(stop)
			c.cut()
			c.silence(false)
			time.Sleep(time.Second)
		}
		stop := h.drain("cloud", c)
		all.say(h, "after")
		rest(time.Minute)
		h.check()
		stop()
		var skipped uint64
		for _, u := range h.s.Stats().Uplinks {
			skipped = u.Skipped
		}
		for key, v := range c.judge.Verdicts() {
			if v.Changed != 0 || v.Duplicates != 0 || v.Skipped != skipped || skipped == 0 || len(v.Holes) != 0 || v.Missing != 0 {
				t.Errorf("%s: %+v, skipped %d", key, v, skipped)
			}
		}
		if n := len(c.topics()); n != 5*4+1 {
			t.Errorf("%d messages came: %v", n, c.topics())
		}
		h.leave()
	})
}

func TestElision_DoneComesWithTheAcknowledgementOrTheCommitWhicheverIsFirst(t *testing.T) {
	for _, at := range []struct {
		profile string
		name    string
		mute    bool
		want    string
	}{
		{Balanced, "t", false, "50 50 50"}, {Balanced, "t", true, "200 200 200"},
		{Balanced, "alarm", false, "50 50 50"}, {Balanced, "alarm", true, "200 200 200"},
		{Strict, "t", false, "50 50 50"}, {Strict, "t", true, "200 200 200"}, {Saver, "t", true, "0 0 0"},
	} {
		t.Run(fmt.Sprint(at.profile, " ", at.name, " mute ", at.mute), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := enter(t, Config{Profile: at.profile, Uplinks: oneUplink, Classes: []Class{{Name: "critical", Match: []topic.Filter{"alarm/#"}}}})
				c := newCloud(t)
				stop := h.drain("cloud", c)
				h.say("first", "drv/a/b", 1, `{}`)
				rest(time.Minute)
				c.silence(at.mute)
				var times []string
				began := time.Now()
				for range 3 {
					h.s.Append(iot.Message{Topic: at.name + "/x", QoS: 1, Arrived: began}, func(err error) {
						times = append(times, fmt.Sprint(time.Since(began).Milliseconds()))
					})
				}
				rest(10 * time.Second)
				h.check()
				if got := strings.Join(times, " "); got != at.want {
					t.Errorf("done at %s ms, want %s", got, at.want)
				}
				stop()
				h.leave()
			})
		})
	}
}

func TestElision_TheEndOfTheLinkCommitsWhatIsHeldAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		stop := h.drain("cloud", c)
		h.say("first", "drv/a/b", 1, `{}`)
		rest(time.Minute)
		before := h.written()
		c.silence(true)
		for _, cut := range []func(){func() { c.set(false) }, func() { stop(); c.cut() }} {
			for i := range 3 {
				h.say(fmt.Sprint("t/", i), "drv/a/b", 1, `{}`)
			}
			rest(60 * time.Millisecond)
			cut()
			rest(0)
			w := h.written()
			if w.NextBlock == before.NextBlock {
				t.Error("nothing was committed")
			}
			before = w
			c.silence(false)
			c.set(true)
			h.say("again", "drv/a/b", 1, `{}`)
			rest(time.Minute)
			c.silence(true)
		}
		c.silence(false)
		stop = h.drain("cloud", c)
		rest(time.Minute)
		h.check()
		stop()
		for _, v := range c.judge.Verdicts() {
			if v.Missing != 0 || v.Changed != 0 || len(v.Holes) != 0 {
				t.Errorf("%+v", v)
			}
		}
		h.leave()
	})
}

func TestElision_WaitsForEveryUplinkAndStopsWhileOneIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		plant := Uplink{Name: "plant", Required: true, Enabled: true, Inflight: 10, Routes: []Route{{Name: "a", From: "a/#", QoS: 1}}}
		h := enter(t, Config{Uplinks: []Uplink{oneUplink[0], plant}})
		c, p := newCloud(t), newCloud(t)
		p.rtt = 120 * time.Millisecond
		stop, stopPlant := h.drain("cloud", c), h.drain("plant", p)
		when := func(name string) (ms int64) {
			began := time.Now()
			h.s.Append(iot.Message{Topic: name, QoS: 1, Arrived: began}, func(error) { ms = time.Since(began).Milliseconds() })
			rest(10 * time.Second)
			return ms
		}
		when("a/first")
		if both, one := when("a/x"), when("b/x"); both != 120 || one != 50 {
			t.Errorf("accepted after %d and %d ms, want 120 and 50", both, one)
		}
		p.set(false)
		stopPlant()
		if both, one := when("a/x"), when("b/x"); both > 1 || one != 50 {
			t.Errorf("with one away: accepted after %d and %d ms, want at once and 50", both, one)
		}
		h.check()
		stop()
		h.leave()
	})
}
