package uplink

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
)

// fakeUpstream is a broker that does exactly what a test says, over pipes.
type fakeUpstream struct {
	t *testing.T
	// serve speaks on one connection, numbered from 1; the connection is closed
	// when it returns.
	serve func(n int, s *session)

	mu     sync.Mutex
	dialed []time.Time
}

func (f *fakeUpstream) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	f.mu.Lock()
	f.dialed = append(f.dialed, time.Now())
	n := len(f.dialed)
	f.mu.Unlock()
	go func() {
		defer far.Close()
		f.serve(n, &session{t: f.t, Conn: far})
	}()
	return near, nil
}

// gaps are the pauses between attempts.
func (f *fakeUpstream) gaps() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(f.dialed); i++ {
		gaps = append(gaps, f.dialed[i].Sub(f.dialed[i-1]))
	}
	return gaps
}

// session is the far side of one connection.
type session struct {
	t *testing.T
	net.Conn
	connect *packets.ConnectPacket
}

// read gives the next packet, nil at the end of the connection.
func (s *session) read() packets.ControlPacket {
	p, err := packets.ReadPacket(s.Conn)
	if err != nil {
		return nil
	}
	return p
}

// publish gives the next PUBLISH, answering pings on the way.
func (s *session) publish() *packets.PublishPacket {
	for {
		switch p := s.read().(type) {
		case nil:
			return nil
		case *packets.PublishPacket:
			return p
		case *packets.PingreqPacket:
			packets.NewControlPacket(packets.Pingresp).Write(s.Conn)
		}
	}
}

// accept answers CONNECT.
func (s *session) accept(code byte, present bool) {
	connect, ok := s.read().(*packets.ConnectPacket)
	if !ok {
		return
	}
	s.connect = connect
	present8 := byte(0)
	if present {
		present8 = 1
	}
	s.Write([]byte{0x20, 2, present8, code})
}

// suback answers one SUBSCRIBE with code for every filter.
func (s *session) suback(code byte) {
	sub, ok := s.read().(*packets.SubscribePacket)
	if !ok {
		return
	}
	s.Write(append([]byte{0x90, byte(2 + len(sub.Topics)), byte(sub.MessageID >> 8), byte(sub.MessageID)}, bytes.Repeat([]byte{code}, len(sub.Topics))...))
}

func (s *session) puback(p *packets.PublishPacket) {
	s.Write([]byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
}

// idle reads and answers nothing but pings until the connection ends.
func (s *session) idle() { s.publish() }

// hole swallows everything until the connection ends.
func (s *session) hole() { io.Copy(io.Discard, s.Conn) }

func newLink(t testing.TB, edit func(*Config)) *Link {
	t.Helper()
	cfg := Config{Name: "cloud", Profile: profile.Generic, Endpoint: Endpoint{Scheme: "tcp", Host: "upstream.test", Port: 1883}, ClientID: "gw1"}
	edit(&cfg)
	l, err := New(cfg, clock.NewSystem(), ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// inBubble runs the link against a fake upstream in virtual time.
func inBubble(t *testing.T, serve func(n int, s *session), edit func(*Config), body func(l *Link, f *fakeUpstream)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeUpstream{t: t, serve: serve}
		l := newLink(t, func(c *Config) {
			c.Dial = f.dial
			if edit != nil {
				edit(c)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		body(l, f)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := l.Status().State; got != Disabled {
			t.Errorf("after Run: state %s, want disabled", got)
		}
	})
}

func wantState(t *testing.T, l *Link, want State) {
	t.Helper()
	synctest.Wait()
	if got := l.Status(); got.State != want {
		t.Errorf("state %s (%s), want %s", got.State, got.Error, want)
	}
}

// after collects what done got.
type after struct {
	mu   sync.Mutex
	errs []error
}

func (a *after) done(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.errs = append(a.errs, err)
}

func (a *after) all() []error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]error(nil), a.errs...)
}

// T-16.
func TestRun_AcceptThenDropCountsAsFailure(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(0, false) } // then the connection is closed
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		time.Sleep(30 * time.Minute)
		limit := time.Second
		gaps := f.gaps()
		for i, gap := range gaps {
			if gap > limit {
				t.Errorf("pause %d: %v, want at most %v", i, gap, limit)
			}
			limit = min(2*limit, 60*time.Second)
		}
		// full jitter below 60 s: half a minute on average
		if len(gaps) < 40 || len(gaps) > 110 {
			t.Errorf("%d attempts in 30 minutes", len(gaps)+1)
		}
	})
}

func TestRun_RefusedConnectIsTriedAgainAfterFifteenMinutes(t *testing.T) {
	for _, code := range []byte{1, 2, 4, 5, 7, 0x87} {
		serve := func(_ int, s *session) { s.accept(code, false); s.hole() }
		inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
			time.Sleep(14*time.Minute + 59*time.Second)
			wantState(t, l, Waiting)
			if n := len(f.gaps()); n != 0 {
				t.Errorf("code %d: %d attempts too early", code, n)
			}
			time.Sleep(2 * time.Second)
			if gaps := f.gaps(); len(gaps) != 1 || gaps[0] != 15*time.Minute {
				t.Errorf("code %d: pauses %v, want 15m", code, gaps)
			}
		})
	}
}

func TestRun_ServerUnavailableIsTriedSoon(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(3, false) }
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		time.Sleep(time.Minute)
		if n := len(f.gaps()); n < 4 {
			t.Errorf("%d attempts in a minute", n+1)
		}
	})
}

func TestRun_SilentServerEndsAtTheConnectTimeout(t *testing.T) {
	serve := func(_ int, s *session) { s.hole() }
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		wantState(t, l, Authenticating)
		time.Sleep(10*time.Second + time.Millisecond)
		wantState(t, l, Waiting)
	})
}

// T-17.
func TestRun_HalfOpenIsFoundByPings(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(0, false); s.hole() }
	var ended []error
	var mu sync.Mutex
	inBubble(t, serve, func(c *Config) { c.KeepAlive = 30 * time.Second }, func(l *Link, f *fakeUpstream) {
		l.OnOffline(func(err error) { mu.Lock(); ended = append(ended, err); mu.Unlock() })
		wantState(t, l, Online)
		var a after
		l.Publish(Outgoing{Topic: "a", QoS: 1}, a.done)
		time.Sleep(51 * time.Second)
		if got := a.all(); len(got) != 1 || !errors.Is(got[0], ErrEpochEnded) {
			t.Errorf("done got %v, want ErrEpochEnded", got)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(ended) != 1 || !errors.Is(ended[0], errSilent) {
			t.Errorf("OnOffline got %v", ended)
		}
	})
}

func TestPublish_LostAcknowledgementEndsWithTheEpoch(t *testing.T) {
	serve := func(n int, s *session) {
		s.accept(0, false)
		for i := range 3 {
			p := s.publish()
			if p == nil {
				return
			}
			if i == 0 {
				s.puback(p)
			}
		}
	}
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		wantState(t, l, Online)
		var first, rest after
		l.Publish(Outgoing{Topic: "a", QoS: 1}, first.done)
		l.Publish(Outgoing{Topic: "b", QoS: 1}, rest.done)
		synctest.Wait()
		if got := rest.all(); len(got) != 0 {
			t.Errorf("done without PUBACK got %v", got)
		}
		l.Publish(Outgoing{Topic: "c", QoS: 1}, rest.done)
		synctest.Wait()
		if got := first.all(); len(got) != 1 || got[0] != nil {
			t.Errorf("acknowledged: done got %v, want nil once", got)
		}
		if got := rest.all(); len(got) != 2 || !errors.Is(got[0], ErrEpochEnded) || !errors.Is(got[1], ErrEpochEnded) {
			t.Errorf("not acknowledged: done got %v, want ErrEpochEnded each", got)
		}
	})
}

// T-15.
func TestPublish_AcknowledgementsOutOfOrderSettleTheRightMessages(t *testing.T) {
	serve := func(_ int, s *session) {
		s.accept(0, true)
		a, b := s.publish(), s.publish()
		s.puback(b)
		time.Sleep(time.Second)
		s.puback(a)
		s.idle()
	}
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		wantState(t, l, Online)
		var a, b after
		l.Publish(Outgoing{Topic: "a", QoS: 1}, a.done)
		l.Publish(Outgoing{Topic: "b", QoS: 1}, b.done)
		synctest.Wait()
		if len(a.all()) != 0 || len(b.all()) != 1 {
			t.Errorf("after the second PUBACK: a %v, b %v", a.all(), b.all())
		}
		time.Sleep(2 * time.Second)
		if got := a.all(); len(got) != 1 || got[0] != nil {
			t.Errorf("a got %v", got)
		}
	})
}

func TestPublish_BusyWhenFull(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(0, false); s.hole() }
	inBubble(t, serve, func(c *Config) { c.PendingMax = 3 }, func(l *Link, f *fakeUpstream) {
		wantState(t, l, Online)
		var a after
		for range 5 {
			l.Publish(Outgoing{Topic: "a", QoS: 1}, a.done)
		}
		if got := a.all(); len(got) != 2 || !errors.Is(got[0], ErrBusy) {
			t.Errorf("got %v, want ErrBusy twice", got)
		}
		l.Cut()
		synctest.Wait()
		if got := a.all(); len(got) != 5 || !errors.Is(got[4], ErrEpochEnded) {
			t.Errorf("after Cut got %v", got)
		}
	})
}

func TestPublish_RefusedWithoutConnectionOrOutsideLimits(t *testing.T) {
	l := newLink(t, func(*Config) {})
	var a after
	l.Publish(Outgoing{Topic: "a", QoS: 1}, a.done)
	l.Publish(Outgoing{Topic: "a", Payload: make([]byte, 129<<10), QoS: 1}, a.done)
	if got := a.all(); len(got) != 2 || !errors.Is(got[0], ErrOffline) || !errors.Is(got[1], ErrRefused) {
		t.Errorf("got %v", got)
	}
}

func TestRun_CloseAfterPublishNamesTheTopicAndStopsHurrying(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(0, true); s.publish() }
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		l.OnOnline(func(bool, uint64) { l.Publish(Outgoing{Topic: "secret/x", QoS: 1}, func(error) {}) })
		l.Restore()
		time.Sleep(14 * time.Minute)
		want := `upstream closed the connection right after a publish to "secret/x" (denied by its policy?): EOF`
		if got := l.Status(); got.State != Waiting || got.Error != want {
			t.Errorf("got %s: %s", got.State, got.Error)
		}
		if n := len(f.gaps()); n > 4 {
			t.Errorf("%d attempts in 14 minutes", n+1)
		}
	})
}

func TestRun_RefusedSubscriptionIsShown(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(0, false); s.suback(0x80); s.idle() }
	synctest.Test(t, func(t *testing.T) {
		f := &fakeUpstream{t: t, serve: serve}
		m := metrics.New()
		l, err := New(Config{Name: "cloud", ClientID: "gw1", Endpoint: Endpoint{Scheme: "tcp", Host: "u", Port: 1}, Dial: f.dial}, clock.NewSystem(), ids.New(rand.Reader), m, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Subscribe("cmd/#", 1, func(iot.Message, func()) {})
		ctx, cancel := context.WithCancel(t.Context())
		go l.Run(ctx)
		wantState(t, l, Online)
		want := "upstream refuses the subscription to cmd/#"
		if got := l.Status().Error; got != want {
			t.Errorf("status error %q, want %q", got, want)
		}
		if got := m.Health.Components()["uplink/cloud"]; got.State != metrics.Degraded || got.Error != want {
			t.Errorf("health %+v", got)
		}
		cancel()
		synctest.Wait()
	})
}

func TestCut_ClosesWithoutDisconnectAndHolds(t *testing.T) {
	var mu sync.Mutex
	var disconnects, ends int
	serve := func(_ int, s *session) {
		s.accept(0, false)
		for {
			p, err := packets.ReadPacket(s.Conn)
			mu.Lock()
			if err != nil {
				ends++
				mu.Unlock()
				return
			}
			if _, ok := p.(*packets.DisconnectPacket); ok {
				disconnects++
			}
			mu.Unlock()
		}
	}
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		wantState(t, l, Online)
		l.Cut()
		wantState(t, l, Severed)
		time.Sleep(24 * time.Hour)
		mu.Lock()
		if ends != 1 || disconnects != 0 || len(f.gaps()) != 0 {
			t.Errorf("%d ends, %d DISCONNECTs, pauses %v", ends, disconnects, f.gaps())
		}
		mu.Unlock()
		before := time.Now()
		l.Restore()
		wantState(t, l, Online)
		if took := time.Since(before); took != 0 {
			t.Errorf("restore took %v, want at once", took)
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if disconnects != 1 {
		t.Errorf("%d DISCONNECTs after the graceful end, want 1", disconnects)
	}
}

func TestCut_StopsAnAttemptInEveryPhase(t *testing.T) {
	for want, serve := range map[State]func(int, *session){
		Authenticating: func(_ int, s *session) { s.hole() },
		Subscribing:    func(_ int, s *session) { s.accept(0, false); s.hole() },
	} {
		inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
			l.Subscribe("a", 1, func(iot.Message, func()) {})
			l.Cut() // the first attempt may have gone without the filter
			synctest.Wait()
			l.Restore()
			wantState(t, l, want)
			before := time.Now()
			l.Cut()
			wantState(t, l, Severed)
			if time.Since(before) != 0 {
				t.Errorf("%s: cut took %v", want, time.Since(before))
			}
		})
	}
}

func TestRun_DialThatHangsIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, func(c *Config) {
			c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		})
		ctx, cancel := context.WithCancel(t.Context())
		go l.Run(ctx)
		wantState(t, l, Connecting)
		l.Cut()
		wantState(t, l, Severed)
		cancel()
		wantState(t, l, Disabled)
	})
}

func TestRun_SpreadsTheStartAfterBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeUpstream{t: t, serve: func(_ int, s *session) { s.accept(0, false); s.idle() }}
		cfg := Config{Name: "c", ClientID: "g", Endpoint: Endpoint{Scheme: "tcp", Host: "u", Port: 1}, Dial: f.dial, Spread: 30 * time.Second}
		start := time.Now()
		l, err := New(cfg, booted{start}, ids.New(bytes.NewReader(bytes.Repeat([]byte{0x7f}, 8))), metrics.New(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go l.Run(ctx)
		wantState(t, l, Waiting)
		time.Sleep(30 * time.Second)
		wantState(t, l, Online)
		if wait := f.dialed[0].Sub(start); wait == 0 || wait >= 30*time.Second {
			t.Errorf("the first attempt waited %v", wait)
		}
		cancel()
		synctest.Wait()
	})
}

// booted is a clock of a host that has just started.
type booted struct{ at time.Time }

func (b booted) Now() time.Time    { return time.Now() }
func (b booted) Up() time.Duration { return time.Since(b.at) }
func (b booted) Boot() string      { return "abcdef" }
func (b booted) Synced() bool      { return true }

// TestRun_TakesTheNextNodeAfterALoss: upstream.md section 3. Gateways begin at
// different nodes of a cluster, and each attempt takes the next.
func TestRun_TakesTheNextNodeAfterALoss(t *testing.T) {
	nodes := []Endpoint{{Scheme: "tcp", Host: "b", Port: 1}, {Scheme: "tcp", Host: "c", Port: 1}}
	var seen []string
	inBubble(t, func(_ int, s *session) { s.accept(3, false) }, func(c *Config) {
		c.Others = nodes
		dial := c.Dial
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			seen = append(seen, addr)
			return dial(ctx, network, addr)
		}
	}, func(l *Link, _ *fakeUpstream) {
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if node := l.Status().Node; !strings.Contains(node, seen[len(seen)-1]) {
			t.Errorf("the status names %s, the last attempt went to %s", node, seen[len(seen)-1])
		}
	})
	if len(seen) < 6 {
		t.Fatalf("attempts: %v", seen)
	}
	for i := range seen[3:] {
		if seen[i] == seen[i+1] || seen[i] != seen[i+3] {
			t.Fatalf("not one after the other: %v", seen)
		}
	}
	first := make(map[Endpoint]bool)
	for _, id := range []string{"site-1", "site-2", "site-3", "site-4", "site-5", "site-6"} {
		l := &Link{cfg: Config{ClientID: id, Endpoint: Endpoint{Host: "a"}, Others: nodes}}
		first[l.nodeAt(1)] = true
	}
	if len(first) != 3 {
		t.Errorf("six gateways begin at %v", first)
	}
}
