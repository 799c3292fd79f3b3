// Package judge is the reference consumer of telemetry (telemetry.md section
// 10): it makes "at least once with a stable id" effectively once, and finds
// what is missing by numbers alone.
//
// Per gateway and incarnation it keeps the numbers seen, and closes holes with
// the gateway's own start, loss and mark records. Raw messages carry no id and
// are only counted.
//
// The package is pure; a Judge is not safe for concurrent use. It remembers the
// highest number without a hole below it and each number above: memory grows
// with disorder, not with time.
package judge

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Range is a closed range of numbers.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Verdict is what is known of one gateway and incarnation.
type Verdict struct {
	// Received counts distinct numbers, Duplicates those that came again.
	Received, Duplicates uint64
	// Reordered counts first arrivals with a number below an earlier one of the
	// same lane.
	Reordered uint64
	// Changed counts duplicates whose measurement differs from the first.
	Changed uint64
	// Lost is what loss records say, Skipped what start records say, Folded how
	// many messages the aggregates stand for that came.
	Lost, Skipped, Folded uint64
	// Holes are the numbers below the highest received that did not come, were
	// not skipped, and lie in no range of a loss. On an uplink that gets only
	// part of the messages most of them belong to others: see Missing.
	Holes []Range
	// Marked is set once a mark came; then Missing tells how many messages up to
	// it are neither received nor lost.
	Marked  bool
	Missing int64
}

// Judge takes messages and tells what is missing. Make one with New.
type Judge struct {
	sources map[string]*source
	raw     uint64
}

// New makes a judge that has seen nothing.
func New() *Judge { return &Judge{sources: make(map[string]*source)} }

// source is one gateway and incarnation.
type source struct {
	seen    numbers
	covered []Range // by losses and skips
	skips   []Range
	v       Verdict
	last    map[string]uint64 // per lane
	sums    map[uint64]string // measurement of numbers, to find changes
	folds   map[string]bool   // ids of aggregates
	mark    struct{ upto, n uint64 }
}

// numbers is a set: everything up to low, and each in above.
type numbers struct {
	low   uint64
	above map[uint64]bool
	high  uint64
}

func (n *numbers) has(seq uint64) bool { return seq <= n.low || n.above[seq] }

func (n *numbers) add(seq uint64) {
	if n.above == nil {
		n.above = make(map[uint64]bool)
	}
	n.above[seq] = true
	n.high = max(n.high, seq)
	for n.above[n.low+1] {
		n.low++
		delete(n.above, n.low)
	}
}

// envelope is what of the native form, and of the member _gw of the inject
// form, is needed here.
type envelope struct {
	ID   string          `json:"id"`
	Lane string          `json:"lane"`
	Src  string          `json:"src"`
	M    json.RawMessage `json:"m"`
	Raw  string          `json:"raw"`
	N    json.RawMessage `json:"n"` // of an aggregate a number; devices may mean anything by it
	Gw   *envelope       `json:"_gw"`
}

// Add takes one message as it arrived and reports whether it holds anything not
// seen before. A batch counts as its members; raw messages are always new.
func (j *Judge) Add(payload []byte) (fresh bool) {
	p := bytes.TrimSpace(payload)
	if len(p) > 0 && p[0] == '[' {
		var members []json.RawMessage
		if json.Unmarshal(p, &members) == nil {
			for _, m := range members {
				fresh = j.add(m) || fresh
			}
			return fresh
		}
	}
	return j.add(p)
}

func (j *Judge) add(payload []byte) bool {
	var e envelope
	if json.Unmarshal(payload, &e) != nil {
		e = envelope{}
	}
	if e.ID == "" && e.Gw != nil {
		e.ID, e.Lane, e.M = e.Gw.ID, e.Gw.Lane, withoutGw(payload)
	}
	if fresh, is := j.aggregate(e); is {
		return fresh
	}
	key, seq, ok := splitID(e.ID)
	if !ok {
		j.raw++
		return true
	}
	s := j.source(key)
	if s.seen.has(seq) {
		s.v.Duplicates++
		if sum, known := s.sums[seq]; known && sum != string(e.M)+e.Raw {
			s.v.Changed++
		}
		return false
	}
	s.take(seq, e)
	if what, ok := strings.CutPrefix(e.Src, "sys/"); ok {
		j.record(key, what, e.M)
	}
	return true
}

// aggregate takes in one of many messages: its id is
// `gateway:incarnation:f<level>-<from>-<to>`.
func (j *Judge) aggregate(e envelope) (fresh, is bool) {
	at := strings.LastIndex(e.ID, ":f")
	n, err := strconv.ParseUint(string(e.N), 10, 32)
	if at <= 0 || err != nil {
		return false, false
	}
	_, ends, _ := strings.Cut(e.ID[at+2:], "-")
	first, last, _ := strings.Cut(ends, "-")
	_, from, ok := splitID("x:" + first)
	_, to, ok2 := splitID("x:" + last)
	if !ok || !ok2 || from > to {
		return false, false
	}
	s := j.source(e.ID[:at])
	if s.folds[e.ID] {
		s.v.Duplicates++
		return false, true
	}
	s.folds[e.ID] = true
	s.v.Folded += n
	s.seen.high = max(s.seen.high, to)
	s.covered = append(s.covered, Range{from, to})
	return true, true
}

// withoutGw is what the device said: the lane may differ when it comes again.
func withoutGw(payload []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &members) != nil {
		return payload
	}
	delete(members, "_gw")
	rest, _ := json.Marshal(members) // raw members always have a form
	return rest
}

// splitID takes an id apart: gw ":" inc ":" seq.
func splitID(id string) (key string, seq uint64, ok bool) {
	at := strings.LastIndexByte(id, ':')
	if at <= 0 || at+1 == len(id) || len(id)-at > 20 {
		return "", 0, false
	}
	for _, c := range []byte(id[at+1:]) {
		if c < '0' || c > '9' {
			return "", 0, false
		}
		seq = seq*10 + uint64(c-'0')
	}
	return id[:at], seq, seq > 0
}

func (j *Judge) source(key string) *source {
	s := j.sources[key]
	if s == nil {
		s = &source{last: make(map[string]uint64), sums: make(map[uint64]string), folds: make(map[string]bool)}
		j.sources[key] = s
	}
	return s
}

// sumsMax bounds the measurements kept to find changes.
const sumsMax = 100_000

func (s *source) take(seq uint64, e envelope) {
	s.seen.add(seq)
	s.v.Received++
	if len(s.sums) < sumsMax {
		s.sums[seq] = string(e.M) + e.Raw
	}
	if strings.HasPrefix(e.Src, "sys/") {
		return // class 0: a lane of its own on the gateway's side
	}
	if seq < s.last[e.Lane] {
		s.v.Reordered++
	}
	s.last[e.Lane] = max(s.last[e.Lane], seq)
}

// record takes in one of the gateway's own records. A loss may be of an older
// incarnation than the record.
func (j *Judge) record(key, what string, body []byte) {
	var r struct {
		Inc         string `json:"inc"`
		From        uint64 `json:"from"`
		To          uint64 `json:"to"`
		Count       uint64 `json:"count"`
		Folded      uint64 `json:"folded"`
		Upto        uint64 `json:"upto"`
		N           uint64 `json:"n"`
		SkippedFrom uint64 `json:"skipped_from"`
		SkippedTo   uint64 `json:"skipped_to"`
	}
	if json.Unmarshal(body, &r) != nil {
		return
	}
	of := j.source(key)
	if gw, _, ok := strings.Cut(key, ":"); ok && r.Inc != "" {
		of = j.source(gw + ":" + r.Inc)
	}
	switch what {
	case "start":
		if r.SkippedFrom > 0 && r.SkippedTo >= r.SkippedFrom {
			of.v.Skipped += r.SkippedTo - r.SkippedFrom + 1
			of.covered = append(of.covered, Range{r.SkippedFrom, r.SkippedTo})
			of.skips = append(of.skips, Range{r.SkippedFrom, r.SkippedTo})
		}
	case "loss":
		of.v.Lost += r.Count + r.Folded
		of.covered = append(of.covered, Range{r.From, r.To})
	case "mark":
		if r.Upto > of.mark.upto {
			of.mark.upto, of.mark.n = r.Upto, r.N
			of.v.Marked = true
			of.v.Missing = int64(r.N) - int64(of.upTo(r.Upto)) - int64(of.v.Lost) - int64(of.v.Folded)
		}
	}
}

// upTo counts the received numbers up to one. What came although a crash skipped
// its number had been sent before it was written down: marks do not count it.
func (s *source) upTo(seq uint64) (n uint64) {
	n = min(s.seen.low, seq)
	for above := range s.seen.above {
		if above <= seq {
			n++
		}
	}
	for _, skip := range s.skips {
		for at := skip.From; at <= min(skip.To, seq, s.seen.high); at++ {
			if s.seen.has(at) {
				n--
			}
		}
	}
	return n
}

// Raw is how many messages without an id came.
func (j *Judge) Raw() uint64 { return j.raw }

// Verdicts gives what is known, by `gateway:incarnation`.
func (j *Judge) Verdicts() map[string]Verdict {
	out := make(map[string]Verdict, len(j.sources))
	for key, s := range j.sources {
		v := s.v
		v.Holes = s.holes()
		out[key] = v
	}
	return out
}

// holes walks the numbers that came and what losses and skips cover.
func (s *source) holes() (holes []Range) {
	at := s.seen.low + 1
	for _, seq := range slices.Sorted(maps.Keys(s.seen.above)) {
		holes = s.gap(holes, at, seq-1)
		at = seq + 1
	}
	return holes
}

// gap adds the parts of from..to that nothing covers.
func (s *source) gap(holes []Range, from, to uint64) []Range {
	for from <= to {
		end := min(to, s.nextCover(from)-1)
		if c, covered := s.cover(from); covered {
			end = min(to, c.To)
		} else {
			holes = append(holes, Range{from, end})
		}
		from = end + 1 // to is below a number that came: no overflow
	}
	return holes
}

func (s *source) cover(seq uint64) (Range, bool) {
	for _, c := range s.covered {
		if c.From <= seq && seq <= c.To {
			return c, true
		}
	}
	return Range{}, false
}

// nextCover is the first covered number above seq.
func (s *source) nextCover(seq uint64) uint64 {
	next := s.seen.high + 1
	for _, c := range s.covered {
		if c.From > seq {
			next = min(next, c.From)
		}
	}
	return next
}
