package messages

import "github.com/tidehold/tidehold/gateway/metrics"

// figures are the log's metrics (telemetry.md section 12), one per cursor under
// the label `uplink`.
type figures struct {
	allocatedTotal, deliveredTotal, lost, folded, skipped, dupAcks, resent, refused, elided *metrics.Counter
	bytes, limit, pending                                                                   *metrics.Gauge
}

func newFigures(m *metrics.Registry) *figures {
	if m == nil {
		m = metrics.New()
	}
	return &figures{
		allocatedTotal: m.Counter("spool_allocated_total", "messages routed to the uplink, and skipped numbers", "uplink"),
		deliveredTotal: m.Counter("spool_delivered_total", "messages the uplink acknowledged", "uplink", "lane"),
		lost:           m.Counter("spool_lost_total", "messages accounted for as lost", "uplink", "reason"),
		folded:         m.Counter("spool_folded_total", "messages that aggregates stand for, over and above their own number", "uplink", "level"),
		skipped:        m.Counter("spool_skipped_total", "numbers a crash left unused", "uplink"),
		dupAcks:        m.Counter("spool_dup_ack_total", "acknowledgements of nothing that was open", "uplink"),
		resent:         m.Counter("spool_resent_total", "messages sent again after a reconnect", "uplink"),
		refused:        m.Counter("spool_refused_total", "appends refused because too much waited for the disk"),
		elided:         m.Counter("spool_elided_total", "messages acknowledged before they were written"),
		pending:        m.Gauge("spool_pending", "messages that wait for the uplink", "uplink"),
		bytes:          m.Gauge("spool_queue_bytes", "bytes of the message file in use"),
		limit:          m.Gauge("spool_queue_limit_bytes", "bound of the message file"),
	}
}

// begin puts what was counted before this start, so that the sum check can be
// read from the metrics alone.
func (f *figures) begin(c *cursor) {
	c.counted, c.waiting = f.allocatedTotal.Of(c.name), f.pending.Of(c.name)
	c.waiting.Add(float64(c.pending))
	f.allocatedTotal.Add(float64(c.t.Allocated), c.name)
	f.deliveredTotal.Add(float64(c.t.Delivered), c.name, laneOf(true))
	f.lost.Add(float64(c.t.Lost), c.name, "before start")
	f.folded.Add(float64(c.t.Folded), c.name, levelOne)
	f.skipped.Add(float64(c.t.Skipped), c.name)
}

// levelOne is the only level of folding there is (telemetry.md 8.4).
const levelOne = "1"

func (f *figures) delivered(cursor string, back bool) { f.deliveredTotal.Inc(cursor, laneOf(back)) }

func laneOf(back bool) string {
	if back {
		return "back"
	}
	return "live"
}
