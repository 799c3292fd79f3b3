package broker

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// figures are what the broker counts.
type figures struct {
	connects  *metrics.Counter // result
	failures  *metrics.Counter // listener, reason
	received  *metrics.Counter // qos
	sent      *metrics.Counter // qos
	dropped   *metrics.Counter // reason
	denied    *metrics.Counter // action
	throttled *metrics.Counter
	holds     *metrics.Counter
	bytesIn   *metrics.Counter
	bytesOut  *metrics.Counter

	connections, queued, inflight, held atomic.Int64
	sentNow                             [3]atomic.Uint64 // not yet in sent
}

func newFigures(m *metrics.Registry, b *Broker) *figures {
	f := &figures{
		connects:  m.Counter("mqtt_connects_total", "CONNECT packets by result.", "result"),
		failures:  m.Counter("mqtt_auth_failures_total", "Refused credentials.", "listener", "reason"),
		received:  m.Counter("mqtt_messages_received_total", "Messages published by clients.", "qos"),
		sent:      m.Counter("mqtt_messages_sent_total", "Messages delivered to clients.", "qos"),
		dropped:   m.Counter("mqtt_messages_dropped_total", "Messages not delivered.", "reason"),
		denied:    m.Counter("mqtt_denied_total", "Refused operations of clients.", "action"),
		throttled: m.Counter("mqtt_throttled_total", "Publishes held back because of their rate."),
		holds:     m.Counter("mqtt_publishes_held_total", "Publishes held back because too much waits for the disk."),
		bytesIn:   m.Counter("mqtt_bytes_received_total", "Bytes read from clients."),
		bytesOut:  m.Counter("mqtt_bytes_sent_total", "Bytes written to clients."),
	}
	gauge := func(name, help string, read func() int64) {
		m.GaugeFunc(name, help, func() float64 { return float64(read()) })
	}
	gauge("mqtt_connections", "Connected clients.", f.connections.Load)
	gauge("mqtt_queued_messages", "Messages waiting for sessions.", f.queued.Load)
	gauge("mqtt_inflight_messages", "Messages sent and not acknowledged.", f.inflight.Load)
	gauge("mqtt_publishers_held", "Publishers that are not read because too much waits for the disk.", f.held.Load)
	gauge("mqtt_buffered_bytes", "Bytes in write buffers and queues.", func() int64 { return b.budget.Used() })
	gauge("mqtt_sessions", "Sessions, connected or not.", func() int64 { return int64(b.sessions.len()) })
	gauge("mqtt_subscriptions", "Subscriptions of all sessions.", func() int64 { return int64(b.index.len()) })
	gauge("mqtt_retained_messages", "Retained messages.", func() int64 { n, _ := b.retained.Size(); return int64(n) })
	gauge("mqtt_retained_bytes", "Bytes of retained messages.", func() int64 { _, n := b.retained.Size(); return n })
	gauge("mqtt_lobby_connections", "Connections that have not said CONNECT.", func() int64 { return int64(b.lobby.Len()) })
	return f
}

// wrote publishes the counts of what was sent; called when bytes went out.
func (f *figures) wrote(n int) {
	f.bytesOut.Add(float64(n))
	for qos := range f.sentNow {
		if f.sentNow[qos].Load() > 0 {
			f.sent.Add(float64(f.sentNow[qos].Swap(0)), strconv.Itoa(qos))
		}
	}
}

// tally counts for one reading goroutine, so that a message costs no lookup.
type tally struct {
	received [3]uint64
	bytes    uint64
}

// flush publishes the counts; called before a read that may block.
func (t *tally) flush(f *figures, r *wire.Reader) {
	if r.Bytes == t.bytes {
		return
	}
	f.bytesIn.Add(float64(r.Bytes - t.bytes))
	t.bytes = r.Bytes
	for qos := range t.received {
		if t.received[qos] > 0 {
			f.received.Add(float64(t.received[qos]), strconv.Itoa(qos))
			t.received[qos] = 0
		}
	}
}

// denied counts a refusal that the Authorizer has logged.
func (b *Broker) denied(action string) { b.count.denied.Inc(action) }

// refused counts a refusal by a rule of the broker and has it logged, rate
// limited (security.md 1.6).
func (b *Broker) refused(action string, c *client, resource string, err error) {
	b.count.denied.Inc(action)
	if iot.CodeOf(err) == iot.Forbidden {
		b.auth.Reserved(&c.public, resource)
	} else if missed, ok := b.denials.Pass(string(c.public.ID)+"\x00"+action+"\x00"+resource, time.Now()); ok {
		b.log.Warn("authz.denied", "client", c.public.ID, "principal", c.public.Principal.ID, "action", action, "topic", resource, "err", err, "missed", missed)
	}
}
