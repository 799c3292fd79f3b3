package gateway

import (
	"context"
	"math"

	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/console"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/httpapi"
	"github.com/tidehold/tidehold/gateway/httpapi/control"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki/local"
	"github.com/tidehold/tidehold/gateway/presence"
	"github.com/tidehold/tidehold/gateway/provision"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/rules"
	"github.com/tidehold/tidehold/gateway/session"
	"github.com/tidehold/tidehold/gateway/shadow"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/telemetry"
	"github.com/tidehold/tidehold/gateway/telemetry/desk"
	"github.com/tidehold/tidehold/shadowsync/dispute"
)

// rooms is the built house.
type rooms struct {
	files     *files
	keeper    *local.Keeper
	registry  *registry.Registry
	checker   *access.Checker
	messages  *messages.Log
	spool     *telemetry.Spool
	shadows   *shadow.Service
	functions *function.Runner
	rules     *rules.Engine
	sessions  *session.Keeper
	provision *provision.Service
	// handover gives connections of the data plane from a listener that serves
	// several protocols.
	handover  *wire.Handover
	presence  *presence.Board
	broker    *broker.Broker
	uplinks   []*uplinkRoom
	conflicts *dispute.Journal
	drivers   *hardware
	http      *httpapi.Server
	control   *control.Handler
	health    *herald
}

// build makes every room, in the order in which they need each other, and
// opens the sockets. Nothing runs yet.
func (g *Gateway) build(ctx context.Context, f *files) (*rooms, error) {
	r := &rooms{files: f, handover: wire.NewHandover(nil), presence: presence.New(f.state, g.metrics, g.log)}
	h := &house{clock: g.env.Clock, log: g.log, volatile: f.volatile,
		lost: g.metrics.Counter("house_lost_total", "Messages of the house's own rooms that could not be stored.")}
	mem := memory{f.state}
	var err error
	if r.keeper, err = g.openKeeper(f.dir); err != nil {
		return nil, err
	}
	if r.registry, err = g.newRegistry(ctx, f, r.keeper); err != nil {
		return nil, err
	}
	if r.checker, err = g.newChecker(r.registry); err != nil {
		return nil, err
	}
	if r.messages, err = messages.New(g.messagesConfig(), f.messages, g.ids, g.metrics, g.log); err != nil {
		return nil, err
	}
	telemetryConfig := g.telemetryConfig()
	telemetryConfig.Salvaged = f.salvaged
	if r.spool, err = telemetry.New(telemetryConfig, r.messages, g.env.Clock, g.ids, g.metrics, g.log); err != nil {
		return nil, err
	}
	if r.shadows, err = shadow.New(g.shadowConfig(), f.state, g.env.Clock, h, r.known, g.metrics, g.log); err != nil {
		return nil, err
	}
	if err := r.shadows.Load(ctx); err != nil {
		return nil, err
	}
	if r.functions, err = function.New(function.Config{Functions: functionsOf(g.cfg), Dial: g.env.Dial}, g.metrics, g.log); err != nil {
		return nil, err
	}
	if r.rules, err = rules.New(g.rulesConfig(), rules.Deps{
		Publisher: h, Shadows: r.shadows, Forwarder: h, Devices: outlets{h}, Functions: r.functions, Upstream: g.basicIngest(r.spool),
		Registry: records{r}, State: f.state, Tables: f.tables, Dial: g.env.Dial, Clock: g.env.Clock, IDs: g.ids, Metrics: g.metrics, Log: g.log,
	}); err != nil {
		return nil, err
	}
	if err := r.rules.Load(ctx); err != nil {
		return nil, err
	}
	r.sessions = session.New(session.Config{Volatile: f.volatile}, f.state, f.messages, g.metrics, g.log)
	r.provision = g.newProvision(r, h)
	door := gate{r.checker}
	signed := keys{r.registry, r.checker, g.env.Clock, g.log}
	brokerConfig := g.brokerConfig(ctx, r, signed)
	brokerConfig.Keeper = r.sessions
	if r.broker, err = broker.New(brokerConfig, door, h, g.env.Clock, g.ids, g.metrics, g.log); err != nil {
		return nil, err
	}
	if err := r.broker.Load(ctx); err != nil {
		return nil, err
	}
	r.registry.Watch(func(registry.Change) { door.sweep(r.broker) })
	if err := r.presence.Load(ctx); err != nil {
		return nil, err
	}
	h.broker, h.shadows, h.rules, h.spool, h.provision, h.presence = r.broker, r.shadows, r.rules, r.spool, r.provision, r.presence
	if r.drivers, err = g.newHardware(h, mem); err != nil {
		return nil, err
	}
	h.binding = r.drivers.binding
	r.conflicts = dispute.New(f.state, dispute.EntriesMax, g.metrics, g.log)
	if r.uplinks, err = g.newUplinks(ctx, h, mem, r.conflicts); err != nil {
		return nil, err
	}
	r.health = newHerald(&g.metrics.Health, h, g.env.Clock)
	return r, g.listen(ctx, r, h, signed)
}

// listen opens the sockets of broker and HTTP. A mouth of HTTP that cannot be
// opened degrades its component; the operator's socket too.
func (g *Gateway) listen(ctx context.Context, r *rooms, h *house, k keys) error {
	o := operator{g}
	r.control = g.newControl(r, k)
	r.http = httpapi.New(httpapi.Config{
		Socket: g.env.Socket, Control: string(g.cfg.HTTP.Control), Metrics: string(g.cfg.HTTP.Metrics), Listen: g.env.Listen,
		Handed:       r.handover,
		DataPlane:    string(g.cfg.HTTP.DataPlane),
		DataPlaneTLS: r.keeper.TLS(local.Listener{Protocols: []string{"x-amzn-http-ca", "http/1.1"}, Admit: r.admit("data_plane")}),
		ControlTLS:   r.keeper.TLS(local.Listener{Protocols: []string{wire.ProtocolHTTP}}),
	}, httpapi.Services{
		Shadows: shadowDesk{r.shadows, g.env.Clock}, Uplinks: o, Sim: o, Publisher: h, Broker: connections{r.broker, r.checker}, Operator: o, Rules: ruleDesk{r.rules}, Keys: k,
		Spool:   spoolDesk{desk.Desk{Gateway: string(g.cfg.Gateway.ID), DB: r.files.messages}, r.messages, r.spool},
		Control: r.control, Root: r.keeper.RootPEM, Clock: g.env.Clock, IDs: g.ids,
		Console: console.Handler(), Metrics: g.metrics.Handler(),
	}, g.metrics, g.log)
	state, err := metrics.OK, r.http.Listen(ctx)
	if err != nil {
		state = metrics.Degraded
		g.log.Error("http does not listen everywhere", "err", err)
	}
	g.metrics.Health.Set("http", state, err, g.env.Clock.Now())
	return r.broker.Listen(ctx)
}

// known answers shadow.require_thing.
func (r *rooms) known(name iot.ThingName) bool {
	_, ok := r.registry.Thing(name)
	return ok
}

func (g *Gateway) things() (all []registry.Thing) {
	for _, t := range g.cfg.Things {
		all = append(all, registry.Thing{
			Name: t.Name, Type: t.Type, Attributes: t.Attributes, Groups: t.Groups, Policies: t.Policies, Writable: t.Writable,
		})
	}
	return all
}

func (g *Gateway) shadowConfig() shadow.Config {
	c := g.cfg.Shadow
	return shadow.Config{
		Limits:      doc.Limits{MaxBytes: c.MaxBytes, MaxDepth: c.MaxDepth},
		MaxInFlight: c.MaxInFlight, MaxRate: c.MaxRate, RequireThing: c.RequireThing,
	}
}

// messagesConfig bounds the message log by the file and by its file system.
func (g *Gateway) messagesConfig() messages.Config {
	limit := g.cfg.Telemetry.Store.MaxBytes
	switch {
	case limit < 0:
		limit = autoSpoolBytes(g.cfg.Storage.Dir)
	case limit == 0: // none
		limit = math.MaxInt64
	}
	return messages.Config{MaxBytes: limit}
}
