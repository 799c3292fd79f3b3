// Package wire is the broker's edge to the network: it accepts connections,
// reads packets from them and writes to them without ever blocking the writer.
//
// Order: packets leave a Conn in the order they were put in. Blocking: no
// method of Conn, Budget, Lobby or Gate waits for a peer; only Reader.Next and
// Serve do. Limits: a Conn holds at most its limit of unwritten bytes, a Budget
// bounds all Conns and sessions together, a Lobby bounds the connections that
// have not said CONNECT, a Gate bounds handshakes and bans guessers of
// passwords. What happens at a limit is written at the limit.
package wire

import (
	"sync"
	"sync/atomic"
)

// bufferMax is the largest buffer worth keeping for the next connection.
const bufferMax = 256 << 10

// scarceShare of what is left for the others may be held before it is scarce.
const scarceShare = 16

// ampleShare of a budget lies between Scarce and Ample: 256 KiB of 64 MiB.
const ampleShare = 256

// Budget bounds the bytes that connections and sessions hold together, so that
// nobody can take it all: each may hold as much as is left for the others. One
// that is stuck gets half of it, two get a third each, and so on; who holds
// nothing always finds room.
type Budget struct {
	limit   int64
	used    atomic.Int64
	buffers sync.Pool
}

// NewBudget allows limit bytes, 0 = no limit.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take books n bytes for one who holds some already; false, and nothing booked,
// when that would be more than is left for all others.
func (b *Budget) Take(held, n int) bool {
	if used := b.used.Add(int64(n)); b.limit > 0 && int64(held+n) > b.limit-used {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// Scarce reports whether one who holds so much has a good part of what it may
// hold: time to slow down whoever gives it more. Without a limit it never is. The
// more there are who hold as much, the less each has left between scarce and
// full: one has 28 of 32 MiB, of fifty each a quarter of 1.3 MiB.
func (b *Budget) Scarce(held int) bool {
	return b.limit > 0 && scarceShare*int64(held) > b.limit-b.used.Load()
}

// Ample is the end of Scarce, a little below its beginning: who was held back
// shall find room for more than one message.
func (b *Budget) Ample(held int) bool { return !b.Scarce(held + int(b.limit/ampleShare)) }

// Force books n bytes whatever the limit: acknowledgements and answers, which
// are small and bounded by the limit of their connection.
func (b *Budget) Force(n int) { b.used.Add(int64(n)) }

// Give returns n bytes.
func (b *Budget) Give(n int) { b.used.Add(-int64(n)) }

// Used is the number of bytes booked now.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) buffer() []byte {
	if p, ok := b.buffers.Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, 4<<10)
}

func (b *Budget) recycle(buf []byte) {
	if c := cap(buf); c > 0 && c <= bufferMax {
		b.buffers.Put(&buf)
	}
}
