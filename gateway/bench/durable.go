package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/shadow"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/telemetry"
	"github.com/tidehold/tidehold/gateway/topic"
)

// durableFilter is what the durable house stores before it acknowledges.
const durableFilter = "dur/#"

// Durable is the durable half of a gateway, whose commits can be slowed: the
// real broker, spool, shadow service and files, with a house between them that
// has no rules, no outputs and no policies. A gateway has no switch for its
// commits and needs none, so the scenarios that slow them measure this.
type Durable struct {
	// Dir is the storage, Bind and Metrics where broker and figures listen.
	Dir, Bind, Metrics string
	CommitDelay        time.Duration
	// Profile is the telemetry profile: strict or balanced.
	Profile string
}

// ampleBytes keep the message log below its bound: nobody takes anything out of
// it here, and making room by folding and evicting is not what is measured.
const ampleBytes = 64 << 30

// durable is a built Durable.
type durable struct {
	clock    clock.Clock
	metrics  *metrics.Registry
	files    []*store.DB
	broker   *broker.Broker
	spool    *telemetry.Spool
	shadows  *shadow.Service
	figures  *http.Server
	figuresL net.Listener
}

// Serve runs the durable half until ctx ends.
func (cfg Durable) Serve(ctx context.Context) (err error) {
	d := &durable{clock: clock.NewSystem(), metrics: metrics.New()}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.build(ctx, cfg); err != nil {
		return fmt.Errorf("durable subject: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- d.figures.Serve(d.figuresL) }()
	// The spool ends after everything that appends.
	spooling, end := context.WithCancel(context.WithoutCancel(ctx))
	spooled := make(chan error, 1)
	go func() { spooled <- d.spool.Run(spooling) }()
	err = d.broker.Run(ctx)
	end()
	err = errors.Join(err, <-spooled, d.figures.Close())
	<-served
	return err
}

func (d *durable) build(ctx context.Context, cfg Durable) error {
	src := ids.New(rand.Reader)
	state, err := d.keep(store.Open(ctx, d.options(cfg, "state.db", shadow.Schema())))
	if err != nil {
		return err
	}
	file, err := d.openMessages(ctx, cfg)
	if err != nil {
		return err
	}
	log, err := messages.New(messages.Config{MaxBytes: ampleBytes}, file, src, d.metrics, nil)
	if err != nil {
		return err
	}
	filter, err := topic.ParseFilter(durableFilter)
	if err != nil {
		return err
	}
	if d.spool, err = telemetry.New(telemetry.Config{
		Gateway: "bench", Profile: cfg.Profile,
		Uplinks: []telemetry.Uplink{{Name: "up", Required: true, Enabled: true, Routes: []telemetry.Route{{Name: "all", From: filter, QoS: 1}}}},
	}, log, d.clock, src, d.metrics, nil); err != nil {
		return err
	}
	known := func(iot.ThingName) bool { return true }
	if d.shadows, err = shadow.New(shadow.Config{Limits: doc.Limits{MaxBytes: 8 << 10, MaxDepth: 8}}, state, d.clock, d, known, d.metrics, nil); err != nil {
		return err
	}
	if err := d.shadows.Load(ctx); err != nil {
		return err
	}
	if d.broker, err = broker.New(broker.Config{
		Listeners: []broker.ListenerConfig{{Name: "local", Bind: cfg.Bind, RateFree: true}},
		Limits:    broker.Limits{MaxQoS: 2, MaxInflight: 1000},
	}, everything{}, d, d.clock, src, d.metrics, nil); err != nil {
		return err
	}
	d.figures = &http.Server{Handler: d.metrics.Handler(), ReadHeaderTimeout: 5 * time.Second}
	if d.figuresL, err = net.Listen("tcp", cfg.Metrics); err != nil {
		return err
	}
	return d.broker.Listen(ctx)
}

// openMessages opens the message log as the gateway does, with its checkpoints.
func (d *durable) openMessages(ctx context.Context, cfg Durable) (*store.DB, error) {
	o := d.options(cfg, "messages.db")
	o.CheckpointPages = messages.Config{MaxBytes: ampleBytes}.CheckpointPages()
	db, _, err := messages.Open(ctx, o)
	return d.keep(db, err)
}

func (d *durable) options(cfg Durable, name string, schemas ...store.Schema) store.Options {
	return store.Options{Path: filepath.Join(cfg.Dir, name), Schemas: schemas, Metrics: d.metrics, Clock: d.clock, CommitDelay: cfg.CommitDelay}
}

// keep has an opened file closed at the end.
func (d *durable) keep(db *store.DB, err error) (*store.DB, error) {
	if err == nil {
		d.files = append(d.files, db)
	}
	return db, err
}

func (d *durable) close() error {
	var all []error
	for _, db := range d.files {
		all = append(all, db.Close())
	}
	return errors.Join(all...)
}

// Accept is the way of the house (package gateway) through what is here.
func (d *durable) Accept(m iot.Message, done func(error)) {
	if r, is := topic.ParseReserved(m.Topic); is && r.Kind == topic.ShadowRequest {
		d.broker.Route(m)
		d.shadows.HandleTopic(m, r, done)
		return
	}
	if !d.spool.Wants(m.Topic) {
		d.broker.Route(m)
		done(nil)
		return
	}
	var full error // of an Append that finds no room, before it returns
	d.spool.Append(m, func(err error) {
		if inbound.FullIn(err) != nil {
			full = err
			return
		}
		done(err)
	})
	if full != nil {
		done(full)
		return
	}
	d.broker.Route(m)
}

// Publish takes the answers of the shadow service.
func (d *durable) Publish(m iot.Message) { d.broker.Route(m) }

// everything is allowed.
type everything struct{}

func (everything) Connect(*broker.Client, []byte) error       { return nil }
func (everything) MayStay(*broker.Client) bool                { return true }
func (everything) Publish(*broker.Client, string, bool) error { return nil }
func (everything) Reserved(*broker.Client, string)            {}
func (everything) Subscribe(*broker.Client, string) error     { return nil }
func (everything) Receive(*broker.Client, string) bool        { return true }

// durableTarget starts a Durable, as a process when there is a program for it. Its
// files go when it stops.
func (b *bench) durableTarget(ctx context.Context, delay time.Duration, profile string) (*target, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	figures, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cfg := Durable{Dir: filepath.Join(b.dir, b.next("durable")), Bind: address, Metrics: figures, CommitDelay: delay, Profile: profile}
	var t *target
	if b.cfg.Self == "" {
		t, err = within(ctx, address, cfg.Serve)
	} else {
		args := []string{"bench", "subject", "--durable", cfg.Dir, "--bind", address, "--metrics", figures,
			"--commit-delay", delay.String(), "--profile", profile}
		if b.cfg.Profile != "" {
			args = append(args, "--cpuprofile", filepath.Join(b.cfg.Profile, b.scenario+"-"+b.next("cpu")+".pprof"))
		}
		t, err = spawn(ctx, subjectName, address, b.cfg.Self, args...)
	}
	if err != nil {
		return nil, err
	}
	t.metrics = figures
	stop := t.stopped
	t.stopped = func(kill bool) error { return errors.Join(stop(kill), os.RemoveAll(cfg.Dir)) }
	return t, nil
}
