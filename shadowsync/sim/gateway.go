package sim

import (
	"fmt"
	"math"
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
	if w.o.Mutation == WrongWinner {
		g.policy.Desired, g.policy.Reported = g.policy.Reported, g.policy.Desired
	}
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
		g.w.violate("I1: record does not read back: %v", err)
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
		g.later(g.disk(), g.read)
	case shadowsync.Store:
		g.later(g.disk(), func() { g.store(e) })
	case shadowsync.Commit:
		g.later(g.disk(), func() { g.commit(e) })
	case shadowsync.Count:
		g.figure(e.Name)
	case shadowsync.Report:
		g.w.result.Conflicts++
		g.checkWinner(e.Conflict)
		g.w.log("%s conflict at %s: local %s, upstream %s: %s", g.name, e.Conflict.Path, e.Conflict.Local, e.Conflict.Upstream, e.Conflict.Winner)
		g.w.ledger.conflict(e.Conflict)
	case shadowsync.Succeeded:
		g.pace = g.pace.Succeed()
	case shadowsync.Troubled:
		g.w.log("%s in trouble: %s", g.name, e.Reason)
		g.pace = g.pace.Fail(at.Now, at.Jitter)
	case shadowsync.Blocked:
		g.w.violate("I1: %s is blocked: %s", g.name, e.Reason)
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

// checkWinner: a conflict is won by the side that the policy names (I3).
func (g *gateway) checkWinner(c shadowsync.Conflict) {
	p := g.w.o.Policy
	want := p.Reported
	switch {
	case len(c.Path) == 0 && (p.OnDelete == shadowsync.UpdateWins) == c.Local.Exists():
		want = shadowsync.LocalWins
	case len(c.Path) == 0:
		want = shadowsync.CloudWins
	case c.Path[0] == "desired":
		want = p.Desired
	}
	assumed := g.was.Record.Push != nil && c.Winner == shadowsync.CloudWins // what may have been seen there yields (2.4 rule 4)
	if want != shadowsync.Latest && c.Winner != want && !assumed {
		g.w.violate("I3: %s lets %s win at %q, the policy says %s", g.name, c.Winner, c.Path.String(), want)
	}
}

func (g *gateway) read() {
	d := g.document()
	switch g.w.o.Mutation {
	case NoBase:
		g.state.Record.Base = doc.Value{}
	case NoTombstone:
		if !d.Exists {
			d, g.state.Record.Both = shadowsync.Doc{}, false
		}
	}
	g.happen(shadowsync.LocalRead{Doc: d})
}

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
		g.w.violate("I1: %s cannot commit: %v", g.name, err)
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
	if g.w.o.Mutation == VersionReused {
		next.Version = max(next.Version-1, 1)
	}
	if next.Version <= g.version() {
		g.w.violate("I5: %s goes from version %d to %d", g.name, g.version(), next.Version)
	}
	g.shadow = next
}

// edit is one thing a local user does. It never waits for anything (I7).
func (g *gateway) edit() {
	asked := g.w.now
	if g.w.o.Mutation == LocalWaits && (g.state.Phase == shadowsync.Getting || g.state.Phase == shadowsync.Pushing) {
		g.w.after(time.Second, func() { g.execute(asked) })
		return
	}
	g.execute(asked)
}

func (g *gateway) execute(asked time.Duration) {
	if g.w.now > asked {
		g.w.violate("I7: %s lets a local request wait %v for upstream", g.name, g.w.now-asked)
	}
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
			g.w.violate("I7: %s refuses a local user: %v", g.name, err)
			return
		}
		g.w.ledger.clears(r)
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
		g.w.violate("I1: %s: %v", g.name, err)
		return
	}
	g.w.log("%s hears %s/%s v%d %s %d %s", g.name, m.op, m.answer, a.Version, a.Token, a.Code, a.Doc.State)
	g.measure(a.Time)
	if g.unknowable(a) {
		g.w.result.Ambiguous++
		g.w.ledger.assume(g.state.Record.Push.Changes)
	}
	if g.w.o.Mutation == SameTokenForAll && g.state.Record.Push != nil && m.op != topic.Get && m.answer == topic.Accepted {
		a.Token = g.state.Record.Push.Token
	}
	g.happen(a)
	g.echo(a)
}

// unknowable reports whether what became of a push cannot be told from this
// document: the only answer that came was the refusal of its double, and there
// is no marker.
func (g *gateway) unknowable(a shadowsync.Answer) bool {
	p := g.state.Record.Push
	return p != nil && !g.policy.Marker && g.state.Awaits(a.Token) && g.w.cloud.doubled[p.Token]
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
