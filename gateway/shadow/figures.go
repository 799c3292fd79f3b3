package shadow

import (
	"strconv"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/topic"
)

// figures are the metrics of this room.
type figures struct {
	updates   *metrics.Counter
	rejected  *metrics.Counter
	conflicts *metrics.Counter
	seconds   *metrics.Histogram
}

func newFigures(m *metrics.Registry, s *Service) figures {
	m.GaugeFunc("shadow_documents", "shadows that exist", func() float64 { return float64(s.live.Load()) })
	m.GaugeFunc("shadow_queued_requests", "requests that wait for a commit", func() float64 { return float64(len(s.slots)) })
	m.GaugeFunc("shadow_queued_requests_max", "limit of shadow_queued_requests, then callers wait", func() float64 { return queueMax })
	m.GaugeFunc("shadow_cache_bytes", "parsed documents in memory, about", func() float64 { return float64(s.cache.size()) })
	return figures{
		updates:   m.Counter("shadow_updates_total", "updates by result: accepted, rejected or failed", "result"),
		rejected:  m.Counter("shadow_rejected_total", "refused requests by operation and code", "op", "code"),
		conflicts: m.Counter("shadow_conflicts_total", "updates that named another version than the current one"),
		seconds: m.Histogram("shadow_update_duration_seconds", "time from an update's arrival to its answers",
			[]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5}),
	}
}

// answered counts a request that is over.
func (f figures) answered(r *request, seconds float64) {
	if r.err != nil {
		code := iot.CodeOf(r.err)
		f.rejected.Inc(string(r.op), strconv.Itoa(code.HTTPStatus()))
		if code == iot.Conflict {
			f.conflicts.Inc()
		}
	}
	if r.op != topic.Update || r.sync != nil && r.sync.Update == nil {
		return
	}
	switch {
	case r.err == nil:
		f.updates.Inc("accepted")
		f.seconds.Observe(seconds)
	case r.failed:
		f.updates.Inc("failed")
	default:
		f.updates.Inc("rejected")
	}
}
