package messages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/loss"
	"github.com/tidehold/tidehold/gateway/messages/marks"
	"github.com/tidehold/tidehold/gateway/messages/ring"
	"github.com/tidehold/tidehold/gateway/messages/tail"
	"github.com/tidehold/tidehold/gateway/store"
)

// write is one transaction of the log: what waits, progress, losses, and what
// must go to keep the bound. There is one at a time, so what it read at its
// beginning is still true at its end, except that cursors went further.
type write struct {
	apps    []*tail.Entry
	recs    []ref // of apps, to be stored
	last    uint64
	asked   []*request
	mark    marks.Log
	elided  map[string]uint64       // that the rows contain, by cursor
	nElided float64                 // of apps, left out of recs
	saved   map[string]marks.Cursor // what the rows will say
	live    map[string]bool         // cursors that are being read
	changed map[string]bool         // rows to write
	steps   []step
	acks    map[string]int    // acknowledgements that the steps contain
	blocks  []*block.Block    // appended
	refs    [][]ref           // where the records of blocks came from
	adopted map[string]uint64 // by cursor
	out     []exit            // blocks that leave the file
	folds   []folded          // blocks that aggregates took the place of
	losses  []Loss
	nLosses int // of losses, taken from Log.losses; the rest came up here
	quar    []Quarantined
	used    int64
	full    bool // with progress
	planned bool // the transaction began

	ended chan struct{}
	err   error
}

// step is the progress of one cursor in one block, as this write notes it.
type step struct {
	cursor          string
	id              int64
	delivered, lost int
	done            bool
	acked           []byte
	row             bool // the block stays touched: keep a row
}

// request is something done inside a write, in turn with all other writes.
type request struct {
	fn    func(*store.Tx, *write) error
	light bool // leaves what waits for an acknowledgement in memory
	ended chan error
}

// request runs fn in the next write, which commits everything staged, and waits
// for its commit.
func (l *Log) request(ctx context.Context, fn func(*store.Tx, *write) error) error {
	return l.ask(ctx, &request{fn: fn, ended: make(chan error, 1)})
}

func (l *Log) ask(ctx context.Context, r *request) error {
	l.mu.Lock()
	l.asked = append(l.asked, r)
	l.mu.Unlock()
	for {
		w := l.beginWrite()
		select {
		case err := <-r.ended:
			return err
		case <-w.ended: // it may have begun before the request
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case err := <-r.ended:
			return err
		default:
		}
	}
}

// beginWrite queues a write unless one is under way, and gives that one.
func (l *Log) beginWrite() *write {
	l.mu.Lock()
	if w := l.writing; w != nil {
		l.mu.Unlock()
		return w
	}
	w := &write{ended: make(chan struct{})}
	l.writing = w
	l.mu.Unlock()
	l.db.WriteAsync("append", l.write, l.written)
	return w
}

// progressDue is how long progress may still wait.
func (l *Log) progressDue(now time.Time, never time.Duration) time.Duration {
	if !l.isDirty() {
		return never
	}
	for _, c := range l.cursors {
		if c.acks >= progressAcks {
			return 0
		}
	}
	return l.lastProgress.Add(progressEvery).Sub(now)
}

// isDirty reports whether progress would write anything.
func (l *Log) isDirty() bool {
	if len(l.losses) > 0 || len(l.quar) > 0 || len(l.done) > 0 {
		return true
	}
	for _, c := range l.cursors {
		if c.acks > 0 {
			return true
		}
	}
	return false
}

// write is the transaction; it runs on the store's writer goroutine.
func (l *Log) write(tx *store.Tx) error {
	w := l.plan(time.Now())
	l.encode(w)
	for _, do := range []func(*store.Tx, *write) error{
		l.insertBlocks, l.writeProgress, l.deleteDone, l.doRequests, l.bound, l.writeLosses, l.writeMarks,
	} {
		if err := do(tx, w); err != nil {
			return err
		}
	}
	return nil
}

// plan takes down, under the lock, what this write is to do.
func (l *Log) plan(now time.Time) *write {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.writing
	w.planned = true
	w.asked, w.mark, w.last = l.asked, l.mark, l.next-1
	w.saved, w.changed, w.acks, w.live = make(map[string]marks.Cursor), make(map[string]bool), make(map[string]int), make(map[string]bool)
	for name, c := range l.cursors {
		w.saved[name], w.live[name] = c.row(), c.taken != nil
	}
	l.planTail(w, now)
	w.full = len(w.asked) > 0 || l.progressDue(now, time.Hour) <= 0
	if w.full {
		w.losses, w.nLosses, w.quar = append(w.losses, l.losses...), len(l.losses), l.quar
		for _, c := range l.cursors {
			l.planProgress(w, c)
		}
		l.planDeletes(w)
	}
	return w
}

// planProgress notes how far a cursor is.
func (l *Log) planProgress(w *write, c *cursor) {
	row := w.saved[c.name]
	for cls := range classes {
		row.Done[cls] = c.reached(cls)
	}
	for id, p := range c.prog {
		if !p.dirty {
			continue
		}
		row.Delivered += uint64(p.delivered - p.savedDelivered)
		row.Lost += uint64(p.lost - p.savedLost)
		w.steps = append(w.steps, step{cursor: c.name, id: id, delivered: p.delivered, lost: p.lost, done: p.done,
			acked: append([]byte(nil), p.acked...), row: id > row.Done[classOf(id)]})
		w.changed[c.name] = true
	}
	if row.Done != c.upTo {
		w.changed[c.name] = true
	}
	w.acks[c.name] = c.acks
	w.saved[c.name] = row
}

// reached is the block of the class up to which the cursor has nothing left to
// do: everything below its streams but for what is still open.
func (c *cursor) reached(cls int) int64 {
	at := max(c.upTo[cls], c.scanned(cls))
	for id, p := range c.prog {
		if classOf(id) == cls && !p.done && id <= at {
			at = id - 1
		}
	}
	return max(at, c.upTo[cls])
}

// scanned is the block of the class up to which every block was loaded.
func (c *cursor) scanned(cls int) int64 {
	at := int64(0)
	for _, lane := range [][]*stream{c.crit, c.back, c.live} {
		for _, s := range lane {
			if s.cls != cls {
				continue
			}
			at = s.pos
			if s.pos < s.end-1 {
				return at
			}
		}
	}
	return at
}

// encode makes blocks of what waits: one per class and at most
// block.RecordsMax records.
func (l *Log) encode(w *write) {
	var chunk [classes][]ref
	var size tail.Load
	cut := func() {
		for cls, refs := range chunk {
			if len(refs) > 0 {
				w.blocks, w.refs = append(w.blocks, l.buildRefs(w, cls, refs)), append(w.refs, refs)
			}
		}
		w.mark.NextBlock++
		chunk, size = [classes][]ref{}, tail.Load{}
	}
	for _, at := range w.recs {
		r := at.record()
		if size.Records > 0 && (size.Records >= block.RecordsMax || size.Bytes+r.Size() > block.BytesMax) {
			cut()
		}
		chunk[r.Class] = append(chunk[r.Class], at)
		size.Records++
		size.Bytes += r.Size()
	}
	if size.Records > 0 {
		cut()
	}
	for _, e := range w.apps {
		w.mark.LastSeq = max(w.mark.LastSeq, e.Last)
		if b, ok := e.Note.(Batch); ok && b.StartSent {
			w.mark.Skips = nil
		}
	}
	if w.last+reserveStep/2 > w.mark.ReservedTo {
		w.mark.ReservedTo = w.last + reserveStep
	}
}

// buildRefs makes a block of records of the tail, some of which may have been
// sent.
func (l *Log) buildRefs(w *write, cls int, refs []ref) *block.Block {
	recs, early := make([]Record, len(refs)), false
	for i, at := range refs {
		recs[i] = *at.record()
		early = early || at.entry.Early
	}
	b := l.build(w, cls, recs)
	for i := range b.Dests {
		b.Dests[i].Live = b.Dests[i].Live || early
	}
	return b
}

// build makes a block of records and counts them for their cursors.
func (l *Log) build(w *write, cls int, recs []Record) *block.Block {
	b := w.shape(classBase(cls)|w.mark.NextBlock, recs)
	for _, d := range b.Dests {
		row := w.saved[d.Name]
		row.Allocated += uint64(d.Routed)
		w.saved[d.Name] = row
		w.changed[d.Name] = true
	}
	return b
}

// shape makes a block of records.
func (w *write) shape(id int64, recs []Record) *block.Block {
	b := &block.Block{ID: id, Inc: recs[0].Inc, First: recs[0].First(), Last: recs[len(recs)-1].Seq,
		N: len(recs), Recs: recs, Masks: make([]uint64, len(recs))}
	at := make(map[string]int)
	for i := range recs {
		held := false
		for _, name := range recs[i].To {
			held = held || w.saved[name].Required
		}
		for _, name := range recs[i].To {
			n, ok := at[name]
			if !ok {
				n = len(b.Dests)
				at[name] = n
				b.Dests = append(b.Dests, block.Dest{Name: name, Live: w.live[name]})
			}
			b.Dests[n].Routed++
			b.Dests[n].Folded += int(recs[i].Folded())
			b.Dests[n].Hold = b.Dests[n].Hold || !held
			b.Masks[i] |= 1 << n
		}
	}
	return b
}

func (l *Log) insertBlocks(tx *store.Tx, w *write) error {
	for _, b := range w.blocks {
		if err := l.insertBlock(tx, b); err != nil {
			return err
		}
	}
	for _, e := range w.apps {
		b, _ := e.Note.(Batch)
		for _, x := range b.LossSent {
			if err := loss.Announce(tx, x); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) writeProgress(tx *store.Tx, w *write) error {
	for _, s := range w.steps {
		if !s.row {
			continue
		}
		err := marks.PutProgress(tx, marks.Progress{Cursor: s.cursor, Block: s.id, Delivered: s.delivered, Lost: s.lost, Done: s.done, Acked: s.acked})
		if err != nil {
			return err
		}
	}
	if !w.full {
		return nil
	}
	for name, row := range w.saved {
		if !w.changed[name] {
			continue
		}
		for cls, upTo := range row.Done {
			if _, err := tx.Exec("DELETE FROM prog WHERE cursor=? AND seg>? AND seg<=?", name, classBase(cls), upTo); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) doRequests(tx *store.Tx, w *write) error {
	for _, r := range w.asked {
		if err := r.fn(tx, w); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) writeMarks(tx *store.Tx, w *write) error {
	for name := range w.changed {
		if row, ok := w.saved[name]; ok {
			if err := marks.PutCursor(tx, name, row); err != nil {
				return err
			}
		}
	}
	var err error
	if w.used, err = tx.UsedBytes(); err != nil {
		return err
	}
	return marks.PutLog(tx, w.mark)
}

// written takes over what a write did, or forgets that it tried, and has those
// who wait told while the next write is under way. It is one write ahead of them
// at most, so that what waits to be told is bounded too. It runs on the store's
// writer goroutine.
func (l *Log) written(err error) {
	l.mu.Lock()
	w := l.writing
	l.writing = nil
	now := time.Now()
	l.lastCommit = now
	clear(l.moving)
	if err != nil {
		l.postpone(w, err, now)
	} else {
		l.take(w, now)
	}
	w.err = err
	l.mu.Unlock()
	if l.announced != nil {
		<-l.announced
	}
	l.announced = make(chan struct{})
	l.signal()
	go l.announce(w, l.announced)
}

// announce tells who waited for a write: appends first, then requests.
func (l *Log) announce(w *write, announced chan struct{}) {
	defer close(announced)
	l.teller.Tell(l.tail.Ready)
	l.teller.Await(w.last)
	for _, r := range w.asked {
		r.ended <- w.err
	}
	close(w.ended)
}

// postpone keeps everything that waits for another try: nothing of it was
// acknowledged (telemetry.md section 11).
func (l *Log) postpone(w *write, err error, now time.Time) {
	if l.failed == nil {
		l.log.Warn("messages wait in memory", "err", err)
	}
	if errors.Is(err, store.ErrCorrupt) {
		l.damaged()
	}
	if !w.planned { // the store refused before our turn
		w.asked = l.asked
	}
	l.tail.Kept()
	l.popThrough()
	l.failed, l.retryAt = fmt.Errorf("messages commit: %w", err), now.Add(retryEvery)
	l.asked = l.asked[len(w.asked):]
}

// take makes the written state the state.
func (l *Log) take(w *write, now time.Time) {
	if l.failed != nil {
		l.log.Info("messages are committed again")
		l.failed = nil
	}
	l.mark, l.used = w.mark, w.used
	l.asked = l.asked[len(w.asked):]
	if w.apps != nil {
		l.tail.Committed(len(w.apps))
	}
	l.losses, l.quar = l.losses[w.nLosses:], l.quar[len(w.quar):]
	if w.full {
		l.lastProgress = now
	}
	l.takeCursors(w)
	l.takeAdopted(w)
	for _, b := range w.blocks {
		l.rings[classOf(b.ID)].Push(b)
	}
	for _, e := range w.out {
		l.forgetBlock(e)
	}
	l.takeFolds(w)
	if len(w.out)+len(w.folds) > 0 {
		l.exits++
	}
	l.moveItems(w)
	l.popThrough()
	ring.Trim(l.rings[:], ringBytesMax)
	for _, c := range l.cursors {
		c.signal()
	}
	l.fig.bytes.Set(float64(w.used))
}

func (l *Log) takeCursors(w *write) {
	for _, s := range w.steps {
		c := l.cursors[s.cursor]
		if c == nil {
			continue
		}
		p := c.prog[s.id]
		if p == nil {
			continue
		}
		p.savedDelivered, p.savedLost = s.delivered, s.lost
		p.dirty = p.delivered != s.delivered || p.lost != s.lost
	}
	for name, row := range w.saved {
		c := l.cursors[name]
		if c == nil {
			continue
		}
		c.saved, c.upTo, c.given = row.Tally, row.Done, row.Given
		c.acks -= w.acks[name]
		c.elided -= w.elided[name]
		for id, p := range c.prog {
			if id <= c.upTo[classOf(id)] && p.done && !p.dirty {
				delete(c.prog, id)
			}
		}
	}
}
