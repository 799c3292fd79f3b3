package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// Parts is the table of drivers of this binary.
type Parts interface {
	Driver(name string) (drivers.Driver, bool)
}

// Address is where a listener can be reached.
type Address = broker.Address

// Env is the whole outside world of a gateway.
type Env struct {
	Clock  clock.Clock
	Random io.Reader
	Log    *slog.Logger
	Parts  Parts
	// Socket is the path of the operator's Unix socket; empty means none.
	Socket string
	// Sockets are open already, by the names that systemd gives them.
	Sockets map[string][]net.Listener
	// Listen and Dial are the network; nil means the host's.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	// Ready is called once, when everything listens.
	Ready func([]Address)
	// Built is when the program was built: no clock is believed below it. Zero
	// is not known.
	Built time.Time
	// Version, Commit and Go are what `tidehold version` says.
	Version, Commit, Go string
}

// Gateway is one gateway.
type Gateway struct {
	cfg     *config.Config
	env     Env
	log     *slog.Logger
	ids     *ids.Source
	metrics *metrics.Registry
	// rooms is set by Run before anything can ask for it.
	rooms *rooms
}

// New takes a checked configuration. It opens nothing and starts nothing.
func New(cfg *config.Config, env Env) (*Gateway, error) {
	if cfg == nil || env.Clock == nil || env.Random == nil || env.Log == nil || env.Parts == nil {
		return nil, errors.New("gateway: a configuration, clock, random reader, log and table of parts are needed")
	}
	if env.Listen == nil {
		env.Listen = (&net.ListenConfig{}).Listen
	}
	return &Gateway{cfg: cfg, env: env, log: env.Log, ids: ids.New(env.Random), metrics: metrics.New()}, nil
}

// Run serves until ctx ends and returns nil then, or the reason why it cannot
// go on. It can be called once.
func (g *Gateway) Run(ctx context.Context) (err error) {
	files, err := g.openFiles(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.close()) }()
	if g.rooms, err = g.build(ctx, files); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return runStages(ctx, g.stages(), g.log)
}

// stages are the rooms in the order in which they start (architecture
// section 7): nothing listens before what answers is ready.
func (g *Gateway) stages() []stage {
	r := g.rooms
	stages := []stage{
		{name: "services", stop: 3 * time.Second, rooms: []runner{
			{"spool", r.spool.Run}, {"sessions", r.sessions.Run}, {"functions", r.functions.Run}, {"rules", r.rules.Run}, {"presence", r.presence.Run}, {"pki", r.keeper.Run}, {"provision", r.provision.Run},
		}},
		{name: "edges", stop: 6 * time.Second, ready: g.ready, rooms: []runner{
			{"broker", r.broker.Run}, {"http", r.http.Run}, {"health", r.health.run},
		}},
		{name: "uplinks", stop: 6 * time.Second},
		{name: "drivers", stop: 3 * time.Second, rooms: r.drivers.runners()},
	}
	for _, l := range r.uplinks {
		stages[2].rooms = append(stages[2].rooms, l.runners()...)
	}
	return stages
}

// ready announces that everything listens.
func (g *Gateway) ready(context.Context) error {
	if g.env.Ready != nil {
		g.env.Ready(g.addresses())
	}
	return nil
}

// addresses lists every open listener.
func (g *Gateway) addresses() []Address {
	all := g.rooms.broker.Addresses()
	for name, address := range g.rooms.http.Addresses() {
		all = append(all, Address{Name: name, Address: address})
	}
	return all
}
