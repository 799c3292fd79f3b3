package messages

import (
	"context"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/loss"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

// Adopt commits records that have their numbers already, from another gateway's
// spool or from before: they keep them, and count as inherited. Cursors in To
// that do not exist get nothing.
func (l *Log) Adopt(ctx context.Context, recs []Record) error {
	return l.request(ctx, func(tx *store.Tx, w *write) error { return l.adopt(tx, w, recs) })
}

// Release sends a quarantined message once more, under its old id; false when it
// is not in the quarantine.
func (l *Log) Release(ctx context.Context, q Quarantined) (found bool, err error) {
	err = l.request(ctx, func(tx *store.Tx, w *write) error {
		if found, err = loss.DropQuarantined(tx, q.ID); err != nil || !found {
			return err
		}
		q.Record.To = []string{q.Cursor}
		return l.adopt(tx, w, []Record{q.Record})
	})
	return found, err
}

// Discard forgets a quarantined message, whose loss was recorded when it got
// there; false when it is not in the quarantine.
func (l *Log) Discard(ctx context.Context, id int64) (found bool, err error) {
	err = l.ask(ctx, &request{light: true, ended: make(chan error, 1), fn: func(tx *store.Tx, _ *write) (err error) {
		found, err = loss.DropQuarantined(tx, id)
		return err
	}})
	return found, err
}

// adopt writes blocks of neighbours: of one incarnation and class each.
func (l *Log) adopt(tx *store.Tx, w *write, recs []Record) error {
	for len(recs) > 0 {
		n, size := 0, 0
		for n < len(recs) && n < block.RecordsMax && size < block.BytesMax && recs[n].Inc == recs[0].Inc && recs[n].Class == recs[0].Class {
			size += recs[n].Size()
			n++
		}
		if err := l.adoptBlock(tx, w, recs[:n]); err != nil {
			return err
		}
		recs = recs[n:]
	}
	return nil
}

func (l *Log) adoptBlock(tx *store.Tx, w *write, recs []Record) error {
	var own []Record
	for _, r := range recs {
		var to []string
		for _, name := range r.To {
			if _, is := w.saved[name]; is {
				to = append(to, name)
			}
		}
		if r.To = to; len(to) > 0 {
			own = append(own, r)
		}
	}
	if len(own) == 0 {
		return nil
	}
	b := l.build(w, int(min(recs[0].Class, classes-1)), own)
	w.mark.NextBlock++
	w.adopt(b)
	w.blocks, w.refs = append(w.blocks, b), append(w.refs, nil)
	return l.insertBlock(tx, b)
}

// adopt notes what b adds to the sums of its cursors.
func (w *write) adopt(b *block.Block) {
	if w.adopted == nil {
		w.adopted = make(map[string]uint64)
	}
	for _, d := range b.Dests {
		row := w.saved[d.Name]
		row.Inherited += uint64(d.Routed)
		w.saved[d.Name] = row
		w.adopted[d.Name] += uint64(d.Routed)
	}
}

// takeAdopted makes it the state.
func (l *Log) takeAdopted(w *write) {
	for name, n := range w.adopted {
		c := l.cursors[name]
		if c == nil {
			continue
		}
		c.t.Allocated += n
		c.t.Inherited += n
		c.pend(int64(n))
		c.counted.Add(float64(n))
	}
}

func (l *Log) insertBlock(tx *store.Tx, b *block.Block) error {
	stored, enc := l.packer.Pack(b.EncodeBody())
	b.Bytes = len(stored)
	return segment.Insert(tx, b, stored, enc, block.Sum(stored), b.Recs[0].Wall.UnixMilli())
}
