// Package status tells how each synced shadow does, the same for both modes of
// sync: a Board that the sync writes and anybody reads.
package status

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// The states of a shadow.
const (
	Synced   = "synced"   // both sides are equal
	Pending  = "pending"  // something is to be done, or upstream is not known
	Conflict = "conflict" // pending, and both sides had changed the same place
	Blocked  = "blocked"  // a side refuses what it is to become
)

// Shadow is how one shadow does.
type Shadow struct {
	Thing  iot.ThingName  `json:"thing"`
	Shadow iot.ShadowName `json:"shadow,omitempty"`
	State  string         `json:"state"`
	// Reason is why it is blocked.
	Reason string `json:"reason,omitempty"`
	// Conflicts counts since the start; Winner is that of the last.
	Conflicts int    `json:"conflicts"`
	Winner    string `json:"winner,omitempty"`
	// Unresolved is set while the outcome of a push is not known.
	Unresolved bool `json:"unresolved,omitempty"`
	// Since is when both sides last agreed, zero when not since the start; Age
	// is how many seconds ago that was.
	Since time.Time `json:"synced_at,omitzero"`
	Age   float64   `json:"age_s,omitempty"`
}

// Board has the state of every shadow of one uplink. Safe for concurrent use.
type Board struct {
	gauge  *metrics.Gauge
	health *metrics.Health
	uplink string

	mu      sync.Mutex
	shadows map[iot.ShadowKey]Shadow
	counts  map[string]int
}

// NewBoard makes an empty Board. gauge counts the shadows by uplink and state;
// health gets the component sync/UPLINK, degraded while a shadow is blocked.
func NewBoard(gauge *metrics.Gauge, health *metrics.Health, uplink string) *Board {
	return &Board{gauge: gauge, health: health, uplink: uplink, shadows: make(map[iot.ShadowKey]Shadow), counts: make(map[string]int)}
}

// Put writes down how a shadow does.
func (b *Board) Put(key iot.ShadowKey, s Shadow, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, known := b.shadows[key]
	b.shadows[key] = s
	if known && was.State == s.State {
		return
	}
	if known {
		b.count(was.State, -1)
	}
	b.count(s.State, 1)
	if !known || was.State == Blocked || s.State == Blocked {
		b.tell(key, s, now)
	}
}

func (b *Board) count(state string, by int) {
	b.counts[state] += by
	b.gauge.Set(float64(b.counts[state]), b.uplink, state)
}

// tell sets the health of the sync.
func (b *Board) tell(key iot.ShadowKey, s Shadow, now time.Time) {
	switch {
	case b.counts[Blocked] == 0:
		b.health.Set("sync/"+b.uplink, metrics.OK, nil, now)
	case s.State == Blocked:
		b.health.Set("sync/"+b.uplink, metrics.Degraded, fmt.Errorf("%d shadows are blocked, the last is %s: %s", b.counts[Blocked], key, s.Reason), now)
	}
}

// Waiting reports whether any shadow waits for something other than a change.
func (b *Board) Waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[Pending]+b.counts[Conflict] > 0
}

// All tells how every shadow does at now, in the order of their names.
func (b *Board) All(now time.Time) []Shadow {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Shadow, 0, len(b.shadows))
	for _, one := range b.shadows {
		if !one.Since.IsZero() {
			one.Age = max(now.Sub(one.Since), 0).Seconds()
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(x, y Shadow) int { return cmp.Or(cmp.Compare(x.Thing, y.Thing), cmp.Compare(x.Shadow, y.Shadow)) })
	return out
}
