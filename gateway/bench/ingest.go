package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// commitDelays of section 6: a fast disk, a good card, a slow one.
var commitDelays = []time.Duration{0, 8 * time.Millisecond, 20 * time.Millisecond}

// The figures of ingest beside the usual ones; latency is that of the
// acknowledgement.
const (
	heard      = "rate_heard"    // rate, when one subscriber hears the messages too
	ofVolatile = "of_volatile"   // rate_heard, as a share of the same load that nobody stores
	ofUnheard  = "of_unheard"    // rate, as a share of the same load that nobody stores and nobody hears
	ofSingle   = "of_one_commit" // rate, as a multiple of one message per commit
	perCommit  = "acks_per_commit"
	bytesEach  = "bytes_each" // written per message
)

// ingest publishes to a topic that the spool stores: what counts is how fast
// durable messages are acknowledged. The same load without durability is one
// that a subscriber hears, as is its durable side: a message that nobody stores
// and nobody hears is read and acknowledged, and no broker does less.
func (b *bench) ingest(ctx context.Context) error {
	if b.cfg.Against != "" {
		return b.ingestAt(ctx, "", func() (*target, error) { return &target{name: b.cfg.Against, address: b.cfg.Against}, nil })
	}
	delays := commitDelays
	if b.cfg.CommitDelay > 0 {
		delays = []time.Duration{b.cfg.CommitDelay}
	}
	for _, delay := range delays {
		for _, profile := range []string{"strict", "balanced"} {
			if profile == "balanced" && delay > 0 {
				continue // its own gap of 100 ms hides the medium
			}
			start := func() (*target, error) { return b.durableTarget(ctx, delay, profile) }
			if err := b.ingestAt(ctx, fmt.Sprintf("%s/%v/", profile, delay), start); err != nil {
				return err
			}
		}
	}
	return nil
}

// ingestAt measures all loads at one medium, each at a target of its own, whose
// store is empty. The first, one publisher with a window of one, is what
// committing each message alone would give.
func (b *bench) ingestAt(ctx context.Context, medium string, start func() (*target, error)) error {
	var single float64
	for _, publishers := range []int{1, 50} {
		for _, window := range []int{1, 64, 1000} {
			cell := fmt.Sprintf("%s%dpub/window%d", medium, publishers, window)
			if !b.wanted(cell) {
				continue
			}
			t, err := start()
			if err != nil {
				return err
			}
			f, err := b.alone(ctx, cell, t, ingestBars(medium, publishers, window), func(t *target) (Figures, error) {
				return b.ingestRound(ctx, t, publishers, window, single)
			})
			if err = errors.Join(err, t.stop(false)); err != nil {
				return err
			}
			if publishers == 1 && window == 1 {
				single = f[rate]
			}
		}
	}
	return nil
}

func ingestBars(medium string, publishers, window int) []bar {
	bars := flawless(1)
	switch {
	case medium == "strict/0s/" && publishers == 1 && window == 1000:
		bars = append(bars, least(ofVolatile, .6), least(ofSingle, 15))
	case medium == "strict/8ms/" && publishers == 50 && window == 64:
		bars = append(bars, least(rate, 10000), most(p99, 324))
	case medium == "strict/8ms/" && publishers == 50 && window == 1000:
		bars = append(bars, least(rate, 10000))
	}
	return bars
}

func (b *bench) ingestRound(ctx context.Context, t *target, publishers, window int, single float64) (Figures, error) {
	plan := load.Plan{Address: t.address, Publishers: publishers, QoS: 1, Payload: usualSize, Window: window, Duration: b.cfg.Duration}
	beside, err := b.ingestBeside(ctx, plan)
	if err != nil {
		return nil, err
	}
	m := meter{t: t}
	wrote, _ := t.written()
	commits, counted := t.figure(commitCount)
	plan.Prefix, plan.Begin, plan.End = b.next("dur/bench"), m.begin, m.end
	o, err := load.Run(ctx, plan)
	if err != nil {
		return nil, err
	}
	f := figuresOf(o, m.used, m.known)
	f.latency(&o.Acks)
	f[heard], f[ofVolatile], f[ofUnheard] = beside.durable, beside.durable/beside.volatile, o.Rate()/beside.unheard
	if single > 0 {
		f[ofSingle] = o.Rate() / single
	}
	if after, ok := t.figure(commitCount); ok && counted && after > commits {
		f[perCommit] = float64(o.Published) / (after - commits)
	}
	if after, ok := t.written(); ok {
		f[bytesEach] = float64(after-wrote) / float64(o.Published)
	}
	return f, nil
}

// besides are the rates of one load that its durable, unheard one is compared with.
type besides struct{ unheard, volatile, durable float64 }

// ingestBeside measures a load that nobody stores, without and with a
// subscriber, and one that is stored and heard.
func (b *bench) ingestBeside(ctx context.Context, plan load.Plan) (r besides, err error) {
	for _, one := range []struct {
		topic       string
		subscribers int
		rate        *float64
	}{{"mem/bench", 0, &r.unheard}, {"mem/bench", 1, &r.volatile}, {"dur/bench", 1, &r.durable}} {
		plan.Prefix, plan.Subscribers = b.next(one.topic), one.subscribers
		o, err := load.Run(ctx, plan)
		if err != nil {
			return r, err
		}
		*one.rate = o.Rate()
	}
	return r, nil
}

// commitCount is the number of commits of the message log.
const commitCount = "tidehold_store_messages_commit_seconds_count"
