package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/farwire"
	"github.com/tidehold/tidehold/gateway/bench/load"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/uplink"
)

const (
	uplinkMessages = 1_000_000
	uplinkSize     = 130
	uplinkTrip     = 50 * time.Millisecond
	// uplinkMax bounds each part; uplinkLook is how often memory is looked at,
	// liveEvery how often a live message goes beside the backlog.
	uplinkMax  = 10 * time.Minute
	uplinkLook = 50 * time.Millisecond
	liveEvery  = 200 * time.Millisecond

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
		alone, err := b.withoutStore(ctx, far)
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
	live, err := goLive(ctx, t, far)
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
	heard, sent := live.end()
	f[rate] = float64(wire.Acked()) / took.Seconds()
	f[lost] += float64(max(0, o.Published-wire.Acked())) + float64(max(0, sent-heard.Count()))
	f[liveP99] = ms(heard.Quantile(.99))
	if known {
		f[growth] = float64(most-before) / (1 << 20)
	}
	return f, ctx.Err()
}

// live is a stream of messages beside the backlog, from a device to a client of
// the far side.
type live struct {
	device, app *load.Conn
	stop        chan struct{}
	sent        chan int64
	heard       chan *load.Histogram
}

func goLive(ctx context.Context, t, far *target) (*live, error) {
	app, err := load.Dial(ctx, load.Options{Address: far.address, ClientID: "live-app"})
	if err != nil {
		return nil, err
	}
	device, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: "live-device"})
	if err == nil {
		err = app.Subscribe("gw/bench/t/live", 0)
	}
	if err != nil {
		app.Close()
		return nil, err
	}
	l := &live{device: device, app: app, stop: make(chan struct{}), sent: make(chan int64, 1), heard: make(chan *load.Histogram, 1)}
	go l.speak()
	go l.hear()
	return l, nil
}

func (l *live) speak() {
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for n := int64(0); ; n++ {
		l.device.Publish("live", 1, uint16(n%65535+1), strconv.AppendInt(nil, time.Now().UnixNano(), 10))
		l.device.Flush()
		select {
		case <-l.stop:
			l.sent <- n + 1
			return
		case <-tick.C:
		}
	}
}

func (l *live) hear() {
	h := &load.Histogram{}
	defer func() { l.heard <- h }()
	for {
		p, err := l.app.Read()
		if err != nil {
			return
		}
		if p.Type != load.Publish {
			continue
		}
		_, _, payload, err := p.Message(l.app.Level())
		if at, wrong := strconv.ParseInt(string(payload), 10, 64); err == nil && wrong == nil {
			h.Add(time.Since(time.Unix(0, at)))
		}
	}
}

// end gives the last one time to arrive.
func (l *live) end() (heard *load.Histogram, sent int64) {
	close(l.stop)
	sent = <-l.sent
	l.app.Until(time.Now().Add(answerMax / 2))
	heard = <-l.heard
	l.device.Close()
	l.app.Close()
	return heard, sent
}

// withoutStore is the rate of the uplink's client alone, over a wire of its own.
func (b *bench) withoutStore(ctx context.Context, far *target) (perSecond float64, err error) {
	wire, err := farwire.Listen(far.address, uplinkTrip)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, wire.Close()) }()
	wire.Up()
	host, port, err := net.SplitHostPort(wire.Address())
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return 0, err
	}
	link, err := uplink.New(uplink.Config{Name: "far", Profile: "mosquitto", ClientID: b.next("alone"),
		Endpoint: uplink.Endpoint{Scheme: "tcp", Host: host, Port: number}}, clock.NewSystem(), ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		return 0, err
	}
	online := make(chan struct{}, 1)
	link.OnOnline(func(bool, uint64) { online <- struct{}{} })
	running, cancel := context.WithTimeout(ctx, uplinkMax)
	ended := make(chan error, 1)
	go func() { ended <- link.Run(running) }()
	defer func() { cancel(); err = errors.Join(err, <-ended) }()
	select {
	case <-online:
	case <-running.Done():
		return 0, running.Err()
	}
	return flood(running, link, b.count(uplinkMessages)/4)
}

// flood publishes n messages with as many on their way as the spool would have.
func flood(ctx context.Context, link *uplink.Link, n int) (perSecond float64, err error) {
	room, failed := make(chan struct{}, uplink.DefaultPendingMax), make(chan error, 1)
	payload := make([]byte, uplinkSize)
	began := time.Now()
	for i := range n + cap(room) {
		select {
		case room <- struct{}{}:
		case err := <-failed:
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if i >= n {
			continue // only waits for those on their way
		}
		link.Publish(uplink.Outgoing{Topic: "gw/bench/t/back/0", Payload: payload, QoS: 1}, func(err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
			<-room
		})
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
