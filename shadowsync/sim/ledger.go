package sim

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync"
)

// ledger knows of every value and every removal who wrote it and what its
// writer had seen. Values are told apart by their numbers; it stands still
// when they are not unique.
type ledger struct {
	w    *World
	last int64
	// parents has, for each edit, the edits its writer had before his eyes.
	parents map[int64][]int64
	places  map[int64]string // of values
	// stands has, for each side and path, the edit that made what is there.
	stands map[string]map[string]int64
	// removals has, for each side and path, the removals that ever stood.
	removals map[string]map[string][]int64
	lost     map[int64]bool // lost in a conflict that was reported
	excused  map[int64]bool // lost in a race that upstream gives no means against
}

func newLedger(w *World) *ledger {
	return &ledger{
		w: w, parents: make(map[int64][]int64), places: make(map[int64]string),
		stands: make(map[string]map[string]int64), removals: make(map[string]map[string][]int64),
		lost: make(map[int64]bool), excused: make(map[int64]bool),
	}
}

func (l *ledger) fresh() int64 {
	l.last++
	return l.last
}

func (l *ledger) side(name string) (map[string]int64, map[string][]int64) {
	if l.stands[name] == nil {
		l.stands[name], l.removals[name] = make(map[string]int64), make(map[string][]int64)
	}
	return l.stands[name], l.removals[name]
}

func (l *ledger) forget(name string) { delete(l.stands, name) }

// number is the edit that wrote a value.
func number(v doc.Value) int64 {
	if v.Kind() == doc.Array {
		for item := range v.Items() {
			v = item
			break
		}
	}
	n, _ := strconv.ParseInt(v.Text(), 10, 64)
	return n
}

// related reports whether one path is the other or above it.
func related(p, q string) bool {
	return p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/")
}

// changed gives the paths of leaves that differ.
func changed(before, after map[string]doc.Value) []string {
	var paths []string
	for p, v := range before {
		if w, ok := after[p]; !ok || !v.Equal(w) {
			paths = append(paths, p)
		}
	}
	for p := range after {
		if _, ok := before[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// edited takes down what a user did on a side.
func (l *ledger) edited(side string, before, after doc.Value) {
	if !l.w.o.Unique {
		return
	}
	stands, removals := l.side(side)
	next := maps.Clone(stands)
	now := after.Flatten()
	for _, p := range changed(before.Flatten(), now) {
		id := number(now[p])
		if _, set := now[p]; !set {
			id = l.fresh()
			removals[p] = append(removals[p], id)
		} else {
			l.places[id] = p
		}
		for _, q := range slices.Sorted(maps.Keys(stands)) {
			if related(p, q) {
				l.parents[id] = append(l.parents[id], stands[q])
			}
		}
		next[p] = id
	}
	l.stands[side] = next
}

// knew reports whether the writer of edit id had seen the edit old.
func (l *ledger) knew(id, old int64) bool {
	seen := map[int64]bool{}
	var look func(int64) bool
	look = func(id int64) bool {
		if seen[id] {
			return false
		}
		seen[id] = true
		for _, parent := range l.parents[id] {
			if parent == old || look(parent) {
				return true
			}
		}
		return false
	}
	return look(id)
}

// synced checks what sync wrote on a side, taken from another: nothing older
// may replace anything newer (I2).
func (l *ledger) synced(side, source string, before, after doc.Value) {
	if !l.w.o.Unique {
		return
	}
	stands, removals := l.side(side)
	_, gone := l.side(source)
	next := maps.Clone(stands)
	now := after.Flatten()
	for _, p := range changed(before.Flatten(), now) {
		if v, set := now[p]; set {
			if id := number(v); stands[p] != 0 && l.knew(stands[p], id) {
				l.w.violate("I2: on %s at %s the older %d replaced %d", side, p, id, stands[p])
			}
			next[p] = number(v)
			continue
		}
		if id := l.replacedBy(stands[p], p, now); id != 0 {
			next[p] = id
			continue
		}
		id := l.removedBy(stands[p], gone[p])
		if id == 0 {
			l.w.violate("I2: on %s at %s an older removal, or none, took %d away", side, p, stands[p])
			continue
		}
		removals[p] = append(removals[p], id)
		next[p] = id
	}
	l.stands[side] = next
}

// replacedBy is a value above or below p that may stand in its place.
func (l *ledger) replacedBy(was int64, p string, now map[string]doc.Value) int64 {
	for _, q := range slices.Sorted(maps.Keys(now)) {
		if id := number(now[q]); related(p, q) && !l.knew(was, id) {
			return id
		}
	}
	return 0
}

// removedBy is the newest removal on the other side that the writer of what
// was there had not seen.
func (l *ledger) removedBy(was int64, removals []int64) int64 {
	for _, id := range slices.Backward(removals) {
		if id != was && !l.knew(was, id) {
			return id
		}
	}
	return 0
}

// conflict takes down what lost.
func (l *ledger) conflict(c shadowsync.Conflict) {
	loser := c.Local
	if c.Winner == shadowsync.LocalWins {
		loser = c.Upstream
	}
	l.markAll(l.lost, loser)
}

// excuse marks values as lost by what upstream gives no means against.
func (l *ledger) excuse(state doc.Value) { l.markAll(l.excused, state) }

func (l *ledger) markAll(set map[int64]bool, v doc.Value) {
	for _, leaf := range v.Flatten() {
		set[number(leaf)] = true
	}
}

// checkLost: every value stands in the end, or somebody who had seen it wrote
// over it, or it lost a conflict that was reported (I3).
func (l *ledger) checkLost() {
	if !l.w.o.Unique || l.w.result.Ambiguous > 0 {
		return
	}
	fine := make(map[int64]bool)
	for _, parents := range l.parents {
		for _, id := range parents {
			fine[id] = true
		}
	}
	l.markAll(fine, l.w.cloud.view())
	for _, id := range slices.Sorted(maps.Keys(l.places)) {
		if !fine[id] && !l.lost[id] && !l.excused[id] {
			l.w.violate("I3: %d at %s vanished", id, l.places[id])
		}
	}
}
