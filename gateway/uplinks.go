package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/telemetry"
	"github.com/tidehold/tidehold/gateway/topic/template"
	"github.com/tidehold/tidehold/gateway/uplink"
	"github.com/tidehold/tidehold/gateway/uplink/proxy"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/dispute"
	"github.com/tidehold/tidehold/shadowsync/plain"
	"github.com/tidehold/tidehold/shadowsync/status"
)

// uplinkRoom is one upstream: its link, the drain of the spool, the sync of
// shadows and the commands that come down.
type uplinkRoom struct {
	name    string
	link    *uplink.Link
	spool   *telemetry.Spool
	syncer  *shadowsync.Syncer // nil: no shadow is synced in mode service
	carrier *plain.Carrier     // nil: none in mode plain

	mu      sync.Mutex
	online  chan struct{} // closed while the link is online
	offline chan struct{} // closed while it is not
}

// newUplinks builds every enabled uplink.
func (g *Gateway) newUplinks(ctx context.Context, h *house, mem memory, conflicts *dispute.Journal) ([]*uplinkRoom, error) {
	figures := uplink.NewFigures(g.metrics)
	synced := syncFigures{shadowsync.NewFigures(g.metrics), plain.NewFigures(g.metrics), conflicts}
	var all []*uplinkRoom
	for _, cfg := range g.cfg.Uplinks {
		if !cfg.Enabled {
			continue
		}
		u, err := g.newUplink(cfg, h, mem, figures)
		if err == nil && cfg.Shadows != nil {
			err = g.addSync(ctx, cfg, u, h, synced)
		}
		if err != nil {
			return nil, fmt.Errorf("uplink %q: %w", cfg.Name, err)
		}
		all = append(all, u)
	}
	return all, nil
}

func (g *Gateway) newUplink(cfg config.Uplink, h *house, mem memory, figures *uplink.Figures) (*uplinkRoom, error) {
	settings, err := g.linkConfig(cfg, mem)
	if err != nil {
		return nil, err
	}
	settings.Figures = figures
	u := &uplinkRoom{name: cfg.Name, spool: h.spool, online: make(chan struct{}), offline: make(chan struct{})}
	close(u.offline)
	if u.link, err = uplink.New(settings, g.env.Clock, g.ids, g.metrics, g.log); err != nil {
		return nil, err
	}
	u.link.OnOnline(func(_ bool, epoch uint64) {
		u.turn(true)
		mem.keep(epochOf(cfg.Name), binary.AppendUvarint(nil, epoch), g.log)
	})
	u.link.OnOffline(func(error) { u.turn(false) })
	g.watchLink(u.link, cfg.Name)
	for _, command := range cfg.Commands {
		if err := u.subscribe(command, g.cfg.Gateway.ID, h); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// epochOf is where the epoch of an uplink's status is remembered.
func epochOf(name string) string { return "uplink/" + name }

// endpointOf translates an endpoint of the configuration.
func endpointOf(e config.Endpoint) uplink.Endpoint {
	out := uplink.Endpoint{Scheme: e.Scheme, Host: e.Host, Port: e.Port}
	if e.WebSocket {
		out.Path = "/mqtt"
	}
	return out
}

// linkConfig translates an entry of `uplinks`.
func (g *Gateway) linkConfig(cfg config.Uplink, mem memory) (uplink.Config, error) {
	c := uplink.Config{
		Name: cfg.Name, Profile: cfg.Profile.Name, ClientID: cfg.ClientID, ReconnectMax: cfg.ReconnectMax, StatusTopic: cfg.Status,
		Endpoint: endpointOf(cfg.Endpoint), Dial: g.env.Dial,
	}
	for _, e := range cfg.Others {
		c.Others = append(c.Others, endpointOf(e))
	}
	state, _, err := mem.Load(epochOf(cfg.Name))
	if err != nil {
		return c, err
	}
	c.LastEpoch, _ = binary.Uvarint(state)
	for _, secret := range []struct {
		key  string
		from config.Secret
		into *string
	}{{"username", cfg.Username, &c.Username}, {"password", cfg.Password, &c.Password}} {
		if !secret.from.IsSet() {
			continue
		}
		text, err := secret.from.Resolve()
		if err != nil {
			return c, fmt.Errorf("%s: %w", secret.key, err)
		}
		*secret.into = string(text)
	}
	if c.Proxy, err = proxyOf(cfg.Proxy); err != nil {
		return c, err
	}
	c.TLS, err = clientTLS(cfg)
	return c, err
}

// proxyOf reads the proxy's URL.
func proxyOf(from config.Secret) (proxy.Proxy, error) {
	if !from.IsSet() {
		return proxy.Proxy{}, nil
	}
	text, err := from.Resolve()
	if err != nil {
		return proxy.Proxy{}, fmt.Errorf("proxy: %w", err)
	}
	return proxy.Parse(strings.TrimSpace(string(text)))
}

// clientTLS reads roots and client certificate; nil is the system's pool.
func clientTLS(cfg config.Uplink) (*tls.Config, error) {
	if !cfg.CA.IsSet() && !cfg.Cert.IsSet() {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA.IsSet() {
		pem, err := cfg.CA.Resolve()
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca: no certificate in PEM form in it")
		}
	}
	if cfg.Cert.IsSet() {
		cert, err := cfg.Cert.Resolve()
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		key, err := cfg.Key.Resolve()
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// watchLink keeps the health of an uplink: away is degraded, never failed.
func (g *Gateway) watchLink(l *uplink.Link, name string) {
	component := "uplink/" + name
	g.metrics.Health.Set(component, metrics.Degraded, errors.New("not connected yet"), g.env.Clock.Now())
	l.OnState(func(s uplink.Status) {
		switch {
		case s.State.Up():
			g.metrics.Health.Set(component, metrics.OK, nil, s.Since)
		case s.Error != "":
			g.metrics.Health.Set(component, metrics.Degraded, errors.New(s.Error), s.Since)
		}
	})
}

// subscribe takes commands from upstream topics to local ones.
func (u *uplinkRoom) subscribe(c config.Command, gateway iot.ThingName, h *house) error {
	to, err := template.ParseTopic(c.To, c.From)
	if err != nil {
		return fmt.Errorf("commands: to: %w", err)
	}
	u.link.Subscribe(string(c.From), c.QoS, func(m iot.Message, ack func()) {
		local := to.Expand(template.Values{
			Gateway: string(gateway), Name: u.name, Topic: m.Topic, Rest: template.Rest(c.From, m.Topic),
		})
		m.Origin = iot.Origin{Principal: iot.Principal{Kind: iot.House}, Source: "up/" + u.name, Uplink: u.name}
		h.command(m, local, ack)
	})
	return nil
}

// turn wakes what waits for the link to be online, or away.
func (u *uplinkRoom) turn(online bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fresh, done := &u.offline, u.online
	if !online {
		fresh, done = &u.online, u.offline
	}
	select {
	case <-done:
		return // so already
	default:
	}
	close(done)
	*fresh = make(chan struct{})
}

func (u *uplinkRoom) signals() (online, offline <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.online, u.offline
}

// shadows tells how the shadows of the uplink do, in either mode of sync; false
// when none is synced.
func (u *uplinkRoom) shadows() ([]status.Shadow, bool) {
	switch {
	case u.syncer != nil:
		return u.syncer.Status(), true
	case u.carrier != nil:
		return u.carrier.Status(), true
	}
	return nil, false
}

func (u *uplinkRoom) runners() []runner {
	all := []runner{{"uplink/" + u.name, u.link.Run}, {"drain/" + u.name, u.drain}}
	if u.syncer != nil {
		all = append(all, runner{"sync/" + u.name, u.syncer.Run})
	}
	if u.carrier != nil {
		all = append(all, runner{"sync/" + u.name, u.carrier.Run})
	}
	return all
}

// drain empties the spool while the link is online, one drain for each
// connection: what was not acknowledged in one is sent again in the next.
func (u *uplinkRoom) drain(ctx context.Context) error {
	for {
		online, _ := u.signals()
		select {
		case <-ctx.Done():
			return nil
		case <-online:
		}
		_, offline := u.signals()
		connected, end := context.WithCancel(ctx)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			select {
			case <-offline:
				end()
			case <-connected.Done():
			}
		}()
		err := u.spool.Drain(connected, u.name, sender{u.link})
		end()
		<-stop
		if errors.Is(err, telemetry.ErrStalled) {
			u.link.Reconnect(err)
		} else if err != nil {
			return err
		}
	}
}

// sender lets the spool publish through a link.
type sender struct{ link *uplink.Link }

// Publish hands a message to the link.
func (s sender) Publish(m telemetry.Outgoing, done func(error)) {
	s.link.Publish(uplink.Outgoing{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}, func(err error) {
		switch {
		case errors.Is(err, uplink.ErrRefused):
			err = fmt.Errorf("%w: %w", telemetry.ErrRefused, err)
		case errors.Is(err, uplink.ErrOffline), errors.Is(err, uplink.ErrBusy):
			err = telemetry.ErrOffline // nothing was sent
		}
		done(err)
	})
}

// telemetryConfig translates `telemetry` and the routes of all uplinks.
func (g *Gateway) telemetryConfig() telemetry.Config {
	t := g.cfg.Telemetry
	cfg := telemetry.Config{
		Gateway: string(g.cfg.Gateway.ID), Profile: t.Profile, Order: t.Order, DropQoS0: !t.StoreQoS0, AllowSim: g.cfg.Gateway.AllowSimUpstream,
	}
	for _, c := range t.Classes {
		cfg.Classes = append(cfg.Classes, telemetry.Class{Name: c.Name, Match: c.Match, Class: c.Class, TTL: c.TTL, Fold: c.Fold})
	}
	for _, u := range g.cfg.Uplinks {
		up := telemetry.Uplink{
			Name: u.Name, Required: u.Required, Enabled: u.Enabled, Rate: u.Drain.Rate, Bytes: u.Drain.Bytes, Inflight: u.Drain.Inflight,
			StartJitter: u.Drain.StartJitter, MaxPayload: u.Profile.MaxPayload, MaxTopicBytes: u.Profile.MaxTopicBytes, MaxTopicLevels: u.Profile.MaxTopicLevels,
		}
		for _, r := range u.Telemetry {
			up.Routes = append(up.Routes, telemetry.Route{
				Name: r.Name, From: r.From, To: r.To, QoS: r.QoS, Retain: r.Retain, Form: r.Form, BatchMax: r.BatchMax, BatchEvery: r.BatchEvery,
			})
		}
		cfg.Uplinks = append(cfg.Uplinks, up)
	}
	return cfg
}
