package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

const (
	offlineMessages = 100_000
	offlineSize     = 64
	offlineWindow   = 1000
	// offlineReceiveMax is the window of the client that comes back.
	offlineReceiveMax = 10
	// offlineMax bounds the drain, offlineStall a pause in it.
	offlineMax   = 2 * time.Minute
	offlineStall = 3 * time.Second
)

// offline queues messages for a session that is away, and reads them when it
// comes back: to the same process, after a restart, after a kill -9.
func (b *bench) offline(ctx context.Context) error {
	bars := []bar{most(lost, 0), most(duplicated, 0), most(reordered, 0)}
	if err := b.offlineStay(ctx, bars); err != nil {
		return err
	}
	if b.cfg.Against != "" {
		return nil // not ours to stop
	}
	for _, kill := range []bool{false, true} {
		cell := "restart"
		if kill {
			cell = "kill"
		}
		if kill && b.cfg.Self == "" || !b.wanted(cell) {
			continue
		}
		if kill {
			bars = bars[:1] // what was on its way at the kill may come twice
		}
		if _, err := b.alone(ctx, cell, &target{name: subjectName}, bars, func(*target) (Figures, error) {
			return b.offlineRestart(ctx, kill)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) offlineStay(ctx context.Context, bars []bar) error {
	_, err := b.fresh(ctx, "stay", bars, func(t *target) (Figures, error) {
		session := b.next("away")
		f, err := b.queueUp(ctx, t, session)
		if err != nil {
			return nil, err
		}
		return f, b.comeBack(ctx, t, session, f)
	})
	return err
}

func (b *bench) offlineRestart(ctx context.Context, kill bool) (f Figures, err error) {
	s := setup{dir: filepath.Join(b.dir, b.next("offline"))}
	t, err := b.subject(ctx, s)
	if err != nil {
		return nil, err
	}
	session := b.next("away")
	f, err = b.queueUp(ctx, t, session)
	if err = errors.Join(err, t.stop(kill)); err != nil {
		return nil, err
	}
	if t, err = b.subject(ctx, s); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.stop(false)) }()
	return f, b.comeBack(ctx, t, session, f)
}

// queueUp makes a session with one subscription, leaves, and publishes.
func (b *bench) queueUp(ctx context.Context, t *target, session string) (Figures, error) {
	c, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: session, Level: 5, Persistent: true})
	if err != nil {
		return nil, err
	}
	err = c.Subscribe(session+"/+", 1)
	c.Close()
	if err != nil {
		return nil, err
	}
	if err := warm(ctx, t, session+"-warm"); err != nil {
		return nil, err
	}
	before, known := t.memory()
	m := meter{t: t}
	o, err := load.Run(ctx, load.Plan{
		Address: t.address, Prefix: session, Publishers: 1, QoS: 1, Payload: offlineSize, Window: offlineWindow,
		Duration: offlineMax, Messages: int64(b.count(offlineMessages)), Begin: m.begin, End: m.end,
	})
	if err != nil {
		return nil, err
	}
	f := Figures{"queue_rate": o.Rate(), lost: float64(o.Lost)}
	if m.known {
		f["queue_cpu_us"] = float64(m.used.Microseconds()) / float64(o.Published)
	}
	if after, _ := t.memory(); known {
		f["queued_bytes_each"] = float64(after-before) / float64(o.Published)
	}
	return f, nil
}

// comeBack takes everything that waits, with a window of ten.
func (b *bench) comeBack(ctx context.Context, t *target, session string, f Figures) error {
	c, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: session, Level: 5, Persistent: true, ReceiveMax: offlineReceiveMax})
	if err != nil {
		return err
	}
	defer c.Close()
	seen, err := load.Drain(ctx, c, int64(b.count(offlineMessages)), offlineMax, offlineStall)
	if err != nil {
		return fmt.Errorf("come back: %w", err)
	}
	f[rate] = seen.Rate()
	f[lost], f[duplicated], f[reordered] = f[lost]+float64(seen.Lost), float64(seen.Duplicated), float64(seen.Reordered)
	f["resumed"] = 0
	if c.Resumed {
		f["resumed"] = 1
	}
	return nil
}
