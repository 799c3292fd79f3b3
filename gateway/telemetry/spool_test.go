package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/telemetry/judge"
	"github.com/tidehold/tidehold/gateway/topic"
)

// house is a spool over a real file, inside a bubble, that a test can crash.
type house struct {
	t      testing.TB
	path   string
	cfg    Config
	max    int64
	fault  func(store.FaultPoint, uint64) error
	clk    clock.Clock
	rng    *rand.Rand
	figs   *metrics.Registry
	db     *store.DB
	log    *messages.Log
	s      *Spool
	cancel context.CancelFunc
	ended  chan error
}

// wall is the bubble's clock.
type wall struct{ unsynced bool }

func (wall) Now() time.Time    { return time.Now() }
func (wall) Up() time.Duration { return time.Since(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)) }
func (wall) Boot() string      { return "b00b1e" }
func (w wall) Synced() bool    { return !w.unsynced }

// random is a reader for ids that a seed replays.
type random struct{ *rand.Rand }

func (r random) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

func enter(t testing.TB, cfg Config) *house {
	t.Helper()
	if cfg.Gateway == "" {
		cfg.Gateway = "gw-1"
	}
	h := &house{t: t, path: filepath.Join(t.TempDir(), "messages.db"), cfg: cfg, clk: wall{}, rng: rand.New(rand.NewPCG(1, 2))}
	h.open()
	return h
}

func (h *house) open() {
	h.t.Helper()
	ctx := context.Background()
	db, opened, err := messages.Open(ctx, store.Options{Path: h.path, Fault: h.fault})
	if err != nil {
		h.t.Fatal(err)
	}
	src := ids.New(random{rand.New(rand.NewPCG(h.rng.Uint64(), 7))})
	h.figs = metrics.New()
	log, err := messages.New(messages.Config{MaxBytes: h.max}, db, src, h.figs, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.cfg.Salvaged = opened.SetAside != ""
	s, err := New(h.cfg, log, h.clk, src, metrics.New(), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.db, h.log, h.s = db, log, s
	ctx, h.cancel = context.WithCancel(ctx)
	h.ended = make(chan error, 1)
	go func() { h.ended <- s.Run(ctx) }()
}

// leave stops cleanly.
func (h *house) leave() {
	h.t.Helper()
	h.cancel()
	if err := <-h.ended; err != nil {
		h.t.Error(err)
	}
	if err := h.db.Close(); err != nil {
		h.t.Error(err)
	}
}

// crash goes on with a copy of the files as they are now.
func (h *house) crash() {
	h.t.Helper()
	h.powerCut(func() error { return nil })
}

// powerCut copies the files as they are now, ends what runs by stop and leave,
// and goes on with the copy.
func (h *house) powerCut(stop func() error) {
	h.t.Helper()
	synctest.Wait() // time stands still while we copy
	to := filepath.Join(h.t.TempDir(), "messages.db")
	for _, suffix := range []string{"", "-wal"} {
		in, err := os.Open(h.path + suffix)
		if err != nil {
			continue
		}
		out, err := os.Create(to + suffix)
		if err != nil {
			h.t.Fatal(err)
		}
		io.Copy(out, in)
		in.Close()
		out.Close()
	}
	if err := stop(); err != nil {
		h.t.Error(err)
	}
	h.leave()
	h.path = to
	h.open()
}

// check proves the sum check, against the file too once everything is still.
func (h *house) check() {
	h.t.Helper()
	for _, u := range h.s.Stats().Uplinks {
		if int64(u.Allocated) != int64(u.Delivered+u.Lost+u.Folded+u.Skipped)+u.Pending {
			h.t.Errorf("sum check of %s: %+v", u.Name, u)
		}
	}
}

func (h *house) say(name, source string, qos byte, payload string) {
	h.s.Append(iot.Message{Topic: name, Payload: []byte(payload), QoS: qos, Origin: iot.Origin{Source: source}, Arrived: time.Now()}, func(err error) {
		if err != nil {
			h.t.Errorf("append %s: %v", name, err)
		}
	})
}

// cloud is a far side in memory. Messages arrive in order and are acknowledged
// after rtt; connections can be cut at any time.
type cloud struct {
	t   testing.TB
	rtt time.Duration

	mu    sync.Mutex
	up    bool
	mute  bool                                               // takes messages and acknowledges none
	lose  func(Outgoing) (arrives, acked, doubled, cut bool) // nil: all is well
	judge *judge.Judge
	got   []Outgoing
	kept  []Outgoing // what had come when it was looked at last
	open  map[*flight]bool
	wire  []*flight         // on their way, oldest first
	most  int               // open at once
	back  time.Time         // when it connects again
	last  map[string]uint64 // number per incarnation and lane, on this connection

	turn sync.Mutex // one arrival after the other
}

type flight struct {
	m    Outgoing
	done func(error)
}

func newCloud(t testing.TB) *cloud {
	return &cloud{t: t, rtt: 50 * time.Millisecond, judge: judge.New(), up: true, open: make(map[*flight]bool)}
}

var errCut = errors.New("connection lost")

func (c *cloud) Publish(m Outgoing, done func(error)) {
	c.mu.Lock()
	if !c.up || time.Now().Before(c.back) {
		c.mu.Unlock()
		done(ErrOffline)
		return
	}
	m.Payload = slices.Clone(m.Payload)
	f := &flight{m, done}
	c.open[f] = true
	c.wire = append(c.wire, f)
	c.most = max(c.most, len(c.open))
	c.mu.Unlock()
	time.AfterFunc(c.rtt, c.arrive)
}

// arrive takes the oldest message from the wire: as many as were sent.
func (c *cloud) arrive() {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	f := c.wire[0]
	c.wire = c.wire[1:]
	if !c.open[f] {
		c.mu.Unlock()
		return
	}
	arrives, acked, doubled, cut := true, !c.mute, false, false
	if c.lose != nil {
		arrives, acked, doubled, cut = c.lose(f.m)
	}
	if arrives {
		c.got = append(c.got, f.m)
		c.judge.Add(f.m.Payload)
		c.inOrder(f.m)
	}
	if acked {
		delete(c.open, f)
	}
	c.mu.Unlock()
	if acked {
		f.done(nil)
	}
	if doubled {
		f.done(nil)
	}
	if cut {
		c.cut()
	}
}

// inOrder proves that numbers rise within a lane of one connection (C6).
func (c *cloud) inOrder(m Outgoing) {
	id := regexp.MustCompile(`"id":"[^"]*:([a-z2-7]{8}):([0-9]+)".*"lane":"(live|back)"`).FindSubmatch(m.Payload)
	if id == nil || strings.Contains(m.Topic, "/sys/") || m.Payload[0] == '[' {
		return
	}
	if c.last == nil {
		c.last = make(map[string]uint64)
	}
	lane := string(id[1]) + string(id[3])
	if strings.Contains(string(m.Payload), `"cls":0`) {
		lane += "critical" // class 0 has a lane of its own
	}
	seq, _ := strconv.ParseUint(string(id[2]), 10, 64)
	if seq <= c.last[lane] {
		c.t.Errorf("%s: number %d after %d in lane %s", m.Topic, seq, c.last[lane], lane)
	}
	c.last[lane] = seq
}

// cut ends the connection: everything open fails, and for a while everything
// else does.
func (c *cloud) cut() {
	c.mu.Lock()
	open := c.open
	c.last, c.back = nil, time.Now().Add(5*time.Millisecond)
	c.open = make(map[*flight]bool)
	c.mu.Unlock()
	for f := range open {
		f.done(errCut)
	}
}

// silence stops acknowledgements, or lets them come again, and counts anew how
// many are on their way.
func (c *cloud) silence(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute, c.most = on, 0
}

func (c *cloud) set(up bool) {
	c.mu.Lock()
	c.up = up
	c.mu.Unlock()
	if !up {
		c.cut()
	}
}

func (c *cloud) topics() (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.got {
		if !strings.Contains(m.Topic, "/sys/") {
			list = append(list, m.Topic)
		}
	}
	return list
}

// drain runs Drain until the function it gives is called.
func (h *house) drain(name string, to Sender) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.s.Drain(ctx, name, to) }()
	return func() error { cancel(); return <-ended }
}

var oneUplink = []Uplink{{Name: "cloud", Required: true, Enabled: true, Inflight: 20, Routes: []Route{{Name: "all", From: "#", QoS: 1}}}}

// rest lets time pass and everything come to rest.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestAppend_ReachesTheCloudInNativeAndRawForm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		stop := h.drain("cloud", c)
		h.say("climate/room", "drv/bme280/climate", 1, `{"ts":1,"t":21.5}`)
		h.say("door/1", "dev/door-1", 1, `{"open": true}`)
		rest(time.Minute)
		h.check()
		if err := stop(); err != nil {
			t.Error(err)
		}
		want := map[string]string{
			"gw/gw-1/t/climate/room": `,"cq":"sync","src":"drv/bme280/climate","t":"climate/room","cls":1,"lane":"live","m":{"ts":1,"t":21.5}}`,
			"gw/gw-1/t/door/1":       `{"open": true}`,
			"gw/gw-1/sys/start":      `"src":"sys/start","t":"sys/start","cls":0,"lane":`,
			"gw/gw-1/sys/mark":       `"n":3`,
		}
		for _, m := range c.got {
			if !strings.Contains(string(m.Payload), want[m.Topic]) || want[m.Topic] == "" {
				t.Errorf("%s: %s", m.Topic, m.Payload)
			}
			delete(want, m.Topic)
		}
		if len(want) > 0 {
			t.Errorf("did not come: %v", want)
		}
		s := h.s.Stats()
		if u := s.Uplinks[0]; s.State != StateOK || u.Pending != 0 || u.Delivered != 4 || u.ETA != 0 || u.OldestAge != 0 {
			t.Errorf("stats %+v", s)
		}
		h.leave()
	})
}

func TestWants_FollowsRoutesAndNeverTakesReservedTopics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := enter(t, Config{DropQoS0: true, Uplinks: []Uplink{
			{Name: "cloud", Enabled: true, Routes: []Route{{From: "plant/#", QoS: 1}}},
			{Name: "off", Routes: []Route{{From: "#", QoS: 1}}},
		}})
		for name, want := range map[string]bool{"plant/a": true, "plant": true, "other": false, "$aws/things/a": false, "$GW/health": false} {
			if got := h.s.Wants(name); got != want {
				t.Errorf("Wants(%q) = %v", name, got)
			}
		}
		for _, m := range []iot.Message{
			{Topic: "$aws/things/x", QoS: 1}, {Topic: "other", QoS: 1}, {Topic: "plant/x", Origin: iot.Origin{Source: "dev/a"}},
			{Topic: "plant/x", QoS: 1, Origin: iot.Origin{Uplink: "cloud"}}, {Topic: "plant/x", QoS: 1, Origin: iot.Origin{Sim: true}},
		} {
			done := false
			h.s.Append(m, func(error) { done = true })
			if !done {
				t.Errorf("%+v is not acknowledged at once", m)
			}
		}
		synctest.Wait()
		if n := h.s.Stats().Uplinks[0].Allocated; n != 1 {
			t.Errorf("%d stored, want the start record alone", n)
		}
		h.leave()
	})
}

func TestAppend_SaysDoneAfterTheCommitAndInOrder(t *testing.T) {
	for profile, want := range map[string]string{Strict: "0 0 0", Balanced: "0 150 150", Saver: "0 0 0"} {
		t.Run(profile, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := enter(t, Config{Profile: profile, Uplinks: oneUplink})
				rest(time.Minute)
				began := time.Now()
				var at []string
				for range 3 {
					h.s.Append(iot.Message{Topic: "a", QoS: 1, Arrived: began}, func(err error) {
						if err != nil {
							t.Error(err)
						}
						at = append(at, fmt.Sprint(time.Since(began).Milliseconds()))
					})
					synctest.Wait()
				}
				rest(20 * time.Second)
				if got := strings.Join(at, " "); got != want {
					t.Errorf("done at %s ms, want %s", got, want)
				}
				h.leave()
			})
		})
	}
}

// T-14: the link is cut with messages on their way; each comes again under its id.
func TestDrain_BacklogAndLiveKeepTheirOrderOverCuts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		for i := range 300 {
			h.say(fmt.Sprint("old/", i), "drv/a/b", 1, `{"v":1}`)
		}
		rest(time.Second)
		stop := h.drain("cloud", c)
		for i := range 100 {
			h.say(fmt.Sprint("new/", i), "drv/a/b", 1, `{"v":1}`)
			rest(20 * time.Millisecond)
			if i%25 == 24 {
				c.cut()
			}
			if i == 50 {
				c.set(false)
				rest(30 * time.Second)
				c.set(true)
			}
		}
		rest(time.Minute)
		h.check()
		if err := stop(); err != nil {
			t.Error(err)
		}
		for key, v := range c.judge.Verdicts() {
			if v.Reordered != 0 || v.Changed != 0 || len(v.Holes) != 0 || !v.Marked || v.Missing != 0 || v.Duplicates > 5*20 {
				t.Errorf("%s: %+v", key, v)
			}
		}
		if c.most > 20 {
			t.Errorf("%d on their way at once, want at most 20", c.most)
		}
		if p := h.s.Stats().Uplinks[0].Pending; p != 0 {
			t.Errorf("%d pending", p)
		}
		h.leave()
	})
}

func TestDrain_LiveIsNotDelayedByABacklog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		up := slices.Clone(oneUplink)
		up[0].Rate = 100
		h, c := enter(t, Config{Uplinks: up}), newCloud(t)
		for i := range 2000 {
			h.say(fmt.Sprint("old/", i), "drv/a/b", 1, `{}`)
		}
		rest(time.Second)
		stop := h.drain("cloud", c)
		rest(2 * time.Second)
		for range 20 {
			h.say("new", "drv/a/b", 1, `{}`)
			rest(500 * time.Millisecond)
			if got := c.topics(); !slices.Contains(got[max(0, len(got)-60):], "gw/gw-1/t/new") {
				t.Fatal("a live message was not among the last 60")
			}
		}
		if n := len(c.topics()); n < 1000 || n > 1250 {
			t.Errorf("%d sent in 12 s at 100/s", n)
		}
		stop()
		h.leave()
	})
}

func TestDrain_RateIsNeverExceededInAnySecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		up := slices.Clone(oneUplink)
		up[0].Rate, up[0].Inflight = 100, 1000
		h, c := enter(t, Config{Uplinks: up}), newCloud(t)
		for range 1000 {
			h.say("a", "drv/a/b", 1, `{}`)
		}
		rest(time.Second)
		var at []time.Time
		stop := h.drain("cloud", senderFunc(func(m Outgoing, done func(error)) { at = append(at, time.Now()); c.Publish(m, done) }))
		rest(30 * time.Second)
		stop()
		for i := range at {
			if i >= 100 && at[i].Sub(at[i-100]) < time.Second {
				t.Fatalf("101 messages within %v", at[i].Sub(at[i-100]))
			}
		}
		if len(at) < 1000 {
			t.Errorf("%d sent in 30 s", len(at))
		}
		h.leave()
	})
}

type senderFunc func(Outgoing, func(error))

func (f senderFunc) Publish(m Outgoing, done func(error)) { f(m, done) }

// T-21.
func TestDrain_PoisonIsQuarantinedBeforeSendingAndNeighboursFlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		up := slices.Clone(oneUplink)
		up[0].MaxPayload, up[0].MaxTopicBytes, up[0].MaxTopicLevels = 1000, 100, 8
		h, c := enter(t, Config{Uplinks: up}), newCloud(t)
		h.say("good/1", "dev/a", 1, "x")
		h.say("big", "dev/a", 1, strings.Repeat("x", 1001))
		h.say("a/b/c/d/e/f/g", "dev/a", 1, "x")
		h.say(strings.Repeat("x", 99), "dev/a", 1, "x")
		h.say("bad/\xff", "dev/a", 1, "x")
		h.say("good/2", "dev/a", 1, "x")
		stop := h.drain("cloud", c)
		rest(time.Minute)
		h.check()
		stop()
		if got := strings.Join(c.topics(), " "); got != "gw/gw-1/t/good/1 gw/gw-1/t/good/2" {
			t.Errorf("came: %s", got)
		}
		quar, err := h.log.Quarantine(t.Context())
		if err != nil || len(quar) != 4 {
			t.Errorf("quarantine %v, %v", quar, err)
		}
		losses := 0
		for _, m := range c.got {
			if m.Topic == "gw/gw-1/sys/loss" {
				losses++
			}
		}
		if losses != 4 {
			t.Errorf("%d loss records came, want 4", losses)
		}
		h.leave()
	})
}

// T-22.
func TestDrain_MessageThatCutsTheLinkIsFoundAndQuarantined(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		cuts := 0
		c.lose = func(m Outgoing) (bool, bool, bool, bool) {
			if strings.HasSuffix(m.Topic, "evil") {
				cuts++
				return false, false, false, true
			}
			return true, true, false, false
		}
		for i := range 50 {
			h.say(fmt.Sprint("t/", i), "dev/a", 1, "x")
			if i == 25 {
				h.say("evil", "dev/a", 1, "x")
			}
		}
		stop := h.drain("cloud", c)
		rest(2 * time.Minute)
		h.check()
		stop()
		if cuts > 5 {
			t.Errorf("the link was cut %d times", cuts)
		}
		quar, _ := h.log.Quarantine(t.Context())
		if len(quar) != 1 || quar[0].Record.Topic != "evil" {
			t.Errorf("quarantine %+v", quar)
		}
		if u := h.s.Stats().Uplinks[0]; u.Pending != 0 || u.Lost != 1 {
			t.Errorf("stats %+v", u)
		}
		h.leave()
	})
}

// One Drain per connection, as the composer does it: the end of the connection
// ends Drain before the publishes fail.
func TestDrain_FindsPoisonOverDrainsOfOneConnectionEach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		h.say("evil", "dev/a", 1, "x")
		for range 50 {
			h.say("good", "dev/a", 1, "x")
		}
		rest(time.Second)
		cuts := 0
		for range 10 {
			lost := make(chan struct{}, 1)
			c.lose = func(m Outgoing) (bool, bool, bool, bool) {
				if strings.HasSuffix(m.Topic, "evil") {
					cuts++
					lost <- struct{}{}
					time.AfterFunc(time.Millisecond, c.cut)
					return false, false, false, false
				}
				return true, true, false, false
			}
			stop := h.drain("cloud", c)
			select {
			case <-lost:
			case <-time.After(5 * time.Second):
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			rest(time.Second)
		}
		h.check()
		if cuts > 8 || h.s.Stats().Uplinks[0].Pending != 0 || len(c.topics()) != 50 {
			t.Errorf("%d cuts, %d arrived, stats %+v", cuts, len(c.topics()), h.s.Stats().Uplinks[0])
		}
		h.leave()
	})
}

func TestDrain_RefusedMessageIsQuarantinedAndTheOthersFlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		for _, name := range []string{"a", "no", "b"} {
			h.say(name, "dev/a", 1, "x")
		}
		stop := h.drain("cloud", senderFunc(func(m Outgoing, done func(error)) {
			if strings.HasSuffix(m.Topic, "/no") {
				done(fmt.Errorf("topic has a space: %w", ErrRefused))
				return
			}
			c.Publish(m, done)
		}))
		rest(time.Minute)
		h.check()
		if err := stop(); err != nil {
			t.Error(err)
		}
		quar, _ := h.log.Quarantine(t.Context())
		if len(c.topics()) != 2 || len(quar) != 1 || !strings.Contains(quar[0].Why, "space") {
			t.Errorf("arrived %v, quarantine %+v", c.topics(), quar)
		}
		h.leave()
	})
}

// T-13.
func TestDrain_SilentCloudStallsOnceAndThenGetsOneAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		c.silence(true)
		for range 100 {
			h.say("a", "drv/a/b", 1, `{}`)
		}
		began := time.Now()
		if err := h.s.Drain(t.Context(), "cloud", c); !errors.Is(err, ErrStalled) || time.Since(began) < stallAfter || time.Since(began) > 2*stallAfter {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		c.cut()
		c.silence(true)
		stop := h.drain("cloud", c)
		rest(5 * time.Minute)
		if c.most != 1 {
			t.Errorf("%d at once towards a silent cloud, want 1", c.most)
		}
		c.silence(false)
		c.cut()
		rest(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if p := h.s.Stats().Uplinks[0].Pending; p != 0 {
			t.Errorf("%d pending after it spoke again", p)
		}
		h.leave()
	})
}

// The first part of T-32; the week is in week_test.go.
func TestTwoUplinks_OneThatIsAwayDoesNotDelayTheOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		plant := Uplink{Name: "plant", Required: true, Enabled: true, Inflight: 10, Routes: []Route{{Name: "a", From: "a/#", To: "p/{gateway}/{rest}", QoS: 1}}}
		h := enter(t, Config{Uplinks: []Uplink{oneUplink[0], plant}})
		c, p := newCloud(t), newCloud(t)
		stop := h.drain("cloud", c)
		for i := range 200 {
			h.say(fmt.Sprint([]string{"a/", "b/"}[i%2], i), "drv/a/b", 1, `{}`)
		}
		rest(time.Minute)
		h.check()
		if n := len(c.topics()); n != 200 {
			t.Errorf("cloud has %d", n)
		}
		h.crash2(stop)
		stopPlant := h.drain("plant", p)
		rest(time.Minute)
		h.check()
		stopPlant()
		if got := p.topics(); len(got) != 100 || got[0] != "p/gw-1/0" || got[99] != "p/gw-1/198" {
			t.Errorf("plant has %d: %v", len(got), got)
		}
		for key, v := range p.judge.Verdicts() {
			if v.Missing != 0 || !v.Marked || v.Reordered != 0 {
				t.Errorf("%s: %+v", key, v)
			}
		}
		h.leave()
	})
}

// crash2 crashes with a drain going on.
func (h *house) crash2(stop func() error) {
	ended := make(chan error)
	go func() { ended <- stop() }()
	<-ended
	h.crash()
}

func TestLosses_AreToldOnceTheLinkIsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{t: t, path: filepath.Join(t.TempDir(), "messages.db"), cfg: Config{Gateway: "gw-1", Uplinks: oneUplink}, clk: wall{},
			rng: rand.New(rand.NewPCG(3, 4)), max: 2 << 20}
		h.open()
		c := newCloud(t)
		payload := make([]byte, 1500)
		for i := range 4000 {
			for j := range payload {
				payload[j] = "0123456789abcdef"[h.rng.IntN(16)]
			}
			h.say(fmt.Sprint("t/", i), "drv/a/b", 1, fmt.Sprintf(`{"v":"%s"}`, payload))
			rest(10 * time.Millisecond)
		}
		rest(time.Minute)
		h.check()
		lost := h.s.Stats().Uplinks[0].Lost
		if lost == 0 {
			t.Fatal("nothing was evicted")
		}
		stop := h.drain("cloud", c)
		rest(5 * time.Minute)
		h.check()
		stop()
		for key, v := range c.judge.Verdicts() {
			if v.Lost != lost || len(v.Holes) != 0 || v.Missing != 0 || !v.Marked {
				t.Errorf("%s: %+v, lost %d", key, v, lost)
			}
		}
		h.leave()
	})
}

// T-34: every fourth acknowledgement is lost.
func TestBatch_JoinsNeighboursOfOneTopicAndKeepsIds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		up := []Uplink{{Name: "cloud", Required: true, Enabled: true, Inflight: 20,
			Routes: []Route{{Name: "b", From: "b/#", To: "batch/{gateway}", QoS: 1, BatchMax: 10, BatchEvery: 2 * time.Second}, {From: "#", QoS: 1}}}}
		h, c := enter(t, Config{Uplinks: up}), newCloud(t)
		acks := 0
		c.lose = func(m Outgoing) (bool, bool, bool, bool) {
			acks++
			return true, acks%4 != 0, false, acks%4 == 0 // every fourth acknowledgement is lost with the link
		}
		stop := h.drain("cloud", c)
		for i := range 95 {
			h.say(fmt.Sprint("b/", i), "drv/a/b", 1, fmt.Sprintf(`{"v":%d}`, i))
			if i == 50 {
				h.say("other", "drv/a/b", 1, `{}`)
			}
		}
		rest(time.Minute)
		h.check()
		stop()
		v := c.judge.Verdicts()
		for key, v := range v {
			if v.Received < 96 || v.Changed != 0 || len(v.Holes) != 0 || v.Reordered != 0 {
				t.Errorf("%s: %+v", key, v)
			}
		}
		batches := 0
		for _, m := range c.got {
			if m.Topic == "batch/gw-1" {
				batches++
			}
		}
		if batches < 10 || batches > 40 {
			t.Errorf("%d batches", batches)
		}
		h.leave()
	})
}

// T-08.
func TestClock_MessagesCapturedBeforeTheSyncGetTheirTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{t: t, path: filepath.Join(t.TempDir(), "messages.db"), cfg: Config{Gateway: "gw-1", Uplinks: oneUplink},
			rng: rand.New(rand.NewPCG(3, 4))}
		lying := &setClock{wrong: -20 * 365 * 24 * time.Hour}
		h.clk = lying
		h.open()
		captured := time.Now().Add(time.Second)
		rest(time.Second)
		h.s.Append(iot.Message{Topic: "a", Payload: []byte("{}"), QoS: 1, Origin: iot.Origin{Source: "drv/a/b"}, Arrived: lying.Now()}, func(error) {})
		rest(time.Minute)
		lying.mu.Lock()
		lying.wrong = 0
		lying.mu.Unlock()
		rest(time.Minute)
		h.crash() // the offset is kept
		c := newCloud(t)
		stop := h.drain("cloud", c)
		rest(time.Minute)
		stop()
		want := fmt.Sprintf(`"ts":"%s","cq":"est","boot":"b00b1e"`, captured.UTC().Format(timeLayout))
		for _, m := range c.got {
			if m.Topic == "gw/gw-1/t/a" && !strings.Contains(string(m.Payload), want) {
				t.Errorf("%s, want %s", m.Payload, want)
			}
		}
		if len(c.topics()) != 1 {
			t.Errorf("came: %v", c.topics())
		}
		h.leave()
	})
}

// setClock is wrong until it is set right.
type setClock struct {
	wall
	mu    sync.Mutex
	wrong time.Duration
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.wrong)
}

func (c *setClock) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong == 0
}

func TestNew_RefusesWhatItCannotDo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := enter(t, Config{Uplinks: oneUplink})
		for want, cfg := range map[string]Config{
			`profile "fast"`:          {Profile: "fast"},
			`order "oldest"`:          {Order: "oldest"},
			`uplink "a": given twice`: {Uplinks: []Uplink{{Name: "a"}, {Name: "a"}}},
			`unknown {thing}`:         {Uplinks: []Uplink{{Name: "a", Routes: []Route{{From: "#", To: "{thing}"}}}}},
			`form "cbor"`:             {Uplinks: []Uplink{{Name: "a", Routes: []Route{{From: "#", Form: "cbor"}}}}},
		} {
			if _, err := New(cfg, h.log, h.clk, nil, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		h.leave()
	})
}

func TestClasses_TheFirstThatMatchesWins(t *testing.T) {
	s := &Spool{cfg: Config{Classes: []Class{{Match: []topic.Filter{"alarm/#", "+/alarm"}, Class: 0}, {Match: []topic.Filter{"pos"}, Class: 3}, {Match: []topic.Filter{"log/#"}, Class: 2}}}}
	for name, want := range map[string]uint8{"alarm/x": 0, "a/alarm": 0, "pos": 1, "log/x": 2, "other": 1} {
		if got := s.classOf(iot.Message{Topic: name, QoS: 1}); got != want {
			t.Errorf("%s has class %d, want %d", name, got, want)
		}
	}
	if got := s.classOf(iot.Message{Topic: "other"}); got != 2 {
		t.Errorf("QoS 0 has class %d", got)
	}
	if got := s.classOf(iot.Message{Topic: "other", Origin: iot.Origin{Source: "drv/a/b"}}); got != 1 {
		t.Errorf("a driver's QoS 0 has class %d", got)
	}
}
