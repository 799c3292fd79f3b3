package messages

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/store"
)

// model is what must come of the messages: written by the test, kept apart from
// the log.
type model struct {
	durable   map[string]map[uint64]bool // cursor: numbers whose done came
	delivered map[string]map[uint64]bool
	appended  uint64
}

// TestLog_SumCheckHoldsOverRandomRuns appends, sends, acknowledges, loses,
// drops, fails commits and crashes at random for two required cursors and an
// optional one. After every crash and at the end the sum check must hold (C5),
// the file must agree record by record, and every message whose done came must
// be delivered or in a loss. SEED and RUNS replay and prolong.
func TestLog_SumCheckHoldsOverRandomRuns(t *testing.T) {
	runs, first := 30, uint64(1)
	if testing.Short() {
		runs = 6
	}
	if n, err := strconv.Atoi(os.Getenv("RUNS")); err == nil {
		runs = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		first, runs = n, 1
	}
	for i := range runs {
		seed := first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomRun(t, seed) })
	}
}

func randomRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	cursors := []CursorConfig{cloud, {Name: "plant", Required: true}, {Name: "spare"}}
	cfg := Config{MaxBytes: 300<<10 + rng.Int64N(1<<20)}
	failing := 0.0
	f := &fixture{t: t, path: t.TempDir() + "/messages.db", cfg: cfg}
	f.o.Fault = func(p store.FaultPoint, _ uint64) error {
		if p != store.FaultCheckpoint && rng.Float64() < failing {
			return fmt.Errorf("injected: %w", store.ErrDiskFull)
		}
		return nil
	}
	f.open(cursors...)
	folds := seed%3 == 0
	refold := func() {
		if folds {
			f.l.SetFold(tens)
		}
	}
	refold()
	m := &model{durable: map[string]map[uint64]bool{}, delivered: map[string]map[uint64]bool{}}
	readers, open := map[string]*Cursor{}, map[string][]*Item{}
	online := func() {
		for i := 0; seed%2 == 0 && i < len(cursors); i++ { // links that acknowledge in time
			name := cursors[i].Name
			if readers[name] == nil {
				readers[name] = f.reader(name, Order(rng.IntN(3)))
			}
			readers[name].Elide(time.Hour, time.Hour)
		}
	}
	online()
	for range 400 + rng.IntN(400) {
		name := cursors[rng.IntN(len(cursors))].Name
		switch n := rng.IntN(100); {
		case n < 40:
			m.appendSome(f, rng, cursors)
		case n < 60:
			f.commit()
		case n < 70:
			m.readSome(t, f, rng, name, readers, open)
			if rng.IntN(4) == 0 {
				online()
			}
		case n < 90:
			m.ackSome(rng, name, readers, open)
		case n < 91:
			f.l.Flush(context.Background())
		case n < 92:
			f.l.SetOffset(context.Background(), "abcdef", 0, testTime)
		case n < 93:
			f.l.Drop(context.Background(), Bulk, testTime)
		case n < 95 && readers[name] != nil:
			readers[name].Begin(Order(rng.IntN(3)))
		case n < 96 && readers[name] != nil:
			wait := time.Duration(rng.IntN(3)) * time.Millisecond << (10 * rng.IntN(2))
			readers[name].Elide(wait, wait/2)
		case n < 97:
			failing = []float64{0, 0, .3}[rng.IntN(3)]
		case n < 98:
			failing = 0
			f.crash(cursors...)
			refold()
			readers, open = map[string]*Cursor{}, map[string][]*Item{}
			f.check()
		}
	}
	failing = 0
	f.check()
	for _, c := range cursors {
		k := readers[c.Name]
		if k == nil {
			k = f.reader(c.Name, LiveFirst)
		}
		m.finish(t, f, c.Name, k)
	}
	f.check()
	m.judge(t, f)
}

var testTime = rec("", 0).Wall.Add(1)

func (m *model) appendSome(f *fixture, rng *rand.Rand, cursors []CursorConfig) {
	var recs []Record
	for range 1 + rng.IntN(5) {
		r := rec(fmt.Sprint("t/", m.appended), uint8(rng.IntN(3)))
		for _, c := range cursors {
			if rng.IntN(2) == 0 {
				r.To = append(r.To, c.Name)
			}
		}
		r.Payload = make([]byte, rng.IntN(2000))
		for i := range r.Payload {
			r.Payload[i] = byte(rng.Uint32())
		}
		recs = append(recs, r)
		m.appended++
	}
	f.l.Append(Batch{Records: recs, Urgent: rng.IntN(4) == 0}, func(err error) {
		if err != nil {
			return
		}
		for _, r := range recs {
			for _, name := range r.To {
				put(m.durable, name, r.Seq)
			}
		}
	})
}

func put(m map[string]map[uint64]bool, name string, seq uint64) {
	if m[name] == nil {
		m[name] = map[uint64]bool{}
	}
	m[name][seq] = true
}

func (m *model) readSome(t *testing.T, f *fixture, rng *rand.Rand, name string, readers map[string]*Cursor, open map[string][]*Item) {
	k := readers[name]
	if k == nil {
		k = f.reader(name, Order(rng.IntN(3)))
		readers[name] = k
	}
	for range 1 + rng.IntN(20) {
		it := next(t, k)
		if it == nil {
			return
		}
		open[name] = append(open[name], it)
	}
}

func (m *model) ackSome(rng *rand.Rand, name string, readers map[string]*Cursor, open map[string][]*Item) {
	k := readers[name]
	for range rng.IntN(15) {
		if len(open[name]) == 0 {
			return
		}
		i := 0
		if rng.IntN(4) == 0 { // not in order
			i = rng.IntN(len(open[name]))
		}
		it := open[name][i]
		open[name] = append(open[name][:i:i], open[name][i+1:]...)
		if rng.IntN(30) == 0 {
			k.Lose(it, ReasonQuarantine, "by chance")
			continue
		}
		m.deliver(name, it)
		k.Ack(it)
	}
}

// deliver notes what an item stands for.
func (m *model) deliver(name string, it *Item) {
	for _, seq := range stands(it.Record) {
		put(m.delivered, name, seq)
	}
}

// finish delivers the rest.
func (m *model) finish(t *testing.T, f *fixture, name string, k *Cursor) {
	k.Begin(FIFO)
	for it := next(t, k); it != nil; it = next(t, k) {
		m.deliver(name, it)
		k.Ack(it)
	}
	if s := k.Standing(); s.Pending != 0 || s.Open != 0 {
		t.Errorf("cursor %s has %d pending, %d open, and gives nothing", name, s.Pending, s.Open)
	}
}

// judge finds every durable message in what was delivered or in the losses.
func (m *model) judge(t *testing.T, f *fixture) {
	losses, err := f.l.Losses(context.Background(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	covered := func(name string, seq uint64) bool {
		for _, x := range losses {
			if x.Cursor == name && x.From <= seq && seq <= x.To {
				return true
			}
		}
		return false
	}
	for _, c := range f.l.Stats(context.Background()).Cursors {
		var noted uint64
		for _, x := range losses {
			if x.Cursor == c.Name {
				noted += x.Count
			}
		}
		if noted != c.Lost {
			t.Errorf("cursor %s lost %d, the losses say %d", c.Name, c.Lost, noted)
		}
		var missing []uint64
		for seq := range m.durable[c.Name] {
			if !m.delivered[c.Name][seq] && !covered(c.Name, seq) {
				missing = append(missing, seq)
			}
		}
		if len(missing) > 0 {
			t.Errorf("cursor %s: done came for %d, which are neither delivered nor in a loss", c.Name, missing)
		}
	}
}
