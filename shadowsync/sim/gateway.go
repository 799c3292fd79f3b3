package sim

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/pace"
)

// gateway is a local store and the sync of one shadow.
type gateway struct {
	w      *World
	name   string
	policy shadowsync.Policy
	link   *link

	// The disk.
	shadow       *doc.Shadow
	record       []byte
	recordWrites int

	// The process.
	was      shadowsync.State // before the last step
	alive    bool
	life     int // counts starts
	state    shadowsync.State
	pace     pace.Pace
	seq      uint64
	skew     time.Duration
	offset   time.Duration
	measured bool
	fresh    bool // no offset measured on this connection yet
	doubtful bool
}

func newGateway(w *World, i int) *gateway {
	g := &gateway{w: w, name: fmt.Sprintf("g%d", i), policy: w.o.Policy}
	g.policy.Gateway, g.policy.Upstream = g.name, "cloud"
	g.link = &link{w: w, g: g}
	return g
}

func (g *gateway) clock() time.Time { return time.Unix(1_700_000_000, 0).Add(g.w.now + g.skew) }

func (g *gateway) version() int64 {
	if g.shadow == nil {
		return 0
	}
	return g.shadow.Version
}

func (g *gateway) document() shadowsync.Doc { return shadowsync.LocalDoc(g.shadow, g.version()) }

func (g *gateway) view() doc.Value { return g.document().State }

// start reads the disk and connects.
func (g *gateway) start() {
	g.life++
	g.alive = true
	var err error
	if g.state, err = shadowsync.Restore(g.record); err != nil {
		g.w.violate("record does not read back: %v", err)
	}
	g.pace = pace.Pace{Every: 100 * time.Millisecond}
	g.seq = g.w.rand.Uint64N(1 << 40)
	g.measured = false
	if g.w.o.Mutation == PushForgotten {
		g.state.Record.Push = nil
	}
	g.w.log("%s starts with %s", g.name, g.record)
	g.link.connect()
}

// kill ends the process between any two writes.
func (g *gateway) kill() {
	if !g.alive {
		return
	}
	g.w.log("%s is killed while %s", g.name, g.state.Phase)
	g.alive = false
	g.life++
	g.link.drop(g.w.chance(g.w.o.Forget))
	g.w.after(g.w.between(100*time.Millisecond, 5*time.Second), g.start)
}

// later does something in this process's life.
func (g *gateway) later(d time.Duration, do func()) {
	life := g.life
	g.w.after(d, func() {
		if g.life == life {
			do()
		}
	})
}

func (g *gateway) moment() shadowsync.Moment {
	g.seq++
	return shadowsync.Moment{
		Now: time.Unix(0, 0).Add(g.w.now), Jitter: g.w.rand.Float64(), Seq: g.seq,
		Offset: g.offset, ClockDoubtful: g.doubtful,
	}
}

// happen gives an event to the sync and does what it asks for.
func (g *gateway) happen(e shadowsync.Event) {
	if !g.alive {
		return
	}
	before := g.state
	g.was = before
	at := g.moment()
	var effects []shadowsync.Effect
	g.state, effects = shadowsync.Step(before, e, g.policy, at)
	effects = g.mutate(before, e, effects)
	for _, effect := range effects {
		g.do(effect, at)
	}
	g.wait()
}

// wait sees to it that the next deadline is kept.
func (g *gateway) wait() {
	if at := g.state.Deadline(); !at.IsZero() {
		if open := g.pace.Open(); g.state.Phase == shadowsync.Idle && at.Before(open) {
			at = open
		}
		g.later(max(at.Sub(time.Unix(0, 0))-g.w.now, 0), g.wake)
	}
}

func (g *gateway) wake() {
	now := time.Unix(0, 0).Add(g.w.now)
	switch {
	case g.state.Wants(now) && !now.Before(g.pace.Open()):
		g.happen(shadowsync.Turn{})
	case !g.state.Deadline().IsZero() && !now.Before(g.state.Deadline()) && g.state.Phase != shadowsync.Idle:
		g.happen(shadowsync.Tick{})
	case g.state.Phase == shadowsync.Idle && !g.state.Wants(now) && !g.state.Deadline().IsZero() && !now.Before(g.state.Deadline()):
		g.happen(shadowsync.Tick{})
	}
}

func (g *gateway) do(effect shadowsync.Effect, at shadowsync.Moment) {
	switch e := effect.(type) {
	case shadowsync.Publish:
		g.link.send(e.Op, e.Payload)
	case shadowsync.Read:
		g.later(g.disk(), func() { g.happen(shadowsync.LocalRead{Doc: g.document()}) })
	case shadowsync.Store:
		g.later(g.disk(), func() { g.store(e) })
	case shadowsync.Commit:
		g.later(g.disk(), func() { g.commit(e) })
	case shadowsync.Count:
		g.figure(e.Name)
	case shadowsync.Report:
		g.w.result.Conflicts++
		g.w.log("%s conflict at %s: local %s, upstream %s: %s", g.name, e.Conflict.Path, e.Conflict.Local, e.Conflict.Upstream, e.Conflict.Winner)
		g.w.ledger.conflict(e.Conflict)
	case shadowsync.Succeeded:
		g.pace = g.pace.Succeed()
	case shadowsync.Troubled:
		g.w.log("%s in trouble: %s", g.name, e.Reason)
		g.pace = g.pace.Fail(at.Now, at.Jitter)
	case shadowsync.Blocked:
		g.w.violate("%s is blocked: %s", g.name, e.Reason)
	}
}

func (g *gateway) figure(name shadowsync.Counter) {
	switch name {
	case shadowsync.Raced:
		g.w.result.Races++
	case shadowsync.Ambiguous:
		g.w.result.Ambiguous++
		g.w.ledger.assume(g.was.Record.Push.Changes)
	}
}

func (g *gateway) disk() time.Duration { return g.w.between(100*time.Microsecond, 20*time.Millisecond) }

func (g *gateway) store(e shadowsync.Store) {
	g.record = e.Record
	g.recordWrites++
	g.w.log("%s stores %s", g.name, e.Record)
	g.later(g.disk(), func() { g.happen(shadowsync.Stored{}) })
}

func (g *gateway) commit(e shadowsync.Commit) {
	if e.IfVersion != g.version() && g.w.o.Mutation != BlindCommit {
		g.w.log("%s commit: version %d, not %d", g.name, g.version(), e.IfVersion)
		g.later(g.disk(), func() { g.happen(shadowsync.Moved{}) })
		return
	}
	before := g.view()
	var next *doc.Shadow
	var err error
	if e.Delete {
		next, _, err = doc.Delete(g.shadow, key, "", g.clock())
	} else {
		next, err = doc.Next(g.shadow, e.Update, doc.Limits{}, g.clock())
	}
	if err != nil {
		g.w.violate("%s commit: %v", g.name, err)
		return
	}
	g.put(next)
	g.record = e.Record
	g.recordWrites++
	g.w.result.Writes++
	g.w.log("%s commits v%d %s, record %s", g.name, g.shadow.Version, g.view(), e.Record)
	g.w.ledger.synced(g.name, "cloud", before, g.view(), e.Delete)
	version := g.version()
	g.later(g.disk(), func() { g.happen(shadowsync.Committed{Version: version}) })
}

// put stores a document; versions only rise (I5).
func (g *gateway) put(next *doc.Shadow) {
	if next.Version <= g.version() {
		g.w.violate("I5: %s goes from version %d to %d", g.name, g.version(), next.Version)
	}
	g.shadow = next
}

// edit is one thing a local user does. It never waits for anything (I7).
func (g *gateway) edit() {
	before := g.view()
	if g.w.rand.IntN(12) == 0 {
		next, _, err := doc.Delete(g.shadow, key, "", g.clock())
		if err != nil {
			return
		}
		g.put(next)
		g.w.log("%s user deletes", g.name)
	} else {
		r := g.w.randomUpdate(before)
		next, err := doc.Next(g.shadow, r, doc.Limits{}, g.clock())
		if err != nil {
			g.w.violate("%s user: %v", g.name, err)
			return
		}
		g.put(next)
		g.w.log("%s user writes %s, v%d", g.name, r.Append(nil), g.version())
	}
	g.w.result.Edits++
	g.w.ledger.edited(g.name, before, g.view(), !g.shadow.Live())
	if !g.w.chance(20) {
		version := g.version()
		g.later(g.disk(), func() { g.happen(shadowsync.LocalChanged{Version: version}) })
	}
}

func (g *gateway) online() {
	g.pace = g.pace.Reset()
	g.fresh = true
	g.happen(shadowsync.Online{})
}

func (g *gateway) offline() {
	if g.w.o.Mutation == PushForgotten {
		g.state.Record.Push = nil
	}
	g.happen(shadowsync.Offline{})
}

// hear takes a message of upstream.
func (g *gateway) hear(m message) {
	if !g.alive || m.answer == topic.Delta {
		return
	}
	a, err := shadowsync.ParseAnswer(topic.Reserved{Kind: topic.ShadowAnswer, Key: key, Op: m.op, Answer: m.answer}, m.payload)
	if err != nil {
		g.w.violate("%s: %v", g.name, err)
		return
	}
	g.w.log("%s hears %s/%s v%d %s %d %s", g.name, m.op, m.answer, a.Version, a.Token, a.Code, a.Doc.State)
	g.measure(a.Time)
	if g.unknowable(a, m) {
		g.w.result.Ambiguous++
		g.w.ledger.assume(g.state.Record.Push.Changes)
	}
	if g.w.o.Mutation == SameTokenForAll && g.state.Record.Push != nil && m.op != topic.Get && m.answer == topic.Accepted {
		a.Token = g.state.Record.Push.Token
	}
	g.happen(a)
}

// unknowable reports whether what became of a push cannot be told from this
// document: the only answer that came was the refusal of its double, and
// somebody removed the marker.
func (g *gateway) unknowable(a shadowsync.Answer, m message) bool {
	p := g.state.Record.Push
	return p != nil && g.state.Awaits(a.Token) && g.w.cloud.doubled[p.Token] && !strings.Contains(string(m.payload), `"`+g.name+`":`)
}

// measure learns the offset of the upstream clock as the shell does.
func (g *gateway) measure(seconds int64) {
	if seconds == 0 {
		return
	}
	offset := time.Unix(seconds, 0).Sub(g.clock())
	if g.fresh {
		g.doubtful = g.measured && math.Abs((offset-g.offset).Seconds()) > 5
		g.fresh = false
	}
	g.offset, g.measured = offset, true
}

// mutate breaks what the mutation says.
func (g *gateway) mutate(before shadowsync.State, e shadowsync.Event, effects []shadowsync.Effect) []shadowsync.Effect {
	_, answered := e.(shadowsync.Answer)
	resolved := answered && before.Record.Push != nil && g.state.Record.Push == nil && !before.Record.Push.Delete
	switch g.w.o.Mutation {
	case PushForgotten:
		if _, tick := e.(shadowsync.Tick); tick && before.Phase == shadowsync.Pushing && g.state.Phase == shadowsync.Idle {
			g.state.Record.Push = nil
		}
	case WholeBase:
		if resolved && g.state.Known {
			g.state.Record.Base = g.state.Upstream.State
			effects = restore(effects, g.state.Record)
		}
	case BaseLast:
		if resolved {
			g.state.Record.Base = before.Record.Base
			effects = restore(effects, g.state.Record)
		}
	case BlindPush:
		for i, effect := range effects {
			if p, ok := effect.(shadowsync.Publish); ok && p.Op == topic.Update {
				r, _ := doc.ParseRequest(p.Payload, doc.Limits{})
				r.Version = nil
				effects[i] = shadowsync.Publish{Op: p.Op, Payload: r.Append(nil)}
			}
		}
	}
	return effects
}

func restore(effects []shadowsync.Effect, r shadowsync.Record) []shadowsync.Effect {
	for i, effect := range effects {
		if _, ok := effect.(shadowsync.Store); ok {
			effects[i] = shadowsync.Store{Record: r.Encode()}
		}
	}
	return effects
}
