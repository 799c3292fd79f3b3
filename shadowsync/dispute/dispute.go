// Package dispute keeps the conflicts of shadow sync in state.db: who, when,
// both values, and which won. It owns one table.
//
// Add never blocks longer than the store's queue is full and never fails a sync:
// an entry that cannot be written is counted and logged. Limit: the newest
// entries up to a number given to New; the oldest go first.
package dispute

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// EntriesMax is how many conflicts are kept by default.
const EntriesMax = 10_000

// Schema is the table of this room.
func Schema() store.Schema {
	return store.Schema{Room: "conflicts", Steps: []string{`
CREATE TABLE conflict(
	id INTEGER PRIMARY KEY, at INTEGER NOT NULL, uplink TEXT NOT NULL, thing TEXT NOT NULL, shadow TEXT NOT NULL,
	path TEXT NOT NULL, local TEXT NOT NULL, upstream TEXT NOT NULL, winner TEXT NOT NULL, writer TEXT NOT NULL) STRICT;`}}
}

// Entry is one conflict.
type Entry struct {
	ID     int64     `json:"id"`
	At     time.Time `json:"at"`
	Uplink string    `json:"uplink"`
	// Thing and Shadow name the shadow; Path is the place in it, empty for the
	// whole document.
	Thing  iot.ThingName  `json:"thing"`
	Shadow iot.ShadowName `json:"shadow,omitempty"`
	Path   string         `json:"path"`
	// Local and Upstream are both values in JSON; empty where there was none.
	Local    string `json:"local,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	// Winner is cloudWins or localWins.
	Winner string `json:"winner"`
	// Writer is who wrote the upstream value: the token of the request or the app
	// of the intent slot; where upstream told none, the version it was found in.
	Writer string `json:"writer,omitempty"`
}

// Journal is safe for concurrent use.
type Journal struct {
	db   *store.DB
	max  int
	lost *metrics.Counter
	log  *slog.Logger
}

// New makes a Journal over state.db; max is how many entries it keeps.
func New(db *store.DB, max int, m *metrics.Registry, log *slog.Logger) *Journal {
	return &Journal{db: db, max: max, log: log,
		lost: m.Counter("sync_journal_failures_total", "Conflicts that could not be written down.", "uplink")}
}

// Add writes an entry down, in the order of the calls; its ID is given here.
func (j *Journal) Add(e Entry) {
	j.db.WriteAsync("conflict journal", func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO conflict(at, uplink, thing, shadow, path, local, upstream, winner, writer) VALUES(?,?,?,?,?,?,?,?,?)`,
			e.At.UnixMilli(), e.Uplink, string(e.Thing), string(e.Shadow), e.Path, e.Local, e.Upstream, e.Winner, e.Writer); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM conflict WHERE id <= (SELECT max(id) FROM conflict) - ?`, j.max)
		return err
	}, func(err error) {
		if err != nil {
			j.lost.Inc(e.Uplink)
			j.log.Error("a shadow conflict could not be written down", "thing", e.Thing, "shadow", e.Shadow, "err", err)
		}
	})
}

// List gives the newest entries, the newest first; thing narrows them when it is
// not empty.
func (j *Journal) List(ctx context.Context, thing iot.ThingName, most int) ([]Entry, error) {
	all := []Entry{}
	err := j.db.Read(ctx, func(tx *store.Tx) error {
		return tx.Query(`SELECT id, at, uplink, thing, shadow, path, local, upstream, winner, writer FROM conflict
			WHERE ?1 = '' OR thing = ?1 ORDER BY id DESC LIMIT ?2`, []any{string(thing), most}, func(scan store.Scan) error {
			var e Entry
			var at int64
			if err := scan(&e.ID, &at, &e.Uplink, &e.Thing, &e.Shadow, &e.Path, &e.Local, &e.Upstream, &e.Winner, &e.Writer); err != nil {
				return err
			}
			e.At = time.UnixMilli(at).UTC()
			all = append(all, e)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("conflict journal: %w", err)
	}
	return all, nil
}
