package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/tidehold/tidehold/gateway/store"
)

// storeBatches are writes per commit.
var storeBatches = []int{1, 10, 100, 1000}

// The statements of the storage scenario: a block row for a whole batch, and a
// document for each write.
const (
	createBlocks = `CREATE TABLE block (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)`
	createDocs   = `CREATE TABLE doc (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID`
	insertBlock  = `INSERT INTO block (data) VALUES (?)`
	deleteBlocks = `DELETE FROM block WHERE seq <= (SELECT max(seq) FROM block) - ?`
	upsertDoc    = `INSERT INTO doc (name, data) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET data = excluded.data`
)

const (
	ringBlocks = 100 // blocks that a ring keeps
	docNames   = 200
)

// storage writes one batch durably.
type storage struct {
	name  string
	size  int // bytes of one item
	write func(ctx context.Context, batch int) error
}

// store measures the storage without the house, and the limit in the same
// run: a raw file that is appended to and flushed.
func (b *bench) store(ctx context.Context) (err error) {
	if b.cfg.Against != "" {
		return nil // has no file of ours
	}
	dir := filepath.Join(b.dir, b.next("store"))
	db, err := store.Open(ctx, store.Options{
		Path: filepath.Join(dir, "bench.db"), Schemas: []store.Schema{{Room: "bench", Steps: []string{createBlocks, createDocs}}},
		CommitDelay: b.cfg.CommitDelay,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	raw, err := newRaw(filepath.Join(dir, "raw"), b.cfg.CommitDelay)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.file.Close()) }()
	limits := make(map[int]float64)
	for _, s := range []storage{
		{"raw", usualSize, raw.append}, {"append", usualSize, appendBlocks(db, false)},
		{"ring", usualSize, appendBlocks(db, true)}, {"upsert", shadowBytes, upserts(db)},
	} {
		for _, batch := range storeBatches {
			f, err := b.alone(ctx, fmt.Sprintf("%s/batch%d", s.name, batch), &target{name: subjectName}, nil, func(*target) (Figures, error) {
				return b.storeRound(ctx, s, batch, limits[batch])
			})
			if err != nil {
				return err
			}
			if s.name == "raw" {
				limits[batch] = f[rate]
			}
		}
	}
	return nil
}

// storeRound writes batches for a while. The CPU time and the bytes are those
// of this process, which does nothing else meanwhile.
func (b *bench) storeRound(ctx context.Context, s storage, batch int, limit float64) (Figures, error) {
	self := &target{pid: os.Getpid()}
	m := meter{t: self}
	wrote, _ := self.written()
	m.begin()
	start, n := time.Now(), 0
	for time.Since(start) < b.cfg.Duration && ctx.Err() == nil {
		if err := s.write(ctx, batch); err != nil {
			return nil, err
		}
		n += batch
	}
	spent := time.Since(start)
	m.end()
	f := Figures{rate: float64(n) / spent.Seconds(), cpu: float64(m.used.Nanoseconds()) / 1e3 / float64(n)}
	if after, ok := self.written(); ok {
		f["written_per_payload"] = float64(after-wrote) / float64(n*s.size)
	}
	if limit > 0 {
		f["of_raw"] = f[rate] / limit
	}
	return f, nil
}

// appendBlocks writes a batch as one row; a ring deletes the oldest in the same
// transaction.
func appendBlocks(db *store.DB, ring bool) func(context.Context, int) error {
	return func(ctx context.Context, batch int) error {
		data := make([]byte, batch*usualSize)
		return db.Write(ctx, "append", func(tx *store.Tx) error {
			_, err := tx.Exec(insertBlock, data)
			if err == nil && ring {
				_, err = tx.Exec(deleteBlocks, ringBlocks)
			}
			return err
		})
	}
}

// upserts writes a batch of documents as separate writes that are committed
// together.
func upserts(db *store.DB) func(context.Context, int) error {
	var serial uint64
	return func(_ context.Context, batch int) error {
		var group sync.WaitGroup
		var mu sync.Mutex
		var failed error
		for i := range batch {
			group.Add(1)
			serial++ // SQLite does not write what has not changed
			data := binary.BigEndian.AppendUint64(make([]byte, shadowBytes-8, shadowBytes), serial)
			db.WriteAsync("upsert", func(tx *store.Tx) error {
				_, err := tx.Exec(upsertDoc, fmt.Sprintf("thing-%d", i%docNames), data)
				return err
			}, func(err error) {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
				group.Done()
			})
		}
		group.Wait()
		return failed
	}
}

// rawBytes is the size of the preallocated file, written round and round.
const rawBytes = 16 << 20

// raw is a file without any structure: what the medium can do.
type raw struct {
	file  *os.File
	at    int64
	delay time.Duration
}

func newRaw(path string, delay time.Duration) (*raw, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(make([]byte, rawBytes)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &raw{file: file, delay: delay}, file.Sync()
}

func (r *raw) append(_ context.Context, batch int) error {
	data := make([]byte, batch*usualSize)
	if r.at+int64(len(data)) > rawBytes {
		r.at = 0
	}
	if _, err := r.file.WriteAt(data, r.at); err != nil {
		return err
	}
	r.at += int64(len(data))
	time.Sleep(r.delay)
	return syscall.Fdatasync(int(r.file.Fd()))
}
