package messages

import (
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/tail"
)

// ref is a record in the tail.
type ref struct {
	entry *tail.Entry
	i     int
}

func (r ref) record() *Record { return &r.entry.Records[r.i] }

// Elide says for how long a record for this cursor may wait for the far side's
// acknowledgement before it is committed: calm, and those of urgent appends. It
// holds until the next call, until one waited longer, and at most until Release.
// With 0 records are committed before they are given, and those that wait are
// committed at once (telemetry.md 7.2).
func (k *Cursor) Elide(calm, urgent time.Duration) {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	k.elide(calm, urgent)
}

func (k *Cursor) elide(calm, urgent time.Duration) {
	if k.c.taken != k {
		return // an acknowledgement that came after Release
	}
	had := k.c.elide.calm > 0
	k.c.elide.calm, k.c.elide.urgent = calm, urgent
	if had && calm <= 0 {
		k.l.tail.Hurry(time.Now(), k.c.name)
		k.l.signal()
	}
}

// holdBack lets an entry wait for its acknowledgements when every cursor it is
// for elides. One that does more than add records must be committed.
func (l *Log) holdBack(e *tail.Entry, now time.Time) {
	var longest time.Duration
	for i := range e.Records {
		for _, name := range e.Records[i].To {
			wait := l.cursors[name].elide.calm
			if e.Urgent {
				wait = l.cursors[name].elide.urgent
			}
			if wait <= 0 {
				return
			}
			longest = max(longest, wait)
		}
		if len(e.Records[i].To) == 0 {
			return
		}
	}
	if e.Note != nil || longest == 0 {
		return
	}
	e.Early, e.Until = true, now.Add(longest)
	for i := range e.Records {
		for _, name := range e.Records[i].To {
			l.cursors[name].signal()
		}
	}
}

// tailDue is how long the tail may stay in memory.
func (l *Log) tailDue(now time.Time, never time.Duration) time.Duration {
	wait := never
	if n, plain, urgent := l.tail.Plain(); urgent {
		return 0
	} else if n > 0 {
		wait = l.cfg.Pace.Due(plain, l.lastCommit, l.lastAppend).Sub(now)
	}
	if all := l.tail.Load(); all.Records >= elideRecords || all.Bytes >= l.cfg.ElideBytes {
		return 0
	}
	if until := l.tail.Until(now); !until.IsZero() {
		wait = min(wait, until.Sub(now))
	}
	return wait
}

// isShort reports whether the reserved numbers come to their end while numbers
// are used without a commit.
func (l *Log) isShort() bool {
	return l.next-1 > l.mark.LastSeq && l.next-1+reserveStep/4 > l.mark.ReservedTo
}

// planTail takes the tail into a write when it is due, or when the write must
// hold some of it anyway, and what was elided since the last one.
func (l *Log) planTail(w *write, now time.Time) {
	w.elided = make(map[string]uint64)
	w.mark.LastSeq = max(w.mark.LastSeq, l.elidedTo)
	for name, c := range l.cursors {
		w.elided[name] = c.elided
		w.countElided(name, c.elided)
	}
	plain, _, _ := l.tail.Plain()
	flush := plain > 0 || l.tailDue(now, time.Hour) <= 0
	for _, r := range w.asked {
		flush = flush || !r.light
	}
	if !flush {
		return
	}
	for _, name := range l.tail.Late(now) {
		if c := l.cursors[name]; c != nil {
			c.elide.calm, c.elide.urgent = 0, 0 // too slow: until its next acknowledgement
		}
	}
	w.apps = l.tail.Take()
	for _, e := range w.apps {
		for i := range e.Records {
			if !e.Through(i) {
				w.recs = append(w.recs, ref{e, i})
				continue
			}
			for _, name := range e.Records[i].To {
				w.countElided(name, 1)
			}
			w.nElided++
		}
	}
}

// countElided counts records that never come into the file.
func (w *write) countElided(name string, n uint64) {
	row, ok := w.saved[name]
	if n == 0 || !ok {
		return
	}
	row.Allocated += n
	row.Delivered += n
	w.saved[name], w.changed[name] = row, true
}

// isEarly reports whether a block of this write holds records that may have been
// given before: it stays until that is counted in it.
func (w *write) isEarly(id int64) bool {
	for n, b := range w.blocks {
		if b.ID == id {
			return slices.ContainsFunc(w.refs[n], func(r ref) bool { return r.entry.Early })
		}
	}
	return false
}

// giveEarly gives the next record of a lane that is not committed, once the
// streams of that lane have nothing more; moved means that a commit came since
// there were so many blocks. A record leaves only with a number that no crash
// can give again.
func (k *Cursor) giveEarly(at lane, blocks int64) (it *Item, moved bool) {
	if !at.tail {
		return nil, false
	}
	l, c := k.l, k.c
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mark.NextBlock != blocks {
		return nil, true
	}
	e, i, share := l.tail.Next(&c.early[at.low], c.name, at.low, at.high)
	if e == nil || !e.Early || e.Records[i].Seq > l.mark.ReservedTo {
		return nil, false
	}
	e.Give(i, share)
	it = &Item{Record: &e.Records[i], entry: e, i: i, share: share}
	c.turn = true
	c.open++
	c.order = append(c.order, it)
	return it, false
}

// settleEarly takes in the acknowledgement of an item that is not committed.
func (l *Log) settleEarly(c *cursor, it *Item) {
	l.tail.Settle(it.entry, it.i, it.share)
	it.losing = nil
	c.settled(it, true)
	l.popThrough()
}

// popThrough lets go of what everybody has: it is never written.
func (l *Log) popThrough() {
	for _, e := range l.tail.Pop() {
		l.elidedTo = e.Last
		l.fig.elided.Add(float64(len(e.Records)))
		for i := range e.Records {
			for _, name := range e.Records[i].To {
				if c := l.cursors[name]; c != nil {
					c.elided++
				}
			}
		}
	}
	l.makeRoom()
	if l.isShort() {
		l.signal()
	}
}

// moveItems turns what was given before this write committed it into items and
// progress of its blocks.
func (l *Log) moveItems(w *write) {
	l.fig.elided.Add(w.nElided)
	at := make(map[ref]place)
	blocks := make(map[int64]*block.Block)
	for n, b := range w.blocks {
		blocks[b.ID] = b
		for i, r := range w.refs[n] {
			if !r.entry.Early {
				continue
			}
			at[r] = place{b.ID, i}
			for share, name := range r.record().To {
				if c := l.cursors[name]; c != nil && r.entry.Settled(r.i, share) {
					p := c.progressIn(b)
					p.set(i)
					p.delivered++
					l.touched(c, b, p)
				}
			}
		}
	}
	if len(at) == 0 {
		return
	}
	for _, c := range l.cursors {
		for _, list := range [][]*Item{c.order, c.again} {
			for _, it := range list {
				to, ok := at[ref{it.entry, it.i}]
				if it.entry == nil || it.settled || !ok {
					continue
				}
				it.block, it.i, it.entry = blocks[to.id], to.i, nil
				c.held[to] = true
				c.progressIn(it.block).out++
			}
		}
		l.loseMoved(c)
	}
}

// loseMoved loses the items that waited for their commit to be lost.
func (l *Log) loseMoved(c *cursor) {
	var lost []*Item
	for _, list := range [][]*Item{c.order, c.again} {
		for _, it := range list {
			if it.losing != nil && it.entry == nil && !it.settled {
				lost = append(lost, it)
			}
		}
	}
	for _, it := range lost {
		l.loseItem(c, it, *it.losing)
	}
}

// progressIn is the cursor's progress in a block of this log.
func (c *cursor) progressIn(b *block.Block) *progress {
	p := c.prog[b.ID]
	if p == nil {
		p = &progress{routed: b.Routed(c.name)}
		c.prog[b.ID] = p
	}
	return p
}
