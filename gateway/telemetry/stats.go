package telemetry

import (
	"context"
	"errors"

	"github.com/tidehold/tidehold/gateway/metrics"
)

// The states of the spool.
const (
	StateOK       = "ok"
	StateDegraded = "degraded" // nothing can be committed, or the file is damaged
	StateSalvaged = "salvaged" // the file was replaced at this start
)

// Stats is the answer of `tidehold spool stats` (contract section 3).
type Stats struct {
	State      string        `json:"state"`
	Bytes      int64         `json:"bytes"`
	LimitBytes int64         `json:"limit_bytes"`
	Uplinks    []UplinkStats `json:"uplinks"`
	// Error is why the state is degraded.
	Error string `json:"error,omitempty"`
}

// UplinkStats is how one uplink stands; allocated = delivered + pending + lost
// + folded + skipped at any time (telemetry.md C5).
type UplinkStats struct {
	Name      string `json:"name"`
	Allocated uint64 `json:"allocated"`
	Delivered uint64 `json:"delivered"`
	Pending   int64  `json:"pending"`
	Lost      uint64 `json:"lost"`
	Folded    uint64 `json:"folded"`
	Skipped   uint64 `json:"skipped"`
	// OldestAge is in seconds, 0 when nothing is pending.
	OldestAge float64 `json:"oldest_age_s"`
	// ETA is in seconds until everything is delivered: at the rate of late, else
	// at the configured one; -1 when neither is known.
	ETA float64 `json:"eta_s"`
}

// Stats gives the figures of the spool. It reads one row per uplink and class.
func (s *Spool) Stats() Stats {
	l := s.log.Stats(context.Background())
	out := Stats{State: StateOK, Bytes: l.Bytes, LimitBytes: l.LimitBytes, Uplinks: []UplinkStats{}}
	if s.cfg.Salvaged {
		out.State = StateSalvaged
	}
	if l.Damaged {
		l.Err = errors.Join(l.Err, errors.New("the message file is damaged; a restart salvages it"))
	}
	if l.Err != nil {
		out.State, out.Error = StateDegraded, l.Err.Error()
	}
	now := s.clk.Now()
	for _, c := range l.Cursors {
		u := UplinkStats{Name: c.Name, Allocated: c.Allocated, Delivered: c.Delivered, Pending: c.Pending, Lost: c.Lost, Folded: c.Folded, Skipped: c.Skipped}
		if !c.Oldest.IsZero() {
			u.OldestAge = max(0, now.Sub(c.Oldest).Seconds())
		}
		u.ETA = s.eta(c.Name, c.Pending)
		out.Uplinks = append(out.Uplinks, u)
	}
	return out
}

func (s *Spool) eta(name string, pending int64) float64 {
	if pending == 0 {
		return 0
	}
	u := s.uplink(name)
	if u == nil {
		return -1
	}
	u.mu.Lock()
	rate := u.speed.perSecond
	if rate <= 0 {
		rate = u.rate()
	}
	u.mu.Unlock()
	if rate <= 0 {
		return -1
	}
	return float64(pending) / rate
}

// figures are the pump's metrics.
type figures struct {
	ackSeconds *metrics.Histogram
	inflight   *metrics.Gauge
	rate       *metrics.Gauge
	poison     *metrics.Counter
	untilFull  *metrics.Gauge
	clockSteps *metrics.Counter
	stalls     *metrics.Counter
}

func newFigures(m *metrics.Registry) *figures {
	return &figures{
		ackSeconds: m.Histogram("spool_ack_seconds", "time from sending to the acknowledgement",
			[]float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20}, "uplink"),
		inflight:   m.Gauge("spool_inflight", "messages sent and not acknowledged", "uplink"),
		rate:       m.Gauge("spool_rate_limit", "messages a second the uplink may get now, 0 for no limit", "uplink"),
		untilFull:  m.Gauge("spool_seconds_until_full", "seconds until the spool is full at the rate of the last hour"),
		poison:     m.Counter("spool_quarantined_total", "messages the far side could not take", "uplink"),
		clockSteps: m.Counter("clock_steps_total", "steps of the wall clock"),
		stalls:     m.Counter("spool_stalled_total", "times the far side stopped acknowledging", "uplink"),
	}
}
