// Package shadowvector plays the shadow conformance vectors (README beside
// them in gateway/shadow/testdata) against anything that speaks MQTT: the
// service behind an in-process broker, or a whole gateway over TCP.
//
// It knows nothing about the implementation. Play needs a Broker, which
// connects clients; each vector uses a thing name of its own, so that vectors
// can be played side by side and again.
package shadowvector

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"
)

// Times of the README.
const (
	expectWait = 3 * time.Second
	quietWait  = 400 * time.Millisecond
)

// Message is what a client hears.
type Message struct {
	Topic   string
	Payload []byte
	Retain  bool
}

// Will is a last will.
type Will struct {
	Topic   string
	Payload []byte
}

// Client is a connected MQTT client. Publish and Subscribe return when the
// broker has acknowledged.
type Client interface {
	Publish(topic string, payload []byte, qos byte, retain bool) error
	Subscribe(filter string, qos byte) error
	// Disconnect ends the connection with DISCONNECT, or drops it.
	Disconnect(clean bool) error
}

// Broker connects clients. hear is called for every message a client gets, in
// order, from any goroutine, and does not block.
type Broker interface {
	Connect(clientID string, will *Will, hear func(Message)) (Client, error)
}

// vector is one case.
type vector struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Evidence string `json:"evidence"`
	Steps    []step `json:"steps"`
}

// step is one line of a case; which member is set says what it is.
type step struct {
	Client string `json:"client"`

	Pub    string          `json:"pub"`
	JSON   json.RawMessage `json:"json"`
	Raw    *string         `json:"raw"`
	Hex    *string         `json:"hex"`
	QoS    *byte           `json:"qos"`
	Retain bool            `json:"retain"`
	Repeat int             `json:"repeat"`

	Expect     string          `json:"expect"`
	Match      json.RawMessage `json:"match"`
	ExpectNone string          `json:"expectNone"`
	WithinMS   int             `json:"within_ms"`

	Drain      bool   `json:"drain"`
	Subscribe  string `json:"subscribe"`
	Connect    bool   `json:"connect"`
	Will       *will  `json:"will"`
	Disconnect string `json:"disconnect"`
	SleepMS    int    `json:"sleep_ms"`
}

type will struct {
	Topic   string          `json:"topic"`
	Payload json.RawMessage `json:"payload"`
}

// Play plays every vector of the files in dir but those named in without, each
// as a parallel subtest FILE/ID, against b.
func Play(t *testing.T, dir fs.FS, b Broker, without ...string) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, name := range names {
		if slices.Contains(without, name) {
			continue
		}
		t.Run(strings.TrimSuffix(name, ".json"), func(t *testing.T) {
			for _, v := range load(t, dir, name) {
				t.Run(v.ID, func(t *testing.T) {
					t.Parallel()
					play(t, v, b)
				})
			}
		})
	}
}

func load(t *testing.T, dir fs.FS, name string) []vector {
	t.Helper()
	text, err := fs.ReadFile(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	var vectors []struct {
		vector
		Tags []string `json:"tags"`
	}
	if err := dec.Decode(&vectors); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	out := make([]vector, len(vectors))
	for i, v := range vectors {
		out[i] = v.vector
	}
	return out
}

// player plays one vector.
type player struct {
	broker  Broker
	thing   string
	saved   map[string]float64
	clients map[string]*listener
}

func play(t *testing.T, v vector, b Broker) {
	p := &player{broker: b, thing: freshThing(), saved: map[string]float64{}, clients: map[string]*listener{}}
	defer func() {
		for _, c := range p.clients {
			c.client.Disconnect(true)
		}
	}()
	main, err := p.client("main", nil)
	if err != nil {
		t.Fatalf("connect main: %v", err)
	}
	for _, prefix := range []string{"$aws/things/${thing}/shadow/", "$aws/things/${thing}/shadow/name/+/"} {
		for _, answer := range []string{
			"get/accepted", "get/rejected", "update/accepted", "update/rejected",
			"update/delta", "update/documents", "delete/accepted", "delete/rejected",
		} {
			if err := main.client.Subscribe(p.fill(prefix+answer), 1); err != nil {
				t.Fatalf("subscribe %s: %v", answer, err)
			}
		}
	}
	for i, s := range v.Steps {
		if err := p.step(s); err != nil {
			t.Fatalf("%s (%s, %s) step %d: %v", v.ID, v.Title, v.Evidence, i+1, err)
		}
	}
}

func freshThing() string {
	b := make([]byte, 6)
	rand.Read(b)
	return "vec-" + hex.EncodeToString(b)
}

func (p *player) fill(s string) string { return strings.ReplaceAll(s, "${thing}", p.thing) }

// client gives the client of that name and connects it on first use.
func (p *player) client(name string, w *Will) (*listener, error) {
	if c := p.clients[name]; c != nil {
		return c, nil
	}
	l := newListener()
	client, err := p.broker.Connect(p.thing+"-"+name, w, l.hear)
	if err != nil {
		return nil, err
	}
	l.client = client
	p.clients[name] = l
	return l, nil
}

func (p *player) step(s step) error {
	if s.SleepMS > 0 {
		time.Sleep(time.Duration(s.SleepMS) * time.Millisecond)
		return nil
	}
	name := s.Client
	if name == "" {
		name = "main"
	}
	w, err := p.will(s.Will)
	if err != nil {
		return err
	}
	c, err := p.client(name, w)
	if err != nil {
		return fmt.Errorf("connect %s: %w", name, err)
	}
	switch {
	case s.Pub != "":
		return p.publish(c, s)
	case s.Expect != "":
		return p.expect(c, s)
	case s.ExpectNone != "":
		return p.expectNone(c, s)
	case s.Subscribe != "":
		return c.client.Subscribe(p.fill(s.Subscribe), 1)
	case s.Drain:
		time.Sleep(quietWait)
		c.forget()
		return nil
	case s.Disconnect != "":
		delete(p.clients, name)
		return c.client.Disconnect(s.Disconnect == "clean")
	case s.Connect:
		return nil
	}
	return fmt.Errorf("step of no known kind")
}

func (p *player) will(w *will) (*Will, error) {
	if w == nil {
		return nil, nil
	}
	var text string
	if json.Unmarshal(w.Payload, &text) == nil {
		return &Will{p.fill(w.Topic), []byte(p.fill(text))}, nil
	}
	payload, err := p.generate(w.Payload)
	return &Will{p.fill(w.Topic), payload}, err
}

func (p *player) publish(c *listener, s step) error {
	payload, err := p.payload(s)
	if err != nil {
		return err
	}
	qos := byte(1)
	if s.QoS != nil {
		qos = *s.QoS
	}
	for range max(1, s.Repeat) {
		if err := c.client.Publish(p.fill(s.Pub), payload, qos, s.Retain); err != nil {
			return fmt.Errorf("publish %s: %w", s.Pub, err)
		}
	}
	return nil
}

func (p *player) payload(s step) ([]byte, error) {
	switch {
	case s.Raw != nil:
		return []byte(p.fill(*s.Raw)), nil
	case s.Hex != nil:
		return hex.DecodeString(*s.Hex)
	case s.JSON != nil:
		return p.generate(s.JSON)
	}
	return nil, nil
}

func (p *player) expect(c *listener, s step) error {
	topic := p.fill(s.Expect)
	m, ok := c.next(topic, expectWait)
	if !ok {
		return fmt.Errorf("no message on %s within %v; unread: %v", topic, expectWait, c.topics())
	}
	if m.Retain {
		return fmt.Errorf("message on %s is marked retained", topic)
	}
	if s.Match == nil {
		return nil
	}
	if err := p.match(s.Match, m.Payload); err != nil {
		return fmt.Errorf("message on %s: %w\n got %s\nwant %s", topic, err, m.Payload, s.Match)
	}
	return nil
}

func (p *player) expectNone(c *listener, s step) error {
	wait := quietWait
	if s.WithinMS > 0 {
		wait = time.Duration(s.WithinMS) * time.Millisecond
	}
	topic := p.fill(s.ExpectNone)
	if m, ok := c.next(topic, wait); ok {
		return fmt.Errorf("unexpected message on %s: %s", topic, m.Payload)
	}
	return nil
}
