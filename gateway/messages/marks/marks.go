// Package marks is what the log knows about itself in its file: the schema of
// its tables, the mark of the log, one row per cursor, and how far each cursor
// is in the blocks it has begun.
//
// Every function works inside the transaction of its caller and promises what
// that one does.
package marks

import (
	"encoding/json"
	"fmt"

	"github.com/tidehold/tidehold/gateway/store"
)

// Schema is the tables of the log. A block's rowid is its class and its running
// number, so that the oldest block of a class is the first of a range and no
// second index is needed. Columns behind which the body hides come first: they
// are read without it.
func Schema() store.Schema {
	return store.Schema{Room: "messages", Steps: []string{`
CREATE TABLE seg(
	id INTEGER PRIMARY KEY, inc TEXT NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
	n INTEGER NOT NULL, wall_ms INTEGER NOT NULL, dests BLOB NOT NULL, enc INTEGER NOT NULL,
	crc32c INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE prog(
	cursor TEXT NOT NULL, seg INTEGER NOT NULL, delivered INTEGER NOT NULL, lost INTEGER NOT NULL,
	done INTEGER NOT NULL, acked BLOB NOT NULL, PRIMARY KEY(cursor, seg)) STRICT, WITHOUT ROWID;
CREATE TABLE mark(name TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE loss(
	id INTEGER PRIMARY KEY, cursor TEXT NOT NULL, reason TEXT NOT NULL, cls INTEGER NOT NULL, inc TEXT NOT NULL,
	from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
	at_ms INTEGER NOT NULL, sent INTEGER NOT NULL) STRICT;
CREATE TABLE quar(
	id INTEGER PRIMARY KEY, cursor TEXT NOT NULL, inc TEXT NOT NULL, seq INTEGER NOT NULL, why TEXT NOT NULL,
	at_ms INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE clock(
	boot TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;`,
		`ALTER TABLE loss ADD COLUMN folded INTEGER NOT NULL DEFAULT 0`,
		`CREATE TABLE boot(boot TEXT PRIMARY KEY, floor_ms INTEGER NOT NULL, ceil_ms INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID`}}
}

// Classes is how many classes of messages there are.
const Classes = 3

// Range is a closed range of sequence numbers.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Log is the state of the log as a whole.
type Log struct {
	Inc        string  `json:"inc"`
	ReservedTo uint64  `json:"reserved_to"`
	LastSeq    uint64  `json:"last_seq"`
	NextBlock  int64   `json:"next_block"`
	Skips      []Range `json:"skips,omitempty"`
	// FoldedTo is, for each class, the block up to which nothing is left to fold.
	FoldedTo [Classes]int64 `json:"folded_to"`
}

// Tally is the sum check of one cursor: allocated = delivered + pending + lost
// + folded + skipped (telemetry.md C5).
type Tally struct {
	Allocated uint64 `json:"allocated"`
	Delivered uint64 `json:"delivered"`
	Lost      uint64 `json:"lost"`
	Folded    uint64 `json:"folded"`
	Skipped   uint64 `json:"skipped"`
	// Inherited is the part of Allocated that came with salvaged or imported
	// blocks and has numbers of another incarnation.
	Inherited uint64 `json:"inherited,omitempty"`
}

// Accounted is everything that is not pending.
func (t Tally) Accounted() uint64 { return t.Delivered + t.Lost + t.Folded + t.Skipped }

// Cursor is the state of one cursor as written down: it agrees at any time with
// the blocks and their progress in the file.
type Cursor struct {
	Required bool `json:"required"`
	Active   bool `json:"active"`
	Tally
	// Done is, for each class, the block up to which nothing is left to do.
	Done [Classes]int64 `json:"done"`
	// Given is, for each class, the block up to which records may have been sent,
	// but for blocks that say so themselves.
	Given [Classes]int64 `json:"given"`
}

const (
	logName      = "log"
	cursorPrefix = "cursor/"
	cursorsEnd   = "cursor0" // behind every name with that prefix
)

// GetLog reads the mark of the log; false when there is none.
func GetLog(tx *store.Tx) (m Log, found bool, err error) {
	var text string
	if found, err = tx.QueryRow("SELECT v FROM mark WHERE name=?", []any{logName}, &text); err != nil || !found {
		return m, found, err
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, true, fmt.Errorf("mark: %w", err)
	}
	return m, true, nil
}

// PutLog writes the mark of the log.
func PutLog(tx *store.Tx, m Log) error { return put(tx, logName, m) }

// PutCursor writes the row of a cursor.
func PutCursor(tx *store.Tx, name string, row Cursor) error { return put(tx, cursorPrefix+name, row) }

func put(tx *store.Tx, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO mark(name, v) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET v=excluded.v", name, string(text))
	return err
}

// Cursors gives the row of every cursor.
func Cursors(tx *store.Tx, each func(name string, row Cursor)) error {
	return tx.Query("SELECT name, v FROM mark WHERE name > ? AND name < ?", []any{cursorPrefix, cursorsEnd}, func(scan store.Scan) error {
		var name, text string
		if err := scan(&name, &text); err != nil {
			return err
		}
		var row Cursor
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			return fmt.Errorf("mark %q: %w", name, err)
		}
		each(name[len(cursorPrefix):], row)
		return nil
	})
}

// DropCursor forgets a cursor and its progress.
func DropCursor(tx *store.Tx, name string) error {
	if _, err := tx.Exec("DELETE FROM mark WHERE name=?", cursorPrefix+name); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM prog WHERE cursor=?", name)
	return err
}

// Progress is how far one cursor is in one block.
type Progress struct {
	Cursor          string
	Block           int64
	Delivered, Lost int
	Done            bool
	Acked           []byte // a bit per record that is accounted for
}

// PutProgress writes one down.
func PutProgress(tx *store.Tx, p Progress) error {
	_, err := tx.Exec(`INSERT INTO prog(cursor, seg, delivered, lost, done, acked) VALUES(?, ?, ?, ?, ?, ?)
		ON CONFLICT(cursor, seg) DO UPDATE SET delivered=excluded.delivered, lost=excluded.lost, done=excluded.done, acked=excluded.acked`,
		p.Cursor, p.Block, p.Delivered, p.Lost, p.Done, p.Acked)
	return err
}

// EachProgress gives all.
func EachProgress(tx *store.Tx, each func(Progress)) error {
	return tx.Query("SELECT cursor, seg, delivered, lost, done, acked FROM prog", nil, func(scan store.Scan) error {
		var p Progress
		if err := scan(&p.Cursor, &p.Block, &p.Delivered, &p.Lost, &p.Done, &p.Acked); err != nil {
			return err
		}
		each(p)
		return nil
	})
}
