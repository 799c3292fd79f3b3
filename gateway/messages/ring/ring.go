// Package ring keeps the blocks that were committed last, so that a reader that
// keeps up never touches the file.
//
// It is pure. Order: that of Push. Limits: Trim's caller names the bytes that all
// rings together may hold.
package ring

import (
	"cmp"
	"slices"

	"github.com/tidehold/tidehold/gateway/messages/block"
)

// Ring holds the blocks of one class: every block with an id above Start. Not
// safe for concurrent use.
type Ring struct {
	Start  int64
	blocks []*block.Block
	bytes  int
}

// Push adds a block with a higher id than all others.
func (r *Ring) Push(b *block.Block) {
	r.blocks = append(r.blocks, b)
	r.bytes += b.Memory()
}

// Next is the first block with an id in (after, end), nil when there is none.
func (r *Ring) Next(after, end int64) *block.Block {
	for _, b := range r.blocks {
		if b.ID > after && b.ID < end {
			return b
		}
	}
	return nil
}

// Last is the last block with an id in (after, before), nil when there is none.
func (r *Ring) Last(after, before int64) *block.Block {
	for _, b := range slices.Backward(r.blocks) {
		if b.ID > after && b.ID < before {
			return b
		}
	}
	return nil
}

// Remove takes a block out that left the file.
func (r *Ring) Remove(id int64) {
	r.blocks = slices.DeleteFunc(r.blocks, func(b *block.Block) bool {
		if b.ID == id {
			r.bytes -= b.Memory()
		}
		return b.ID == id
	})
}

// Put adds a block in its place by id; one below Start needs none.
func (r *Ring) Put(b *block.Block) {
	if b.ID <= r.Start {
		return
	}
	at, _ := slices.BinarySearchFunc(r.blocks, b.ID, func(x *block.Block, id int64) int { return cmp.Compare(x.ID, id) })
	r.blocks = slices.Insert(r.blocks, at, b)
	r.bytes += b.Memory()
}

// Trim keeps the rings together at most at limit bytes, the fullest at its turn.
func Trim(rings []Ring, limit int) {
	for {
		total, most := 0, 0
		for i := range rings {
			total += rings[i].bytes
			if rings[i].bytes > rings[most].bytes {
				most = i
			}
		}
		r := &rings[most]
		if total <= limit || len(r.blocks) == 0 {
			return
		}
		r.Start = r.blocks[0].ID
		r.bytes -= r.blocks[0].Memory()
		r.blocks[0] = nil
		r.blocks = r.blocks[1:]
	}
}
