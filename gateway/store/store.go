// Package store owns the SQLite files of the gateway. It is the one door to
// modernc.org/sqlite and database/sql; services write their SQL against Tx.
//
// # What it promises
//
// Durability: with Full a write whose call returned nil survives a power cut;
// with Normal it survives a crash of the process and may lose the last moments
// at a power cut.
//
// Order: writes are done in the order in which they were queued, by one writer
// goroutine. It takes everything that waits (at most Options.MaxGroup writes),
// does each in its own savepoint inside one transaction, commits once, and then
// calls the done functions in the same order. The error of one write undoes
// only that write; a failed commit fails the whole group, and nothing of the
// group is on disk.
//
// Blocking: Write waits for its commit, WriteAsync only while the queue
// (Options.QueueLen) is full, Read for a free reader. A reader sees one
// snapshot and never waits for the writer.
//
// Failure: a full disk is ErrDiskFull, a read-only one ErrReadOnly, a damaged
// file ErrCorrupt, any other fault of the medium ErrIO; the store stays usable
// and the next group tries again, after ErrIO on a fresh file handle.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// Durability says which failures a committed write survives.
type Durability int

// The durabilities (contract section 6).
const (
	Full   Durability = iota // power cut: one flush of the device per group
	Normal                   // crash of the process
)

// Limits and defaults of a store.
const (
	defaultMaxGroup = 1000 // writes in one transaction
	defaultQueueLen = 4096 // writes waiting for the writer
	defaultReaders  = 4    // snapshots open at once
	defaultPages    = 1000 // pages in the log before an automatic checkpoint
	pageBytes       = 4096
	idleCheckpoint  = 30 * time.Second // quiet time after which the log is emptied
)

// Options says how a file is opened. Path is required; every other zero value
// means its default.
type Options struct {
	// Path of the database file; its folder is made when missing.
	Path string
	// Durability is Full unless set.
	Durability Durability
	// Schemas of the rooms whose tables are in this file, in order.
	Schemas []Schema
	// Metrics takes the figures, named after the file; nil measures nowhere.
	Metrics *metrics.Registry
	// Log gets state changes; nil discards.
	Log *slog.Logger
	// Clock is not read by the store itself; migrations record its time.
	Clock clock.Clock
	// MaxGroup is the most writes in one transaction, 1000.
	MaxGroup int
	// QueueLen is the most writes waiting for the writer, 4096.
	QueueLen int
	// Readers is the most snapshots open at once, 4.
	Readers int
	// CheckpointPages is the length of the write-ahead log that starts a
	// checkpoint, 1000 pages of 4 KiB.
	CheckpointPages int
	// CommitDelay is added to every commit: benchmarks of slow media.
	CommitDelay time.Duration
	// NoGroup commits every write alone: benchmarks.
	NoGroup bool
	// Fault is asked at each fault point with the point's running number from
	// 1; an error it gives is treated like one of the file: tests.
	Fault func(point FaultPoint, n uint64) error
}

// FaultPoint is a place where a test can make the store fail.
type FaultPoint string

// The fault points.
const (
	FaultBegin      FaultPoint = "begin"      // a group is about to begin
	FaultCommit     FaultPoint = "commit"     // a group is about to be committed
	FaultCheckpoint FaultPoint = "checkpoint" // the log is about to be emptied
)

// DB is one open file. All methods are safe for concurrent use.
type DB struct {
	o        Options
	log      *slog.Logger
	fig      *figures
	file     string // name for errors
	readOnly bool   // there is no writer

	w       *conn      // the writer's connection; only the writer uses it
	readers chan *conn // nil entries are opened on demand

	mu     sync.RWMutex // guards closed against senders on queue
	closed bool
	queue  chan *request
	ended  chan struct{} // closed when the writer has ended

	begins, commits, checkpoints uint64 // running numbers of the fault points
}

// Open opens or creates the file, brings every room's schema up to date and
// starts the writer. A schema newer than this program knows is an error that
// says so. ErrReadOnly and ErrCorrupt are found with errors.Is.
func Open(ctx context.Context, o Options) (*DB, error) {
	o = o.withDefaults()
	if err := checkPath(o.Path); err != nil {
		return nil, err
	}
	db := &DB{o: o, log: o.Log, file: filepath.Base(o.Path),
		readers: make(chan *conn, o.Readers), queue: make(chan *request, o.QueueLen), ended: make(chan struct{})}
	for range o.Readers {
		db.readers <- nil
	}
	w, err := openConn(ctx, o, false)
	if err != nil {
		return nil, db.wrap("open", err)
	}
	db.w = w
	if err := migrate(w, o); err != nil {
		w.close()
		return nil, db.wrap("open", err)
	}
	db.fig = newFigures(o.Metrics, o.Path, func() float64 { return float64(len(db.queue)) })
	go db.write()
	return db, nil
}

func (o Options) withDefaults() Options {
	orDefault(&o.MaxGroup, defaultMaxGroup)
	orDefault(&o.QueueLen, defaultQueueLen)
	orDefault(&o.Readers, defaultReaders)
	orDefault(&o.CheckpointPages, defaultPages)
	if o.NoGroup {
		o.MaxGroup = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	if o.Clock == nil {
		o.Clock = clock.NewSystem()
	}
	if o.Fault == nil {
		o.Fault = func(FaultPoint, uint64) error { return nil }
	}
	return o
}

func orDefault(v *int, def int) {
	if *v <= 0 {
		*v = def
	}
}

// checkPath makes the folder and proves that a file in it can be written,
// because SQLite itself only says "unable to open database file".
func checkPath(path string) error {
	if path == "" {
		return errors.New("store open: no path given")
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store open %s: cannot make folder %s: %w; create it and give it to uid %d", path, dir, readOnlyOf(err), os.Getuid())
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("store open %s: folder %s is not writable: %w; mount it read-write and give it to uid %d", path, dir, readOnlyOf(err), os.Getuid())
	}
	f.Close()
	os.Remove(f.Name())
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("store open %s: file is not writable: %w; give it to uid %d", path, readOnlyOf(err), os.Getuid())
	}
	return f.Close()
}

// Close does what is queued, empties the log into the file and closes it.
// Later calls get ErrClosed. Close blocks until all of that is done.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	close(db.queue)
	db.mu.Unlock()
	if !db.readOnly {
		<-db.ended
	}
	for range db.o.Readers {
		if c := <-db.readers; c != nil {
			c.close()
		}
	}
	if db.w == nil {
		return nil
	}
	err := db.checkpoint()
	return errors.Join(err, db.wrap("close", db.w.close()))
}

// Size is the bytes of the file and its log on disk.
func (db *DB) Size() int64 {
	var n int64
	for _, suffix := range []string{"", "-wal"} {
		if st, err := os.Stat(db.o.Path + suffix); err == nil {
			n += st.Size()
		}
	}
	return n
}

// Path is where the file is.
func (db *DB) Path() string { return db.o.Path }
