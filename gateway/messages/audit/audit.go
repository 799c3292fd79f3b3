// Package audit looks through a whole message file: what waits in it, and whether
// its sums agree with a count of every record.
//
// It needs no log: a stopped daemon's file can be looked at; of a running one it
// sees what is written down. It takes time in proportion to the file and memory
// for one block at a time. Order: class by class, the oldest first in each.
package audit

import (
	"context"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/marks"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

// reader is how far one cursor is.
type reader struct {
	upTo [marks.Classes]int64
	prog map[int64]marks.Progress
}

func (r *reader) isDone(id int64) bool {
	return id <= r.upTo[segment.Class(id)] || r.prog[id].Done
}

// has reports whether record i of a block is accounted for.
func (r *reader) has(id int64, i int) bool {
	acked := r.prog[id].Acked
	return i/8 < len(acked) && acked[i/8]&(1<<(i%8)) != 0
}

func readers(tx *store.Tx) (map[string]*reader, error) {
	all := make(map[string]*reader)
	err := marks.Cursors(tx, func(name string, row marks.Cursor) {
		all[name] = &reader{upTo: row.Done, prog: make(map[int64]marks.Progress)}
	})
	if err != nil {
		return nil, err
	}
	return all, marks.EachProgress(tx, func(p marks.Progress) {
		if r := all[p.Cursor]; r != nil {
			r.prog[p.Block] = p
		}
	})
}

// Scan gives every record that a cursor waits for, To naming who does. The error
// of each ends it. It reads one block at a time and holds no snapshot between.
func Scan(ctx context.Context, db *store.DB, each func(*block.Record) error) error {
	var all map[string]*reader
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		all, err = readers(tx)
		return err
	})
	if err != nil {
		return err
	}
	for cls := range marks.Classes {
		for after := segment.Base(cls); ; {
			var b *block.Block
			err := db.Read(ctx, func(tx *store.Tx) (err error) {
				b, err = segment.Read(tx, after, segment.Base(cls+1))
				return err
			})
			if err != nil {
				return err
			}
			if b == nil {
				break
			}
			after = b.ID
			if err := eachWaiting(all, b, each); err != nil {
				return err
			}
		}
	}
	return nil
}

func eachWaiting(all map[string]*reader, b *block.Block, each func(*block.Record) error) error {
	for i := range b.Recs {
		r := &b.Recs[i]
		r.To = nil
		for n, d := range b.Dests {
			c := all[d.Name]
			if r.Seq == 0 || c == nil || b.Masks[i]&(1<<n) == 0 || c.isDone(b.ID) || c.has(b.ID, i) {
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
// one snapshot.
func Verify(ctx context.Context, db *store.DB) (f Findings, err error) {
	f.Pending = make(map[string]int64)
	err = db.Read(ctx, func(tx *store.Tx) error {
		all, err := readers(tx)
		if err != nil {
			return err
		}
		for cls := range marks.Classes {
			for after := segment.Base(cls); ; {
				b, err := segment.Read(tx, after, segment.Base(cls+1))
				if err != nil {
					return err
				}
				if b == nil {
					break
				}
				after = b.ID
				f.add(all, b)
			}
		}
		return nil
	})
	return f, err
}

// add counts one block.
func (f *Findings) add(all map[string]*reader, b *block.Block) {
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
		c := all[d.Name]
		if c == nil || b.ID <= c.upTo[segment.Class(b.ID)] {
			continue
		}
		p := c.prog[b.ID]
		f.Pending[d.Name] += int64(d.Routed - p.Delivered - p.Lost)
	}
}
