package sim

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/patch"
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
	// deletes has, for each side, the deletes of the whole shadow.
	deletes map[string][]int64
	// cleared are the sections that the edit under way removes whole.
	cleared []string
	lost    map[int64]bool  // lost in a conflict that was reported
	revived map[int64]bool  // came back as part of a newer object
	excused map[int64]bool  // lost in a race that upstream gives no means against
	assumed map[string]bool // places of pushes whose outcome nobody could know
}

func newLedger(w *World) *ledger {
	return &ledger{
		w: w, parents: make(map[int64][]int64), places: make(map[int64]string),
		stands: make(map[string]map[string]int64), removals: make(map[string]map[string][]int64),
		deletes: make(map[string][]int64),
		lost:    make(map[int64]bool), excused: make(map[int64]bool), revived: make(map[int64]bool), assumed: make(map[string]bool),
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

// reset is a side that begins anew: nothing stands there, as if all had been
// deleted by somebody who had seen nothing.
func (l *ledger) reset(side string) {
	delete(l.stands, side)
	l.deletes[side] = append(l.deletes[side], l.fresh())
}

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

// clears takes down which sections the next edit removes whole: a place that has
// no value yet is removed with them, as when somebody writes to it elsewhere.
func (l *ledger) clears(r doc.Request) {
	l.cleared = nil
	for name, section := range map[string]doc.Value{"/desired": r.Desired, "/reported": r.Reported} {
		if r.Clear || section.Kind() == doc.Null {
			l.cleared = append(l.cleared, name)
		}
	}
}

// edited takes down what a user did on a side; whole is a delete of the shadow.
func (l *ledger) edited(side string, before, after doc.Value, whole bool) {
	if !l.w.o.Unique {
		return
	}
	stands, removals := l.side(side)
	next := maps.Clone(stands)
	now := after.Flatten()
	gone := l.fresh()
	for _, section := range l.cleared {
		removals[section] = append(removals[section], gone)
	}
	l.cleared = nil
	if whole {
		l.deletes[side] = append(l.deletes[side], gone)
	}
	for _, p := range changed(before.Flatten(), now) {
		id := number(now[p])
		if _, set := now[p]; !set {
			id = gone
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
func (l *ledger) synced(side, source string, before, after doc.Value, whole bool) {
	if !l.w.o.Unique {
		return
	}
	stands, removals := l.side(side)
	_, gone := l.side(source)
	next := maps.Clone(stands)
	then, now := before.Flatten(), after.Flatten()
	for _, p := range changed(then, now) {
		if v, set := now[p]; set {
			l.set(side, p, number(v), stands[p], then, now, gone)
			next[p] = number(v)
			continue
		}
		if id := l.replacedBy(stands[p], p, now); id != 0 {
			removals[p] = append(removals[p], id)
			next[p] = id
			continue
		}
		candidates := slices.Clone(l.deletes[source])
		for q, ids := range gone {
			if related(p, q) {
				candidates = append(candidates, ids...)
			}
		}
		ids := l.removedBy(stands[p], candidates)
		switch {
		case len(ids) > 0:
		case l.lost[stands[p]] && l.doubtful(p): // perhaps removed, reported as a conflict, and decided
			delete(next, p)
			continue
		default:
			l.older(p, "I2: on %s at %s an older removal, or none, took %d away", side, p, stands[p])
			continue
		}
		removals[p] = append(removals[p], ids...)
		next[p] = ids[0]
	}
	l.stands[side] = next
	if whole {
		l.deletes[side] = append(l.deletes[side], l.deletes[source]...)
	}
}

// assume marks the places of a push whose outcome cannot be known (shadow-sync.md
// 2.4 rule 4): what was new there may have been removed by somebody who saw it.
// Where the policy then lets the local side win, it may be the older one.
func (l *ledger) assume(changes []patch.Change) {
	if l.w.o.Policy.Marker || l.w.o.Policy.Answers {
		return // it always can
	}
	for _, c := range changes {
		l.assumed["/"+strings.Join(c.Path, "/")] = true
	}
}

// doubtful reports whether a place is at, above or below one of an assumed push.
func (l *ledger) doubtful(place string) bool {
	for p := range l.assumed {
		if related(p, place) {
			return true
		}
	}
	return false
}

// older reports a broken I2. At the places of a push whose outcome nobody could
// know it is counted only. So it is, apart from that, after an upstream lost all
// it had and got as far as it had been before anybody looked.
func (l *ledger) older(place, format string, args ...any) {
	switch {
	case l.w.begun:
		l.w.result.Amnesia++
	case l.doubtful(place):
		l.w.result.Tolerated++
	default:
		l.w.violate(format, args...)
	}
}

// set checks that id, which sync put at p, is not older than what stood there.
// A value that came back as part of a newer object counts as new from then on.
func (l *ledger) set(side, p string, id, was int64, then, now map[string]doc.Value, gone map[string][]int64) {
	switch {
	case was == 0 || !l.knew(was, id) || l.revived[id]:
	case l.partOfNewer(was, p, then, now, gone):
		l.revived[id] = true
	default:
		l.older(p, "I2: on %s at %s the older %d replaced %d", side, p, id, was)
	}
}

// partOfNewer reports whether what comes back at p belongs to an object that
// replaces a scalar as one, and of which another member, or the lack of one, is
// newer: such a conflict is atomic, the object stands or falls as a whole.
func (l *ledger) partOfNewer(was int64, p string, then, now map[string]doc.Value, gone map[string][]int64) bool {
	top := strings.Join(strings.SplitN(p, "/", 4)[:3], "/")
	_, scalar := then[top]
	// What a third gateway decided so may arrive long after the scalar went.
	if !scalar && len(l.w.gateways) == 1 {
		return false
	}
	for q, v := range now {
		if strings.HasPrefix(q, top+"/") && !l.knew(was, number(v)) {
			return true
		}
	}
	for q, ids := range gone {
		if strings.HasPrefix(q, top+"/") && len(l.removedBy(was, slices.Clone(ids))) > 0 {
			return true
		}
	}
	return scalar && len(l.w.gateways) > 1
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

// removedBy gives the removals on the other side that the writer of what was
// there had not seen, the oldest first: it may be any of them, newer ones may
// not have arrived yet.
func (l *ledger) removedBy(was int64, removals []int64) []int64 {
	var ids []int64
	slices.Sort(removals)
	for _, id := range slices.Compact(removals) {
		if id != was && !l.knew(was, id) {
			ids = append(ids, id)
		}
	}
	return ids
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
	if !l.w.o.Unique || l.w.begun {
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
		if !fine[id] && !l.lost[id] && !l.excused[id] && !l.doubtful(l.places[id]) {
			l.w.violate("I3: %d at %s vanished", id, l.places[id])
		}
	}
}
