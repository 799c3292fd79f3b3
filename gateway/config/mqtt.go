package config

import (
	"fmt"
	"math"
	"time"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
)

// listenersMax bounds the sockets of the broker.
const listenersMax = 100

func (l *loader) mqtt(m *tree.Map) {
	defer m.Done()
	l.cfg.MQTT.Limits = l.limits(m)
	l.cfg.MQTT.SessionExpiry = m.Duration("session_expiry", "168h")
	l.cfg.MQTT.MaxKeepAlive = seconds(m, "max_keep_alive", "20m")
	l.cfg.MQTT.Queue = l.queue(m.Map("queue"))
	if !m.Each("listeners", l.listener) {
		l.builtInListeners(m)
	}
	if n := len(l.cfg.MQTT.Listeners); n > listenersMax {
		m.Fail("listeners", fmt.Sprintf("%d listeners; at most %d", n, listenersMax), "")
		l.sites.binds = nil
	}
}

// figures are the limits of a preset in the notation of the file.
type figures struct {
	payload, levels, topicBytes, subscriptions, filters, qos, rate, bytes, inflight string
	rateOnLoopback                                                                  bool
}

// presets is the table at the end of contract section 5.
var presets = map[string]figures{
	PresetEdge: {"128KiB", "8", "256", "50", "8", "2", "1000/s", "4MiB/s", "100", false},
	PresetAWS:  {"128KiB", "8", "256", "50", "8", "1", "100/s", "512KiB/s", "100", true},
	PresetNone: {"16MiB", "0", "65535", "0", "0", "2", "0", "0", "1000", false},
}

func (l *loader) limits(m *tree.Map) Limits {
	words := []string{PresetEdge, PresetAWS, PresetNone}
	if m.Kind("limits") == tree.Scalar {
		return l.figures(m.Empty(), m.Word("limits", PresetEdge, words...))
	}
	sub := m.Map("limits")
	defer sub.Done()
	return l.figures(sub, sub.Word("preset", PresetEdge, words...))
}

func (l *loader) figures(m *tree.Map, preset string) Limits {
	f := presets[preset]
	return Limits{
		Preset:                    preset,
		MaxPayload:                int(m.Size("max_payload", f.payload, 1, 256*mib)),
		MaxTopicLevels:            int(m.Integer("max_topic_levels", f.levels, 0, 65535)),
		MaxTopicBytes:             int(m.Integer("max_topic_bytes", f.topicBytes, 0, 65535)),
		MaxSubscriptionsPerClient: int(m.Integer("max_subscriptions_per_client", f.subscriptions, 0, math.MaxInt32)),
		MaxFiltersPerSubscribe:    int(m.Integer("max_filters_per_subscribe", f.filters, 0, math.MaxInt32)),
		MaxQoS:                    byte(m.Integer("max_qos", f.qos, 0, 2)),
		PublishRate:               m.Rate("publish_rate", f.rate),
		PublishBytes:              m.Rate("publish_bytes", f.bytes),
		RateOnLoopback:            f.rateOnLoopback || m.Has("publish_rate") || m.Has("publish_bytes"),
		MaxInflight:               int(m.Integer("max_inflight", f.inflight, 1, 65535)),
		MaxConnections:            int(tree.Get(m, "max_connections", "whole number, or auto", "auto", auto(0, 1_000_000))),
		ConnectTimeout:            m.Duration("connect_timeout", "5s"),
		MaxRetained:               int(m.Integer("max_retained", "5000", 0, math.MaxInt32)),
		MaxRetainedBytes:          m.Size("max_retained_bytes", "16MiB", 0, math.MaxInt64),
	}
}

// seconds reads a duration that MQTT counts in 16 bits of whole seconds.
func seconds(m *tree.Map, key, def string) time.Duration {
	return tree.Get(m, key, "duration in whole seconds", def, func(s string) (time.Duration, error) {
		d, err := value.ParseDuration(s)
		if err == nil && (d%time.Second != 0 || d > math.MaxUint16*time.Second) {
			err = fmt.Errorf("%q: want whole seconds, at most 65535s", s)
		}
		return d, err
	})
}

// auto reads a whole number or the word auto.
func auto(low, high int64) func(string) (int64, error) {
	return func(s string) (int64, error) {
		if s == "auto" {
			return Auto, nil
		}
		return value.ParseInteger(s, low, high)
	}
}

func (l *loader) queue(m *tree.Map) Queue {
	defer m.Done()
	return Queue{
		MaxMessages: int(m.Integer("max_messages", "1000", 0, math.MaxInt32)),
		MaxBytes:    m.Size("max_bytes", "4MiB", 0, math.MaxInt64),
		MaxAge:      m.Duration("max_age", "168h"),
		WhenFull:    m.Word("when_full", WhenFullDropNewest, WhenFullDropNewest, WhenFullDropOldest),
	}
}

// builtInListeners are those of a file that has no list.
func (l *loader) builtInListeners(m *tree.Map) {
	l.cfg.MQTT.Listeners = []Listener{
		{Name: "local", Binds: []value.Bind{"127.0.0.1:1883", "[::1]:1883"}, Auth: AuthLoopback, Protocol: ProtocolMQTT, BuiltIn: true},
		{Name: "mtls", Binds: []value.Bind{":8883"}, TLS: true, Auth: AuthCertificate, Protocol: ProtocolMQTT, BuiltIn: true},
	}
	for _, one := range l.cfg.MQTT.Listeners {
		for _, b := range one.Binds {
			l.sites.binds = append(l.sites.binds, bindSite{m, "listeners", b, "the built-in listener " + one.Name})
		}
	}
}

func (l *loader) listener(m *tree.Map) {
	defer m.Done()
	one := Listener{Name: name(m)}
	one.Binds = l.listenerBinds(m)
	one.Socket = m.Text("socket", "")
	one.TLS = m.Bool("tls", "off")
	one.Auth = m.Word("auth", tree.Required, AuthLoopback, AuthCertificate, AuthPassword, AuthSigV4)
	one.Protocol = m.Word("protocol", ProtocolMQTT, ProtocolMQTT, ProtocolWS, ProtocolAuto)
	switch written := m.Has("bind"); {
	case !written && one.Socket == "":
		m.Fail("", "neither bind nor socket", "give bind: HOST:PORT, or socket: NAME of systemd")
	case written && one.Socket != "":
		m.Fail("socket", "bind and socket together", "remove one of them")
	}
	checkAuth(m, one)
	for _, b := range one.Binds {
		l.sites.binds = append(l.sites.binds, bindSite{m, "bind", b, "mqtt.listeners[" + one.Name + "]"})
	}
	l.sites.listeners = append(l.sites.listeners, site{m, one.Name})
	l.cfg.MQTT.Listeners = append(l.cfg.MQTT.Listeners, one)
}

// listenerBinds reads `bind`: one address or a list of them.
func (l *loader) listenerBinds(m *tree.Map) []value.Bind {
	if m.Kind("bind") != tree.List {
		if b := tree.Get(m, "bind", "BIND, or a list of them", "", value.ParseBind); b != value.Off {
			return []value.Bind{b}
		}
		return nil
	}
	var binds []value.Bind
	for i, text := range m.Texts("bind", "BIND, or a list of them") {
		b, err := value.ParseBind(text)
		if err != nil {
			m.Fail(fmt.Sprintf("bind[%d]", i), err.Error(), "")
			continue
		}
		if b != value.Off {
			binds = append(binds, b)
		}
	}
	return binds
}

// checkAuth checks what each way of authentication needs (security.md T1, 2.5).
func checkAuth(m *tree.Map, one Listener) {
	reachable := one.Socket != ""
	for _, b := range one.Binds {
		reachable = reachable || !b.Loopback()
	}
	switch {
	case one.Auth == AuthLoopback && reachable:
		m.Fail("auth", "loopback on an address that others reach: anybody could connect without credentials",
			"bind 127.0.0.1 or [::1], or take auth: certificate or password")
	case one.Auth == AuthSigV4 && one.Protocol == ProtocolMQTT:
		m.Fail("auth", "sigv4 works over WebSocket only", "add protocol: ws")
	case one.Auth == AuthCertificate && !one.TLS:
		m.Fail("auth", "certificate needs TLS", "add tls: on")
	case one.Auth == AuthPassword && reachable && !one.TLS:
		m.Warn("auth", "passwords travel in the clear on an address that others reach", "add tls: on")
	}
	if one.Protocol == ProtocolAuto && !one.TLS {
		m.Fail("protocol", "auto chooses by ALPN and needs TLS", "add tls: on")
	}
}
