package broker

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// bubble is a broker over pipes, in virtual time.
type bubble struct {
	*Broker
	t     *testing.T
	house *household
	told  *metrics.Registry
	ln    *pipes
	end   func()
}

func newBubble(t *testing.T, change func(*Config)) *bubble {
	ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	cfg := Config{Listeners: []ListenerConfig{{Name: "l", Listener: ln, RateFree: true}}, Limits: edge, SessionExpiry: 168 * time.Hour}
	if change != nil {
		change(&cfg)
	}
	house, told := &household{}, metrics.New()
	b, err := New(cfg, &gatekeeper{}, house, clock.NewSystem(), ids.New(rand.Reader), told, nil)
	if err != nil {
		t.Fatal(err)
	}
	house.b = b
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	return &bubble{Broker: b, t: t, house: house, told: told, ln: ln, end: func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}}
}

// figure is what the metrics tell under a name with its labels; 0 when nothing.
func (b *bubble) figure(name string) (n int) {
	answer := httptest.NewRecorder()
	b.told.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(answer.Body.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(value, &n); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	return n
}

func (b *bubble) connect(id string, change func(*packets.Packet)) *peer {
	ours, theirs := net.Pipe()
	b.ln.conns <- theirs
	p := &peer{t: b.t, nc: ours, r: bufio.NewReader(ours), version: 5}
	p.send(greeting(5, id, change))
	p.want(packets.Connack)
	return p
}

// A week of virtual time: the broker runs in a bubble, over pipes, and every
// deadline is met to the second. The bubble also proves that Run leaves no
// goroutine behind.
func TestBubble_SessionsWillsAndKeepAliveKeepTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil)
		connect, house := b.connect, b.house
		start := time.Now()
		c := connect("c", func(pk *packets.Packet) {
			withWill(3600)(pk)
			pk.Connect.Keepalive, pk.Connect.Clean = 600, false
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 1<<32-1, true
		})
		c.subscribe(1, "t")
		if pk, err := c.next(time.Hour); err != nil || pk.ReasonCode != 0x8d || time.Since(start) != 900*time.Second {
			t.Errorf("keep alive of 600 s ended after %v, code %#x, err %v", time.Since(start), pk.ReasonCode, err)
		}
		start = time.Now()
		for len(house.topics("will")) == 0 && time.Since(start) < 2*time.Hour {
			time.Sleep(time.Second)
		}
		if d := time.Since(start).Round(time.Minute); d != time.Hour {
			t.Errorf("will after %v, want 1 h", d)
		}
		time.Sleep(166 * time.Hour)
		if b.sessions.len() != 1 {
			t.Error("the session ended before its week was over")
		}
		time.Sleep(2 * time.Hour)
		if b.sessions.len() != 0 || b.index.len() != 0 {
			t.Error("the session outlived its week")
		}
		_ = c.nc.Close()
		b.end()
	})
}
