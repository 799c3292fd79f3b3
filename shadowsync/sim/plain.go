package sim

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/home"
	"github.com/tidehold/tidehold/shadowsync/plain"
)

// plainRoot begins the topics of the plain worlds; plainPrefix those of the one
// shadow.
const (
	plainRoot   = "shadow/g0"
	plainPrefix = plainRoot + "/pump/~/"
)

// plainWorld is one gateway and apps over a broker that only keeps messages
// (shadow-sync.md 2.6). The Carrier is the one that ships.
type plainWorld struct {
	*World
	broker *plainBroker
	apps   []*app
	judge  *plainJudge

	// The disk.
	shadow *doc.Shadow
	record []byte

	// The process.
	life    int
	alive   bool
	skew    time.Duration
	server  *plain.Server
	figures *plain.Figures // of all its processes: nobody reads them
}

// crash is what ends a process between two writes.
type crash struct{}

// RunPlain is Run for a plain upstream; figures, which any number of runs may
// share, take the counts.
func RunPlain(o Options, figures *plain.Figures) Result {
	h := fnv.New64a()
	p := &plainWorld{World: &World{o: o, rand: rand.New(rand.NewPCG(o.Seed, 3)), hash: h, sum: h.Sum64}}
	p.result.Options = o
	p.ledger = newLedger(p.World)
	p.judge, p.figures = newPlainJudge(p), figures
	p.broker = &plainBroker{p: p, retained: make(map[string][]byte)}
	for i := range 2 + o.Gateways {
		p.apps = append(p.apps, &app{p: p, name: string(rune('a' + i)), slot: i == 0})
	}
	p.start()
	at := time.Duration(0)
	for range o.Steps {
		at += p.pause()
		p.at(at, p.step)
	}
	p.drain(at)
	p.peace()
	p.result.Hash = p.sum()
	return p.result
}

// start reads the disk and connects.
func (p *plainWorld) start() {
	p.life++
	p.alive = true
	policy := p.o.Policy
	if p.o.Mutation == WrongWinner {
		policy.Desired, policy.Reported = shadowsync.CloudWins, shadowsync.CloudWins
	}
	cfg := plain.Config{Uplink: "cloud", Root: plainRoot, For: func(iot.ShadowKey) (shadowsync.Policy, bool) { return policy, true }}
	c, err := plain.New(cfg, p, p.broker, p, p.figures, nil)
	if err != nil {
		p.violate("I1: %v", err)
		return
	}
	p.server = c.Serve(context.Background())
	p.log("gateway starts with %s", p.record)
	p.broker.connect()
}

// turn lets the process do what is due, and dies with it.
func (p *plainWorld) turn() {
	if !p.alive {
		return
	}
	life := p.life
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			p.kill()
		}
	}()
	if wait := p.server.Turn(); wait < time.Hour {
		p.after(wait+time.Millisecond, func() {
			if p.life == life {
				p.turn()
			}
		})
	}
}

func (p *plainWorld) kill() {
	p.log("gateway is killed")
	p.alive = false
	p.life++
	p.broker.drop(p.chance(p.o.Forget))
	p.after(p.between(100*time.Millisecond, 5*time.Second), p.start)
}

// Now is the gateway's clock.
func (p *plainWorld) Now() time.Time { return time.Unix(1_700_000_000, 0).Add(p.now + p.skew) }

// Up is the time since the world began.
func (p *plainWorld) Up() time.Duration { return p.now }

// Boot names the only boot.
func (p *plainWorld) Boot() string { return "abcdef" }

// Synced says that the clock is set, right or wrong.
func (p *plainWorld) Synced() bool { return true }

func (p *plainWorld) version() int64 {
	if p.shadow == nil {
		return 0
	}
	return p.shadow.Version
}

func (p *plainWorld) view() doc.Value { return shadowsync.LocalDoc(p.shadow, 0).State }

// Snapshot reads the disk.
func (p *plainWorld) Snapshot(context.Context, iot.ShadowKey, string) (home.Snapshot, error) {
	return p.snapshot(), nil
}

func (p *plainWorld) snapshot() home.Snapshot {
	s := home.Snapshot{Version: p.version(), Record: p.record}
	switch {
	case p.shadow.Live():
		s.Doc = p.shadow
	case p.shadow != nil:
		s.Deleted, s.DeletedAt = true, time.Unix(p.shadow.Time, 0)
	}
	return s
}

// Each names the one shadow.
func (p *plainWorld) Each(_ context.Context, _ string, f func(iot.ShadowKey, time.Time) error) error {
	if p.shadow == nil && len(p.record) == 0 {
		return nil
	}
	return f(key, time.Time{})
}

// Commit is one transaction; the process may die before it and after it.
func (p *plainWorld) Commit(_ context.Context, _ iot.ShadowKey, _ string, w home.Write) (home.Snapshot, error) {
	if w.IfVersion != nil && *w.IfVersion != p.version() {
		return home.Snapshot{}, iot.Errorf(iot.Conflict, "Version conflict")
	}
	if p.chance(p.o.Kill) {
		panic(crash{})
	}
	if p.o.Mutation == DeleteBlind && lastDone(w.Record).Op == topic.Delete {
		w.Delete, w.Update = true, nil
	}
	before, next, err := p.view(), p.shadow, error(nil)
	if w.Delete {
		next, _, err = doc.Delete(next, key, "", p.Now())
	} else if w.Update != nil {
		next, err = doc.Next(next, *w.Update, doc.Limits{}, p.Now())
	}
	if err != nil {
		return home.Snapshot{}, err
	}
	if p.o.Mutation == AnswerFirst && next != p.shadow && p.chance(20) {
		return home.Snapshot{Doc: next, Version: next.Version}, nil
	}
	p.keep(w.Record)
	if next != p.shadow {
		p.put(next)
		p.judge.committed(before, w)
	}
	if p.chance(p.o.Kill) {
		panic(crash{})
	}
	return p.snapshot(), nil
}

// lastDone is the request that a record was written for.
func lastDone(record []byte) plain.Done {
	r, err := plain.Decode(record)
	if err != nil || len(r.Done) == 0 {
		return plain.Done{}
	}
	return r.Done[len(r.Done)-1]
}

// keep stores a record, less what the mutation forgets.
func (p *plainWorld) keep(record []byte) {
	if record == nil {
		return
	}
	p.record = record
	if p.o.Mutation != TokenForgotten && p.o.Mutation != WantForgotten {
		return
	}
	r, _ := plain.Decode(record)
	r.Done = nil
	if p.o.Mutation == WantForgotten {
		r.Wants = nil
	}
	p.record = r.Encode()
}

// put stores a document; versions only rise (I5).
func (p *plainWorld) put(next *doc.Shadow) {
	if p.o.Mutation == VersionReused {
		next.Version = max(next.Version-1, 1)
	}
	if next.Version <= p.version() {
		p.violate("I5: the document goes from version %d to %d", p.version(), next.Version)
	}
	before := p.view()
	p.shadow = next
	p.judge.note(before, p.version())
	p.log("gateway has v%d %s", p.version(), p.view())
	p.server.Hint(key)
	p.after(p.between(time.Millisecond, 20*time.Millisecond), p.turn)
}

// step is one thing that people or fate do.
func (p *plainWorld) step() {
	switch {
	case p.alive && p.chance(p.o.Kill):
		p.kill()
	case p.chance(p.o.Cut):
		p.broker.cut(p.between(100*time.Millisecond, 8*time.Second), p.chance(p.o.Forget))
	case p.chance(p.o.ClockGo):
		p.skew = p.between(-time.Hour, time.Hour)
	case p.rand.IntN(2) == 0:
		p.apps[p.rand.IntN(len(p.apps))].act()
	default:
		p.edit()
	}
}

// edit is one thing a local user does: at once, whatever upstream does (I7).
func (p *plainWorld) edit() {
	if !p.alive {
		return
	}
	if p.o.Mutation == LocalWaits && !p.broker.up {
		p.violate("I7: a local request waits for upstream")
	}
	before := p.view()
	if p.rand.IntN(12) == 0 {
		if next, _, err := doc.Delete(p.shadow, key, "", p.Now()); err == nil {
			p.put(next)
			p.ledger.edited("g0", before, p.view(), true)
		}
		return
	}
	next, err := doc.Next(p.shadow, p.randomUpdate(before), doc.Limits{}, p.Now())
	if err != nil {
		p.violate("I7: a local user is refused: %v", err)
		return
	}
	p.result.Edits++
	p.put(next)
	p.ledger.edited("g0", before, p.view(), false)
}

// peace ends all faults and checks what has to hold then.
func (p *plainWorld) peace() {
	p.calm = true
	p.drain(p.now + 10*time.Minute)
	p.broker.cut(time.Second, false)
	p.drain(p.now + 10*time.Minute)
	p.judge.agreed()
	writes, copies := len(p.record), p.broker.copies
	p.broker.cut(time.Second, false)
	p.drain(p.now + 10*time.Minute)
	if p.broker.copies != copies || len(p.record) != writes {
		p.violate("I6: a connection with nothing new sent %d copies", p.broker.copies-copies)
	}
	for _, a := range p.apps {
		if a.waiting != "" {
			p.violate("I3: app %s has no answer to %s", a.name, a.waiting)
		}
	}
}

var errCut = errors.New("the connection is gone")

// strip takes the topic of an answer apart.
func strip(name string) string { return strings.TrimPrefix(name, plainPrefix) }
