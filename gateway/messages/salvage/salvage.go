// Package salvage opens a message file, and makes a fresh one of what can be read
// when the old one is damaged.
//
// Durability: the damaged file is set aside and kept; what was copied is committed
// before Open returns. Records keep their ids; what the old sums had pending and
// was not found becomes a loss. Blocking: it reads the whole damaged file, block by
// block. Limits: salvageTries ids are tried inside damaged parts of a class.
package salvage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/loss"
	"github.com/tidehold/tidehold/gateway/messages/marks"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

const (
	salvageBatch = 64      // blocks copied in one transaction
	salvageTries = 100_000 // ids tried inside damaged parts of a class
)

// The write-ahead log goes into the file when it has checkpointPagesMax pages, the
// 4 MiB of broker-storage.md 3.4 and of the journal_size_limit of telemetry.md 6,
// or a sixteenth of a small file, but not below the 200 pages of telemetry.md 6.
const (
	checkpointPagesMin = 200
	checkpointPagesMax = 1000
	checkpointShare    = 16
	pageBytes          = 4096
)

// CheckpointPages is how long the write-ahead log of a file may grow that is
// bounded by maxBytes, 0 = by nothing of note. With 1,000 pages a durable message
// cost about a twelfth less CPU time than with 200, at the same bytes; more pages
// could not be told apart. But the log counts against the bound.
func CheckpointPages(maxBytes int64) int {
	if maxBytes <= 0 {
		return checkpointPagesMax
	}
	return int(min(max(maxBytes/checkpointShare/pageBytes, checkpointPagesMin), checkpointPagesMax))
}

// Opened says what Open had to do.
type Opened struct {
	// SetAside is where a damaged file is kept now, empty when there was none.
	SetAside string
	// Blocks and Records were copied out of it; they keep their old ids.
	Blocks, Records int
}

// Open opens or creates the message file with the tables of package marks and the pragmas of
// telemetry.md section 6. A file that SQLite refuses, or that was found damaged
// while running, is set aside and its readable blocks are copied into a fresh
// one with a new incarnation: the queue never keeps the gateway from starting.
func Open(ctx context.Context, o store.Options) (*store.DB, Opened, error) {
	o.Schemas = append([]store.Schema{marks.Schema()}, o.Schemas...)
	if o.CheckpointPages == 0 {
		o.CheckpointPages = checkpointPagesMin
	}
	err := probe(ctx, o.Path)
	if err == nil {
		var db *store.DB
		if db, err = store.Open(ctx, o); err == nil {
			return db, Opened{}, nil
		}
	}
	if !errors.Is(err, store.ErrCorrupt) {
		return nil, Opened{}, err
	}
	return replace(ctx, o)
}

// probe looks at what a start needs: the mark, the first and the last block of
// each class.
func probe(ctx context.Context, path string) error {
	st, err := os.Stat(path)
	if err != nil || st.Size() == 0 {
		return nil // there is nothing to look at; Open says what is wrong
	}
	if store.IsMarkedDamaged(path) {
		return store.ErrCorrupt
	}
	db, err := store.OpenReadOnly(ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Read(ctx, func(tx *store.Tx) error {
		var tables int
		found, err := tx.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name IN ('seg', 'prog', 'mark', 'loss')", nil, &tables)
		if err != nil || !found || tables < 4 {
			return err
		}
		if err := marks.Cursors(tx, func(string, marks.Cursor) {}); err != nil {
			return err
		}
		if err := marks.EachProgress(tx, func(marks.Progress) {}); err != nil {
			return err
		}
		return probeEnds(tx)
	})
}

func probeEnds(tx *store.Tx) error {
	for cls := range marks.Classes {
		for _, order := range []string{"", " DESC"} {
			var id, n int64
			_, err := tx.QueryRow("SELECT id, length(body) FROM seg WHERE id > ? AND id < ? ORDER BY id"+order+" LIMIT 1",
				[]any{segment.Base(cls), segment.Base(cls + 1)}, &id, &n)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// replace sets the damaged file aside and salvages it into a fresh one.
func replace(ctx context.Context, o store.Options) (*store.DB, Opened, error) {
	bad, err := store.SetAside(o.Path)
	if err != nil {
		return nil, Opened{}, err
	}
	db, err := store.Open(ctx, o)
	if err != nil {
		return nil, Opened{}, err
	}
	done := Opened{SetAside: bad}
	old, err := store.OpenReadOnly(ctx, bad)
	if err == nil {
		s := &salvage{old: old, db: db, rows: make(map[string]marks.Cursor), pending: make(map[string]uint64), out: &done}
		err = s.run(ctx)
		old.Close()
	}
	if o.Log != nil {
		o.Log.Error("message file was damaged: set aside, readable messages copied", "file", bad, "count", done.Records, "err", err)
	}
	return db, done, nil
}

// salvage copies what can be read of a damaged file.
type salvage struct {
	old, db *store.DB
	mark    marks.Log               // of the old file, zero when unreadable
	rows    map[string]marks.Cursor // cursors of the old file, as far as readable
	prog    map[string]map[int64]marks.Progress
	pending map[string]uint64      // found pending per cursor
	tally   map[string]marks.Tally // of the copied blocks
	losses  []loss.Loss            // not announced yet
	last    int64                  // highest block number
	tries   int
	out     *Opened
}

func (s *salvage) run(ctx context.Context) error {
	s.readState(ctx)
	s.tally = make(map[string]marks.Tally)
	var failed error
	_ = s.old.Read(ctx, func(tx *store.Tx) error { // one snapshot: reading goes on behind damage
		for cls := 0; cls < marks.Classes && failed == nil; cls++ {
			s.tries = 0
			failed = s.class(ctx, tx, cls)
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	return s.db.Write(ctx, "salvage", s.writeState)
}

// readState reads marks, progress and losses; each part that fails is taken as
// empty: then messages are sent once more.
func (s *salvage) readState(ctx context.Context) {
	s.prog = make(map[string]map[int64]marks.Progress)
	_ = s.old.Read(ctx, func(tx *store.Tx) error {
		var err error
		if s.mark, _, err = marks.GetLog(tx); err != nil {
			return err
		}
		return marks.Cursors(tx, func(name string, row marks.Cursor) { s.rows[name] = row })
	})
	_ = s.old.Read(ctx, func(tx *store.Tx) error {
		return marks.EachProgress(tx, s.progress)
	})
	_ = s.old.Read(ctx, func(tx *store.Tx) (err error) {
		s.losses, err = loss.List(tx, "", true)
		return err
	})
}

func (s *salvage) progress(p marks.Progress) {
	if s.prog[p.Cursor] == nil {
		s.prog[p.Cursor] = make(map[int64]marks.Progress)
	}
	s.prog[p.Cursor][p.Block] = p
}

// class copies the readable blocks of a class.
func (s *salvage) class(ctx context.Context, old *store.Tx, cls int) error {
	for after := segment.Base(cls); ; {
		var batch []*row
		for len(batch) < salvageBatch {
			r := s.nextRow(old, &after, s.end(cls))
			if r == nil {
				break
			}
			if s.count(r) {
				batch = append(batch, r)
			}
		}
		if len(batch) == 0 {
			return nil
		}
		if err := s.db.Write(ctx, "salvage", func(tx *store.Tx) error { return s.copyRows(tx, batch) }); err != nil {
			return err
		}
	}
}

// row is a block's row as it is stored.
type row struct {
	*block.Block
	stored []byte
	enc    int
	sum    uint32
	wall   int64
}

// end is an id above every block of the class, as far as that is known.
func (s *salvage) end(cls int) int64 {
	if s.mark.NextBlock > 0 {
		return segment.Base(cls) | s.mark.NextBlock
	}
	return segment.Base(cls + 1)
}

// nextRow reads the next readable row behind after. Inside a damaged part it
// tries one id after the other, within a limit.
func (s *salvage) nextRow(old *store.Tx, after *int64, end int64) *row {
	for ; *after < end && s.tries < salvageTries; *after++ {
		r := &row{}
		err := old.Query("SELECT "+segment.Columns+", body, wall_ms FROM seg WHERE id > ? AND id < ? ORDER BY id LIMIT 1", []any{*after, end},
			func(scan store.Scan) (err error) {
				r.Block, r.stored, r.enc, r.sum, err = segment.Scan(func(dest ...any) error { return scan(append(dest, &r.wall)...) }, true)
				return err
			})
		if err == nil {
			if r.Block == nil {
				return nil
			}
			*after = r.ID
			return r
		}
		s.tries++
	}
	return nil
}

// count adds a block to the cursors' sums; false when nobody needs it.
func (s *salvage) count(r *row) (needed bool) {
	r.Open(r.stored, r.enc)
	s.last = max(s.last, segment.Number(r.ID))
	for _, d := range r.Dests {
		if r.ID <= s.rows[d.Name].Done[segment.Class(r.ID)] {
			continue
		}
		p := s.prog[d.Name][r.ID]
		left := d.Routed - p.Delivered - p.Lost
		if left > 0 {
			needed = true
		}
		t := s.tally[d.Name]
		t.Allocated += uint64(d.Routed)
		t.Inherited += uint64(d.Routed)
		t.Delivered += uint64(p.Delivered)
		t.Lost += uint64(p.Lost)
		s.tally[d.Name] = t
		s.pending[d.Name] += uint64(max(0, left))
	}
	if needed {
		s.out.Blocks++
		s.out.Records += len(r.Recs)
	} else {
		s.uncount(r)
	}
	return needed
}

// uncount takes back a block that is not copied.
func (s *salvage) uncount(r *row) {
	for _, d := range r.Dests {
		p, begun := s.prog[d.Name][r.ID]
		if !begun || r.ID <= s.rows[d.Name].Done[segment.Class(r.ID)] {
			continue
		}
		t := s.tally[d.Name]
		t.Allocated -= uint64(d.Routed)
		t.Inherited -= uint64(d.Routed)
		t.Delivered -= uint64(p.Delivered)
		t.Lost -= uint64(p.Lost)
		s.tally[d.Name] = t
	}
}

func (s *salvage) copyRows(tx *store.Tx, batch []*row) error {
	for _, r := range batch {
		err := segment.Insert(tx, r.Block, r.stored, r.enc, r.sum, r.wall)
		if err != nil {
			return err
		}
		for _, d := range r.Dests {
			p, begun := s.prog[d.Name][r.ID]
			if !begun {
				continue
			}
			if err := marks.PutProgress(tx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeState gives the fresh file its cursors. What the old file had pending
// and was not found is a loss.
func (s *salvage) writeState(tx *store.Tx) error {
	for name := range s.tally {
		if _, ok := s.rows[name]; !ok {
			s.rows[name] = marks.Cursor{Required: true}
		}
	}
	for _, x := range s.losses {
		if err := loss.Write(tx, x); err != nil {
			return err
		}
	}
	for name, row := range s.rows {
		had := row.Allocated - row.Accounted()
		row.Tally = s.tally[name]
		if lost := had - min(had, s.pending[name]); lost > 0 {
			row.Allocated += lost
			row.Inherited += lost
			row.Lost += lost
			x := loss.Loss{Cursor: name, Reason: loss.Unreadable, Class: 1, Inc: s.mark.Inc, From: 1, To: s.mark.LastSeq, Count: lost, At: time.Now()}
			if err := loss.Write(tx, x); err != nil {
				return err
			}
		}
		if err := marks.PutCursor(tx, name, row); err != nil {
			return err
		}
	}
	return s.writeHead(tx)
}

// writeHead leaves a mark without incarnation: New draws it.
func (s *salvage) writeHead(tx *store.Tx) error {
	next := max(s.last, s.mark.NextBlock) + 1
	if next <= 0 {
		return fmt.Errorf("salvage: block number %d", next)
	}
	return marks.PutLog(tx, marks.Log{NextBlock: next})
}

// Renew makes the next start draw a new incarnation: a restored backup must not
// give numbers that may have been sent already (telemetry.md 4.4). The records
// in the file keep their ids. No Log may be open on db.
func Renew(ctx context.Context, db *store.DB) error {
	return db.Write(ctx, "renew incarnation", func(tx *store.Tx) error {
		rows := make(map[string]marks.Cursor)
		m, found, err := marks.GetLog(tx)
		if err != nil || !found {
			return err
		}
		if err := marks.Cursors(tx, func(name string, row marks.Cursor) { rows[name] = row }); err != nil {
			return err
		}
		for name, row := range rows {
			row.Inherited = row.Allocated
			if err := marks.PutCursor(tx, name, row); err != nil {
				return err
			}
		}
		return marks.PutLog(tx, marks.Log{NextBlock: m.NextBlock, FoldedTo: m.FoldedTo})
	})
}
