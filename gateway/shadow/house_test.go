package shadow

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest/shadowvector"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// movable is a clock that a test moves.
type movable struct {
	clock.Clock
	mu  sync.Mutex
	now time.Time
}

func (c *movable) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movable) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// record is a Publisher that keeps everything in order.
type record struct {
	mu   sync.Mutex
	said []iot.Message
}

func (p *record) Publish(m iot.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, m)
}

// take gives what was said since the last take.
func (p *record) take() []iot.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := p.said
	p.said = nil
	return said
}

// house is a service on a real file.
type house struct {
	*Service
	db  *store.DB
	pub *record
	clk *movable
}

func openDB(t testing.TB, o store.Options) *store.DB {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "state.db")
	}
	o.Schemas = []store.Schema{Schema()}
	db, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newHouse(t testing.TB, cfg Config, o store.Options) *house {
	t.Helper()
	if cfg.Limits == (doc.Limits{}) {
		cfg.Limits = doc.DefaultLimits()
	}
	h := &house{db: openDB(t, o), pub: &record{}, clk: &movable{now: time.Unix(1_700_000_000, 0)}}
	known := func(n iot.ThingName) bool { return n == "known" }
	s, err := New(cfg, h.db, h.clk, h.pub, known, metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.Service = s
	return h
}

var classic = iot.ShadowKey{Thing: "known"}

// send hands a request to the service as the broker would.
func (h *house) send(client string, key iot.ShadowKey, op topic.Op, payload string, done func(error)) {
	name := topic.Shadow(key, op)
	r, _ := topic.ParseReserved(name)
	h.HandleTopic(iot.Message{Topic: name, Payload: []byte(payload), QoS: 1, Origin: iot.Origin{ClientID: iot.ClientID(client)}}, r, done)
}

// ask sends a request and gives the answers to it.
func (h *house) ask(t testing.TB, client string, key iot.ShadowKey, op topic.Op, payload string) []iot.Message {
	t.Helper()
	h.pub.take()
	done := make(chan error, 1)
	h.send(client, key, op, payload, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatalf("%s %s: %v", op, payload, err)
	}
	return h.pub.take()
}

func (h *house) update(t testing.TB, key iot.ShadowKey, payload string) {
	t.Helper()
	if _, err := h.Update(context.Background(), key, []byte(payload), iot.Origin{}); err != nil {
		t.Fatal(err)
	}
}

// lines gives topic and payload of messages, for comparing.
func lines(ms []iot.Message) (out []string) {
	for _, m := range ms {
		out = append(out, m.Topic+" "+string(m.Payload))
	}
	return out
}

// fakeBroker routes by topic filters and lets the service answer requests.
type fakeBroker struct {
	s    *Service
	mu   sync.Mutex
	subs topic.Trie[*fakeClient]
}

type fakeClient struct {
	b    *fakeBroker
	id   string
	will *shadowvector.Will
	hear func(shadowvector.Message)
}

func (b *fakeBroker) Publish(m iot.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	heard := map[*fakeClient]bool{}
	b.subs.Each(topic.Name(m.Topic), func(c *fakeClient) { heard[c] = true })
	for c := range heard {
		c.hear(shadowvector.Message{Topic: m.Topic, Payload: m.Payload})
	}
}

func (b *fakeBroker) Connect(id string, will *shadowvector.Will, hear func(shadowvector.Message)) (shadowvector.Client, error) {
	return &fakeClient{b, id, will, hear}, nil
}

func (c *fakeClient) publish(name string, payload []byte, isWill bool) error {
	r, reserved := topic.ParseReserved(name)
	if reserved && !r.ClientMayPublish() {
		return fmt.Errorf("publish to %s refused", name)
	}
	m := iot.Message{Topic: name, Payload: payload, QoS: 1, Origin: iot.Origin{ClientID: iot.ClientID(c.id), Will: isWill}}
	c.b.Publish(m)
	done := make(chan error, 1)
	c.b.s.HandleTopic(m, r, func(err error) { done <- err })
	return <-done
}

func (c *fakeClient) Publish(name string, payload []byte, _ byte, _ bool) error {
	return c.publish(name, payload, false)
}

func (c *fakeClient) Subscribe(filter string, _ byte) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.b.subs.Add(topic.Filter(filter), c)
	return nil
}

func (c *fakeClient) Disconnect(clean bool) error {
	if c.will != nil && !clean {
		return c.publish(c.will.Topic, c.will.Payload, true)
	}
	return nil
}

func TestService_PassesTheConformanceVectors(t *testing.T) {
	b := &fakeBroker{}
	s, err := New(Config{Limits: doc.DefaultLimits(), MaxInFlight: 10}, openDB(t, store.Options{}), clock.NewSystem(), b, nil, metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.s = s
	shadowvector.Play(t, os.DirFS("testdata"), b, "presence.json")
}
