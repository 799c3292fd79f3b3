package load

import (
	"math/bits"
	"time"
)

// stepBits is how finely a histogram sees: 1/32 of a value.
const stepBits = 5

// Histogram counts durations with an error of 3 %. The zero Histogram is
// empty. It is not safe for concurrent use.
type Histogram struct {
	counts []int64
	total  int64
	max    time.Duration
}

// Add counts one duration; a negative one counts as none.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	i := bucket(uint64(d))
	if i >= len(h.counts) {
		h.counts = append(h.counts, make([]int64, i+1-len(h.counts))...)
	}
	h.counts[i]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds everything that other counted.
func (h *Histogram) Merge(other *Histogram) {
	if n := len(other.counts); n > len(h.counts) {
		h.counts = append(h.counts, make([]int64, n-len(h.counts))...)
	}
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// Count is how many durations were added.
func (h *Histogram) Count() int64 { return h.total }

// Quantile is the duration below which the share q of all lies; 0 when empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := int64(q * float64(h.total))
	for i, n := range h.counts {
		if rank -= n; rank < 0 {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

// bucket numbers the values: exact below 2^stepBits, then 2^stepBits steps for
// each power of two.
func bucket(v uint64) int {
	if v < 1<<stepBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - stepBits
	return (shift+1)<<stepBits + int(v>>shift) - 1<<stepBits
}

// upper is the largest value of a bucket.
func upper(i int) uint64 {
	if i < 1<<stepBits {
		return uint64(i)
	}
	shift := i>>stepBits - 1
	return (uint64(i&(1<<stepBits-1)+1<<stepBits)+1)<<shift - 1
}
