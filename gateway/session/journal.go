package session

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

const (
	// lazily is how long a change nobody waits for may wait for company.
	lazily = time.Second
	// commitOps and commitBytes bound one transaction.
	commitOps   = 1000
	commitBytes = 1 << 20
	// lastTries is how often the end of Run tries to commit.
	lastTries = 3
)

// key says what an op writes; a later op with the same key replaces it.
type key struct {
	kind byte
	id   int64
	text string
}

// op is one write.
type op struct {
	key   key
	bytes int
	// write is nil when an earlier op has taken it over.
	write func(*store.Tx) error
	// patient: who waits for it waits until it is committed, however often that
	// fails; all others are told of the first failure.
	patient bool
	// first: nothing with its key has been committed.
	first bool
	// erases: the op removes what another with its key wrote; both are nothing
	// when neither has been committed.
	erases bool
}

// entry is the ops of one change and who waits for them.
type entry struct {
	ops  []*op
	done func(error)
}

// journal commits the ops for one file, one transaction at a time; what comes
// meanwhile waits for the next.
type journal struct {
	name     string
	db       *store.DB
	slog     *slog.Logger
	failures *metrics.Counter

	mu      sync.Mutex
	waiting []entry
	latest  map[key]*op
	urgent  bool
	closed  bool
	wake    chan struct{}
}

func newJournal(name string, db *store.DB, log *slog.Logger) *journal {
	return &journal{name: name, db: db, slog: log, latest: make(map[key]*op), wake: make(chan struct{}, 1)}
}

func (j *journal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.waiting)
}

// add stages ops, which are committed together.
func (j *journal) add(ops []*op, done func(error)) {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		if done != nil {
			go done(store.ErrClosed) // the caller may hold what done needs
		}
		return
	}
	taken := done == nil
	for _, o := range ops {
		j.replace(o)
		taken = taken && o.write == nil
	}
	if taken { // what waits already does it all
		j.mu.Unlock()
		return
	}
	j.waiting = append(j.waiting, entry{ops, done})
	first := len(j.waiting) == 1
	wake := first || done != nil && !j.urgent
	j.urgent = j.urgent || done != nil
	j.mu.Unlock()
	if wake {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
}

// replace lets an op that waits with the same key do what o is to do, so that
// whoever waits for that one is not told before something as new is committed.
func (j *journal) replace(o *op) {
	old := j.latest[o.key]
	if old == nil {
		j.latest[o.key] = o
		return
	}
	if o.erases && old.first {
		o.write = nil
	}
	old.write, old.bytes, old.first, old.erases = o.write, o.bytes, o.first, o.erases
	o.write = nil
	if old.write == nil {
		delete(j.latest, o.key)
	}
}

// run commits until ctx ends, and then what is left.
func (j *journal) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-j.wake:
			if j.pause(ctx) {
				j.commit()
			}
		}
	}
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	for try := 0; try < lastTries && j.len() > 0; {
		if !j.commit() {
			try++
		}
	}
	for j.len() > 0 {
		for _, e := range j.take() {
			if e.done != nil {
				e.done(store.ErrClosed)
			}
		}
	}
}

// pause waits for company while nobody waits; false at the end of ctx.
func (j *journal) pause(ctx context.Context) bool {
	t := time.NewTimer(lazily)
	defer t.Stop()
	for {
		j.mu.Lock()
		urgent := j.urgent
		j.mu.Unlock()
		if urgent {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case <-j.wake:
		}
	}
}

// take takes down what one transaction may hold.
func (j *journal) take() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, ops, bytes := 0, 0, 0
	for n < len(j.waiting) && ops < commitOps && bytes < commitBytes {
		for _, o := range j.waiting[n].ops {
			if o.write != nil {
				ops++
				bytes += o.bytes
			}
			if j.latest[o.key] == o {
				delete(j.latest, o.key)
			}
		}
		n++
	}
	batch := j.waiting[:n:n]
	j.waiting = append([]entry(nil), j.waiting[n:]...)
	j.urgent = false
	for _, e := range j.waiting {
		j.urgent = j.urgent || e.done != nil
	}
	if len(j.waiting) > 0 {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	return batch
}

// commit writes one transaction and tells who waits for it.
func (j *journal) commit() (ok bool) {
	batch := j.take()
	if len(batch) == 0 {
		return true
	}
	err := j.write(batch)
	if err != nil {
		j.failures.Inc()
		j.slog.Error("sessions not stored", "file", j.name, "err", err)
		batch = j.restore(batch)
	}
	for _, e := range batch {
		if e.done != nil {
			e.done(err)
		}
	}
	return err == nil
}

func (j *journal) write(batch []entry) error {
	empty := true
	for _, e := range batch {
		for _, o := range e.ops {
			empty = empty && o.write == nil
		}
	}
	if empty {
		return nil
	}
	return j.db.Write(context.Background(), "sessions", func(tx *store.Tx) error {
		for _, e := range batch {
			for _, o := range e.ops {
				if o.write == nil {
					continue
				}
				if err := o.write(tx); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// restore stages everything again, before all that is newer, and gives those who
// are to be told that it failed. It is tried with the next commit or after a
// moment.
func (j *journal) restore(batch []entry) (told []entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var again []entry
	for _, e := range batch {
		next := entry{ops: j.reclaim(e.ops)}
		if e.patient() {
			next.done = e.done
		} else {
			told = append(told, e)
		}
		if len(next.ops) > 0 || next.done != nil {
			again = append(again, next)
		}
	}
	j.waiting = append(again, j.waiting...)
	if len(again) > 0 {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	return told
}

// reclaim gives the ops that nothing newer has replaced.
func (j *journal) reclaim(all []*op) (ops []*op) {
	for _, o := range all {
		if o.write != nil && j.latest[o.key] == nil {
			j.latest[o.key] = o
			ops = append(ops, o)
		}
	}
	return ops
}

func (e *entry) patient() bool {
	return e.done != nil && slices.ContainsFunc(e.ops, func(o *op) bool { return o.patient })
}
