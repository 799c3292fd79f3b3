package broker

import (
	"time"

	"github.com/tidehold/tidehold/gateway/broker/figures"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// gauges registers what the rooms of the broker hold now.
func (b *Broker) gauges(m *metrics.Registry) {
	figures.Gauge(m, "mqtt_buffered_bytes", "Bytes in write buffers and queues.", b.budget.Used)
	figures.Gauge(m, "mqtt_sessions", "Sessions, connected or not.", func() int64 { return int64(b.sessions.len()) })
	figures.Gauge(m, "mqtt_subscriptions", "Subscriptions of all sessions.", func() int64 { return int64(b.index.len()) })
	figures.Gauge(m, "mqtt_retained_messages", "Retained messages.", func() int64 { n, _ := b.retained.Size(); return int64(n) })
	figures.Gauge(m, "mqtt_retained_bytes", "Bytes of retained messages.", func() int64 { _, n := b.retained.Size(); return n })
	figures.Gauge(m, "mqtt_lobby_connections", "Connections that have not said CONNECT.", func() int64 { return int64(b.lobby.Len()) })
}

// denied counts a refusal that the Authorizer has logged.
func (b *Broker) denied(action string) { b.count.Denied.Inc(action) }

// refused counts a refusal by a rule of the broker and has it logged, rate
// limited (security.md 1.6).
func (b *Broker) refused(action string, c *client, resource string, err error) {
	b.count.Denied.Inc(action)
	if iot.CodeOf(err) == iot.Forbidden {
		b.auth.Reserved(&c.public, resource)
	} else if missed, ok := b.denials.Pass(string(c.public.ID)+"\x00"+action+"\x00"+resource, time.Now()); ok {
		b.log.Warn("authz.denied", "client", c.public.ID, "principal", c.public.Principal.ID, "action", action, "topic", resource, "err", err, "missed", missed)
	}
}
