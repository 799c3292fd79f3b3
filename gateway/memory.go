package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidehold/tidehold/gateway/store"
)

// The small states of parts; the table's name appears in this file alone.
const (
	createMemory = `CREATE TABLE part_memory (part TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID`
	selectMemory = `SELECT state FROM part_memory WHERE part = ?`
	upsertMemory = `INSERT INTO part_memory (part, state) VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET state = excluded.state`
)

// memoryWait bounds one read or write of a part's state: an output must not
// wait for a sick disk.
const memoryWait = 5 * time.Second

func memorySchema() store.Schema { return store.Schema{Room: "parts", Steps: []string{createMemory}} }

// memory keeps totals of counters and last levels of outputs in state.db: it
// is the drivers' Memory.
type memory struct{ db *store.DB }

// Load gives what was saved last for a part.
func (m memory) Load(part string) (state []byte, found bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), memoryWait)
	defer cancel()
	err = m.db.Read(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.QueryRow(selectMemory, []any{part}, &state)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("load the state of part %q: %w", part, err)
	}
	return state, found, nil
}

// Save replaces it and returns once it is committed.
func (m memory) Save(part string, state []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), memoryWait)
	defer cancel()
	err := m.db.Write(ctx, "save part state", func(tx *store.Tx) error {
		_, err := tx.Exec(upsertMemory, part, state)
		return err
	})
	if err != nil {
		return fmt.Errorf("save the state of part %q: %w", part, err)
	}
	return nil
}

// keep replaces a state without waiting for the commit.
func (m memory) keep(part string, state []byte, log *slog.Logger) {
	m.db.WriteAsync("save part state", func(tx *store.Tx) error {
		_, err := tx.Exec(upsertMemory, part, state)
		return err
	}, func(err error) {
		if err != nil {
			log.Warn("a state was not saved", "part", part, "err", err)
		}
	})
}
