package iotsql

import (
	"container/heap"
	"math"
	"slices"

	"github.com/tidehold/tidehold/gateway/iotsql/aggregate"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// windowPlan is a compiled WINDOW.
type windowPlan struct {
	kind      syntax.WindowKind
	size      int64
	step      int64 // of HOPPING and TUMBLING the distance of starts
	eventTime eval
	late      int64
}

// aligned reports whether windows begin at multiples of their step.
func (w *windowPlan) aligned() bool { return w.kind == syntax.Tumbling || w.kind == syntax.Hopping }

// eventTime reports whether windows follow the messages' own time.
func (s *Statement) eventTime() bool { return s.window != nil && s.window.eventTime != nil }

func (c *compiler) windowPlan(q *syntax.Window) (*windowPlan, error) {
	if q == nil {
		return nil, nil
	}
	w := &windowPlan{kind: q.Kind, size: q.Size, step: q.Step, late: q.Late}
	if w.kind == syntax.Tumbling || w.kind == syntax.Counting && w.step == 0 {
		w.step = w.size
	}
	c.region = inEventTime
	c.windowed = false // no aggregates in ON
	var err error
	w.eventTime, err = c.optional(q.EventTime)
	return w, err
}

// openWindow is a window that has messages and has not been emitted.
type openWindow struct {
	start, end int64 // by the wall or in event time
	due        int64 // of SESSION by the steady clock
	first      int64 // of SESSION: when it began, by the steady clock
	scheduled  int64 // of SESSION in event time: the earliest end with a timer
	gone       bool  // emitted or given up
	sums       []aggregate.Sum
	last       *kept
}

// entryOf is one message of a SLIDING or COUNT window: when it came, and the
// arguments of the aggregates.
type entryOf struct {
	at   instant
	args []value.Value
}

// enter puts the scope's message, for which WHERE is true, into windows.
func (st *State) enter(sc *scope, g *group, emit func(Output, error)) {
	w := st.of.window
	if w.kind == syntax.Sliding || w.kind == syntax.Counting {
		st.enterRun(sc, g, emit)
		return
	}
	at := st.now.wall
	if w.eventTime != nil {
		n, ok := w.eventTime(sc).Number()
		if !ok {
			st.stats.Late++
			return
		}
		at = n.Clamp(-math.MaxInt64/4, math.MaxInt64/4)
	}
	in := arrival{at, st.arguments(sc), keep(sc)}
	entered := false
	if w.kind == syntax.Session {
		entered = st.enterSession(g, in)
	} else {
		entered = st.enterAligned(g, in)
	}
	if !entered {
		st.stats.Late++
		return
	}
	if w.eventTime != nil {
		st.passed(sc.ctx, at, emit)
	}
}

// arrival is a message on its way into windows: its time, the arguments of the
// aggregates, and itself.
type arrival struct {
	at   int64
	args []value.Value
	kept *kept
}

// arguments evaluates the aggregates' arguments for the scope's message.
func (st *State) arguments(sc *scope) []value.Value {
	args := make([]value.Value, len(st.of.aggregates))
	for i, site := range st.of.aggregates {
		if site.arg != nil {
			args[i] = site.arg(sc)
		}
	}
	return args
}

// enterAligned adds to every window that covers in and is not closed.
func (st *State) enterAligned(g *group, in arrival) (entered bool) {
	w := st.of.window
	for start := (floorDiv(in.at-w.size, w.step) + 1) * w.step; start <= in.at; start += w.step {
		if st.closed(start + w.size) {
			continue
		}
		i := slices.IndexFunc(g.windows, func(o *openWindow) bool { return o.start == start })
		if i < 0 {
			i = st.open(g, &openWindow{start: start, end: start + w.size})
			st.schedule(g, g.windows[i], start+w.size)
		}
		st.add(g.windows[i], in)
		entered = true
	}
	return entered
}

// open adds o to g's windows; at the limit the oldest is given up.
func (st *State) open(g *group, o *openWindow) int {
	if len(g.windows) >= openWindowsMax {
		st.drop(g, g.windows[0])
		st.stats.Dropped++
	}
	o.sums = make([]aggregate.Sum, len(st.of.aggregates))
	g.windows = append(g.windows, o)
	return len(g.windows) - 1
}

func (st *State) add(o *openWindow, in arrival) {
	for i, site := range st.of.aggregates {
		o.sums[i].Add(site.kind, in.args[i])
	}
	o.last = in.kept
}

// drop takes o out of g without an emission.
func (st *State) drop(g *group, o *openWindow) {
	o.gone = true
	g.windows = slices.DeleteFunc(g.windows, func(other *openWindow) bool { return other == o })
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && a < 0 {
		q--
	}
	return q
}

// enterSession joins the session that covers in, or opens one.
func (st *State) enterSession(g *group, in arrival) bool {
	w, at := st.of.window, in.at
	event := w.eventTime != nil
	i := slices.IndexFunc(g.windows, func(o *openWindow) bool {
		return !event || at >= o.start-w.size && at < o.end
	})
	opened := i < 0
	if opened {
		if st.closed(at + w.size) {
			return false
		}
		i = st.open(g, &openWindow{start: at, first: st.now.up})
	}
	o := g.windows[i]
	o.extend(w, at, st.now.up)
	switch {
	case event && (opened || o.end < o.scheduled):
		o.scheduled = o.end
		st.schedule(g, o, o.end)
	case opened && !event:
		st.schedule(g, o, o.due)
	}
	st.add(o, in)
	return true
}

// extend makes session o cover a message at, which came at up.
func (o *openWindow) extend(w *windowPlan, at, up int64) {
	o.start = min(o.start, at)
	o.end = max(o.end, at+w.size)
	o.due = up + w.size
	if w.step > 0 {
		o.end = min(o.end, o.start+w.step)
		o.due = min(o.due, o.first+w.step)
	}
}

// timeIsUp emits t's window, unless it is a session that went on.
func (st *State) timeIsUp(ctx *Context, t *timer, emit func(Output, error)) {
	o := t.window
	if st.of.window.kind == syntax.Session {
		if o.due > t.due {
			st.schedule(t.group, o, o.due)
			return
		}
		o.end = st.now.wall
	}
	st.emit(ctx, t.group, o, emit)
}

// emit closes o and gives its result.
func (st *State) emit(ctx *Context, g *group, o *openWindow, emit func(Output, error)) {
	st.drop(g, o)
	sc := st.recall(ctx, o.last)
	sc.start, sc.end = o.start, o.end
	sc.sums = resize(sc.sums, len(o.sums))
	for i := range o.sums {
		sc.sums[i] = o.sums[i].Result(st.of.aggregates[i].kind)
	}
	st.have(sc, g, emit)
}

// have runs HAVING and, when that is true, SELECT.
func (st *State) have(sc *scope, g *group, emit func(Output, error)) {
	s := st.of
	sc.seen = append(sc.seen, make([]value.Value, len(s.stateful)-len(sc.seen))...)
	st.remember(sc, g, s.beforeHave, len(s.stateful))
	if s.having != nil {
		if is, _ := s.having(sc).Bool(); !is {
			return
		}
	}
	st.fire(g, s.beforeHave, len(s.stateful))
	emit(s.selected.output(sc))
}

// enterRun adds to a SLIDING or COUNT window, which answers at once.
func (st *State) enterRun(sc *scope, g *group, emit func(Output, error)) {
	w := st.of.window
	g.entries = append(g.entries, entryOf{st.now, st.arguments(sc)})
	g.count++
	if w.kind == syntax.Sliding {
		old := 0
		for old < len(g.entries) && g.entries[old].at.up <= st.now.up-w.size {
			old++
		}
		g.entries = slices.Delete(g.entries, 0, old)
	}
	most := windowEntriesMax
	if w.kind == syntax.Counting {
		most = int(w.size)
	}
	if extra := len(g.entries) - most; extra > 0 {
		g.entries = slices.Delete(g.entries, 0, extra)
		if w.kind == syntax.Sliding {
			st.stats.Dropped += uint64(extra)
		}
	}
	if w.kind == syntax.Counting && (g.count < w.size || (g.count-w.size)%w.step != 0) {
		return
	}
	st.total(sc, g)
	st.have(sc, g, emit)
}

// total computes the aggregates over g's entries.
func (st *State) total(sc *scope, g *group) {
	sites := st.of.aggregates
	sums := make([]aggregate.Sum, len(sites))
	for _, e := range g.entries {
		for i := range sites {
			sums[i].Add(sites[i].kind, e.args[i])
		}
	}
	sc.sums = resize(sc.sums, len(sites))
	for i := range sums {
		sc.sums[i] = sums[i].Result(sites[i].kind)
	}
	sc.start, sc.end = g.entries[0].at.wall, st.now.wall
	if st.of.window.kind == syntax.Sliding {
		sc.start = st.now.wall - st.of.window.size
	}
}

// closed reports whether a window that ends at end is closed in event time.
func (st *State) closed(end int64) bool {
	return st.of.eventTime() && st.hasMark && end <= st.watermark
}

// passed moves the watermark after a message of event time at, and closes
// what it has passed.
func (st *State) passed(ctx *Context, at int64, emit func(Output, error)) {
	if mark := at - st.of.window.late; !st.hasMark || mark > st.watermark {
		st.watermark, st.hasMark = mark, true
	}
	st.silence = st.now.up + st.of.window.size + st.of.window.late
	message, document := ctx.Message, ctx.Document
	st.closeUpTo(ctx, st.watermark, emit)
	ctx.Message, ctx.Document = message, document
}

// closeUpTo emits all windows that end at or before mark, by their ends, then
// by the age of their groups.
func (st *State) closeUpTo(ctx *Context, mark int64, emit func(Output, error)) {
	for t := st.next(); t != nil && t.due <= mark; t = st.next() {
		heap.Pop(&st.timers)
		if t.window.end > t.due { // a session that went on
			st.schedule(t.group, t.window, t.window.end)
			continue
		}
		st.emit(ctx, t.group, t.window, emit)
	}
}

// endSilence closes all windows of event time when nothing came for long.
func (st *State) endSilence(ctx *Context, emit func(Output, error)) {
	if st.silence == 0 || st.now.up < st.silence {
		return
	}
	late := st.now.up - st.silence
	st.now = instant{st.now.wall - late, st.now.up - late}
	st.silence = 0
	for _, g := range st.groups {
		for _, o := range g.windows {
			st.watermark = max(st.watermark, o.end)
		}
	}
	st.closeUpTo(ctx, st.watermark, emit)
}
