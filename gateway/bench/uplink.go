package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/farwire"
	"github.com/tidehold/tidehold/gateway/bench/load"
)

const (
	uplinkMessages = 1_000_000
	uplinkSize     = 130
	uplinkTrip     = 50 * time.Millisecond
	// uplinkMax bounds each part; uplinkLook is how often memory is looked at.
	uplinkMax  = 10 * time.Minute
	uplinkLook = 50 * time.Millisecond

	ofClient = "of_client"     // rate, as a share of the client's without the store
	growth   = "rss_growth_mb" // most resident memory while draining
	liveP99  = "live_p99_ms"
)

const uplinkYAML = `telemetry: {store: {max_bytes: 2GiB}}
uplinks:
  - name: far
    profile: mosquitto
    endpoint: "tcp://%s"
    reconnect_max: 1s
    drain: {rate: 0, bytes: 0, inflight: 0, start_jitter: 0s}
    telemetry: [{name: all, from: "#"}]
`

// uplink stores a backlog while the far side is away and drains it over a round
// trip of 50 ms, with live messages beside it; then the same client sends to the
// same broker without a store.
func (b *bench) uplink(ctx context.Context) error {
	if b.cfg.Against != "" {
		return nil // not a gateway with an uplink
	}
	bars := []bar{least(ofClient, .7), most(growth, 20), most(liveP99, 1000), most(lost, 0)}
	_, err := b.alone(ctx, "drain", &target{name: subjectName}, bars, b.drained(ctx))
	return err
}

func (b *bench) drained(ctx context.Context) func(*target) (Figures, error) {
	return func(*target) (f Figures, err error) {
		far, err := b.farSide(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, far.stop(false)) }()
		wire, err := farwire.Listen(far.address, uplinkTrip)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, wire.Close()) }()
		t, err := b.subject(ctx, setup{yaml: fmt.Sprintf(uplinkYAML, wire.Address())})
		if err != nil {
			return nil, err
		}
		f, err = b.drain(ctx, t, far, wire)
		if err = errors.Join(err, t.stop(false)); err != nil {
			return nil, errors.Join(err, t.trouble())
		}
		alone, err := farwire.Flood(ctx, far.address, uplinkTrip, b.count(uplinkMessages)/4, uplinkSize)
		if err != nil {
			return nil, fmt.Errorf("the client without the store: %w", err)
		}
		f["client_rate"], f[ofClient] = alone, f[rate]/alone
		return f, nil
	}
}

// farSide is a broker that the backlog goes to: Mosquitto, or our own.
func (b *bench) farSide(ctx context.Context) (*target, error) {
	if b.mosquitto != "" {
		return b.peer(ctx, peerPrompt)
	}
	return b.subject(ctx, setup{})
}

// drain fills the store while the wire is down and times what comes after.
func (b *bench) drain(ctx context.Context, t, far *target, wire *farwire.Wire) (Figures, error) {
	const publishers = 4
	o, err := load.Run(ctx, load.Plan{Address: t.address, Prefix: "back", Publishers: publishers, QoS: 1, Payload: uplinkSize,
		Window: 1000, Duration: uplinkMax, Messages: int64(b.count(uplinkMessages) / publishers)})
	if err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	f := Figures{lost: float64(o.Lost), "stored_rate": o.Rate()}
	settle(ctx, time.Second)
	before, known := t.memory()
	live, err := farwire.GoLive(ctx, t.address, far.address, "live", "gw/bench/t/live")
	if err != nil {
		return nil, err
	}
	wire.Up()
	began, most := time.Now(), before
	for wire.Acked() < o.Published && time.Since(began) < uplinkMax && ctx.Err() == nil {
		settle(ctx, uplinkLook)
		now, _ := t.memory()
		most = max(most, now)
	}
	took := time.Since(began)
	heard, sent := live.End(answerMax / 2)
	f[rate] = float64(wire.Acked()) / took.Seconds()
	f[lost] += float64(max(0, o.Published-wire.Acked())) + float64(max(0, sent-heard.Count()))
	f[liveP99] = ms(heard.Quantile(.99))
	if known {
		f[growth] = float64(most-before) / (1 << 20)
	}
	return f, ctx.Err()
}
