// Package tail is what a message log holds in memory: appends in their order,
// each until it is committed or, when it may leave before that, until everybody
// it is for has acknowledged it.
//
// It is pure: times are handed in, nothing is locked, nothing blocks. Order: the
// front leaves first, so that everything below the front's first number is
// accounted for; Ready gives appends in the order of Push whatever came first,
// the acknowledgement or the commit. It has no limits of its own: Load tells the
// owner when to commit.
package tail

import (
	"math/bits"
	"slices"
	"sort"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
)

// Load counts records and their bytes.
type Load struct{ Records, Bytes int }

func (l *Load) add(m Load, sign int) {
	l.Records += sign * m.Records
	l.Bytes += sign * m.Bytes
}

// Entry is one append. First and Last are its numbers; Last is First-1 when it
// holds no records.
type Entry struct {
	Records     []block.Record
	First, Last uint64
	Done        func(error)
	Urgent      bool
	// Early lets the records leave before they are committed; Until is when
	// they are to be committed all the same.
	Early bool
	Until time.Time
	// Note is the owner's.
	Note any

	load           Load
	need           []uint64 // per record: the shares that accept it
	given, settled []uint64 // per record: a bit per name in To
	open, lacking  int      // shares not settled, and those of them in need
	committed      bool
}

// prepare counts. Everybody who is required accepts a record; when nobody is,
// all do.
func (e *Entry) prepare(required func(name string) bool) {
	n := len(e.Records)
	masks := make([]uint64, 3*n)
	e.need, e.given, e.settled = masks[:n], masks[n:2*n], masks[2*n:]
	for i := range e.Records {
		r := &e.Records[i]
		e.load.Records++
		e.load.Bytes += r.Size()
		for at, name := range r.To {
			if required(name) {
				e.need[i] |= 1 << at
			}
		}
		if e.need[i] == 0 {
			e.need[i] = all(r)
		}
		e.open += len(r.To)
		e.lacking += bits.OnesCount64(e.need[i])
	}
}

func all(r *block.Record) uint64 { return 1<<len(r.To) - 1 }

// Share is the place of a name among those who get record i, -1 when it does
// not.
func (e *Entry) Share(i int, name string) int { return slices.Index(e.Records[i].To, name) }

// Give notes that a share of record i is on its way; false when it was.
func (e *Entry) Give(i, share int) bool {
	if e.given[i]&(1<<share) != 0 {
		return false
	}
	e.given[i] |= 1 << share
	return true
}

// Settled reports whether a share of record i was acknowledged.
func (e *Entry) Settled(i, share int) bool { return e.settled[i]&(1<<share) != 0 }

// Through reports whether everybody has record i.
func (e *Entry) Through(i int) bool { return e.Early && e.settled[i] == all(&e.Records[i]) }

// through reports whether the entry need not be committed any more.
func (e *Entry) through() bool { return e.Early && e.open == 0 }

// Accepted reports whether the entry is safe.
func (e *Entry) Accepted() bool { return e.committed || e.Early && e.lacking == 0 }

// Tail is the queue. The zero value is empty. Not safe for concurrent use.
type Tail struct {
	entries []*Entry
	undone  []*Entry // their Done was not called
	load    Load
	plain   int  // entries that are not early
	waiting Load // of plain ones
	urgent  bool // a plain one is
	until   time.Time
	frozen  bool // a commit is under way
}

// Push appends an entry whose records have their numbers.
func (t *Tail) Push(e *Entry, required func(name string) bool) {
	e.prepare(required)
	t.entries, t.undone = append(t.entries, e), append(t.undone, e)
	t.count(e, +1)
}

func (t *Tail) count(e *Entry, sign int) {
	t.load.add(e.load, sign)
	if e.Early {
		if sign > 0 && (t.until.IsZero() || e.Until.Before(t.until)) {
			t.until = e.Until
		}
		return
	}
	t.plain += sign
	t.waiting.add(e.load, sign)
	t.urgent = t.urgent || sign > 0 && e.Urgent
}

// Len is how many entries there are.
func (t *Tail) Len() int { return len(t.entries) }

// Load is what the tail holds.
func (t *Tail) Load() Load { return t.load }

// Plain is how many entries wait for a commit only, what they hold, and whether
// one of them is urgent.
func (t *Tail) Plain() (entries int, held Load, urgent bool) { return t.plain, t.waiting, t.urgent }

// Oldest is the first record, nil when there is none.
func (t *Tail) Oldest() *block.Record {
	if len(t.entries) == 0 || len(t.entries[0].Records) == 0 {
		return nil
	}
	return &t.entries[0].Records[0]
}

// Until is when an early entry must be committed next; zero when none must. It
// looks through the tail only when that time has come.
func (t *Tail) Until(now time.Time) time.Time {
	if t.until.IsZero() || t.until.After(now) {
		return t.until
	}
	t.until = time.Time{}
	for _, e := range t.entries {
		if e.Early && e.open > 0 && (t.until.IsZero() || e.Until.Before(t.until)) {
			t.until = e.Until
		}
	}
	return t.until
}

// Late gives the names that let an early entry wait past its time.
func (t *Tail) Late(now time.Time) (names []string) {
	for _, e := range t.entries {
		if !e.Early || e.open == 0 || e.Until.After(now) {
			continue
		}
		for i := range e.Records {
			for share, name := range e.Records[i].To {
				if !e.Settled(i, share) && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// Hurry makes early entries that wait for a name due now.
func (t *Tail) Hurry(now time.Time, name string) {
	for _, e := range t.entries {
		if e.Early && e.open > 0 && e.waitsFor(name) {
			t.HurryEntry(now, e)
		}
	}
}

// HurryEntry makes one early entry due now.
func (t *Tail) HurryEntry(now time.Time, e *Entry) {
	if e.Until.After(now) {
		e.Until = now
	}
	if t.until.IsZero() || e.Until.Before(t.until) {
		t.until = e.Until
	}
}

func (e *Entry) waitsFor(name string) bool {
	for i := range e.Records {
		if share := e.Share(i, name); share >= 0 && !e.Settled(i, share) {
			return true
		}
	}
	return false
}

// Next finds the first record above a number that is for a name, has a class
// from low to high, and was not given. The caller gives it when its entry is
// Early; otherwise it waits, because nothing behind it may overtake it. after
// moves over what need not be looked at again.
func (t *Tail) Next(after *uint64, name string, low, high uint8) (e *Entry, i, share int) {
	from := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].Last > *after })
	for _, e := range t.entries[from:] {
		for i := range e.Records {
			r := &e.Records[i]
			if r.Seq <= *after {
				continue
			}
			share := e.Share(i, name)
			if share >= 0 && r.Class >= low && r.Class <= high && e.given[i]&(1<<share) == 0 {
				return e, i, share
			}
			*after = r.Seq
		}
	}
	return nil, 0, 0
}

// Settle notes that a share of record i was acknowledged.
func (t *Tail) Settle(e *Entry, i, share int) {
	bit := uint64(1) << share
	if e.settled[i]&bit != 0 {
		return
	}
	e.settled[i] |= bit
	e.open--
	if e.need[i]&bit != 0 {
		e.lacking--
	}
}

// Pop takes entries from the front that everybody has: they are never
// committed. It gives none while a commit is under way.
func (t *Tail) Pop() (out []*Entry) {
	if t.frozen {
		return nil
	}
	n := 0
	for n < len(t.entries) && t.entries[n].through() {
		n++
	}
	out = slices.Clone(t.entries[:n])
	t.drop(n)
	return out
}

func (t *Tail) drop(n int) {
	for i, e := range t.entries[:n] {
		t.count(e, -1)
		t.entries[i] = nil
	}
	t.entries = t.entries[n:]
	if len(t.entries) == 0 {
		t.entries, t.until = nil, time.Time{}
	}
}

// Take gives everything for a commit; Committed or Kept tells how it ended.
func (t *Tail) Take() []*Entry {
	t.frozen = true
	return slices.Clone(t.entries)
}

// Kept ends a commit that failed.
func (t *Tail) Kept() { t.frozen = false }

// Committed ends the commit of what Take gave: n entries.
func (t *Tail) Committed(n int) {
	t.frozen = false
	for _, e := range t.entries[:n] {
		e.committed = true
	}
	t.drop(n)
	t.urgent = slices.ContainsFunc(t.entries, func(e *Entry) bool { return !e.Early && e.Urgent })
}

// Ready takes the entries whose Done is to be called now.
func (t *Tail) Ready() []*Entry {
	n := 0
	for n < len(t.undone) && t.undone[n].Accepted() {
		n++
	}
	out := t.undone[:n:n]
	t.undone = t.undone[n:]
	return out
}

// Abandon takes the entries that will never be ready.
func (t *Tail) Abandon() []*Entry {
	out := t.undone
	*t = Tail{}
	return out
}
