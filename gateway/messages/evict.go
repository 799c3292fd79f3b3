package messages

import (
	"context"
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/loss"
	"github.com/tidehold/tidehold/gateway/messages/marks"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

// Loss is a range of messages that a cursor will not deliver.
type Loss = loss.Loss

// The reasons of a loss.
const (
	ReasonEvicted    = loss.Evicted
	ReasonReleased   = loss.Released
	ReasonQuarantine = loss.Quarantine
	ReasonUnreadable = loss.Unreadable
	ReasonOperator   = loss.Operator
	ReasonExpired    = loss.Expired
)

// Quarantined is a message that the far side cannot take.
type Quarantined = loss.Quarantined

// meta is what is known of a block without its records.
type meta struct {
	id          int64
	inc         string
	first, last uint64
	dests       []block.Dest
	bytes       int
	b           *block.Block // when it holds aggregates and was read
}

func metaOf(b *block.Block) meta {
	m := meta{id: b.ID, inc: b.Inc, first: b.First, last: b.Last, dests: b.Dests, bytes: b.Bytes}
	if len(b.Recs) > 0 && m.folds() {
		m.b = b
	}
	return m
}

// folds reports whether aggregates are in the block.
func (m *meta) folds() bool {
	return slices.ContainsFunc(m.dests, func(d block.Dest) bool { return d.Folded > 0 })
}

// foldedLeft is how many messages a cursor loses besides its records with the
// rest of a block.
func (m *meta) foldedLeft(d block.Dest, p *progress) uint64 {
	if p == nil || m.b == nil {
		return uint64(d.Folded)
	}
	return m.b.Stood(d.Name, p.has)
}

// exit is a block that leaves the file, with what each cursor loses by that.
type exit struct {
	meta
	reason string
	lost   map[string]int
}

// lose notes a loss; it is written with the progress that contains it.
func (l *Log) lose(x Loss) {
	x.At = time.Now()
	l.fig.lost.Add(float64(x.Count), x.Cursor, x.Reason)
	l.losses = append(l.losses, x)
}

// planDeletes finds the finished blocks that nobody waits for.
func (l *Log) planDeletes(w *write) {
	for id, m := range l.done {
		wait, pinned := l.holders(w, m)
		switch {
		case pinned: // an optional cursor is in it: look again with its next progress
		case wait: // a required cursor will finish it, too
			delete(l.done, id)
		default:
			l.moving[id] = true
			w.out = append(w.out, l.leave(w, m, ReasonReleased))
		}
	}
}

// holders reports whether a cursor that must have the block is not through, and
// whether any cursor has items of it open.
func (l *Log) holders(w *write, m meta) (wait, pinned bool) {
	for _, d := range m.dests {
		c := l.cursors[d.Name]
		if c == nil || c.isDone(m.id) {
			continue
		}
		if c.required || d.Hold {
			wait = true
		}
		if p := c.prog[m.id]; p != nil && p.pinned() {
			pinned = true
		}
	}
	return wait, pinned && !wait
}

// leave takes a block from all cursors: what they have not delivered is lost.
// No cursor has items of it open. The lock is held.
func (l *Log) leave(w *write, m meta, reason string) exit {
	e := exit{meta: m, reason: reason, lost: make(map[string]int)}
	for _, d := range m.dests {
		row, ok := w.saved[d.Name]
		c := l.cursors[d.Name]
		if !ok || c == nil || m.id <= c.upTo[classOf(m.id)] {
			continue
		}
		lost := d.Routed
		if p := c.prog[m.id]; p != nil {
			lost -= p.delivered + p.lost
			delivered, lost := w.counted(d.Name, m.id, p)
			row.Delivered += uint64(p.delivered - delivered)
			row.Lost += uint64(p.lost - lost)
		}
		if lost > 0 {
			row.Lost += uint64(lost)
			e.lost[d.Name] = lost
			w.losses = append(w.losses, Loss{Cursor: d.Name, Reason: reason, Class: classOf(m.id), Inc: m.inc, From: m.first, To: m.last,
				Count: uint64(lost), Folded: m.foldedLeft(d, c.prog[m.id]), Bytes: int64(m.bytes) * int64(lost) / int64(max(1, routedAll(m.dests))), At: time.Now()})
		}
		w.saved[d.Name] = row
		w.changed[d.Name] = true
	}
	return e
}

// counted is what w.saved holds of a cursor's progress in a block.
func (w *write) counted(cursor string, id int64, p *progress) (delivered, lost int) {
	for _, s := range w.steps {
		if s.cursor == cursor && s.id == id {
			return s.delivered, s.lost
		}
	}
	return p.savedDelivered, p.savedLost
}

func routedAll(dests []block.Dest) (n int) {
	for _, d := range dests {
		n = max(n, d.Routed)
	}
	return n
}

// forgetBlock takes a block that left the file out of memory.
func (l *Log) forgetBlock(e exit) {
	delete(l.done, e.id)
	for name, n := range e.lost {
		if c := l.cursors[name]; c != nil {
			c.t.Lost += uint64(n)
			c.pend(-int64(n))
			l.fig.lost.Add(float64(n), name, e.reason)
		}
	}
	for _, d := range e.dests {
		if c := l.cursors[d.Name]; c != nil {
			delete(c.prog, e.id)
		}
	}
	l.rings[classOf(e.id)].Remove(e.id)
}

func (l *Log) deleteDone(tx *store.Tx, w *write) error {
	for _, e := range w.out {
		if err := deleteBlock(tx, e.meta); err != nil {
			return err
		}
	}
	return nil
}

func deleteBlock(tx *store.Tx, m meta) error {
	if _, err := tx.Exec("DELETE FROM seg WHERE id=?", m.id); err != nil {
		return err
	}
	for _, d := range m.dests {
		if _, err := tx.Exec("DELETE FROM prog WHERE cursor=? AND seg=?", d.Name, m.id); err != nil {
			return err
		}
	}
	return nil
}

// bound keeps the file below MaxBytes: the oldest blocks are folded and then go,
// least class first, in the transaction that made it too large, and 5 % more than needed,
// so that it does not run for every message (telemetry.md 8.3).
func (l *Log) bound(tx *store.Tx, w *write) error {
	if len(w.blocks) == 0 {
		return nil
	}
	used, err := tx.UsedBytes()
	if err != nil {
		return err
	}
	used += min(l.db.LogBytes(), l.cfg.MaxBytes/4) // a long log alone must not empty the file
	if used <= l.cfg.MaxBytes {
		return nil
	}
	free := used - l.cfg.MaxBytes + l.cfg.MaxBytes/20
	for cls := Bulk; cls >= Critical && free > 0; cls-- {
		if err := l.foldClass(tx, w, cls, &free); err != nil {
			return err
		}
		if err := l.evictClass(tx, w, cls, &free); err != nil {
			return err
		}
	}
	return nil
}

// evictClass drops the oldest blocks of a class until free bytes are won.
// Blocks with items on their way stay.
func (l *Log) evictClass(tx *store.Tx, w *write, cls int, free *int64) error {
	for after := classBase(cls); *free > 0; {
		b, err := segment.Head(tx, after, classBase(cls+1))
		if err != nil || b == nil {
			return err
		}
		after = b.ID
		before, err := tx.UsedBytes()
		if err != nil {
			return err
		}
		if gone, err := l.evict(tx, w, metaOf(b), ReasonEvicted); err != nil {
			return err
		} else if !gone {
			continue
		}
		now, err := tx.UsedBytes()
		if err != nil {
			return err
		}
		*free -= before - now
	}
	return nil
}

// evict drops one block unless a cursor is in it.
func (l *Log) evict(tx *store.Tx, w *write, m meta, reason string) (bool, error) {
	l.mu.Lock()
	if l.moving[m.id] || l.isPinned(w, m) || w.isEarly(m.id) {
		l.mu.Unlock()
		return false, nil
	}
	l.moving[m.id] = true
	l.mu.Unlock()
	if m.b == nil && m.folds() {
		b, err := segment.Read(tx, m.id-1, m.id+1)
		if err != nil {
			return false, err
		}
		m.b = b
	}
	l.mu.Lock()
	w.out = append(w.out, l.leave(w, m, reason))
	l.mu.Unlock()
	return true, deleteBlock(tx, m)
}

// isPinned reports whether a block must stay for now: a cursor has items of it
// open, or lost some without this write noting that loss.
func (l *Log) isPinned(w *write, m meta) bool {
	for _, d := range m.dests {
		c := l.cursors[d.Name]
		if c == nil {
			continue
		}
		p := c.prog[m.id]
		if p == nil {
			continue
		}
		if _, lost := w.counted(d.Name, m.id, p); p.pinned() || p.lost != lost {
			return true
		}
	}
	return false
}

// Drop loses the blocks of a class begun before a time, on request, and says how
// many messages that cost, each once per cursor. Blocks on their way stay.
func (l *Log) Drop(ctx context.Context, class int, before time.Time) (lost int, err error) {
	err = l.request(ctx, func(tx *store.Tx, w *write) error {
		lost = 0
		for after := classBase(class); ; {
			var wall int64
			found, err := tx.QueryRow("SELECT id, wall_ms FROM seg WHERE id > ? AND id < ? ORDER BY id LIMIT 1",
				[]any{after, classBase(class + 1)}, &after, &wall)
			if err != nil || !found || wall >= before.UnixMilli() {
				return err
			}
			b, err := segment.Head(tx, after-1, after+1)
			if err != nil {
				return err
			}
			if gone, err := l.evict(tx, w, metaOf(b), ReasonOperator); err != nil {
				return err
			} else if gone {
				for _, n := range w.out[len(w.out)-1].lost {
					lost += n
				}
			}
		}
	})
	return lost, err
}

// Forget takes a cursor away that is no longer declared: what only it waited
// for leaves the file. It looks at every block.
func (l *Log) Forget(ctx context.Context, name string) error {
	return l.request(ctx, func(tx *store.Tx, w *write) error {
		l.mu.Lock()
		delete(l.cursors, name)
		delete(w.saved, name)
		l.mu.Unlock()
		if err := marks.DropCursor(tx, name); err != nil {
			return err
		}
		return l.sweep(tx, w)
	})
}

// sweep deletes every block that nobody waits for.
func (l *Log) sweep(tx *store.Tx, w *write) error {
	for cls := range classes {
		for after := classBase(cls); ; {
			b, err := segment.Head(tx, after, classBase(cls+1))
			if err != nil {
				return err
			}
			if b == nil {
				break
			}
			after = b.ID
			l.mu.Lock()
			wait, pinned := l.holders(w, metaOf(b))
			l.mu.Unlock()
			if wait || pinned {
				continue
			}
			if _, err := l.evict(tx, w, metaOf(b), ReasonReleased); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeLosses puts losses and poison messages down. Losses of one kind that
// were not announced yet become one row.
func (l *Log) writeLosses(tx *store.Tx, w *write) error {
	for _, x := range w.losses {
		if err := loss.Write(tx, x); err != nil {
			return err
		}
	}
	for i := range w.quar {
		if err := loss.WriteQuarantined(tx, &w.quar[i]); err != nil {
			return err
		}
	}
	return loss.Trim(tx, len(w.losses), len(w.quar))
}
