// Package broker is the local MQTT broker: MQTT 3.1.1 and 5 over TCP, TLS and
// WebSocket, sessions, retained messages, lifecycle events.
//
// Order: messages of one publisher reach every subscriber in the order they
// were published, per QoS; PUBACK and PUBREC leave in the order of the PUBLISH
// packets (MQTT-4.6.0-2). Durability: an acknowledgement leaves only after
// House.Accept said that the message is safe; Deliver says so for persistent
// sessions and retained messages after Config.Keeper has committed them, and at
// once for all else. SUBACK, UNSUBACK and PUBREL follow the commit too. Blocking:
// Route never waits for a subscriber; only the goroutine that reads from a
// publisher waits, for House.Accept, for a free place among its unacknowledged
// messages, for its rate, or a moment for a subscriber that is nearly full. Limits: Limits and Config; each
// refusal is counted, and told to whoever caused it.
//
// Everything the Authorizer is asked happens on the broker's goroutines, in
// Receive even under the lock of a session: it must not block, nor call the
// broker.
package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/figures"
	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/retain"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// Authorizer decides who may connect and what a client may do. Its errors
// refuse; their iot.Code becomes the MQTT reason code.
type Authorizer interface {
	// Connect authenticates c; it may set c.Principal and c.Private.
	Connect(c *Client, password []byte) error
	// MayStay asks again, once c is where Disconnect finds it.
	MayStay(c *Client) bool
	// Publish allows c to publish to a topic, and to retain there.
	Publish(c *Client, name string, retain bool) error
	// Reserved is told of a publish or will to a topic that nobody may write.
	Reserved(c *Client, name string)
	// Subscribe allows c a topic filter, as the client sent it.
	Subscribe(c *Client, filter string) error
	// Receive allows the delivery of one message to c.
	Receive(c *Client, name string) bool
}

// House takes what clients publish.
type House interface {
	// Accept takes m and calls done exactly once, from any goroutine, when m
	// is as durable as it must be, or with the reason why it is refused. It
	// also has Deliver called for m, and waits for it. It may block: only m's
	// publisher waits. A house that is full says so before it returns, with an
	// error that has an inbound.Full, and has done nothing: what a client
	// publishes with QoS 1 or 2 is offered again when there is room, and until
	// then nothing more is read from that client.
	Accept(m iot.Message, done func(error))
}

// Client is a connected client as the Authorizer sees it. It does not change
// after Authorizer.Connect returned.
type Client struct {
	ID        iot.ClientID
	Principal iot.Principal
	Listener  string // name of the listener it came through
	Auth      string // how that listener authenticates
	RemoteIP  string
	Protocol  byte // 4 is MQTT 3.1.1, 5 is MQTT 5
	// CleanStart is CleanSession of 3.1.1 and CleanStart of 5.
	CleanStart bool
	// SessionExpiry is how long the session outlives the connection.
	SessionExpiry time.Duration
	Username      string
	// Will is nil when there is none.
	Will *iot.Message
	// TLS is nil on a connection without.
	TLS *tls.ConnectionState
	// Since is when CONNECT was accepted.
	Since time.Time
	// Session is unique for each connection: sessionIdentifier of the
	// lifecycle events.
	Session string
	// Private belongs to the Authorizer, such as a compiled policy.
	Private any
}

// Limits are the figures of contract section 5, `mqtt.limits`. 0 = none.
type Limits struct {
	MaxPayload                                        int
	MaxTopicLevels, MaxTopicBytes                     int
	MaxSubscriptionsPerClient, MaxFiltersPerSubscribe int
	MaxQoS                                            byte
	PublishRate, PublishBytes                         float64 // per second and connection
	MaxInflight                                       int
	// MaxConnections: negative derives it from the memory of the host.
	MaxConnections   int
	ConnectTimeout   time.Duration
	MaxRetained      int
	MaxRetainedBytes int64
}

// Queue bounds what waits for one persistent session that is away.
type Queue struct {
	MaxMessages int
	MaxBytes    int
	MaxAge      time.Duration
	// DropOldest makes room for the newest; otherwise the newest is dropped.
	DropOldest bool
}

// ListenerConfig is one listening socket.
type ListenerConfig struct {
	Name     string
	Bind     string       // HOST:PORT, unless Listener is given
	Listener net.Listener // already open, e.g. by systemd
	TLS      *tls.Config  // nil: plain
	Protocol string       // mqtt (default), ws, or auto by ALPN
	Auth     string       // handed to the Authorizer
	RateFree bool         // no publish rate on this listener
	// Upgrade, when set, authenticates the HTTP request of a WebSocket; an
	// error is answered with its HTTP status.
	Upgrade func(r *http.Request) (iot.Principal, error)
	// HTTP takes connections of `auto` that want AWS's data plane.
	HTTP func(net.Conn)
}

// Config is what a broker needs to know. Zero values mean no limit, except
// where said.
type Config struct {
	Listeners []ListenerConfig
	Limits    Limits
	Queue     Queue
	// SessionExpiry is the longest life of a session without connection, and
	// the life of a persistent session of 3.1.1.
	SessionExpiry time.Duration
	// MaxKeepAlive is told to clients of MQTT 5 that ask for more; whole seconds.
	MaxKeepAlive time.Duration
	// WriteBufferBytes is what one connection may leave unread; default 1 MiB.
	WriteBufferBytes int
	// BufferedBytes bounds all write buffers and queues; default 64 MiB.
	BufferedBytes int64
	// MaxSubscriptions bounds all subscriptions together; default 20000.
	MaxSubscriptions int
	// MaxRetainedPerPrincipal; default 500.
	MaxRetainedPerPrincipal int
	// OnDenied is aws (default) or lenient (security.md 1.6).
	OnDenied string
	// ConnackDenied is the code of a refused CONNECT of 3.1.1; default 5.
	ConnackDenied byte
	// SubackDenied is the code of a denied filter of MQTT 5; default 0x87.
	SubackDenied byte
	// Keeper makes sessions and retained messages durable; without one they
	// live in memory.
	Keeper keep.Keeper
	// Listen opens sockets; default net.ListenConfig.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
}

// Address is where a listener can be reached.
type Address struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Broker serves MQTT clients. All methods may be called from any goroutine.
type Broker struct {
	cfg   Config
	auth  Authorizer
	house House
	clk   clock.Clock
	src   *ids.Source
	log   *slog.Logger
	count *figures.Figures

	budget    *wire.Budget
	lobby     *wire.Lobby
	gate      *wire.Gate
	denials   wire.Quiet
	listeners []*listener

	index    *index
	retained *retain.Store
	presence *lifecycle.Presence
	sessions *sessions
	kept     ledger

	serving  sync.WaitGroup // readers and writers of connections
	stopping chan struct{}
	wakeup   chan struct{} // the housekeeper looks again
}

// New checks cfg and fills in its defaults; it opens nothing.
func New(cfg Config, auth Authorizer, house House, clk clock.Clock, src *ids.Source, m *metrics.Registry, log *slog.Logger) (*Broker, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Broker{
		cfg: cfg, auth: auth, house: house, clk: clk, src: src, log: log,
		budget:   wire.NewBudget(cfg.BufferedBytes),
		lobby:    wire.NewLobby(lobbyTotal, lobbyPerAddress),
		gate:     wire.NewGate(m, log),
		index:    newIndex(),
		presence: lifecycle.NewPresence(),
		sessions: newSessions(),
		stopping: make(chan struct{}),
		wakeup:   make(chan struct{}, 1),
	}
	b.retained = retain.New(retain.Limits{
		Messages: cfg.Limits.MaxRetained, Bytes: cfg.Limits.MaxRetainedBytes, PerPrincipal: cfg.MaxRetainedPerPrincipal,
	})
	b.count = figures.New(m)
	b.gauges(m)
	b.retained.Dropped = func() { b.count.Dropped.Inc("retained_limit") }
	b.retained.Expired = func(name string) {
		b.cfg.Keeper.Keep(keep.Change{Retained: &keep.Message{Message: iot.Message{Topic: name}}}, nil)
	}
	_, nothing := b.cfg.Keeper.(keep.Nothing)
	b.kept.sessions = !nothing
	return b, nil
}

const (
	lobbyTotal      = 256 // connections before CONNECT (security.md T4)
	lobbyPerAddress = 16
)

func (cfg *Config) fill() error {
	cfg.WriteBufferBytes = cmp.Or(cfg.WriteBufferBytes, 1<<20)
	cfg.BufferedBytes = cmp.Or(cfg.BufferedBytes, 64<<20)
	cfg.MaxSubscriptions = cmp.Or(cfg.MaxSubscriptions, 20000)
	cfg.MaxRetainedPerPrincipal = cmp.Or(cfg.MaxRetainedPerPrincipal, 500)
	cfg.ConnackDenied = cmp.Or(cfg.ConnackDenied, 5)
	cfg.SubackDenied = cmp.Or(cfg.SubackDenied, wire.CodeNotAuthorized)
	cfg.OnDenied = cmp.Or(cfg.OnDenied, "aws")
	cfg.Limits.ConnectTimeout = cmp.Or(cfg.Limits.ConnectTimeout, 5*time.Second)
	if cfg.OnDenied != "aws" && cfg.OnDenied != "lenient" {
		return fmt.Errorf("broker: on_denied is %q: want aws or lenient", cfg.OnDenied)
	}
	if cfg.Limits.MaxQoS > 2 {
		return fmt.Errorf("broker: max_qos is %d: want 0, 1 or 2", cfg.Limits.MaxQoS)
	}
	if cfg.Limits.MaxConnections < 0 {
		cfg.Limits.MaxConnections = wire.ConnectionsFor(wire.MemoryBytes())
	}
	if cfg.Keeper == nil {
		cfg.Keeper = keep.Nothing{}
	}
	if cfg.Listen == nil {
		cfg.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
			return (&net.ListenConfig{}).Listen(ctx, network, address)
		}
	}
	return nil
}

// Disconnect ends the connection of a client with an MQTT 5 reason code, such
// as 0x98 for an administrative action; false when it is not connected.
func (b *Broker) Disconnect(id iot.ClientID, reason byte) bool {
	c := b.sessions.connected(id)
	if c != nil {
		c.stop(ending{code: reason, event: lifecycle.API})
	}
	return c != nil
}

// Clients lists the connected clients, in no order.
func (b *Broker) Clients() []Client {
	var all []Client
	b.sessions.each(func(s *session) {
		if c := s.connection(); c != nil {
			all = append(all, c.public)
		}
	})
	return all
}
