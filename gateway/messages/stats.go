package messages

import (
	"context"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/loss"
	"github.com/tidehold/tidehold/gateway/messages/offset"
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

// Level is how many bytes of its bound the file has in use.
func (l *Log) Level() (used, limit int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used + l.db.LogBytes(), l.cfg.MaxBytes
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
// now is the true time.
func (l *Log) SetOffset(ctx context.Context, boot string, d time.Duration, now time.Time) error {
	return l.ask(ctx, &request{light: true, ended: make(chan error, 1), fn: func(tx *store.Tx, _ *write) error {
		return offset.Put(tx, boot, d, now)
	}})
}

// BeginBoot notes that a boot began, after every true time known so far.
func (l *Log) BeginBoot(ctx context.Context, boot string) error {
	return l.ask(ctx, &request{light: true, ended: make(chan error, 1), fn: func(tx *store.Tx, _ *write) error { return offset.Begin(tx, boot) }})
}

// Span is between which true times a boot began.
type Span = offset.Span

// Clocks gives what SetOffset noted, and between which true times boots began, by
// boot.
func (l *Log) Clocks(ctx context.Context) (offsets map[string]time.Duration, spans map[string]Span, err error) {
	err = l.db.Read(ctx, func(tx *store.Tx) error {
		if offsets, err = offset.All(tx); err != nil {
			return err
		}
		spans, err = offset.Spans(tx)
		return err
	})
	return offsets, spans, err
}
