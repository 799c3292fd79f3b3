// Package verdict decides for a bus: who has the next turn, which chip is asked
// at all, when a bus is stuck and when it is freed again, and how the ports of
// multiplexers are switched. It is pure: time is an argument, on any clock that
// never steps. drivers/bus/shared acts on what is decided here.
package verdict

import "time"

// Limits of turns (drivers.md 4.1).
const (
	// gapMax is the longest pause between two transactions of a lease.
	gapMax = 50 * time.Millisecond
	// leaseMax is the longest a bus is held while others wait: a driver with
	// many transactions must not keep an output from its write.
	leaseMax = 500 * time.Millisecond
)

// Waiting is a request that waits for its turn.
type Waiting struct {
	Lease    uint64 // 0: a transaction of its own
	Priority int    // the higher goes first
}

// Hold is the lease that has the bus; the zero Hold is nobody's.
type Hold struct {
	Lease       uint64
	Since, Last time.Duration // its first transaction, the end of its last one
}

// Extend is the hold after a transaction of a lease that began at began.
func (h Hold) Extend(lease uint64, began, now time.Duration) Hold {
	if lease == 0 {
		return Hold{}
	}
	if h.Lease != lease || began >= h.lapse() {
		h = Hold{Lease: lease, Since: began}
	}
	h.Last = now
	return h
}

// lapse is when others may go in between.
func (h Hold) lapse() time.Duration { return min(h.Last+gapMax, h.Since+leaseMax) }

// Next is the request that is served now, by its place in the queue, which is
// in the order of arrival. It is -1 when the bus is held for somebody who does
// not ask; then look again after wait.
func Next(queue []Waiting, h Hold, now time.Duration) (place int, wait time.Duration) {
	held := h.Lease != 0 && now < h.lapse()
	best := -1
	for i, w := range queue {
		if held && w.Lease == h.Lease {
			return i, 0
		}
		if best < 0 || w.Priority > queue[best].Priority {
			best = i
		}
	}
	if held && best >= 0 {
		return -1, h.lapse() - now
	}
	return best, 0
}

// HopsMax is how many multiplexers may lie one behind the other.
const HopsMax = 3

// Hop is an open port of a multiplexer (PCA9548 and its kind: one byte is the
// mask of its open ports).
type Hop struct {
	Addr uint16
	Mask byte
}

// Route is the way to a chip through multiplexers, the first one first; a zero
// Hop ends it.
type Route [HopsMax]Hop

// Behind adds a hop; false when the route is full.
func (r Route) Behind(h Hop) (Route, bool) {
	for i := range r {
		if r[i] == (Hop{}) {
			r[i] = h
			return r, true
		}
	}
	return r, false
}

// Switch gives the masks to write, in order, so that exactly the ports of want
// are open where those of open were. Ports that are no longer wanted are closed
// first, the last one first: two open ports would show two chips at one
// address.
func Switch(open, want Route) []Hop {
	same := 0
	for same < HopsMax && open[same] == want[same] {
		same++
	}
	var writes []Hop
	for i := HopsMax - 1; i >= same; i-- {
		if open[i].Mask != 0 && (i > same || open[i].Addr != want[i].Addr) {
			writes = append(writes, Hop{Addr: open[i].Addr})
		}
	}
	for i := same; i < HopsMax && want[i].Mask != 0; i++ {
		writes = append(writes, want[i])
	}
	return writes
}
