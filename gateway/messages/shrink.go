package messages

import (
	"context"
	"slices"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

// Fold gives what shall stand for neighbours of one class and incarnation, in
// rising number: each record as it is, or an aggregate with Record.Fold set in
// the place of those it stands for. Every cursor's messages are in what comes
// back once. It runs inside a commit, has no effects, and gives the same for the
// same records: a fold that a crash cut off is done again.
type Fold func([]Record) []Record

// The limits of one fold, which a commit waits for and holds in memory.
const (
	foldRecords = 8192
	foldBytes   = 2 << 20
	foldBlocks  = 4096
	rowBytes    = 150 // of a row besides its body, about
	givenAhead  = 256 // blocks whose sending is noted ahead
)

// SetFold has the oldest messages folded before any of their class is dropped
// (telemetry.md 8.3 and 8.4). Without it they are only dropped.
func (l *Log) SetFold(f Fold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fold = f
}

// folded is a run of blocks and what took its place.
type folded struct {
	ids    []int64
	blocks []*block.Block
	saved  map[string]uint64 // by cursor: records fewer
}

// run is neighbours that were never sent.
type run struct {
	ids    []int64
	recs   []Record
	routed map[string]int
	bytes  int // of their rows
	memory int
}

// add takes in a block, but for what only cursors wait for that are forgotten.
func (r *run) add(b *block.Block, forgotten func(name string) bool) {
	r.ids = append(r.ids, b.ID)
	r.bytes += b.Bytes + rowBytes
	r.memory += b.Memory()
	for _, rec := range b.Recs {
		if rec.To = slices.DeleteFunc(rec.To, forgotten); len(rec.To) == 0 {
			continue
		}
		r.recs = append(r.recs, rec)
		for _, name := range rec.To {
			r.routed[name]++
		}
	}
}

func (r *run) isFull() bool {
	return len(r.recs) >= foldRecords || r.memory >= foldBytes || len(r.ids) >= foldBlocks
}

// foldClass folds the oldest blocks of a class until free bytes are won, or
// nothing is left to fold.
func (l *Log) foldClass(tx *store.Tx, w *write, cls int, free *int64) error {
	l.mu.Lock()
	fold := l.fold
	l.mu.Unlock()
	for fold != nil && cls != Critical && *free > 0 {
		before, err := tx.UsedBytes()
		if err != nil {
			return err
		}
		r, err := l.nextRun(tx, w, cls)
		if err != nil || len(r.ids) == 0 {
			return err
		}
		if err := l.replaceRun(tx, w, r, fold(r.recs)); err != nil {
			return err
		}
		now, err := tx.UsedBytes()
		if err != nil {
			return err
		}
		*free -= before - now
	}
	return nil
}

// nextRun takes the oldest blocks that were not looked at before and were never
// sent. What it passes is not looked at again.
func (l *Log) nextRun(tx *store.Tx, w *write, cls int) (*run, error) {
	r := &run{routed: make(map[string]int)}
	forgotten := func(name string) bool { _, is := w.saved[name]; return !is }
	for at := &w.mark.FoldedTo[cls]; !r.isFull(); {
		b, err := segment.Read(tx, max(*at, classBase(cls)), classBase(cls+1))
		if err != nil || b == nil || w.holds(b.ID) {
			return r, err
		}
		if len(r.recs) > 0 && r.recs[0].Inc != b.Inc {
			break
		}
		if l.mayFold(b) {
			r.add(b, forgotten)
		} else if len(r.ids) > 0 {
			break
		}
		*at = b.ID
	}
	return r, nil
}

// holds reports whether a block is of this write.
func (w *write) holds(id int64) bool {
	for _, b := range w.blocks {
		if b.ID == id {
			return true
		}
	}
	return false
}

// mayFold takes a block out of all readers' way, unless a message of it may have
// been sent to anybody, now or before a crash: whoever got it would count it
// twice.
func (l *Log) mayFold(b *block.Block) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moving[b.ID] || len(b.Recs) < b.N {
		return false
	}
	for i := range b.Recs {
		if b.Recs[i].Seq == 0 {
			return false // cannot be read: a loss, once its turn comes
		}
	}
	cls := classOf(b.ID)
	for _, d := range b.Dests {
		c := l.cursors[d.Name]
		if c == nil {
			continue
		}
		if d.Live || c.prog[b.ID] != nil || b.ID <= max(c.entered[cls], c.upTo[cls]) {
			return false
		}
	}
	l.moving[b.ID] = true
	return true
}

// replaceRun puts what is left of a run in its place, in the blocks' last ids, so
// that the order stays; unless it would win less than a quarter.
func (l *Log) replaceRun(tx *store.Tx, w *write, r *run, left []Record) error {
	f := folded{ids: r.ids, saved: make(map[string]uint64)}
	for name, n := range r.routed {
		f.saved[name] = uint64(n)
	}
	chunks := block.Cut(left)
	if len(chunks) > len(r.ids) {
		return l.leaveRun(r)
	}
	won := r.bytes
	var rows []packed
	for i, recs := range chunks {
		p := l.pack(w, r.ids[len(r.ids)-len(chunks)+i], recs)
		for _, d := range p.b.Dests {
			f.saved[d.Name] -= uint64(d.Routed)
		}
		won -= len(p.stored) + rowBytes
		f.blocks, rows = append(f.blocks, p.b), append(rows, p)
	}
	if won < r.bytes/4 {
		return l.leaveRun(r)
	}
	w.countFold(f)
	return swapRows(tx, r, rows)
}

// leaveRun gives blocks back that are not worth folding.
func (l *Log) leaveRun(r *run) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range r.ids {
		delete(l.moving, id)
	}
	return nil
}

// packed is a block as it is stored.
type packed struct {
	b      *block.Block
	stored []byte
	enc    int
}

func (l *Log) pack(w *write, id int64, recs []Record) packed {
	p := packed{b: w.shape(id, recs)}
	for i := range p.b.Dests {
		p.b.Dests[i].Live = false // a reader finds it when it comes there, and that is noted
	}
	p.stored, p.enc = l.packer.Pack(p.b.EncodeBody())
	p.b.Bytes = len(p.stored)
	return p
}

// countFold notes what a fold does to the sums.
func (w *write) countFold(f folded) {
	for name, n := range f.saved {
		row := w.saved[name]
		row.Folded += n
		w.saved[name], w.changed[name] = row, true
	}
	w.folds = append(w.folds, f)
}

func swapRows(tx *store.Tx, r *run, rows []packed) error {
	for _, id := range r.ids {
		if err := deleteBlock(tx, meta{id: id}); err != nil {
			return err
		}
	}
	for _, p := range rows {
		if err := segment.Insert(tx, p.b, p.stored, p.enc, block.Sum(p.stored), p.b.Recs[0].Wall.UnixMilli()); err != nil {
			return err
		}
	}
	return nil
}

// takeFolds makes the folds of a write the state.
func (l *Log) takeFolds(w *write) {
	for _, f := range w.folds {
		r := &l.rings[classOf(f.ids[0])]
		for _, id := range f.ids {
			r.Remove(id)
		}
		for _, b := range f.blocks {
			r.Put(b)
		}
		for name, n := range f.saved {
			if c := l.cursors[name]; c != nil {
				c.t.Folded += n
				c.pend(-int64(n))
				l.fig.folded.Add(float64(n), name, levelOne)
			}
		}
	}
}

// sent is how far the backlogs were sent, exactly: for a clean stop. Nobody reads
// any more.
func (l *Log) sent(w *write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, row := range w.saved {
		if c := l.cursors[name]; c != nil {
			row.Given = c.entered
			w.saved[name], w.changed[name] = row, true
		}
	}
}

// mayGive notes down, some blocks ahead, that a block of the backlog is about to
// be sent, so that no later start folds it. While the disk refuses it goes
// without: then nothing is folded either.
func (k *Cursor) mayGive(ctx context.Context, b *block.Block) error {
	k.l.mu.Lock()
	cls := classOf(b.ID)
	noted := cls == Critical || b.IsLive(k.c.name) || b.Routed(k.c.name) == 0 || b.ID <= k.c.given[cls] || k.l.failed != nil
	k.l.mu.Unlock()
	if noted {
		return nil
	}
	_ = k.l.ask(ctx, &request{light: true, ended: make(chan error, 1), fn: func(_ *store.Tx, w *write) error {
		if row, is := w.saved[k.c.name]; is {
			row.Given[cls] = b.ID + givenAhead
			w.saved[k.c.name], w.changed[k.c.name] = row, true
		}
		return nil
	}})
	return ctx.Err()
}
