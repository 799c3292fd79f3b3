package gateway

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki/local"
)

// brokerConfig translates `mqtt` and opens its sockets. A socket that cannot
// be opened degrades its own component and nothing else.
func (g *Gateway) brokerConfig(ctx context.Context, r *rooms) broker.Config {
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
			if open, ok := g.openListener(ctx, r, l, string(bind)); ok {
				cfg.Listeners = append(cfg.Listeners, open)
			}
		}
	}
	return cfg
}

// openListener opens one socket of a listener.
func (g *Gateway) openListener(ctx context.Context, r *rooms, l config.Listener, bind string) (broker.ListenerConfig, bool) {
	open := broker.ListenerConfig{
		Name: l.Name, Bind: bind, Protocol: l.Protocol, Auth: l.Auth,
		RateFree: l.Auth == config.AuthLoopback && !g.cfg.MQTT.Limits.RateOnLoopback,
	}
	if l.Auth == config.AuthSigV4 || l.Protocol == config.ProtocolAuto {
		g.log.Info("listener is not opened: this version has no WebSocket with signatures and no choice of protocol by ALPN", "listener", l.Name, "auth", l.Auth)
		return open, false
	}
	component := "listener/" + l.Name
	secure(r, l, &open)
	var err error
	open.Listener, err = g.env.Listen(ctx, "tcp", bind)
	if l.BuiltIn && errors.Is(err, syscall.EADDRNOTAVAIL) || l.BuiltIn && errors.Is(err, syscall.EAFNOSUPPORT) {
		g.log.Info("this host has no address of this family", "listener", l.Name, "err", err)
		return open, false
	}
	if err != nil {
		err = fmt.Errorf("listener %q on %s: %w (is another broker there? see `ss -ltnp`, or change mqtt.listeners[%s].bind)", l.Name, bind, err, l.Name)
		g.log.Error("listener failed", "listener", l.Name, "err", err)
		g.metrics.Health.Set(component, metrics.Degraded, err, g.env.Clock.Now())
		return open, false
	}
	g.metrics.Health.Set(component, metrics.OK, nil, g.env.Clock.Now())
	return open, true
}

// secure gives a TLS listener the server certificate, and asks for a client's
// where that is its identity.
func secure(r *rooms, l config.Listener, open *broker.ListenerConfig) {
	if !l.TLS {
		return
	}
	cfg := local.Listener{Protocols: []string{"mqtt", "x-amzn-mqtt-ca"}}
	if l.Protocol == config.ProtocolWS {
		cfg.Protocols = []string{"http/1.1"}
	}
	if l.Auth == config.AuthCertificate {
		cfg.Admit = admit(r.provision)
	}
	open.TLS = r.keeper.TLS(cfg)
}
