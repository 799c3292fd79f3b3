package load

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// StampBytes is the shortest payload: who sent it, the how-manieth it is, and
// when it was due.
const StampBytes = 20

func stamp(payload []byte, publisher int, seq int64, due time.Duration) {
	binary.BigEndian.PutUint32(payload, uint32(publisher))
	binary.BigEndian.PutUint64(payload[4:], uint64(seq))
	binary.BigEndian.PutUint64(payload[12:], uint64(due))
}

func unstamp(payload []byte) (publisher int, seq int64, due time.Duration, ok bool) {
	if len(payload) < StampBytes {
		return 0, 0, 0, false
	}
	return int(binary.BigEndian.Uint32(payload)), int64(binary.BigEndian.Uint64(payload[4:])),
		time.Duration(binary.BigEndian.Uint64(payload[12:])), true
}

// noise fills payloads with bytes that differ from message to message: a broker
// that compresses what it stores shall find nothing.
type noise []byte

// noiseBytes is how much differs before it begins again.
const noiseBytes = 1 << 20

func newNoise(payload int) noise {
	n := make(noise, noiseBytes+payload)
	source := rand.NewPCG(1, 2)
	for i := 0; i+8 <= len(n); i += 8 {
		binary.LittleEndian.PutUint64(n[i:], source.Uint64())
	}
	return n
}

func (n noise) fill(b []byte, publisher int, seq int64) {
	at := (seq*int64(len(b)) + int64(publisher)*7919) % noiseBytes
	copy(b, n[at:])
}

// missingMax bounds the numbers that a check remembers as missing.
const missingMax = 1 << 20

// check follows the numbers of one publisher at one subscriber.
type check struct {
	next                  int64
	distinct              int64
	duplicated, reordered int64
	missing               map[int64]struct{}
}

// see takes the next number that arrived.
func (c *check) see(seq int64) {
	switch {
	case seq == c.next:
		c.next++
		c.distinct++
	case seq > c.next:
		if c.missing == nil {
			c.missing = make(map[int64]struct{})
		}
		for n := c.next; n < seq && len(c.missing) < missingMax; n++ {
			c.missing[n] = struct{}{}
		}
		c.next = seq + 1
		c.distinct++
	default:
		if _, late := c.missing[seq]; !late {
			c.duplicated++
			return
		}
		delete(c.missing, seq)
		c.reordered++
		c.distinct++
	}
}
