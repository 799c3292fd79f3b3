package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"syscall"

	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// brokerConfig translates `mqtt` and opens its sockets. A socket that cannot
// be opened degrades its own component and nothing else.
func (g *Gateway) brokerConfig(ctx context.Context) broker.Config {
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
		SessionExpiry: m.SessionExpiry, OnDenied: g.cfg.Security.OnDenied,
	}
	for _, l := range m.Listeners {
		for _, bind := range l.Binds {
			if open, ok := g.openListener(ctx, l, string(bind)); ok {
				cfg.Listeners = append(cfg.Listeners, open)
			}
		}
	}
	return cfg
}

// openListener opens one socket of a listener.
func (g *Gateway) openListener(ctx context.Context, l config.Listener, bind string) (broker.ListenerConfig, bool) {
	open := broker.ListenerConfig{
		Name: l.Name, Bind: bind, Protocol: l.Protocol, Auth: l.Auth,
		RateFree: l.Auth == config.AuthLoopback && !g.cfg.MQTT.Limits.RateOnLoopback,
	}
	if l.Auth == config.AuthCertificate || l.Auth == config.AuthSigV4 || l.Protocol == config.ProtocolAuto {
		g.log.Info("listener is not opened: this version has no certificate or signature identities for MQTT", "listener", l.Name, "auth", l.Auth)
		return open, false
	}
	component := "listener/" + l.Name
	err := g.secure(l, &open)
	if err == nil {
		open.Listener, err = g.env.Listen(ctx, "tcp", bind)
	}
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

// secure gives a TLS listener the server certificate of the configuration.
func (g *Gateway) secure(l config.Listener, open *broker.ListenerConfig) error {
	if !l.TLS {
		return nil
	}
	server := g.cfg.TLS.Server
	if !server.Cert.IsSet() {
		return fmt.Errorf("tls needs tls.server.cert and tls.server.key: this version makes no certificate of its own")
	}
	certPEM, err := server.Cert.Resolve()
	if err != nil {
		return fmt.Errorf("tls.server.cert: %w", err)
	}
	keyPEM, err := server.Key.Resolve()
	if err != nil {
		return fmt.Errorf("tls.server.key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("tls.server: %w", err)
	}
	open.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return nil
}
