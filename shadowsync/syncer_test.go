package shadowsync

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/home"
)

// house is a local shadow service in memory.
type house struct {
	mu      sync.Mutex
	docs    map[iot.ShadowKey]*doc.Shadow
	records map[iot.ShadowKey][]byte
	limits  doc.Limits
	broken  bool
	reads   int
}

func newHouse() *house {
	return &house{docs: make(map[iot.ShadowKey]*doc.Shadow), records: make(map[iot.ShadowKey][]byte)}
}

var errDisk = errors.New("disk")

func (h *house) snapshot(key iot.ShadowKey) home.Snapshot {
	s := home.Snapshot{Record: h.records[key]}
	if d := h.docs[key]; d != nil {
		s.Version = d.Version
		if d.Live() {
			s.Doc = d
		}
	}
	return s
}

func (h *house) Snapshot(_ context.Context, key iot.ShadowKey, _ string) (home.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	if h.broken {
		return home.Snapshot{}, errDisk
	}
	return h.snapshot(key), nil
}

func (h *house) Commit(_ context.Context, key iot.ShadowKey, _ string, w home.Write) (home.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken {
		return home.Snapshot{}, errDisk
	}
	now := h.snapshot(key)
	if w.IfVersion != nil && *w.IfVersion != now.Version {
		return home.Snapshot{}, iot.Errorf(iot.Conflict, "Version conflict")
	}
	next, err := h.docs[key], error(nil)
	if w.Delete {
		next, _, err = doc.Delete(next, key, "", time.Now())
	} else if w.Update != nil {
		next, err = doc.Next(next, *w.Update, h.limits, time.Now())
	}
	if err != nil {
		return home.Snapshot{}, fmt.Errorf("commit: %w", err)
	}
	h.docs[key] = next
	if w.Record != nil {
		h.records[key] = w.Record
	}
	return h.snapshot(key), nil
}

func (h *house) Each(_ context.Context, _ string, f func(iot.ShadowKey, time.Time) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, d := range h.docs {
		if err := f(key, time.Unix(d.Time, 0)); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) write(t *testing.T, key iot.ShadowKey, body string) int64 {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := doc.ParseRequest([]byte(body), doc.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if h.docs[key], err = doc.Next(h.docs[key], r, doc.Limits{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return h.docs[key].Version
}

func (h *house) state(key iot.ShadowKey) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return LocalDoc(h.docs[key], 0).State.String()
}

// sky is an upstream shadow service and the link to it, with a latency.
type sky struct {
	mu      sync.Mutex
	docs    map[iot.ShadowKey]*doc.Shadow
	limits  doc.Limits
	takes   map[topic.Filter]func(iot.Message, func())
	up      bool
	silent  bool
	refuse  error
	sent    []time.Time
	updates int
	acked   int
	given   int
}

func newSky() *sky {
	return &sky{docs: make(map[iot.ShadowKey]*doc.Shadow), takes: make(map[topic.Filter]func(iot.Message, func()))}
}

func (s *sky) Subscribe(filter topic.Filter, take func(iot.Message, func()), standing func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.takes[filter]; known || !s.up { // the next connect brings it
		s.takes[filter] = take
		return
	}
	time.AfterFunc(2*time.Second, func() {
		s.mu.Lock()
		s.takes[filter] = take
		s.mu.Unlock()
		standing()
	})
}

func (s *sky) Publish(name string, payload []byte, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, time.Now())
	if s.refuse != nil {
		done(s.refuse)
		return
	}
	if !s.up {
		done(errors.New("offline"))
		return
	}
	done(nil)
	if s.silent {
		return
	}
	r, _ := topic.ParseReserved(name)
	s.serve(r.Key, r.Op, payload)
}

func (s *sky) serve(key iot.ShadowKey, op topic.Op, payload []byte) {
	token := doc.ParseToken(payload)
	switch op {
	case topic.Get:
		body, err := doc.Get(s.docs[key], key, token, time.Now())
		s.answer(key, op, topic.Accepted, body, err, token)
	case topic.Delete:
		next, body, err := doc.Delete(s.docs[key], key, token, time.Now())
		if err == nil {
			s.docs[key] = next
		}
		s.answer(key, op, topic.Accepted, body, err, token)
	case topic.Update:
		s.updates++
		r, err := doc.ParseRequest(payload, doc.Limits{})
		var result doc.Result
		if err == nil {
			result, err = doc.Apply(s.docs[key], r, s.limits, time.Now())
		}
		if err == nil {
			s.docs[key] = result.Next
		}
		s.answer(key, op, topic.Accepted, result.Accepted, err, token)
		if err == nil {
			s.answer(key, op, topic.Documents, result.Documents, nil, token)
		}
	}
}

func (s *sky) answer(key iot.ShadowKey, op topic.Op, kind string, body []byte, err error, token string) {
	if err != nil {
		kind, body = topic.Rejected, doc.Rejected(err, token)
	}
	name := topic.ShadowAnswerTo(key, op, kind)
	for filter, take := range s.takes {
		if topic.Match(filter, topic.Name(name)) {
			s.given++
			time.AfterFunc(30*time.Millisecond, func() {
				take(iot.Message{Topic: name, Payload: body}, func() {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.acked++
				})
			})
		}
	}
}

func (s *sky) write(key iot.ShadowKey, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve(key, topic.Update, []byte(body))
}

func (s *sky) state(key iot.ShadowKey) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return LocalDoc(s.docs[key], 0).State.String()
}

func (s *sky) set(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = up
}

// bench is a syncer between a house and a sky.
type bench struct {
	*Syncer
	house *house
	sky   *sky
	log   *bytes.Buffer
	stop  func()
}

// inBubble runs f with a running syncer in a bubble of simulated time.
func inBubble(t *testing.T, change func(*Config), f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{house: newHouse(), sky: newSky(), log: &bytes.Buffer{}}
		b.run(t, change)
		defer func() { b.stop() }()
		f(b)
	})
}

func (b *bench) run(t *testing.T, change func(*Config)) {
	t.Helper()
	cfg := Config{Uplink: "cloud", Gateway: "gw", Upstream: "sky", For: func(iot.ShadowKey) (Policy, bool) { return DefaultPolicy(), true }}
	if change != nil {
		change(&cfg)
	}
	var err error
	b.Syncer, err = New(cfg, b.house, b.sky, clock.NewSystem(), ids.New(rand.Reader), NewFigures(metrics.New()), slog.New(slog.NewTextHandler(b.log, nil)))
	if err != nil {
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
	synctest.Wait()
}

func (b *bench) connect() {
	b.sky.set(true)
	b.Online()
}

func (b *bench) agree(t *testing.T, key iot.ShadowKey, want string) {
	t.Helper()
	if local, upstream := b.house.state(key), b.sky.state(key); local != want || upstream != want {
		t.Errorf("%s: local %s, upstream %s; want %s", key, local, upstream, want)
	}
}

var pump = iot.ShadowKey{Thing: "pump"}

// onlyPump names the shadow, so that it is synced although nobody has seen it.
func onlyPump(c *Config) { c.Exact = []iot.ShadowKey{pump} }

func TestSyncer_BothSidesBecomeTheUnionAndFollowEachOther(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"rpm":1}}}`))
		b.sky.write(pump, `{"state":{"desired":{"on":true}}}`)
		b.connect()
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":true},"reported":{"rpm":1}}`)
		b.sky.write(pump, `{"state":{"desired":{"on":false}}}`)
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"rpm":2}}}`))
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":false},"reported":{"rpm":2}}`)
		status := b.Status()
		if len(status) != 1 || status[0].State != "synced" || status[0].Since.IsZero() {
			t.Errorf("status is %+v", status)
		}
		b.sky.mu.Lock()
		defer b.sky.mu.Unlock()
		if b.sky.acked != b.sky.given {
			t.Errorf("%d of %d messages acknowledged", b.sky.acked, b.sky.given)
		}
	})
}

func TestSyncer_ChangesOfAnOutageMeetWhenItEnds(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.Hint(pump, b.house.write(t, pump, `{"state":{"desired":{"on":1},"reported":{"rpm":1}}}`))
		b.connect()
		time.Sleep(5 * time.Second)
		b.sky.set(false)
		b.Offline()
		b.Hint(pump, b.house.write(t, pump, `{"state":{"desired":{"on":2},"reported":{"rpm":2}}}`))
		b.sky.write(pump, `{"state":{"desired":{"on":3},"reported":{"rpm":3}}}`)
		time.Sleep(time.Hour)
		b.connect()
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":3},"reported":{"rpm":2}}`)
		if log := b.log.String(); !strings.Contains(log, "path=/desired/on local=2 upstream=3 winner=cloudWins") {
			t.Errorf("no word of the conflict in %s", log)
		}
	})
}

// A restart without any hint, and with an unresolved push on disk.
func TestSyncer_ARestartResolvesWhatWasUnderWay(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"rpm":1}}}`))
		b.connect()
		time.Sleep(5 * time.Second)
		b.sky.mu.Lock()
		b.sky.silent = true
		b.sky.mu.Unlock()
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"rpm":2}}}`))
		time.Sleep(time.Second)
		if status := b.Status(); !status[0].Unresolved {
			t.Errorf("status is %+v; want a push that is not resolved", status)
		}
		b.stop()
		b.sky.mu.Lock()
		b.sky.silent = false
		b.sky.mu.Unlock()
		b.run(t, nil)
		b.connect()
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"reported":{"rpm":2}}`)
	})
}

func TestSyncer_ADocumentUpstreamRefusesIsBlockedAndNotRepeated(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.sky.limits = doc.Limits{MaxBytes: 40}
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"text":"`+strings.Repeat("x", 60)+`"}}}`))
		b.connect()
		time.Sleep(10 * time.Minute)
		b.sky.mu.Lock()
		updates := b.sky.updates
		b.sky.mu.Unlock()
		if status := b.Status(); updates != 2 || status[0].State != "blocked" || !strings.Contains(status[0].Reason, "exceeds") {
			t.Errorf("%d updates, status %+v; want one, after that which made the shadow, and blocked", updates, status)
		}
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"text":"y"}}}`))
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"reported":{"text":"y"}}`)
	})
}

func TestSyncer_WhatTheLinkWillNeverTakeIsBlocked(t *testing.T) {
	inBubble(t, onlyPump, func(b *bench) {
		b.connect()
		time.Sleep(time.Second)
		b.sky.write(pump, `{"state":{"desired":{"a":1}}}`)
		time.Sleep(time.Second)
		b.sky.mu.Lock()
		b.sky.refuse = iot.Errorf(iot.TooLarge, "payload is over the profile's limit")
		b.sky.mu.Unlock()
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"b":1}}}`))
		time.Sleep(time.Minute)
		if status := b.Status(); len(status) != 1 || status[0].State != "blocked" {
			t.Errorf("status is %+v; want blocked", status)
		}
	})
}

func TestSyncer_ASilentUpstreamIsAskedEverMoreSeldom(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.sky.silent = true
		for i := range 20 {
			key := iot.ShadowKey{Thing: iot.ThingName(fmt.Sprintf("t%d", i))}
			b.Hint(key, b.house.write(t, key, `{"state":{"reported":{"a":1}}}`))
		}
		b.connect()
		time.Sleep(time.Hour)
		b.sky.mu.Lock()
		defer b.sky.mu.Unlock()
		if n := len(b.sky.sent); n < 100 || n > 20*180 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestSyncer_RequestsKeepThePace(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxPerSecond = 5 }, func(b *bench) {
		for i := range 40 {
			key := iot.ShadowKey{Thing: iot.ThingName(fmt.Sprintf("t%d", i))}
			b.Hint(key, b.house.write(t, key, `{"state":{"reported":{"a":1}}}`))
		}
		b.connect()
		time.Sleep(time.Minute)
		for i := range 40 {
			b.agree(t, iot.ShadowKey{Thing: iot.ThingName(fmt.Sprintf("t%d", i))}, `{"reported":{"a":1}}`)
		}
		b.sky.mu.Lock()
		defer b.sky.mu.Unlock()
		for i := 5; i < len(b.sky.sent); i++ {
			if d := b.sky.sent[i].Sub(b.sky.sent[i-5]); d < time.Second {
				t.Fatalf("6 requests within %v; the limit is 5 a second", d)
			}
		}
	})
}

func TestSyncer_AFullInboxComparesEverythingAgain(t *testing.T) {
	inBubble(t, func(c *Config) { onlyPump(c); c.InboxMax = 1 }, func(b *bench) {
		b.connect()
		b.sky.write(pump, `{"state":{"desired":{"on":1}}}`)
		time.Sleep(time.Second)
		for i := range 50 {
			b.sky.write(pump, fmt.Sprintf(`{"state":{"desired":{"on":%d}}}`, i))
		}
		time.Sleep(time.Minute)
		b.agree(t, pump, `{"desired":{"on":49}}`)
	})
}

func TestSyncer_ADiskThatFailsForAWhileCostsOnlyTime(t *testing.T) {
	inBubble(t, onlyPump, func(b *bench) {
		b.house.mu.Lock()
		b.house.broken = true
		b.house.mu.Unlock()
		b.connect()
		b.sky.write(pump, `{"state":{"desired":{"on":1}}}`)
		time.Sleep(time.Minute)
		b.house.mu.Lock()
		if b.house.reads > 100 {
			t.Errorf("%d reads of a broken disk in a minute", b.house.reads)
		}
		b.house.broken = false
		b.house.mu.Unlock()
		time.Sleep(time.Minute)
		b.agree(t, pump, `{"desired":{"on":1}}`)
	})
}

// A shadow that appears while the link is up waits for its filter, and needs no
// new connection.
func TestSyncer_ANewThingWaitsForItsFilterAndForNothingElse(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.connect()
		time.Sleep(time.Minute)
		b.Hint(pump, b.house.write(t, pump, `{"state":{"reported":{"a":1}}}`))
		time.Sleep(time.Second)
		b.sky.mu.Lock()
		sent := len(b.sky.sent)
		b.sky.mu.Unlock()
		if sent != 0 {
			t.Errorf("%d requests before their answers can be heard", sent)
		}
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"reported":{"a":1}}`)
	})
}

func TestSyncer_TheLimitOfShadowsIsKept(t *testing.T) {
	inBubble(t, func(c *Config) { c.ShadowsMax = 2 }, func(b *bench) {
		b.connect()
		for i := range 5 {
			key := iot.ShadowKey{Thing: iot.ThingName(fmt.Sprintf("t%d", i))}
			b.Hint(key, b.house.write(t, key, `{"state":{"reported":{"a":1}}}`))
		}
		time.Sleep(time.Minute)
		if n := len(b.Status()); n != 2 {
			t.Errorf("%d shadows are synced; the limit is 2", n)
		}
	})
}

func TestSyncer_OneWideFilterFindsShadowsNobodyHereHasSeen(t *testing.T) {
	inBubble(t, func(c *Config) { c.Wide = true }, func(b *bench) {
		b.connect()
		time.Sleep(time.Second)
		b.sky.write(pump, `{"state":{"desired":{"on":1}}}`)
		time.Sleep(5 * time.Second)
		b.agree(t, pump, `{"desired":{"on":1}}`)
		b.sky.mu.Lock()
		defer b.sky.mu.Unlock()
		if _, ok := b.sky.takes["$aws/things/+/shadow/#"]; !ok || len(b.sky.takes) != 1 {
			t.Errorf("filters %v; want the wide one alone", b.sky.takes)
		}
	})
}
