package uplink

import (
	"errors"
	"time"

	"github.com/tidehold/tidehold/gateway/metrics"
)

// Figures are the metrics of all uplinks of one registry, each with a label
// `uplink`.
type Figures struct {
	health    *metrics.Health
	connected *metrics.Gauge
	pending   *metrics.Gauge
	changes   *metrics.Counter
	reconnect *metrics.Counter
	published *metrics.Counter
	refused   *metrics.Counter
	received  *metrics.Counter
	dropped   *metrics.Counter
	throttled *metrics.Counter
	rtt       *metrics.Histogram
}

// NewFigures registers the metrics; once per registry.
func NewFigures(m *metrics.Registry) *Figures {
	bounds := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}
	return &Figures{
		health:    &m.Health,
		connected: m.Gauge("uplink_connected", "1 while the uplink is online.", "uplink"),
		pending:   m.Gauge("uplink_pending_messages", "Messages between Publish and acknowledgement.", "uplink"),
		changes:   m.Counter("uplink_state_changes_total", "Changes into a state.", "uplink", "state"),
		reconnect: m.Counter("uplink_reconnects_total", "Connection attempts after the first.", "uplink"),
		published: m.Counter("uplink_published_total", "Messages acknowledged by the upstream.", "uplink"),
		refused:   m.Counter("uplink_refused_total", "Messages not taken or not acknowledged, by reason.", "uplink", "reason"),
		received:  m.Counter("uplink_received_total", "Messages from the upstream.", "uplink"),
		dropped:   m.Counter("uplink_received_dropped_total", "Messages from the upstream that nobody takes.", "uplink"),
		throttled: m.Counter("uplink_throttled_seconds_total", "Time in state throttled.", "uplink"),
		rtt:       m.Histogram("uplink_rtt_seconds", "Time from sending a message to its acknowledgement.", bounds, "uplink"),
	}
}

// count books the end of a message.
func (f *Figures) count(uplink string, err error, took time.Duration) {
	switch {
	case err == nil:
		f.published.Inc(uplink)
		f.rtt.Observe(took.Seconds(), uplink)
	case errors.Is(err, ErrOffline):
		f.refused.Inc(uplink, "offline")
	case errors.Is(err, ErrBusy):
		f.refused.Inc(uplink, "busy")
	case errors.Is(err, ErrRefused):
		f.refused.Inc(uplink, "limit")
	default:
		f.refused.Inc(uplink, "epoch")
	}
}

// moved books a change of state.
func (f *Figures) moved(uplink string, from, to machine, up time.Duration) {
	f.changes.Inc(uplink, string(to.state))
	connected := 0.0
	if to.state.Up() {
		connected = 1
	}
	f.connected.Set(connected, uplink)
	if to.state == Resolving && to.attempts > 1 {
		f.reconnect.Inc(uplink)
	}
}

// judge sets the health of the component: down is degraded, never failed
// (operations.md section 6).
func (f *Figures) judge(uplink string, m machine, complaint error, now time.Time) {
	name := "uplink/" + uplink
	switch {
	case m.state == Disabled:
		f.health.Forget(name)
	case m.state.Up() && complaint == nil:
		f.health.Set(name, metrics.OK, nil, now)
	case m.state.Up():
		f.health.Set(name, metrics.Degraded, complaint, now)
	case m.err != "":
		f.health.Set(name, metrics.Degraded, errors.New(m.err), now)
	default:
		f.health.Set(name, metrics.Degraded, errors.New("not connected yet"), now)
	}
}
