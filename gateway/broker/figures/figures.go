// Package figures is what the broker counts about its clients' traffic.
//
// Everything may be used from any goroutine, except a Tally, which belongs to
// one reader. Nothing blocks.
package figures

import (
	"strconv"
	"sync/atomic"

	"github.com/tidehold/tidehold/gateway/metrics"
)

// Figures are the counters and gauges of a broker.
type Figures struct {
	Connects  *metrics.Counter // result
	Failures  *metrics.Counter // listener, reason
	Dropped   *metrics.Counter // reason
	Slow      metrics.Series   // dropped as slow_client: every message to one that is stuck
	Full      metrics.Series   // dropped as buffers_full: the same
	Denied    *metrics.Counter // action
	Throttled *metrics.Counter
	Holds     *metrics.Counter // reason
	received  *metrics.Counter // qos
	sent      *metrics.Counter // qos
	bytesIn   *metrics.Counter
	bytesOut  *metrics.Counter

	// Connections, Queued, Inflight and Held are gauges: clients, messages that
	// wait, messages sent and not acknowledged, publishers that are not read.
	Connections, Queued, Inflight, Held atomic.Int64
	sentNow                             [3]atomic.Uint64 // not yet in sent
}

// New registers the figures; read-only ones of the broker's rooms are added by Gauge.
func New(m *metrics.Registry) *Figures {
	f := &Figures{
		Connects:  m.Counter("mqtt_connects_total", "CONNECT packets by result.", "result"),
		Failures:  m.Counter("mqtt_auth_failures_total", "Refused credentials.", "listener", "reason"),
		Dropped:   m.Counter("mqtt_messages_dropped_total", "Messages not delivered.", "reason"),
		Denied:    m.Counter("mqtt_denied_total", "Refused operations of clients.", "action"),
		Throttled: m.Counter("mqtt_throttled_total", "Publishes held back because of their rate."),
		Holds:     m.Counter("mqtt_publishes_held_total", "Publishes held back because too much waits for the disk or for a subscriber.", "reason"),
		received:  m.Counter("mqtt_messages_received_total", "Messages published by clients.", "qos"),
		sent:      m.Counter("mqtt_messages_sent_total", "Messages delivered to clients.", "qos"),
		bytesIn:   m.Counter("mqtt_bytes_received_total", "Bytes read from clients."),
		bytesOut:  m.Counter("mqtt_bytes_sent_total", "Bytes written to clients."),
	}
	f.Slow, f.Full = f.Dropped.Of("slow_client"), f.Dropped.Of("buffers_full")
	Gauge(m, "mqtt_connections", "Connected clients.", f.Connections.Load)
	Gauge(m, "mqtt_queued_messages", "Messages waiting for sessions.", f.Queued.Load)
	Gauge(m, "mqtt_inflight_messages", "Messages sent and not acknowledged.", f.Inflight.Load)
	Gauge(m, "mqtt_publishers_held", "Publishers that are not read because too much waits for the disk or for a subscriber.", f.Held.Load)
	return f
}

// Gauge registers a gauge that is read when somebody asks.
func Gauge(m *metrics.Registry, name, help string, read func() int64) {
	m.GaugeFunc(name, help, func() float64 { return float64(read()) })
}

// Sent counts one message that went into a write buffer.
func (f *Figures) Sent(qos byte) { f.sentNow[qos].Add(1) }

// Wrote publishes the counts of what was sent; called when n bytes went out.
func (f *Figures) Wrote(n int) {
	f.bytesOut.Add(float64(n))
	for qos := range f.sentNow {
		if f.sentNow[qos].Load() > 0 {
			f.sent.Add(float64(f.sentNow[qos].Swap(0)), strconv.Itoa(qos))
		}
	}
}

// Tally counts for one reading goroutine, so that a message costs no lookup.
type Tally struct {
	// Received are messages by QoS that are not yet in the figures.
	Received [3]uint64
	bytes    uint64
}

// Flush publishes the counts, with all bytes read so far; called before a read
// that may block.
func (t *Tally) Flush(f *Figures, bytes uint64) {
	if bytes == t.bytes {
		return
	}
	f.bytesIn.Add(float64(bytes - t.bytes))
	t.bytes = bytes
	for qos := range t.Received {
		if t.Received[qos] > 0 {
			f.received.Add(float64(t.Received[qos]), strconv.Itoa(qos))
			t.Received[qos] = 0
		}
	}
}
