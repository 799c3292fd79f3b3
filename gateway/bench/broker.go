package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// shape is who publishes to whom.
type shape struct {
	name                    string
	publishers, subscribers int
	pair                    bool
}

// shapes of broker-storage.md section 6.
var shapes = []shape{
	{"1to1", 1, 1, false}, {"50to1", 50, 1, false}, {"1to50", 1, 50, false}, {"50to50", 50, 50, true},
}

// windowMessages is what each publisher of a closed loop has on its way.
const windowMessages = 64

// sizes are payloads in bytes; the open loop has usualSize alone.
var sizes = []int{64, usualSize, 1024, 16384}

const usualSize = 256

// broker measures routing in memory: nobody durable wants these messages.
func (b *bench) broker(ctx context.Context) (err error) {
	targets, stop, err := b.pair(ctx, setup{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	// Mosquitto has its best rates with the segments of Nagle's algorithm, and
	// its best latency without: it gets what is best for it.
	prompt := slices.Clone(targets)
	if len(targets) > 1 {
		if prompt[1], err = b.peer(ctx, peerPrompt); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, prompt[1].stop(false)) }()
	}
	for _, s := range shapes {
		for qos := range byte(3) {
			for _, size := range sizes {
				peaks, err := b.closedLoop(ctx, targets, s, qos, size)
				if err == nil && size == usualSize {
					err = b.openLoop(ctx, prompt, s, qos, size, peaks)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *bench) closedLoop(ctx context.Context, targets []*target, s shape, qos byte, size int) (map[string]Figures, error) {
	cell := fmt.Sprintf("closed/%s/qos%d/%d", s.name, qos, size)
	return b.compare(ctx, cell, targets, brokerBars(s.name, qos, size), func(t *target) (Figures, error) {
		f, err := b.flow(ctx, t, b.plan(t, s, qos, size))
		for _, name := range []string{p50, p99, p999} {
			delete(f, name) // of a full queue: says nothing
		}
		return f, err
	})
}

// loads are the rates of the open loop: shares of each target's own peak, and
// the same rate for all, half of the lowest peak.
var loads = []struct {
	name  string
	share float64
	equal bool
	bars  []bar
}{
	{"open25", .25, false, nil},
	{"open50", .5, false, []bar{most(p99, 1).ofPeer()}},
	{"open75", .75, false, nil},
	{"equal50", .5, true, []bar{most(p99, 1).ofPeer()}},
}

// openLoop sends on time, whatever the broker does.
func (b *bench) openLoop(ctx context.Context, targets []*target, s shape, qos byte, size int, peaks map[string]Figures) error {
	for _, l := range loads {
		cell := fmt.Sprintf("%s/%s/qos%d/%d", l.name, s.name, qos, size)
		if peaks == nil && b.wanted(cell) {
			return fmt.Errorf("%s needs the peak of closed/%s/qos%d/%d: measure that too", cell, s.name, qos, size)
		}
		lowest := math.Inf(1)
		for _, peak := range peaks {
			lowest = min(lowest, peak[rate])
		}
		if _, err := b.compare(ctx, cell, targets, slices.Concat(l.bars, flawless(qos)), func(t *target) (Figures, error) {
			p, peak := b.plan(t, s, qos, size), peaks[t.name][rate]
			if l.equal {
				peak = lowest
			}
			p.Rate = max(peak*l.share, 1)
			return b.flow(ctx, t, p)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) plan(t *target, s shape, qos byte, size int) load.Plan {
	return load.Plan{
		Address: t.address, Prefix: b.next("bench"), Publishers: s.publishers, Subscribers: s.subscribers, Pair: s.pair,
		QoS: qos, Payload: size, Window: windowMessages, Duration: b.cfg.Duration,
	}
}

// flow runs a plan and measures the target's CPU time meanwhile.
func (b *bench) flow(ctx context.Context, t *target, p load.Plan) (Figures, error) {
	m := meter{t: t}
	p.Begin, p.End = m.begin, m.end
	o, err := load.Run(ctx, p)
	if err != nil {
		return nil, err
	}
	return figuresOf(o, m.used, m.known), nil
}

// brokerBars are the targets of section 4, as issue 3 has them.
func brokerBars(shape string, qos byte, size int) []bar {
	bars := flawless(qos)
	if size != usualSize {
		return bars
	}
	switch fmt.Sprint(shape, " ", qos) {
	case "1to1 0":
		bars = append(bars, least(rate, 2).ofPeer(), most(cpu, .9).ofPeer())
	case "1to1 1":
		bars = append(bars, least(rate, 1.4).ofPeer(), most(cpu, .85).ofPeer())
	case "50to1 1":
		bars = append(bars, least(rate, 1.1).ofPeer(), most(cpu, 1.3).ofPeer())
	case "1to50 1":
		bars = append(bars, least(rate, 2).ofPeer(), most(cpu, .8).ofPeer())
	case "1to1 2", "1to50 2":
		bars = append(bars, least(rate, 2).ofPeer())
	}
	return bars
}

// flawless is what QoS promises: nothing lost, nothing out of order, nothing
// twice on living connections.
func flawless(qos byte) []bar {
	if qos == 0 {
		return []bar{most(reordered, 0)}
	}
	return []bar{most(lost, 0), most(duplicated, 0), most(reordered, 0)}
}
