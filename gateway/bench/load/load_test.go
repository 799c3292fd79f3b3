package load

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

func TestHistogram_IsExactToThreePercent(t *testing.T) {
	var h Histogram
	for i := 1; i <= 100_000; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{.5: 50 * time.Millisecond, .99: 99 * time.Millisecond, .999: 99900 * time.Microsecond} {
		if got := h.Quantile(q); got < want || got > want*104/100 {
			t.Errorf("quantile %g: %v, want %v", q, got, want)
		}
	}
	var other Histogram
	other.Add(time.Hour)
	h.Merge(&other)
	if h.Quantile(1) != time.Hour || h.Count() != 100_001 {
		t.Errorf("after the merge: max %v of %d", h.Quantile(1), h.Count())
	}
}

func TestHistogram_EveryValueLiesInItsBucket(t *testing.T) {
	for v := uint64(0); v < 1<<40; v = v*9/8 + 1 {
		if i := bucket(v); upper(i) < v || i > 0 && upper(i-1) >= v {
			t.Fatalf("%d is in bucket %d up to %d", v, i, upper(i))
		}
	}
}

func TestCheck_TellsLossFromDuplicatesAndDisorder(t *testing.T) {
	for name, c := range map[string]struct {
		seen                            []int64
		distinct, duplicated, reordered int64
	}{
		"in order":    {[]int64{0, 1, 2}, 3, 0, 0},
		"a hole":      {[]int64{0, 2}, 2, 0, 0},
		"twice":       {[]int64{0, 1, 1, 0}, 2, 2, 0},
		"swapped":     {[]int64{0, 2, 1, 3}, 4, 0, 1},
		"late, twice": {[]int64{2, 0, 0}, 2, 1, 1},
	} {
		var k check
		for _, seq := range c.seen {
			k.see(seq)
		}
		if k.distinct != c.distinct || k.duplicated != c.duplicated || k.reordered != c.reordered {
			t.Errorf("%s: %d distinct, %d twice, %d reordered", name, k.distinct, k.duplicated, k.reordered)
		}
	}
}

// fake is the smallest broker: it acknowledges at once, delivers to whoever
// subscribed, at the publisher's QoS, and misbehaves on request.
type fake struct {
	listener net.Listener
	mangle   func(n int64) int // how often message n is delivered; nil is once
	silent   bool              // never acknowledges

	n    atomic.Int64
	mu   sync.Mutex
	subs []*Conn
}

func newFake(t *testing.T) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{listener: l}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := &Conn{net: nc, level: 4, reader: NewReader(nc)}
			c.reader.Idle = c.Flush
			serving.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return f
}

func (f *fake) serve(c *Conn) {
	defer c.Drop()
	for {
		p, err := c.Read()
		if err != nil || p.Type == Disconnect {
			return
		}
		switch p.Type {
		case Connect:
			c.send(func(b []byte) []byte { return append(b, Connack<<4, 2, 0, 0) })
		case Subscribe:
			qos := p.Body[len(p.Body)-1]
			f.mu.Lock() // before the SUBACK: publishers start after it
			f.subs = append(f.subs, c)
			f.mu.Unlock()
			c.send(func(b []byte) []byte { return append(b, Suback<<4, 3, p.Body[0], p.Body[1], qos) })
		case Publish:
			f.publish(c, p)
		case Pubrel:
			c.Ack(Pubcomp, p.ID())
		case Pubrec:
			c.Ack(Pubrel, p.ID())
		}
	}
}

func (f *fake) publish(c *Conn, p Packet) {
	topic, id, payload, _ := p.Message(4)
	if qos := p.QoS(); qos > 0 && !f.silent {
		c.Ack([]byte{0, Puback, Pubrec}[qos], id)
	}
	times := 1
	if n := f.n.Add(1) - 1; f.mangle != nil {
		times = f.mangle(n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		for range times {
			s.Publish(string(topic), p.QoS(), id, payload)
		}
		s.Flush()
	}
}

func plan(f *fake, qos byte) Plan {
	return Plan{
		Address: f.listener.Addr().String(), Prefix: "t", Publishers: 2, Subscribers: 1, QoS: qos, Payload: 32, Window: 16,
		Duration: 10 * time.Second, Messages: 500,
	}
}

func TestRun_CountsWhatArrives(t *testing.T) {
	for qos := range byte(3) {
		o, err := Run(t.Context(), plan(newFake(t), qos))
		if err != nil {
			t.Fatalf("QoS %d: %v", qos, err)
		}
		if o.Published != 1000 || o.Delivered != 1000 || o.Lost+o.Duplicated+o.Reordered != 0 || o.Rate() <= 0 {
			t.Errorf("QoS %d: %+v", qos, o)
		}
		if o.Latency.Count() != 1000 || qos > 0 && o.Acks.Count() != 1000 {
			t.Errorf("QoS %d: %d latencies, %d acks", qos, o.Latency.Count(), o.Acks.Count())
		}
	}
}

// TestRun_SeesWhatABrokerDoesWrong delivers every hundredth message twice and
// every 250th not at all.
func TestRun_SeesWhatABrokerDoesWrong(t *testing.T) {
	f := newFake(t)
	f.mangle = func(n int64) int {
		switch {
		case n%250 == 249:
			return 0
		case n%100 == 50:
			return 2
		}
		return 1
	}
	p := plan(f, 1)
	p.Publishers, p.Messages = 1, 1000
	o, err := Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if o.Lost != 4 || o.Duplicated != 10 || o.Delivered != 996 {
		t.Errorf("lost %d, twice %d, delivered %d; want 4, 10, 996", o.Lost, o.Duplicated, o.Delivered)
	}
}

// TestRun_EndsWhenNothingMoves proves that a broker that never acknowledges
// costs a few seconds and is told as loss.
func TestRun_EndsWhenNothingMoves(t *testing.T) {
	gwtest.Slow(t, "waits for the stall")
	f := newFake(t)
	f.silent = true
	p := plan(f, 1)
	p.Subscribers = 0
	o, err := Run(t.Context(), p)
	if err != nil || o.Lost != int64(p.Publishers*p.Window) {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestRun_OpenLoopKeepsItsRate sends 1,000 a second for half a second.
func TestRun_OpenLoopKeepsItsRate(t *testing.T) {
	p := plan(newFake(t), 1)
	p.Rate, p.Duration, p.Messages = 1000, 500*time.Millisecond, 0
	o, err := Run(t.Context(), p)
	if err != nil || o.Published != 500 || o.Elapsed < 450*time.Millisecond {
		t.Errorf("%d published in %v, %v", o.Published, o.Elapsed, err)
	}
}

func TestRun_RefusesWhatMeasuresNothing(t *testing.T) {
	f := newFake(t)
	for name, change := range map[string]func(*Plan){
		"no payload":      func(p *Plan) { p.Payload = 3 },
		"unequal pairs":   func(p *Plan) { p.Pair = true },
		"nobody listens":  func(p *Plan) { p.Subscribers, p.QoS = 0, 0 },
		"no end":          func(p *Plan) { p.Duration = 0 },
		"nobody connects": func(p *Plan) { p.Address = "127.0.0.1:1" },
	} {
		p := plan(f, 1)
		change(&p)
		if _, err := Run(t.Context(), p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRun_StopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p := plan(newFake(t), 1)
	p.Messages, p.Duration = 0, time.Minute
	if _, err := Run(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestDial_SaysWhyItWasRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if nc, err := l.Accept(); err == nil {
			_, _ = nc.Write([]byte{Connack << 4, 2, 0, 5})
			time.Sleep(50 * time.Millisecond)
			nc.Close()
		}
	}()
	if _, err := Dial(t.Context(), Options{Address: l.Addr().String(), ClientID: "me"}); err == nil || !strings.Contains(err.Error(), "code 5") {
		t.Errorf("%v", err)
	}
}
