package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"syscall"

	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki/local"
)

// brokerConfig translates `mqtt` and opens its sockets. A socket that cannot
// be opened degrades its own component and nothing else.
func (g *Gateway) brokerConfig(ctx context.Context, r *rooms, k keys) broker.Config {
	m := g.cfg.MQTT
	cfg := broker.Config{
		Limits: broker.Limits{
			MaxPayload: m.Limits.MaxPayload, MaxTopicLevels: m.Limits.MaxTopicLevels, MaxTopicBytes: m.Limits.MaxTopicBytes,
			MaxSubscriptionsPerClient: m.Limits.MaxSubscriptionsPerClient, MaxFiltersPerSubscribe: m.Limits.MaxFiltersPerSubscribe,
			MaxQoS: m.Limits.MaxQoS, PublishRate: m.Limits.PublishRate, PublishBytes: m.Limits.PublishBytes,
			MaxInflight: m.Limits.MaxInflight, MaxConnections: m.Limits.MaxConnections, ConnectTimeout: m.Limits.ConnectTimeout,
			MaxRetained: m.Limits.MaxRetained, MaxRetainedBytes: m.Limits.MaxRetainedBytes,
		},
		Queue: broker.Queue{
			MaxMessages: m.Queue.MaxMessages, MaxBytes: int(m.Queue.MaxBytes), MaxAge: m.Queue.MaxAge,
			DropOldest: m.Queue.WhenFull == config.WhenFullDropOldest,
		},
		SessionExpiry: m.SessionExpiry, MaxKeepAlive: m.MaxKeepAlive, OnDenied: g.cfg.Security.OnDenied,
		ConnackDenied: g.cfg.Security.ConnackCode, SubackDenied: g.cfg.Security.SubackCode,
	}
	for _, l := range m.Listeners {
		for _, bind := range l.Binds {
			if socket, ok := g.openSocket(ctx, l, string(bind)); ok {
				cfg.Listeners = append(cfg.Listeners, g.listener(r, k, l, socket))
			}
		}
		for _, socket := range g.inherited(l) {
			cfg.Listeners = append(cfg.Listeners, g.listener(r, k, l, socket))
		}
	}
	return cfg
}

// listener is one open socket and how it is served.
func (g *Gateway) listener(r *rooms, k keys, l config.Listener, socket net.Listener) broker.ListenerConfig {
	open := broker.ListenerConfig{
		Name: l.Name, Listener: socket, Protocol: l.Protocol, Auth: l.Auth,
		RateFree: l.Auth == config.AuthLoopback && !g.cfg.MQTT.Limits.RateOnLoopback,
	}
	if l.Auth == config.AuthSigV4 || l.Protocol == config.ProtocolAuto {
		open.Upgrade = func(request *http.Request) (iot.Principal, error) { return k.Verify(request, nil) }
	}
	switch {
	case l.Protocol == config.ProtocolAuto:
		open.TLS, open.HTTP = byALPN(r, l.Name), r.handover.Offer
	case l.TLS:
		open.TLS = secure(r, l)
	}
	return open
}

// openSocket opens one address of a listener. One that cannot be opened
// degrades its own component and nothing else.
func (g *Gateway) openSocket(ctx context.Context, l config.Listener, bind string) (net.Listener, bool) {
	socket, err := g.env.Listen(ctx, "tcp", bind)
	if l.BuiltIn && errors.Is(err, syscall.EADDRNOTAVAIL) || l.BuiltIn && errors.Is(err, syscall.EAFNOSUPPORT) {
		g.log.Info("this host has no address of this family", "listener", l.Name, "err", err)
		return nil, false
	}
	if err != nil {
		err = fmt.Errorf("listener %q on %s: %w (is another broker there? see `ss -ltnp`, or change mqtt.listeners[%s].bind)", l.Name, bind, err, l.Name)
	}
	g.tellListener(l, err)
	return socket, err == nil
}

// inherited are the sockets of a listener that systemd has opened.
func (g *Gateway) inherited(l config.Listener) []net.Listener {
	if l.Socket == "" {
		return nil
	}
	sockets := g.env.Sockets[l.Socket]
	var err error
	if len(sockets) == 0 {
		err = fmt.Errorf("listener %q: systemd passed no socket named %q (enable the socket unit with FileDescriptorName=%s, then restart)", l.Name, l.Socket, l.Socket)
	}
	g.tellListener(l, err)
	return sockets
}

func (g *Gateway) tellListener(l config.Listener, err error) {
	state := metrics.OK
	if err != nil {
		state = metrics.Degraded
		g.log.Error("listener failed", "listener", l.Name, "err", err)
	}
	g.metrics.Health.Set("listener/"+l.Name, state, err, g.env.Clock.Now())
}

// secure gives a TLS listener the server certificate, and asks for a client's
// where that is its identity.
func secure(r *rooms, l config.Listener) *tls.Config {
	cfg := local.Listener{Protocols: []string{wire.ProtocolMQTT, wire.ProtocolMQTTCA}}
	if l.Protocol == config.ProtocolWS {
		cfg.Protocols = []string{wire.ProtocolHTTP}
	}
	if l.Auth == config.AuthCertificate {
		cfg.Admit = r.admit(l.Name)
	}
	return r.keeper.TLS(cfg)
}

// byALPN asks for a client certificate where the client offers a protocol that
// goes by certificate; all others are WebSockets with a signature (security.md
// 2.5).
func byALPN(r *rooms, listener string) *tls.Config {
	mutual := r.keeper.TLS(local.Listener{
		Protocols: []string{wire.ProtocolMQTT, wire.ProtocolMQTTCA, wire.ProtocolHTTPCA}, Admit: r.admit(listener),
	})
	cfg := r.keeper.TLS(local.Listener{Protocols: []string{wire.ProtocolHTTP}})
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		for _, offered := range hello.SupportedProtos {
			if slices.Contains(mutual.NextProtos, offered) {
				return mutual, nil
			}
		}
		return nil, nil
	}
	return cfg
}
