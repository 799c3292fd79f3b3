package shadowsync

import "github.com/tidehold/tidehold/gateway/metrics"

// Figures are the metrics of all syncers of a gateway: one set, a label per
// uplink.
type Figures struct {
	counters  map[Counter]*metrics.Counter
	conflicts *metrics.Counter
	dropped   *metrics.Counter
	refused   *metrics.Counter
	disk      *metrics.Counter
	ignored   *metrics.Counter
	blocked   *metrics.Counter
	shadows   *metrics.Gauge
	inbox     *metrics.Gauge
	waiting   *metrics.Gauge
	stuck     *metrics.Counter
	health    *metrics.Health
}

// NewFigures registers the metrics; once for each registry.
func NewFigures(m *metrics.Registry) *Figures {
	f := &Figures{counters: make(map[Counter]*metrics.Counter)}
	help := map[Counter]string{
		Synced: "Syncs that ended with nothing left to do.", Pushed: "Updates and deletes sent upstream.",
		Pulled: "Local documents changed by sync.", Resent: "Pushes sent again for their answer.",
		TimedOut: "Requests without an answer in 20 s.", Raced: "Writes refused because the document had moved.",
		Ambiguous: "Pushes whose outcome had to be assumed.", Adopted: "Pushed values that upstream replaced by its own.",
		Rebased: "Shadows whose last common state was given up.", ClockFallback: "Conflicts that latest could not decide.",
	}
	for _, name := range Counters {
		f.counters[name] = m.Counter("sync_"+string(name)+"_total", help[name], "uplink")
	}
	f.conflicts = m.Counter("sync_conflicts_total", "Places that both sides changed, by the winner.", "uplink", "winner")
	f.dropped = m.Counter("sync_inbox_dropped_total", "Upstream messages dropped because the inbox was full; all shadows are compared again.", "uplink")
	f.refused = m.Counter("sync_shadows_refused_total", "Shadows not synced because of the limit.", "uplink")
	f.disk = m.Counter("sync_store_failures_total", "Local reads and commits that failed.", "uplink")
	f.ignored = m.Counter("sync_ignored_total", "Upstream messages that make no sense.", "uplink")
	f.blocked = m.Counter("sync_blocked_total", "Times that a side refused a document.", "uplink")
	f.shadows = m.Gauge("sync_shadows", "Synced shadows, by state.", "uplink", "state")
	f.inbox = m.Gauge("sync_inbox_fill", "Upstream messages that wait, as a share of the limit.", "uplink")
	f.stuck = m.Counter("sync_watchdog_total", "Times that a sync stood still with the link up and was begun anew.", "uplink")
	f.health = &m.Health
	f.waiting = m.Gauge("sync_waiting", "Shadows that wait for their turn.", "uplink")
	return f
}
