// Package messages is the durable message log: one copy of every message that
// somebody far away or away shall get, and one cursor for each who does.
//
// # What it promises
//
// Durability: an append's done(nil) comes after its commit, or after every
// required cursor has acknowledged it; a group of appends is one row per class
// (telemetry.md section 6). While its cursors elide (Cursor.Elide) a record is
// given at once and is committed only when it is not acknowledged in time
// (telemetry.md 7.2). A record leaves the log when every required cursor has
// acknowledged it, or by a loss that is written down in the same transaction.
//
// Order: numbers rise in the order of Append, never repeat within an
// incarnation, also over a crash. done functions are called in that order, one
// at a time, on a goroutine of the log or on that of an Ack; they must not block.
// One commit may end before those of the commit before it were called, not two. A cursor gives records in
// rising order within a lane, and after Begin first, in the old order, those
// that were given and not acknowledged.
//
// Blocking: Append never blocks. Next reads one block from the file when it
// must; Ack, Lose and Begin only take a lock.
//
// Limits: the file is bounded by MaxBytes, the oldest blocks of the least class
// go first; what waits for its commit by TailRecords and TailBytes, beyond
// which Append is refused. Acknowledgements are written down every 5 s or 1000
// and at a clean stop: a crash gives at most those again.
//
// Damage: a record with a bad CRC is left out and accounted for; a file that
// SQLite refuses is set aside and salvaged by Open.
package messages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/marks"
	"github.com/tidehold/tidehold/gateway/messages/ring"
	"github.com/tidehold/tidehold/gateway/messages/tail"
	"github.com/tidehold/tidehold/gateway/messages/told"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// The classes of messages (telemetry.md 8.1).
const (
	Critical = 0
	Normal   = 1
	Bulk     = 2

	classes = marks.Classes
)

// The limits of a log that are not settings.
const (
	reserveStep   = 1024             // sequence numbers reserved ahead
	progressEvery = 5 * time.Second  // least time between two writes of progress
	progressAcks  = 1000             // acknowledgements that do not wait for it
	retryEvery    = 10 * time.Second // after a failed commit
	elideRecords  = 4096             // held in memory for an acknowledgement
	ringBytesMax  = 1 << 20          // of committed blocks kept in memory
	reclaimEvery  = time.Hour
	reclaimPages  = 2048
)

// The failures of Append.
var (
	// ErrTailFull means that too much waits for its commit: the disk is too
	// slow or cannot be written.
	ErrTailFull = errors.New("too many messages wait for the disk")
	// ErrStopped means that the log has stopped.
	ErrStopped = errors.New("message log has stopped")
)

// Config says how a log is kept. Zero values mean the defaults.
type Config struct {
	// MaxBytes bounds the file and its write-ahead log, 256 MiB.
	MaxBytes int64
	// Pace is the time between commits, except for urgent messages.
	Pace tail.Pace
	// TailRecords and TailBytes bound what waits for its commit: 16384
	// records, 8 MiB.
	TailRecords, TailBytes int
	// ElideBytes bounds what is held in memory for an acknowledgement, 1 MiB;
	// beyond it everything held is committed.
	ElideBytes int
}

func (c Config) withDefaults() Config {
	if c.MaxBytes <= 0 {
		c.MaxBytes = 256 << 20
	}
	if c.TailRecords <= 0 {
		c.TailRecords = 16384
	}
	if c.TailBytes <= 0 {
		c.TailBytes = 8 << 20
	}
	if c.ElideBytes <= 0 {
		c.ElideBytes = 1 << 20
	}
	return c
}

// Record is one message in the log, Folded what one stands for that is an
// aggregate.
type (
	Record = block.Record
	Folded = block.Fold
)

// Batch is what one Append takes: records that get consecutive numbers.
type Batch struct {
	Records []Record
	// Urgent asks for a commit at once (class 0, profile strict).
	Urgent bool
	// LossSent and StartSent say which losses, and whether the start, the
	// records announce: marked as announced in the same transaction.
	LossSent  []Loss
	StartSent bool
}

// Log is the message log over one file. All methods are safe for concurrent
// use.
type Log struct {
	cfg Config
	db  *store.DB
	log *slog.Logger
	fig *figures

	mu       sync.Mutex
	start    Start
	mark     marks.Log // as written down
	next     uint64    // number of the next record
	tail     tail.Tail
	teller   *told.Teller
	elidedTo uint64 // numbers up to here that are not in mark need no commit
	cursors  map[string]*cursor
	rings    [classes]ring.Ring
	moving   map[int64]bool // blocks that the write under way deletes
	done     map[int64]meta // blocks that some cursor finished
	exits    uint64         // writes after which blocks were gone
	fold     Fold
	losses   []Loss
	quar     []Quarantined
	asked    []*request

	writing      *write // the write under way
	failed       error  // why the last write failed
	lastCommit   time.Time
	lastAppend   time.Time
	lastProgress time.Time
	retryAt      time.Time
	used         int64
	stopped      bool
	room         tail.Room
	isDamaged    atomic.Bool
	wake         chan struct{}
	packer       block.Packer  // the writer goroutine's
	announced    chan struct{} // the last write was told; the writer goroutine's
}

// Start says how the log began this time (telemetry.md 4.3).
type Start struct {
	// Inc is the incarnation, FirstSeq the first number to be given.
	Inc      string
	FirstSeq uint64
	// Skips are the ranges of numbers that crashes left unused and that were
	// not announced yet.
	Skips []Range
	// Fresh is set when the incarnation is new.
	Fresh bool
}

// Range is a closed range of sequence numbers.
type Range = marks.Range

// New reads where the log stands and skips the numbers that a crash left open.
// It takes a time that does not depend on what the log holds. db must have
// Schema's tables; see Open.
func New(cfg Config, db *store.DB, src *ids.Source, m *metrics.Registry, log *slog.Logger) (*Log, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Log{cfg: cfg.withDefaults(), db: db, log: log, fig: newFigures(m), cursors: make(map[string]*cursor),
		moving: make(map[int64]bool), done: make(map[int64]meta), wake: make(chan struct{}, 1)}
	l.teller = told.New(&l.mu)
	err := db.Write(context.Background(), "start log", func(tx *store.Tx) error { return l.load(tx, src) })
	if err != nil {
		return nil, fmt.Errorf("messages start: %w", err)
	}
	for _, c := range l.cursors {
		l.fig.begin(c)
	}
	l.fig.limit.Set(float64(l.cfg.MaxBytes))
	return l, nil
}

// Started says how the log began.
func (l *Log) Started() Start { return l.start }

// SetPace changes the time between commits: see tail.Pace.
func (l *Log) SetPace(least, most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg.Pace = tail.Pace{Least: least, Most: most}
}

// SetElideBytes changes the bound of what is held in memory for an
// acknowledgement.
func (l *Log) SetElideBytes(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg.ElideBytes = n
}

// LastSeq is the last number given.
func (l *Log) LastSeq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next - 1
}

// Append numbers the records and stages them; done is called once, after their
// commit or with the reason why there will be none. An append that finds the
// tail full is refused before Append returns and uses no numbers; its error has
// a method Room, whose channel is closed when it is worth another try. An empty
// tail takes an append of any size.
func (l *Log) Append(b Batch, done func(error)) {
	if err := l.stage(b, done); err != nil {
		done(err)
		return
	}
	l.signal()
}

func (l *Log) stage(b Batch, done func(error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return fmt.Errorf("messages append: %w", ErrStopped)
	}
	held, size := l.tail.Load(), 0
	for i := range b.Records {
		size += b.Records[i].Size()
	}
	if held.Records > 0 && (held.Records+len(b.Records) > l.cfg.TailRecords || held.Bytes+size > l.cfg.TailBytes) {
		l.fig.refused.Inc()
		return l.refusal()
	}
	e := &tail.Entry{Records: b.Records, First: l.next, Done: done, Urgent: b.Urgent}
	for i := range b.Records {
		l.number(&b.Records[i])
	}
	e.Last = l.next - 1
	if len(b.LossSent) > 0 || b.StartSent {
		e.Note = b
	}
	l.lastAppend = time.Now()
	l.holdBack(e, l.lastAppend)
	l.tail.Push(e, func(name string) bool { return l.cursors[name].required })
	return nil
}

func (l *Log) refusal() error {
	err := fmt.Errorf("messages append: %w", ErrTailFull)
	if l.failed != nil {
		err = fmt.Errorf("%w: %w", err, l.failed)
	}
	return l.room.Refuse(err)
}

// makeRoom calls those back who were refused when half of the tail is free, so
// that they do not come for one place each; or when the log has stopped.
func (l *Log) makeRoom() {
	held := l.tail.Load()
	if l.stopped || held.Records <= l.cfg.TailRecords/2 && held.Bytes <= l.cfg.TailBytes/2 {
		l.room.Make()
	}
}

// number gives r its place and counts it for its cursors.
func (l *Log) number(r *Record) {
	r.Inc, r.Seq = l.mark.Inc, l.next
	r.Class = min(r.Class, classes-1)
	l.next++
	unknown := func(name string) bool { return l.cursors[name] == nil }
	if slices.ContainsFunc(r.To, unknown) {
		r.To = slices.DeleteFunc(slices.Clone(r.To), unknown)
	}
	for _, name := range r.To {
		c := l.cursors[name]
		c.t.Allocated++
		c.pend(1)
		c.counted.Inc()
	}
}

// signal wakes Run.
func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run commits what is appended and writes progress down until ctx ends; then
// it commits the rest. It returns the error of that last commit.
func (l *Log) Run(ctx context.Context) error {
	reclaim := time.NewTicker(reclaimEvery)
	defer reclaim.Stop()
	for {
		timer := time.NewTimer(l.step(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return l.stop()
		case <-l.wake:
		case <-timer.C:
		case <-reclaim.C:
			l.reclaim(ctx)
		}
		timer.Stop()
	}
}

// step starts a write when one is due and says when to look again.
func (l *Log) step(now time.Time) time.Duration {
	l.mu.Lock()
	wait := l.due(now)
	l.mu.Unlock()
	if wait <= 0 {
		l.beginWrite()
		return time.Hour // the end of the write wakes Run
	}
	return wait
}

// due is how long the next write may wait; Run is woken when that changes.
func (l *Log) due(now time.Time) time.Duration {
	const never = time.Hour
	if l.writing != nil {
		return never
	}
	wait := l.progressDue(now, never)
	if len(l.asked) > 0 {
		return 0
	}
	wait = min(wait, l.tailDue(now, never))
	if l.isShort() {
		wait = 0
	}
	if l.failed != nil && wait < never {
		wait = max(wait, l.retryAt.Sub(now))
	}
	return wait
}

// Flush commits everything staged and all progress before it returns.
func (l *Log) Flush(ctx context.Context) error {
	return l.request(ctx, func(*store.Tx, *write) error { return nil })
}

// stop commits the rest and notes that no number is left open.
func (l *Log) stop() error {
	l.mu.Lock()
	l.stopped = true
	l.makeRoom()
	l.mu.Unlock()
	err := l.Flush(context.Background())
	if err == nil {
		err = l.request(context.Background(), func(_ *store.Tx, w *write) error {
			w.mark.ReservedTo = w.mark.LastSeq
			l.sent(w)
			return nil
		})
	}
	l.mu.Lock()
	left := l.tail.Abandon()
	l.mu.Unlock()
	for _, e := range left {
		e.Done(fmt.Errorf("messages stop: %w", err))
	}
	return err
}

// reclaim gives pages back after a large backlog was drained.
func (l *Log) reclaim(ctx context.Context) {
	l.mu.Lock()
	used := l.used
	l.mu.Unlock()
	if l.db.Size() < 2*used+(8<<20) {
		return
	}
	if err := l.db.Reclaim(ctx, reclaimPages); err != nil {
		l.log.Warn("pages not given back", "err", err)
	}
}
