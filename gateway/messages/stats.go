package messages

import (
	"context"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/loss"
	"github.com/tidehold/tidehold/gateway/messages/offset"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

// Stats is how the log stands.
type Stats struct {
	// Bytes of the file in use and its log; LimitBytes bounds them.
	Bytes, LimitBytes int64
	// Waiting records have no commit yet.
	Waiting int
	// Err is why nothing is committed now, nil when all is well.
	Err     error
	Damaged bool
	Cursors []CursorStats
}

// CursorStats is how one cursor stands.
type CursorStats struct {
	Name             string
	Required, Active bool
	Tally
	Pending int64
	// Oldest is about when the oldest pending message was captured; zero when
	// there is none.
	Oldest time.Time
}

// Stats gives the figures of the log and of every cursor, sorted by name.
func (l *Log) Stats(ctx context.Context) Stats {
	l.mu.Lock()
	s := Stats{Bytes: l.used + l.db.LogBytes(), LimitBytes: l.cfg.MaxBytes, Waiting: l.tail.Load().Records, Err: l.failed, Damaged: l.isDamaged.Load()}
	after := make(map[string][classes]int64)
	for _, name := range sortedNames(l.cursors) {
		c := l.cursors[name]
		s.Cursors = append(s.Cursors, CursorStats{Name: name, Required: c.required, Active: c.active, Tally: c.t, Pending: c.pending})
		var at [classes]int64
		for cls := range at {
			at[cls] = c.reached(cls)
		}
		after[name] = at
	}
	var waiting time.Time
	if r := l.tail.Oldest(); r != nil {
		waiting = r.Wall
	}
	l.mu.Unlock()
	for i := range s.Cursors {
		if s.Cursors[i].Pending > 0 {
			s.Cursors[i].Oldest = l.oldest(ctx, after[s.Cursors[i].Name], waiting)
		}
	}
	return s
}

// oldest looks into the file for the first block a cursor is not through with.
func (l *Log) oldest(ctx context.Context, after [classes]int64, waiting time.Time) time.Time {
	oldest := waiting
	err := l.db.Read(ctx, func(tx *store.Tx) error {
		for cls, id := range after {
			var wall int64
			found, err := tx.QueryRow("SELECT wall_ms FROM seg WHERE id > ? AND id < ? ORDER BY id LIMIT 1", []any{id, classBase(cls + 1)}, &wall)
			if err != nil {
				return err
			}
			if at := time.UnixMilli(wall); found && (oldest.IsZero() || at.Before(oldest)) {
				oldest = at
			}
		}
		return nil
	})
	if err != nil {
		l.log.Warn("oldest message not found", "err", err)
	}
	return oldest
}

// Losses gives the losses of a cursor, or of all when cursor is empty, oldest
// first; only those not announced yet when unsent is set.
func (l *Log) Losses(ctx context.Context, cursor string, unsent bool) (list []Loss, err error) {
	err = l.db.Read(ctx, func(tx *store.Tx) error {
		list, err = loss.List(tx, cursor, unsent)
		return err
	})
	return list, err
}

// Quarantine gives the poison messages, oldest first.
func (l *Log) Quarantine(ctx context.Context) (list []Quarantined, err error) {
	err = l.db.Read(ctx, func(tx *store.Tx) error {
		list, err = loss.ListQuarantined(tx)
		return err
	})
	return list, err
}

// SetOffset notes, for a boot, how far the true time is ahead of the time since
// boot, so that messages captured without a trusted clock get their time later.
func (l *Log) SetOffset(ctx context.Context, boot string, d time.Duration) error {
	return l.ask(ctx, &request{light: true, ended: make(chan error, 1), fn: func(tx *store.Tx, _ *write) error {
		return offset.Put(tx, boot, d, time.Now())
	}})
}

// Offsets gives what SetOffset noted, by boot.
func (l *Log) Offsets(ctx context.Context) (all map[string]time.Duration, err error) {
	err = l.db.Read(ctx, func(tx *store.Tx) error {
		all, err = offset.All(tx)
		return err
	})
	return all, err
}

// Scan gives every record of a message file that a cursor waits for, To naming
// who does, class by class, the oldest first in each. It needs no Log: a stopped
// daemon's file can be looked at; of a running one it sees what is written down
// (Flush). The error of each ends it.
func Scan(ctx context.Context, db *store.DB, each func(*Record) error) error {
	l := &Log{cursors: make(map[string]*cursor)}
	if err := db.Read(ctx, l.loadCursors); err != nil {
		return err
	}
	for cls := range classes {
		for after := classBase(cls); ; {
			var b *block.Block
			err := db.Read(ctx, func(tx *store.Tx) (err error) {
				b, err = segment.Read(tx, after, classBase(cls+1))
				return err
			})
			if err != nil {
				return err
			}
			if b == nil {
				break
			}
			after = b.ID
			if err := l.eachWaiting(b, each); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) eachWaiting(b *block.Block, each func(*Record) error) error {
	for i := range b.Recs {
		r := &b.Recs[i]
		r.Class, r.To = uint8(classOf(b.ID)), nil
		for n, d := range b.Dests {
			c := l.cursors[d.Name]
			if r.Seq == 0 || c == nil || b.Masks[i]&(1<<n) == 0 || c.isDone(b.ID) || c.prog[b.ID] != nil && c.prog[b.ID].has(i) {
				continue
			}
			r.To = append(r.To, d.Name)
		}
		if len(r.To) == 0 {
			continue
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// Findings is what Verify found.
type Findings struct {
	Blocks, Records int
	// Unreadable records are lost when a cursor comes to them.
	Unreadable int
	// Pending is, per cursor, how many records are left when all are counted
	// one by one.
	Pending map[string]int64
}

// Verify reads every record and counts again what each cursor has pending, in
// one snapshot. It takes time in proportion to the file.
func Verify(ctx context.Context, db *store.DB) (f Findings, err error) {
	f.Pending = make(map[string]int64)
	err = db.Read(ctx, func(tx *store.Tx) error {
		l := &Log{cursors: make(map[string]*cursor)}
		if err := l.loadCursors(tx); err != nil {
			return err
		}
		for cls := range classes {
			for after := classBase(cls); ; {
				b, err := segment.Read(tx, after, classBase(cls+1))
				if err != nil {
					return err
				}
				if b == nil {
					break
				}
				after = b.ID
				f.add(l, b)
			}
		}
		return nil
	})
	return f, err
}

// add counts one block.
func (f *Findings) add(l *Log, b *block.Block) {
	f.Blocks++
	readable := 0
	for i := range b.Recs {
		if b.Recs[i].Seq != 0 {
			readable++
		}
	}
	f.Records += readable
	f.Unreadable += b.N - readable
	for _, d := range b.Dests {
		c := l.cursors[d.Name]
		if c == nil || b.ID <= c.upTo[classOf(b.ID)] {
			continue
		}
		n := d.Routed
		if p := c.prog[b.ID]; p != nil {
			n -= p.delivered + p.lost
		}
		f.Pending[d.Name] += int64(n)
	}
}
