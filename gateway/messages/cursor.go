package messages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/marks"
	"github.com/tidehold/tidehold/gateway/messages/tail"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// Tally is the sum check of one cursor (telemetry.md C5).
type Tally = marks.Tally

// cursor is the state of one reader. Guarded by Log.mu, but for the streams,
// which only its pump moves; their positions are read under the lock.
type cursor struct {
	name             string
	required, active bool

	t       Tally          // now
	pending int64          // counted on its own, so that the sum check checks
	counted metrics.Series // of Allocated
	waiting metrics.Level  // pending
	saved   Tally          // as written down
	upTo    [classes]int64
	given   [classes]int64      // up to here the backlog may have been sent, as written
	entered [classes]int64      // and as it was
	prog    map[int64]*progress // blocks above upTo that were touched

	acks   int    // since progress was written
	elided uint64 // delivered and never stored, since the row was written
	elide  struct{ calm, urgent time.Duration }

	taken  *Cursor // who reads
	fifo   bool
	border int64 // running number of the last block that was there at Begin
	crit   []*stream
	back   []*stream
	live   []*stream
	turn   bool // the last record came from live
	again  []*Item
	held   map[place]bool  // open, but given elsewhere: the streams leave them out
	early  [classes]uint64 // by lane: the number up to which the tail was given
	order  []*Item         // given and open, in the order of giving
	open   int             // items in order that are not settled
	wake   chan struct{}
}

// unknown is the share of a block that has not been loaded yet.
const unknown = -1

// progress is how far a cursor is with one block.
type progress struct {
	acked                     []byte // a bit per record that is accounted for
	routed                    int
	delivered, lost           int
	savedDelivered, savedLost int
	done, dirty               bool
	out                       int  // items given and open
	loaded                    bool // a stream stands in it
}

func (p *progress) has(i int) bool { return i/8 < len(p.acked) && p.acked[i/8]&(1<<(i%8)) != 0 }

func (p *progress) set(i int) {
	if grow := i/8 + 1 - len(p.acked); grow > 0 {
		p.acked = append(p.acked, make([]byte, grow)...)
	}
	p.acked[i/8] |= 1 << (i % 8)
	p.dirty = true
}

func (p *progress) pinned() bool { return p.out > 0 || p.loaded }

func newCursor(name string, row marks.Cursor) *cursor {
	return &cursor{name: name, required: row.Required, active: row.Active, t: row.Tally, saved: row.Tally, upTo: row.Done, given: row.Given, entered: row.Given,
		pending: int64(row.Allocated - row.Accounted()), prog: make(map[int64]*progress), wake: make(chan struct{}, 1)}
}

func (c *cursor) row() marks.Cursor {
	return marks.Cursor{Required: c.required, Active: c.active, Tally: c.saved, Done: c.upTo, Given: c.given}
}

// pend moves what is pending.
func (c *cursor) pend(d int64) {
	c.pending += d
	c.waiting.Add(float64(d))
}

// isDone reports whether the cursor has nothing left to do with a block that
// holds records for it.
func (c *cursor) isDone(id int64) bool {
	if id <= c.upTo[classOf(id)] {
		return true
	}
	p := c.prog[id]
	return p != nil && p.done
}

func (c *cursor) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// CursorConfig declares a cursor.
type CursorConfig struct {
	Name string
	// Required keeps a message until the cursor has acknowledged it.
	Required bool
}

// Declare says which cursors get messages from now on. A cursor that is no
// longer declared keeps what it has until Forget; a new one starts at the end.
func (l *Log) Declare(ctx context.Context, list []CursorConfig) error {
	l.mu.Lock()
	if n := len(list) + len(l.cursors); n > block.CursorsMax {
		l.mu.Unlock()
		return fmt.Errorf("messages declare: %d cursors, at most %d; forget those no longer used", n, block.CursorsMax)
	}
	for _, c := range l.cursors {
		c.active = false
	}
	for _, want := range list {
		l.declare(want)
	}
	l.mu.Unlock()
	return l.request(ctx, func(_ *store.Tx, w *write) error {
		for name := range w.saved {
			w.changed[name] = true
		}
		return nil
	})
}

func (l *Log) declare(want CursorConfig) {
	c := l.cursors[want.Name]
	if c == nil {
		c = newCursor(want.Name, marks.Cursor{})
		for cls := range c.upTo {
			c.upTo[cls] = classBase(cls) | (l.mark.NextBlock - 1)
		}
		l.cursors[want.Name] = c
		l.fig.begin(c)
	}
	c.active, c.required = true, want.Required
}

// place is where a record stands.
type place struct {
	id int64
	i  int
}

// Item is a record on its way to one cursor's reader.
type Item struct {
	Record *Record
	// Back says that the record was in the log before the last Begin; it keeps
	// its value when it is given again.
	Back bool
	// Again says that the record was given before.
	Again bool
	// Note is the reader's own; it stays when the item is given again.
	Note any

	block   *block.Block
	i       int
	settled bool
	entry   *tail.Entry // while it is not committed; i counts in it
	share   int
	losing  *losing // to be lost once it is committed
}

// Cursor reads for one reader. One goroutine calls Next and Begin; Ack and
// Lose come from anywhere.
type Cursor struct {
	l *Log
	c *cursor
}

// Order is the order in which a cursor gives records.
type Order int

// The orders (telemetry.md 9.2).
const (
	LiveFirst   Order = iota // what comes after Begin at once, the backlog beside it
	FIFO                     // strictly by number
	NewestFirst              // as LiveFirst, but the backlog's newest block first, each in its order
)

// ErrBusy means that the cursor is being read already.
var ErrBusy = errors.New("cursor is being read already")

// Cursor takes the cursor for reading; Release gives it back.
func (l *Log) Cursor(name string) (*Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.cursors[name]
	if c == nil {
		return nil, fmt.Errorf("messages cursor %q: not declared", name)
	}
	if c.taken != nil {
		return nil, fmt.Errorf("messages cursor %q: %w", name, ErrBusy)
	}
	c.taken = &Cursor{l, c}
	return c.taken, nil
}

// Release ends the reading. Items that are open stay so: a late Ack counts.
func (k *Cursor) Release() {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	k.c.unload()
	k.elide(0, 0)
	k.c.taken = nil
}

// Wake receives when there may be something that Next did not find.
func (k *Cursor) Wake() <-chan struct{} { return k.c.wake }

// Begin starts a connection: items that are open are given again, first and in
// their order; what is in the log now becomes the backlog.
func (k *Cursor) Begin(order Order) {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	c := k.c
	c.unload()
	c.again = slices.DeleteFunc(append(c.order, c.again...), func(it *Item) bool { return it.settled })
	c.order, c.held = nil, make(map[place]bool)
	for _, it := range c.again {
		if it.entry == nil {
			c.held[place{it.block.ID, it.i}] = true
		}
	}
	c.early = [classes]uint64{}
	c.fifo, c.border, c.turn = order == FIFO, k.l.mark.NextBlock-1, false
	c.crit, c.back, c.live = nil, nil, nil
	for cls := range classes {
		s := &stream{cls: cls, pos: c.upTo[cls], end: classBase(cls + 1)}
		switch {
		case c.fifo:
			c.back = append(c.back, s)
		case cls == Critical:
			c.crit = append(c.crit, s)
		default:
			end := min(s.end, (classBase(cls)|c.border)+1)
			c.back = append(c.back, &stream{cls: cls, pos: s.pos, end: end, down: order == NewestFirst, top: end})
			c.live = append(c.live, &stream{cls: cls, pos: max(s.pos, classBase(cls)|c.border), end: s.end})
		}
	}
}

// unload takes the streams out of their blocks.
func (c *cursor) unload() {
	for _, lane := range [][]*stream{c.crit, c.back, c.live} {
		for _, s := range lane {
			c.leave(s)
		}
	}
}

func (c *cursor) leave(s *stream) {
	if s.b == nil {
		return
	}
	if p := c.prog[s.b.ID]; p != nil {
		p.loaded = false
	}
	s.b = nil
}

// Standing is how a cursor stands at one moment.
type Standing struct {
	Tally
	// Pending records are not delivered; Open of them are on their way.
	Pending, Open int64
	// LastSeq is the last number given to any record.
	LastSeq uint64
	// Unnoted reports losses of any cursor that Losses does not give yet.
	Unnoted bool
}

// Standing tells how the cursor stands now.
func (k *Cursor) Standing() Standing {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	return Standing{Tally: k.c.t, Pending: k.c.pending, Open: int64(k.c.open), LastSeq: k.l.next - 1, Unnoted: len(k.l.losses) > 0}
}

// Ack says that the far side has the record. Unknown and repeated calls are
// counted and change nothing. It may call done functions of Append.
func (k *Cursor) Ack(it *Item) {
	k.l.mu.Lock()
	if k.l.settle(k.c, it, "") {
		k.l.fig.delivered(k.c.name, it.Back)
	}
	k.l.mu.Unlock()
	k.l.teller.Tell(k.l.tail.Ready)
}

// Lose accounts for a record that will not be delivered. With a why it goes to
// the quarantine.
func (k *Cursor) Lose(it *Item, reason, why string) {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	if it.entry != nil && !it.settled {
		// A loss is written down with its block: commit first.
		it.losing = &losing{reason, why}
		k.l.tail.HurryEntry(time.Now(), it.entry)
		k.l.signal()
		return
	}
	k.l.loseItem(k.c, it, losing{reason, why})
}

// losing is how an item is lost.
type losing struct{ reason, why string }

func (l *Log) loseItem(c *cursor, it *Item, by losing) {
	if !l.settle(c, it, by.reason) {
		return
	}
	r := it.Record
	l.lose(Loss{Cursor: c.name, Reason: by.reason, Class: int(r.Class), Inc: r.Inc, From: r.First(), To: r.Seq, Count: 1,
		Folded: r.Folded(), Bytes: int64(len(r.Payload))})
	if by.why != "" {
		l.quar = append(l.quar, Quarantined{Cursor: c.name, Why: by.why, Record: *r})
	}
}

// settle ends an item's way; false when it had ended before.
func (l *Log) settle(c *cursor, it *Item, lostBy string) bool {
	if !it.settled && it.entry != nil {
		l.settleEarly(c, it)
		return true
	}
	var p *progress
	if it.block != nil {
		p = c.prog[it.block.ID]
	}
	if it.settled || p == nil {
		l.fig.dupAcks.Inc(c.name)
		return false
	}
	p.set(it.i)
	p.out--
	delete(c.held, place{it.block.ID, it.i})
	if lostBy == "" {
		p.delivered++
	} else {
		p.lost++
	}
	c.settled(it, lostBy == "")
	l.touched(c, it.block, p)
	return true
}

// settled counts an item that is not open any more.
func (c *cursor) settled(it *Item, delivered bool) {
	it.settled = true
	c.open--
	c.pend(-1)
	if delivered {
		c.t.Delivered++
	} else {
		c.t.Lost++
	}
	for len(c.order) > 0 && c.order[0].settled {
		c.order = c.order[1:]
	}
}

// touched notes that progress changed, and finishes the block when it can.
func (l *Log) touched(c *cursor, b *block.Block, p *progress) {
	c.acks++
	p.dirty = true
	if p.delivered+p.lost >= p.routed {
		p.done = true
		l.done[b.ID] = metaOf(b)
	}
	if c.acks == 1 || c.acks >= progressAcks {
		l.signal()
	}
}
