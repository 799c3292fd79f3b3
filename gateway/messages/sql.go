package messages

import (
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/messages/marks"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

// Schema is the tables of the log.
func Schema() store.Schema { return marks.Schema() }

func classBase(cls int) int64 { return segment.Base(cls) }
func classOf(id int64) int    { return segment.Class(id) }
func numberOf(id int64) int64 { return segment.Number(id) }

// load reads mark, cursors and progress and opens a new range of numbers. It
// runs inside the transaction that writes what it decides.
func (l *Log) load(tx *store.Tx, src *ids.Source) error {
	m, found, err := marks.GetLog(tx)
	if err != nil {
		return err
	}
	if l.mark = m; !found {
		l.mark = marks.Log{NextBlock: 1}
	}
	fresh := l.mark.Inc == "" // new, salvaged, or restored
	if fresh {
		l.mark.Inc = src.Token(40)
	}
	if err := l.loadCursors(tx); err != nil {
		return err
	}
	skipped := l.reserve()
	for name, c := range l.cursors {
		if !c.active || skipped == 0 {
			continue
		}
		c.t.Allocated += skipped
		c.t.Skipped += skipped
		c.saved = c.t
		if err := marks.PutCursor(tx, name, c.row()); err != nil {
			return err
		}
	}
	l.start = Start{Inc: l.mark.Inc, FirstSeq: l.next, Skips: l.mark.Skips, Fresh: fresh}
	for cls := range l.rings {
		l.rings[cls].Start = classBase(cls) | (l.mark.NextBlock - 1)
	}
	l.used, err = tx.UsedBytes()
	if err != nil {
		return err
	}
	return marks.PutLog(tx, l.mark)
}

// reserve skips the numbers a crash left open and reserves the next ones
// (telemetry.md section 4).
func (l *Log) reserve() (skipped uint64) {
	if l.mark.ReservedTo > l.mark.LastSeq {
		l.mark.Skips = append(l.mark.Skips, Range{From: l.mark.LastSeq + 1, To: l.mark.ReservedTo})
		skipped = l.mark.ReservedTo - l.mark.LastSeq
		l.mark.LastSeq = l.mark.ReservedTo
	}
	l.next = l.mark.LastSeq + 1
	l.mark.ReservedTo = l.mark.LastSeq + reserveStep
	return skipped
}

func (l *Log) loadCursors(tx *store.Tx) error {
	err := marks.Cursors(tx, func(name string, row marks.Cursor) { l.cursors[name] = newCursor(name, row) })
	if err != nil {
		return err
	}
	return marks.EachProgress(tx, func(r marks.Progress) {
		if c := l.cursors[r.Cursor]; c != nil {
			c.prog[r.Block] = &progress{routed: unknown, delivered: r.Delivered, lost: r.Lost, savedDelivered: r.Delivered, savedLost: r.Lost,
				done: r.Done, acked: r.Acked}
		}
	})
}
