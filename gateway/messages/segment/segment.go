// Package segment is the table of blocks: one row each, in the order of their
// ids.
//
// Every function works inside the transaction of its caller and promises what
// that one does. A damaged body costs the records it held, not the row.
package segment

import (
	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/store"
)

const classShift = 48

// Base is the id just before the first block of a class.
func Base(cls int) int64 { return int64(cls) << classShift }

// Class is the class of a block.
func Class(id int64) int { return int(id >> classShift) }

// Number is a block's running number: blocks of one commit share it.
func Number(id int64) int64 { return id & (1<<classShift - 1) }

// Columns of a row without its body.
const Columns = "id, inc, first_seq, last_seq, n, dests, enc, crc32c"

// Scan reads a row whose columns are Columns and perhaps the body.
func Scan(scan store.Scan, withBody bool) (b *block.Block, stored []byte, enc int, sum uint32, err error) {
	b = &block.Block{}
	var dests []byte
	to := []any{&b.ID, &b.Inc, &b.First, &b.Last, &b.N, &dests, &enc, &sum}
	if withBody {
		to = append(to, &stored)
	}
	if err := scan(to...); err != nil {
		return nil, nil, 0, 0, err
	}
	if b.Dests, err = block.DecodeDests(dests); err != nil {
		return nil, nil, 0, 0, err
	}
	b.Bytes = len(stored)
	return b, stored, enc, sum, nil
}

// Read gives the first block with an id in (after, end), nil when there
// is none. What cannot be read of its body is left out of recs.
func Read(tx *store.Tx, after, end int64) (*block.Block, error) { return read(tx, "", after, end) }

// ReadLast gives the last one.
func ReadLast(tx *store.Tx, after, end int64) (*block.Block, error) {
	return read(tx, " DESC", after, end)
}

func read(tx *store.Tx, order string, after, end int64) (*block.Block, error) {
	var b *block.Block
	err := tx.Query("SELECT "+Columns+", body FROM seg WHERE id > ? AND id < ? ORDER BY id"+order+" LIMIT 1", []any{after, end},
		func(scan store.Scan) error {
			var stored []byte
			var enc int
			var err error
			b, stored, enc, _, err = Scan(scan, true)
			if err != nil {
				return err
			}
			b.Open(stored, enc)
			for i := range b.Recs {
				b.Recs[i].Class = uint8(Class(b.ID))
			}
			return nil
		})
	return b, err
}

// Head gives a block's row without its body.
func Head(tx *store.Tx, after, end int64) (*block.Block, error) { return head(tx, "", after, end) }

// HeadLast gives the last one's.
func HeadLast(tx *store.Tx, after, end int64) (*block.Block, error) {
	return head(tx, " DESC", after, end)
}

func head(tx *store.Tx, order string, after, end int64) (*block.Block, error) {
	var b *block.Block
	err := tx.Query("SELECT "+Columns+" FROM seg WHERE id > ? AND id < ? ORDER BY id"+order+" LIMIT 1", []any{after, end},
		func(scan store.Scan) (err error) {
			b, _, _, _, err = Scan(scan, false)
			return err
		})
	return b, err
}

// Insert adds a block with its stored body.
func Insert(tx *store.Tx, b *block.Block, stored []byte, enc int, sum uint32, wallMS int64) error {
	_, err := tx.Exec("INSERT INTO seg("+Columns+", body, wall_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		b.ID, b.Inc, int64(b.First), int64(b.Last), b.N, block.EncodeDests(b.Dests), enc, int64(sum), stored, wallMS)
	return err
}
