package input

import "time"

// change is a level that was stable long enough to count.
type change struct {
	on bool
	at time.Time // when the level changed, not when it was believed
}

// debouncer believes a level when it was stable for a time. It is pure and
// works by the edges' own times, so that a late reader changes nothing. Its
// zero time of stability believes every edge.
type debouncer struct {
	stable  time.Duration
	on      bool // the believed level
	pending bool // the other level since `since`
	since   time.Time
}

// edge takes the next edge; a change that became due before it comes out.
func (d *debouncer) edge(on bool, at time.Time) []change {
	out := d.settle(at)
	switch {
	case on == d.on:
		d.pending = false
	case d.pending: // the same level again: an edge was lost, stability began anew
		d.since = at
	default:
		d.pending, d.since = true, at
	}
	if d.stable == 0 {
		out = append(out, d.settle(at)...)
	}
	return out
}

// settle lets time pass until now.
func (d *debouncer) settle(now time.Time) []change {
	if !d.pending || now.Sub(d.since) < d.stable {
		return nil
	}
	d.pending, d.on = false, !d.on
	return []change{{on: d.on, at: d.since}}
}

// deadline is when settle has something to say; false: only an edge can.
func (d *debouncer) deadline() (time.Time, bool) { return d.since.Add(d.stable), d.pending }
