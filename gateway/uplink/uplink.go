// Package uplink is the connection to one upstream MQTT broker, and the only
// door to paho.mqtt.golang. It speaks MQTT 3.1.1 (contract section 6).
//
// What it promises:
//
//   - One paho client per connection epoch, never reused. A publish is
//     delivered (done gets nil) only for a PUBACK inside a living epoch; when
//     the epoch ends every message that is not delivered gets ErrEpochEnded at
//     once. done is called exactly once. Nothing is kept across epochs: the
//     durable queue is the caller's (gateway/telemetry).
//   - Order: messages leave in the order Publish took them. Messages from
//     upstream reach a taker in the order they came, on one goroutine, and are
//     acknowledged upstream in that order, each only after its taker's ack.
//   - Blocking: Publish, Cut, Restore and Status never wait for the network.
//     done runs on the link's goroutines, or inside Publish when the message is
//     refused at once: it must not block, and must not call back under a lock
//     that the caller of Publish holds.
//   - Limits: PendingMax messages between Publish and their PUBACK (then
//     ErrBusy); inboundMax messages taken and not acknowledged (then the socket
//     is not read any further). The window of QoS 1 is the caller's business.
//
// Cut pulls the cable: the socket is closed at once without a DISCONNECT, so
// the upstream broker publishes the last will, and the link stays down until
// Restore. A graceful end (the context of Run) publishes the status itself and
// sends DISCONNECT.
//
// Times: reconnecting waits as Backoff says. Dialling, the TLS handshake and
// CONNACK have Profile.ConnectTimeout together and 10 s for SUBACK and for every
// write. Run returns within 5 s after its context ends; when a write is stuck in
// paho, within 10 s more.
package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
	"github.com/tidehold/tidehold/gateway/uplink/proxy"
)

// Errors that done gets; test with errors.Is.
var (
	// ErrOffline: the link is not online; nothing was sent.
	ErrOffline = errors.New("uplink is not online")
	// ErrEpochEnded: the connection ended before the PUBACK. The message may or
	// may not have arrived: send it again.
	ErrEpochEnded = errors.New("uplink connection ended before the acknowledgement")
	// ErrBusy: PendingMax messages are under way; nothing was sent.
	ErrBusy = errors.New("uplink has its limit of messages under way")
	// ErrRefused: the profile's limits forbid the message; sending it again can
	// never help.
	ErrRefused = profile.ErrRefused
)

// DefaultPendingMax is the limit of messages under way when Config gives none.
const DefaultPendingMax = 20000

// Config is everything a link needs to know. Defaults marked (profile) come
// from the profile when zero.
type Config struct {
	// Name is the uplink's name in the configuration.
	Name string
	// Profile is a name of the table in package profile; empty is `generic`.
	Profile  string
	Endpoint Endpoint
	// Others are further nodes of the same upstream, a cluster: each attempt takes
	// the next node. Which one is the first depends on ClientID, so that gateways
	// spread over the nodes.
	Others []Endpoint
	// ClientID is fixed: the upstream keeps a session under it.
	ClientID           string
	Username, Password string
	// TLS holds roots and client certificates; nil is the system pool. Server
	// name, ALPN and the least version are filled in.
	TLS *tls.Config
	// KeepAlive (profile), ReconnectMax (profile: cap of the back-off).
	KeepAlive, ReconnectMax time.Duration
	// StatusTopic carries the retained status and is the last will's topic;
	// empty: no status and no will.
	StatusTopic string
	// LastEpoch is the greatest status epoch ever told by OnOnline; the caller
	// keeps it across restarts (shadow-sync.md 2.6).
	LastEpoch uint64
	// Spread is the most that the first attempt waits when the host booted less
	// than two minutes ago (startup_spread).
	Spread time.Duration
	// PendingMax is the limit of messages between Publish and PUBACK;
	// 0 = DefaultPendingMax.
	PendingMax int
	// Proxy is passed on the way to the upstream; zero is none.
	Proxy proxy.Proxy
	// Dial opens the TCP connection; nil dials with TCP_USER_TIMEOUT 20 s.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Figures is shared by all links of one metrics registry; nil registers own
	// ones, which only one link of a registry may do.
	Figures *Figures
}

// Outgoing is a message for upstream. QoS 2 is sent as QoS 1.
type Outgoing struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Ahead overtakes everything else that waits to be sent: shadows do not queue
	// behind a backlog (telemetry.md 9.6).
	Ahead bool
}

// Status is the link's state for people; its JSON is that of
// `tidehold uplink status` (contract section 3).
type Status struct {
	Name    string    `json:"name"`
	Profile string    `json:"profile"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"`
	Error   string    `json:"error"`
	// Node is where the last attempt went, Attempts how many there were since the
	// start.
	Node     string `json:"node"`
	Attempts int    `json:"attempts"`
}

// addition is a subscription made on a link that runs.
type addition struct {
	subscription
	standing func()
}

// subscription is one filter and who takes its messages.
type subscription struct {
	filter string // as sent
	match  topic.Filter
	qos    byte
	take   func(iot.Message, func())
}

// New checks the configuration. It opens nothing and starts nothing.
func New(cfg Config, clk clock.Clock, src *ids.Source, m *metrics.Registry, log *slog.Logger) (*Link, error) {
	if cfg.Profile == "" {
		cfg.Profile = profile.Generic
	}
	kind, ok := profile.Of(cfg.Profile)
	if !ok {
		return nil, fmt.Errorf("uplink %q: profile %q is unknown (want one of %s)", cfg.Name, cfg.Profile, strings.Join(profile.Names(), ", "))
	}
	if cfg.ClientID == "" || cfg.Endpoint.Host == "" {
		return nil, fmt.Errorf("uplink %q: client id and endpoint must be given", cfg.Name)
	}
	if err := checkStatusTopic(cfg.StatusTopic); err != nil {
		return nil, fmt.Errorf("uplink %q: status: %w", cfg.Name, err)
	}
	cfg.KeepAlive = orDefault(cfg.KeepAlive, kind.KeepAlive)
	cfg.ReconnectMax = orDefault(cfg.ReconnectMax, kind.ReconnectMax)
	if cfg.PendingMax <= 0 {
		cfg.PendingMax = DefaultPendingMax
	}
	if cfg.Figures == nil {
		cfg.Figures = NewFigures(m)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Link{
		cfg: cfg, profile: kind, clk: clk, src: src, figures: cfg.Figures, log: log.With("uplink", cfg.Name),
		machine: newMachine(cfg.ReconnectMax, clk.Now()), wake: make(chan struct{}, 1), added: make(chan struct{}, 1), statusEpoch: cfg.LastEpoch,
	}
	return l, nil
}

func checkStatusTopic(name string) error {
	if name == "" {
		return nil
	}
	_, err := topic.ParseName(name)
	return err
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}
