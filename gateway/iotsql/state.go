package iotsql

import (
	"container/heap"
	"container/list"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Limits of a State.
const (
	groupsMax        = 10_000
	windowEntriesMax = 10_000
	hopsMax          = 1000 // windows that one message may be in
	openWindowsMax   = 2000 // windows of one group that are open
)

// instant is one moment on both clocks, in milliseconds: the wall clock aligns
// windows, the steady one measures durations.
type instant struct{ wall, up int64 }

// State is the memory of one rule: a machine that is fed messages and the
// time, and emits results. It belongs to one goroutine and never blocks.
//
// Each call gives the present by ctx.NowMS and ctx.UpMS. Timers that are due
// fire before the message; several in the order of their times, ties in the
// order in which their groups came to be.
type State struct {
	of     *Statement
	now    instant
	groups map[string]*group
	recent *list.List // of *group, the one used last in front
	born   uint64
	timers timerHeap
	// watermark is the event time up to which windows are closed.
	watermark int64
	hasMark   bool
	silence   int64 // when silence closes all windows, by the steady clock
	stats     Stats
}

// Stats counts what a State has dropped at its limits.
type Stats struct {
	Groups        int    `json:"groups"`        // groups remembered now
	DroppedGroups uint64 `json:"droppedGroups"` // least recently used groups given up
	Late          uint64 `json:"late"`          // messages whose windows were closed, or without event time
	Dropped       uint64 `json:"dropped"`       // messages that left a full window early
}

// group is the memory for one tuple of GROUP BY values.
type group struct {
	key     string
	born    uint64
	place   *list.Element
	cells   []cell
	heard   bool
	heardAt int64
	fired   bool
	firedAt int64
	last    *kept // the group's last message, for FOR
	timer   *timer
	gone    bool
	holding bool
	done    bool // FOR has fired and waits for a false condition
	windows []*openWindow
	entries []entryOf // of SLIDING and COUNT
	count   int64     // messages of COUNT
}

// kept is a message kept for a later emission, with what was computed for it.
type kept struct {
	message iot.Message
	vars    []value.Value
	seen    []value.Value
}

// NewState makes an empty memory for s.
func (s *Statement) NewState() *State {
	return &State{of: s, groups: make(map[string]*group), recent: list.New()}
}

// Stats gives the counters.
func (st *State) Stats() Stats {
	st.stats.Groups = len(st.groups)
	return st.stats
}

// Handle takes in ctx.Message. emit is called for every result in order, the
// timers' first; while it runs, ctx is the context of that result, so that
// templates can be evaluated. Messages that fire nothing emit nothing.
func (st *State) Handle(ctx *Context, emit func(Output, error)) {
	if !st.of.Remembers() {
		if out, err := st.of.Eval(ctx); out.Fired || err != nil {
			emit(out, err)
		}
		return
	}
	st.Tick(ctx, emit)
	sc := ctx.begin(st.of)
	sc.seen = resize(sc.seen, len(st.of.stateful))
	g := st.evaluate(sc)
	st.decide(sc, g, emit)
	g.heard, g.heardAt = true, st.now.up
}

// evaluate computes the group, all variables and all functions with a memory
// that stand before HAVING.
func (st *State) evaluate(sc *scope) *group {
	s := st.of
	sc.vars = resize(sc.vars, len(s.sets))
	for i := range s.sets {
		if !s.sets[i].remembering {
			sc.vars[i] = s.sets[i].eval(sc)
		}
	}
	g := st.group(sc)
	for i := range s.sets {
		end := s.afterSets
		if i+1 < len(s.sets) {
			end = s.beforeSets[i+1]
		}
		st.remember(sc, g, s.beforeSets[i], end)
		if s.sets[i].remembering {
			sc.vars[i] = s.sets[i].eval(sc)
		}
	}
	st.remember(sc, g, s.afterSets, s.beforeHave)
	return g
}

// decide runs WHERE and what hangs on it.
func (st *State) decide(sc *scope, g *group, emit func(Output, error)) {
	s := st.of
	is, ok := true, true
	if s.where != nil {
		is, ok = s.where(sc).Bool()
	}
	switch {
	case s.hold >= 0:
		st.holdOn(sc, g, is, ok)
	case !is:
	case s.window != nil:
		st.enter(sc, g, emit)
	default:
		st.fire(g, 0, s.beforeHave)
		emit(s.selected.output(sc))
	}
}

// holdOn starts, clears or leaves the timer of FOR.
func (st *State) holdOn(sc *scope, g *group, is, ok bool) {
	g.last = keep(sc)
	switch {
	case ok && !is:
		g.holding, g.done = false, false
		g.cancel()
	case is && !g.holding && !g.done:
		g.holding = true
		g.timer = st.schedule(g, nil, st.now.up+st.of.hold)
	}
}

func keep(sc *scope) *kept {
	return &kept{
		message: sc.ctx.Message,
		vars:    append([]value.Value(nil), sc.vars...),
		seen:    append([]value.Value(nil), sc.seen...),
	}
}

// group finds or makes the group of the scope's message.
func (st *State) group(sc *scope) *group {
	key := make([]byte, 0, 64)
	for _, e := range st.of.group {
		v := e(sc)
		key = append(key, byte(v.Kind()))
		if n, ok := v.Num(); ok { // 1 and 1.0 are one group
			v = n.AsDecimal().Cut(exponentSpan).Value()
			key[len(key)-1] = byte(value.Int)
		}
		key = append(value.AppendJSON(key, v), 0)
	}
	if g, ok := st.groups[string(key)]; ok {
		st.recent.MoveToFront(g.place)
		return g
	}
	if len(st.groups) >= groupsMax {
		st.forget(st.recent.Back().Value.(*group))
		st.stats.DroppedGroups++
	}
	return st.addGroup(string(key))
}

// exponentSpan is more places than a number can have behind its point.
const exponentSpan = 2000

func (st *State) addGroup(key string) *group {
	st.born++
	g := &group{key: key, born: st.born, cells: make([]cell, len(st.of.stateful))}
	g.place = st.recent.PushFront(g)
	st.groups[key] = g
	return g
}

func (st *State) forget(g *group) {
	g.gone = true
	st.recent.Remove(g.place)
	delete(st.groups, g.key)
}

// timer fires at due: a hold of FOR (no window), or the end of a window.
type timer struct {
	due    int64
	group  *group
	window *openWindow
	off    bool
}

// idle reports whether what t waits for is gone.
func (t *timer) idle() bool { return t.off || t.group.gone || t.window != nil && t.window.gone }

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].group.born < h[j].group.born
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push and Pop serve container/heap.
func (h *timerHeap) Push(x any) { *h = append(*h, x.(*timer)) }

// Pop takes the last timer off.
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}

func (st *State) schedule(g *group, w *openWindow, due int64) *timer {
	t := &timer{due: due, group: g, window: w}
	heap.Push(&st.timers, t)
	return t
}

// cancel switches the timer of FOR off.
func (g *group) cancel() {
	if g.timer != nil {
		g.timer.off = true
	}
}

// clock is the clock that st's timers follow: windows that are aligned follow
// the wall, everything else the steady one.
func (st *State) clock() int64 {
	if w := st.of.window; w != nil && w.aligned() {
		return st.now.wall
	}
	return st.now.up
}

// Tick fires what is due at ctx.NowMS and ctx.UpMS; see Handle for emit. It
// leaves ctx's message as it was.
func (st *State) Tick(ctx *Context, emit func(Output, error)) {
	past, present := st.now, instant{ctx.NowMS, ctx.UpMS}
	st.now = present
	message, document := ctx.Message, ctx.Document
	for t := st.due(); t != nil; t = st.due() {
		heap.Pop(&st.timers)
		late := st.clock() - t.due
		// The wall clock may have stepped far beyond what really passed.
		st.now = instant{present.wall - late, max(past.up, present.up-late)}
		st.ring(ctx, t, emit)
		st.now = present
	}
	st.endSilence(ctx, emit)
	ctx.Message, ctx.Document, ctx.NowMS = message, document, present.wall
}

// due is the next timer whose time has come by the clock.
func (st *State) due() *timer {
	if st.of.eventTime() {
		return nil
	}
	if t := st.next(); t != nil && t.due <= st.clock() {
		return t
	}
	return nil
}

// next is the first timer that is still on.
func (st *State) next() *timer {
	for len(st.timers) > 0 && st.timers[0].idle() {
		heap.Pop(&st.timers)
	}
	if len(st.timers) == 0 {
		return nil
	}
	return st.timers[0]
}

// Wait is how long, from the moment of the last call, until Tick has something
// to do; false when it has not.
func (st *State) Wait() (ms int64, ok bool) {
	if t := st.next(); t != nil && !st.of.eventTime() {
		ms, ok = max(0, t.due-st.clock()), true
	}
	if st.silence > 0 {
		left := max(0, st.silence-st.now.up)
		if !ok || left < ms {
			ms, ok = left, true
		}
	}
	return ms, ok
}

// ring is what happens when t is due.
func (st *State) ring(ctx *Context, t *timer, emit func(Output, error)) {
	if t.window != nil {
		st.timeIsUp(ctx, t, emit)
		return
	}
	g := t.group
	g.holding, g.done = false, true
	sc := st.recall(ctx, g.last)
	st.fire(g, 0, st.of.beforeHave)
	emit(st.of.selected.output(sc))
}

// recall makes ctx the context of a kept message at the present time.
func (st *State) recall(ctx *Context, k *kept) *scope {
	ctx.Message, ctx.Document, ctx.NowMS = k.message, nil, st.now.wall
	sc := ctx.begin(st.of)
	sc.vars = append(sc.vars, k.vars...)
	sc.seen = append(resize(sc.seen, 0), k.seen...)
	return sc
}
