package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/tidehold/tidehold/shadowsync"
)

// Options are all that a run depends on.
type Options struct {
	Seed     uint64
	Steps    int           // user edits and faults
	Tempo    time.Duration // most time between two of them
	Gateways int
	Policy   shadowsync.Policy
	// Unique gives every written value a number of its own; otherwise values
	// are 0 and 1.
	Unique bool
	// Chances in percent of a message, or of a step for the last four.
	LoseUp, LoseDown, Double   int
	Kill, Cut, Forget, ClockGo int
	// Resets lets the upstream begin anew once.
	Resets bool
	Mutation
}

// FromSeed derives the options of an ordinary run.
func FromSeed(seed uint64) Options {
	r := rand.New(rand.NewPCG(seed, 1))
	o := Options{Seed: seed, Steps: 20 + r.IntN(40), Gateways: 1 + r.IntN(4)/3, Unique: r.IntN(5) > 0}
	o.Policy = shadowsync.DefaultPolicy()
	o.Policy.Desired = shadowsync.Winner(r.IntN(3))
	o.Policy.Reported = shadowsync.Winner(r.IntN(3))
	o.Policy.OnDelete = shadowsync.OnDelete(r.IntN(2))
	o.Policy.Answers = r.IntN(3) > 0
	o.Policy.Marker = !o.Policy.Answers
	if r.IntN(4) > 0 {
		o.LoseUp, o.LoseDown, o.Double = r.IntN(20), r.IntN(20), r.IntN(15)
		o.Kill, o.Cut, o.Forget, o.ClockGo = r.IntN(10), r.IntN(15), r.IntN(60), r.IntN(3)
	}
	o.Resets = r.IntN(20) == 0
	o.Tempo = time.Duration(100+r.IntN(3000)) * time.Millisecond
	return o
}

// String gives the options in one line.
func (o Options) String() string {
	return fmt.Sprintf("seed %d: %d steps within %v, %d gateways, direction %d, desired %s, reported %s, onDelete %d, answers %v, marker %v, unique %v, lose %d/%d, double %d, kill %d, cut %d, forget %d, clock %d, resets %v, mutation %d",
		o.Seed, o.Steps, o.Tempo, o.Gateways, o.Policy.Direction, o.Policy.Desired, o.Policy.Reported, o.Policy.OnDelete, o.Policy.Answers, o.Policy.Marker,
		o.Unique, o.LoseUp, o.LoseDown, o.Double, o.Kill, o.Cut, o.Forget, o.ClockGo, o.Resets, o.Mutation)
}

// Result is what a run showed.
type Result struct {
	Options Options
	// Violations are the broken invariants, in the order found.
	Violations []string
	// Last are the last 50 events.
	Last []string
	// Hash is over all events.
	Hash uint64
	// Events, Edits, Writes, Races and Conflicts are totals.
	Events, Edits, Writes, Races, Conflicts, Ambiguous int
	// Deletes counts the deletes that apps of a plain upstream asked for and got.
	Deletes int
	// Reset is set when upstream began anew.
	Reset bool
	// Tolerated counts older values that won after a push whose outcome nobody
	// could know, Amnesia those after upstream lost everything.
	Tolerated, Amnesia int
}

const lastEvents = 50

// eventsMax is how many events may follow before the world counts as restless:
// a hundred times those of an ordinary run.
const eventsMax = 20_000

// World is one run.
type World struct {
	o      Options
	rand   *rand.Rand
	now    time.Duration
	queue  schedule
	count  int
	hash   interface{ Write([]byte) (int, error) }
	sum    func() uint64
	result Result

	cloud    *cloud
	gateways []*gateway
	ledger   *ledger
	calm     bool // faults are over
	begun    bool // upstream began anew
}

// Run makes a world and lets it live: faults first, then peace, then checks.
func Run(o Options) Result {
	h := fnv.New64a()
	w := &World{o: o, rand: rand.New(rand.NewPCG(o.Seed, 2)), hash: h, sum: h.Sum64}
	w.result.Options = o
	w.ledger = newLedger(w)
	w.cloud = newCloud(w)
	for i := range o.Gateways {
		w.gateways = append(w.gateways, newGateway(w, i))
	}
	for _, g := range w.gateways {
		g.start()
	}
	at := time.Duration(0)
	for range o.Steps {
		at += w.pause()
		w.at(at, w.step)
	}
	w.drain(at)
	w.settle()
	w.result.Hash, w.result.Reset = w.sum(), w.begun
	return w.result
}

// pause is the time between two steps: short, so that edits meet, and now and
// then long enough for everything to be noticed and repaired.
func (w *World) pause() time.Duration {
	if w.rand.IntN(6) == 0 {
		return w.between(time.Second, 40*time.Second)
	}
	return w.between(10*time.Millisecond, w.o.Tempo)
}

// event is something that will happen.
type event struct {
	at    time.Duration
	order int
	do    func()
}

type schedule []event

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].order < s[j].order
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(event)) }
func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

func (w *World) at(t time.Duration, do func()) {
	w.count++
	heap.Push(&w.queue, event{max(t, w.now), w.count, do})
}

func (w *World) after(d time.Duration, do func()) { w.at(w.now+d, do) }

func (w *World) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rand.Int64N(int64(high-low)))
}

// chance is true in percent of the cases, never in peace.
func (w *World) chance(percent int) bool {
	return !w.calm && percent > 0 && w.rand.IntN(100) < percent
}

// drain lets everything happen up to the time, or until nothing is left when
// it is zero. A run that does not end is a violation.
func (w *World) drain(until time.Duration) {
	limit := w.result.Events + eventsMax
	for w.queue.Len() > 0 && (until == 0 || w.queue[0].at <= until) {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		if w.result.Events > limit {
			w.violate("I1: does not come to rest")
			w.queue = nil
			return
		}
	}
}

func (w *World) log(format string, args ...any) {
	line := fmt.Sprintf("%10.3fs ", w.now.Seconds()) + fmt.Sprintf(format, args...)
	w.result.Events++
	_, _ = w.hash.Write([]byte(line))
	if len(w.result.Violations) > 0 {
		return // the events that led to the first one are of interest
	}
	w.result.Last = append(w.result.Last, line)
	if len(w.result.Last) > 2*lastEvents {
		w.result.Last = append([]string(nil), w.result.Last[len(w.result.Last)-lastEvents:]...)
	}
}

func (w *World) violate(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.log("VIOLATION %s", line)
	w.result.Violations = append(w.result.Violations, line)
}

// step is one thing that people or fate do.
func (w *World) step() {
	g := w.gateways[w.rand.IntN(len(w.gateways))]
	switch {
	case w.chance(w.o.Kill):
		g.kill()
	case w.chance(w.o.Cut):
		g.link.cut(w.between(100*time.Millisecond, 8*time.Second), w.chance(w.o.Forget))
	case w.chance(w.o.ClockGo):
		g.skew = w.between(-time.Hour, time.Hour)
		w.log("%s clock is off by %v", g.name, g.skew)
	case w.o.Resets && w.rand.IntN(w.o.Steps) == 0:
		w.o.Resets = false
		w.cloud.reset()
	case w.rand.IntN(2) == 0:
		w.cloud.edit()
	default:
		g.edit()
	}
}

// settle ends all faults and checks that both sides agree and rest.
func (w *World) settle() {
	w.calm = true
	w.drain(0)
	rounds := 0
	for ; rounds < 3 && !w.agreed(); rounds++ {
		w.reconnect()
	}
	if rounds == 0 {
		w.reconnect()
	}
	w.checkAgreement()
	writes, records := w.result.Writes, w.records()
	for range 3 {
		w.reconnect()
	}
	if w.result.Writes != writes || w.records() != records {
		w.violate("I1: syncs of a synced shadow wrote %d documents and %d records", w.result.Writes-writes, w.records()-records)
	}
	w.ledger.checkLost()
	w.checkPingPong()
}

func (w *World) records() (n int) {
	for _, g := range w.gateways {
		n += g.recordWrites
	}
	return n
}

func (w *World) reconnect() {
	for _, g := range w.gateways {
		g.link.cut(time.Second, false)
	}
	w.drain(0)
}

// oneSided: one-way syncs do not touch a shadow whose source never was.
func (w *World) oneSided(g *gateway) bool {
	return w.o.Policy.Direction == shadowsync.Down && !w.cloud.shadow.Live() || w.o.Policy.Direction == shadowsync.Up && g.version() == 0
}

func (w *World) agreed() bool {
	for _, g := range w.gateways {
		if !g.view().EqualFloat(w.cloud.view()) {
			return false
		}
	}
	return true
}

func (w *World) checkAgreement() {
	for _, g := range w.gateways {
		local, upstream := g.view(), w.cloud.view()
		if !local.EqualFloat(upstream) && !w.oneSided(g) {
			w.violate("I1: %s has %s, upstream %s", g.name, local, upstream)
		}
		if r := g.state.Record; g.shadow.Live() && w.cloud.shadow.Live() && !r.Base.EqualFloat(local) {
			w.violate("I1: %s has %s, base %s", g.name, local, r.Base)
		}
	}
}

// checkPingPong: an edit causes at most two writes per gateway, a race one
// more.
func (w *World) checkPingPong() {
	r := w.result
	if limit := 2*r.Edits*len(w.gateways) + r.Races; r.Writes > limit {
		w.violate("I6: %d writes for %d edits and %d races", r.Writes, r.Edits, r.Races)
	}
}
