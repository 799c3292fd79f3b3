package messages

import (
	"encoding/json"
	"fmt"

	"github.com/tidehold/tidehold/gateway/ids"
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
	boot TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;`}}
}

const classShift = 48

// classBase is the id just before the first block of a class.
func classBase(cls int) int64 { return int64(cls) << classShift }

func classOf(id int64) int { return int(id >> classShift) }

// numberOf is a block's running number: blocks of one commit share it.
func numberOf(id int64) int64 { return id & (1<<classShift - 1) }

// mark is the state of the log as a whole.
type mark struct {
	Inc        string  `json:"inc"`
	ReservedTo uint64  `json:"reserved_to"`
	LastSeq    uint64  `json:"last_seq"`
	NextBlock  int64   `json:"next_block"`
	Skips      []Range `json:"skips,omitempty"`
}

// cursorRow is the state of one cursor as written down: it agrees at any time
// with the blocks and their progress in the file.
type cursorRow struct {
	Required bool `json:"required"`
	Active   bool `json:"active"`
	Tally
	// Done is, for each class, the block up to which nothing is left to do.
	Done [classes]int64 `json:"done"`
}

const (
	markName     = "log"
	cursorPrefix = "cursor/"
)

func putMark(tx *store.Tx, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO mark(name, v) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET v=excluded.v", name, string(text))
	return err
}

// load reads mark, cursors and progress and opens a new range of numbers. It
// runs inside the transaction that writes what it decides.
func (l *Log) load(tx *store.Tx, src *ids.Source) error {
	var text string
	found, err := tx.QueryRow("SELECT v FROM mark WHERE name=?", []any{markName}, &text)
	if err != nil {
		return err
	}
	if found {
		if err := json.Unmarshal([]byte(text), &l.mark); err != nil {
			return fmt.Errorf("mark: %w", err)
		}
	} else {
		l.mark = mark{NextBlock: 1}
	}
	fresh := l.mark.Inc == "" // new, salvaged, or restored
	if fresh {
		l.mark.Inc = src.Token(40)
	}
	if err := l.loadCursors(tx); err != nil {
		return err
	}
	skipped := l.reserve()
	for name, c := range l.cursors {
		if !c.active || skipped == 0 {
			continue
		}
		c.t.Allocated += skipped
		c.t.Skipped += skipped
		c.saved = c.t
		if err := putMark(tx, cursorPrefix+name, c.row()); err != nil {
			return err
		}
	}
	l.start = Start{Inc: l.mark.Inc, FirstSeq: l.next, Skips: l.mark.Skips, Fresh: fresh}
	for cls := range l.rings {
		l.rings[cls].Start = classBase(cls) | (l.mark.NextBlock - 1)
	}
	l.used, err = tx.UsedBytes()
	if err != nil {
		return err
	}
	return putMark(tx, markName, l.mark)
}

// reserve skips the numbers a crash left open and reserves the next ones
// (telemetry.md section 4).
func (l *Log) reserve() (skipped uint64) {
	if l.mark.ReservedTo > l.mark.LastSeq {
		l.mark.Skips = append(l.mark.Skips, Range{l.mark.LastSeq + 1, l.mark.ReservedTo})
		skipped = l.mark.ReservedTo - l.mark.LastSeq
		l.mark.LastSeq = l.mark.ReservedTo
	}
	l.next = l.mark.LastSeq + 1
	l.mark.ReservedTo = l.mark.LastSeq + reserveStep
	return skipped
}

func (l *Log) loadCursors(tx *store.Tx) error {
	err := tx.Query("SELECT name, v FROM mark WHERE name > ? AND name < ?", []any{cursorPrefix, cursorPrefix[:len(cursorPrefix)-1] + "0"},
		func(scan store.Scan) error {
			var name, text string
			if err := scan(&name, &text); err != nil {
				return err
			}
			var row cursorRow
			if err := json.Unmarshal([]byte(text), &row); err != nil {
				return fmt.Errorf("mark %q: %w", name, err)
			}
			c := newCursor(name[len(cursorPrefix):], row)
			l.cursors[c.name] = c
			return nil
		})
	if err != nil {
		return err
	}
	return tx.Query("SELECT cursor, seg, delivered, lost, done, acked FROM prog", nil, func(scan store.Scan) error {
		var name string
		var id int64
		p := &progress{routed: unknown}
		if err := scan(&name, &id, &p.delivered, &p.lost, &p.done, &p.acked); err != nil {
			return err
		}
		p.savedDelivered, p.savedLost = p.delivered, p.lost
		if c := l.cursors[name]; c != nil {
			c.prog[id] = p
		}
		return nil
	})
}
