package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// The figures of conns.
const (
	memoryEach  = "rss_bytes_each"
	connectEach = "connect_cpu_us"
	connectRate = "connects_per_s"
	idleCPU     = "idle_cpu_ms_per_s"
)

// conns opens many connections that say nothing.
func (b *bench) conns(ctx context.Context) error {
	for _, n := range []int{1000, 10000} {
		cell := fmt.Sprintf("plain/%d", n)
		if !b.wanted(cell) {
			continue
		}
		var bars []bar
		if n == 10000 {
			bars = append(bars, most(memoryEach, 20<<10))
		}
		if _, err := b.fresh(ctx, cell, bars, func(t *target) (Figures, error) {
			return b.idleRound(ctx, t, b.count(n), nil)
		}); err != nil {
			return err
		}
	}
	if b.cfg.Against != "" {
		return nil // its certificate is unknown
	}
	for _, n := range []int{1000, 10000} {
		if err := b.idleTLS(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// idleTLS is the same over TLS, with a certificate of the server alone.
func (b *bench) idleTLS(ctx context.Context, n int) error {
	cell := fmt.Sprintf("tls/%d", n)
	if !b.wanted(cell) {
		return nil
	}
	w := way{name: "idle"}
	p, err := b.papers(w)
	if err != nil {
		return err
	}
	which := []*target{{name: subjectName}}
	if b.mosquitto != "" {
		which = append(which, &target{name: peerName})
	}
	var bars []bar
	if n == 10000 {
		bars = append(bars, most(memoryEach, 60<<10))
	}
	_, err = b.compare(ctx, cell, which, bars, func(t *target) (f Figures, err error) {
		s, peer := tlsSetup(w, p)
		var running *target
		if t.name == peerName {
			running, err = b.peer(ctx, peer)
		} else {
			running, err = b.subject(ctx, s)
		}
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, running.stop(false)) }()
		return b.idleRound(ctx, running, b.count(n), p.client(tls.VersionTLS13))
	})
	return err
}

// idleRound opens n connections; client is nil for plain ones.
func (b *bench) idleRound(ctx context.Context, t *target, n int, client *tls.Config) (Figures, error) {
	if err := warmOver(ctx, t, b.next("warm"), client); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var open []*load.Conn
	defer func() {
		for _, c := range open {
			c.Drop()
		}
	}()
	prefix := b.next("idle")
	before, known := t.memory()
	m, start := meter{t: t}, time.Now()
	m.begin()
	err := load.Each(n, func(i int) error {
		c, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: fmt.Sprintf("%s-%d", prefix, i), TLS: client})
		if err != nil {
			return err
		}
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.end()
	f := Figures{connectRate: float64(n) / time.Since(start).Seconds()}
	if m.known {
		f[connectEach] = float64(m.used.Microseconds()) / float64(n)
	}
	settle(ctx, min(time.Second, b.cfg.Duration))
	if after, _ := t.memory(); known {
		f[memoryEach] = float64(after-before) / float64(n)
	}
	m.begin()
	settle(ctx, b.cfg.Duration)
	if m.end(); m.known {
		f[idleCPU] = ms(m.used) / b.cfg.Duration.Seconds()
	}
	return f, ctx.Err()
}

// warm connects a few clients, so that a process's first buffers are not
// counted as a connection's.
func warm(ctx context.Context, t *target, prefix string) error {
	return warmOver(ctx, t, prefix, nil)
}

func warmOver(ctx context.Context, t *target, prefix string, client *tls.Config) error {
	return load.Each(50, func(i int) error {
		c, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: fmt.Sprintf("%s-%d", prefix, i), TLS: client})
		if err == nil {
			c.Close()
		}
		return err
	})
}
