package broker

import (
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/iot"
)

// site is where a script of the defect tests runs: this broker, or the server of
// the library whose codec it uses.
type site struct {
	*world
	patience time.Duration                            // for what has to come here, short where nothing will
	say      func(topic, payload string, retain bool) // a message of the house
	// hold keeps messages from being routed; the result lets them go.
	hold func() (release func())
}

// defect is one line of the table in broker-storage.md section 2: a script that
// plays a client and says what it saw, and what it sees on either side.
type defect struct {
	setup  func(*Config)       // of ours
	stock  func(*mqtt.Options) // of the library's
	refuse string              // a topic nobody may publish to
	only   string              // when set: the one topic one may publish to
	wrap   func(net.Listener) net.Listener
	script func(s *site) string
	wrong  string // what the library's server gives
	right  string // what ours gives
}

func (d defect) run(t *testing.T) {
	t.Run("stock", func(t *testing.T) {
		s := d.onStock(t)
		s.patience = patience(d.wrong)
		if got := d.script(s); got != d.wrong {
			t.Errorf("the library's server: %q, its defect was %q", got, d.wrong)
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := d.onOurs(t)
		s.patience = patience(d.right)
		if got := d.script(s); got != d.right {
			t.Errorf("got %q, want %q", got, d.right)
		}
	})
}

// patience is how long to wait for the last packet that an outcome names: one
// that must come may take its time on a busy machine.
func patience(outcome string) time.Duration {
	switch outcome {
	case "lost", "publisher stops":
		return time.Second
	}
	if strings.HasSuffix(outcome, "nothing") {
		return quiet
	}
	return 10 * time.Second
}

func (d defect) allowed(name string) bool {
	return name != d.refuse && (d.only == "" || name == d.only)
}

func (d defect) onOurs(t *testing.T) *site {
	w := serve(t, func(c *Config) {
		if d.wrap != nil {
			c.Listeners[0].Listener = d.wrap(listen(t))
		}
		c.OnDenied = "lenient"
		if d.setup != nil {
			d.setup(c)
		}
	}, &gatekeeper{publish: func(name string) error {
		if !d.allowed(name) {
			return iot.Errorf(iot.Forbidden, "not here")
		}
		return nil
	}})
	return &site{world: w,
		say: func(topic, payload string, retain bool) {
			w.Route(iot.Message{Topic: topic, Payload: []byte(payload), Retain: retain})
		},
		hold: func() func() {
			held := holding(w)
			return func() { (<-held)(nil) }
		},
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// rules are the hook that the library's server asks.
type rules struct {
	mqtt.HookBase
	d    defect
	mu   sync.Mutex
	wait chan struct{}
}

func (r *rules) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck || b == mqtt.OnSelectSubscribers
}
func (r *rules) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (r *rules) OnACLCheck(_ *mqtt.Client, name string, write bool) bool {
	return !write || r.d.allowed(name)
}
func (r *rules) OnSelectSubscribers(subs *mqtt.Subscribers, _ packets.Packet) *mqtt.Subscribers {
	r.mu.Lock()
	wait := r.wait
	r.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return subs
}

func (d defect) onStock(t *testing.T) *site {
	opt := &mqtt.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler), Capabilities: mqtt.NewDefaultServerCapabilities()}
	if d.stock != nil {
		d.stock(opt)
	}
	server, hook := mqtt.New(opt), &rules{d: d}
	if err := server.AddHook(hook, nil); err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	addr := ln.Addr().String()
	if d.wrap != nil {
		ln = d.wrap(ln)
	}
	if err := server.AddListener(listeners.NewNet("stock", ln)); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	// Its Close would wait for clients that are stuck, and races with those that end.
	t.Cleanup(func() { _ = ln.Close() })
	return &site{world: &world{t: t, addr: addr},
		say: func(topic, payload string, retain bool) {
			if err := server.Publish(topic, []byte(payload), retain, 0); err != nil {
				t.Error(err)
			}
		},
		hold: func() func() {
			wait := make(chan struct{})
			hook.mu.Lock()
			defer hook.mu.Unlock()
			hook.wait = wait
			return func() { close(wait) }
		},
	}
}

// saw is the next packet within d in a word.
func (p *peer) saw(d time.Duration) string {
	pk, err := p.next(d)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return "nothing"
	}
	if err != nil {
		return "closed"
	}
	return packets.PacketNames[pk.FixedHeader.Type]
}

// leave ends the connection without a word and gives the broker time to see it.
func (s *site) leave(p *peer) {
	_ = p.nc.Close()
	if s.Broker == nil {
		time.Sleep(50 * time.Millisecond)
		return
	}
	eventually(s.t, "connection gone", func() bool { return len(s.Clients()) == 0 })
}
