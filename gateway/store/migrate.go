package store

import (
	"context"
	"fmt"
)

// Schema is the history of one room's tables: step i brings them from version
// i to i+1. Steps are only ever added. A step may hold several statements.
type Schema struct {
	Room  string
	Steps []string
}

const versionTable = `CREATE TABLE IF NOT EXISTS room_version(
	room TEXT PRIMARY KEY, version INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID`

// migrate brings every room up to its last step, each step in a transaction of
// its own together with the new version.
func migrate(c *conn, o Options) error {
	if err := c.exec(versionTable); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, s := range o.Schemas {
		if s.Room == "" || seen[s.Room] {
			return fmt.Errorf("schema of room %q: given twice or without a name", s.Room)
		}
		seen[s.Room] = true
		if err := migrateRoom(c, s, o.Clock.Now().UnixMilli()); err != nil {
			return fmt.Errorf("schema of room %q: %w", s.Room, err)
		}
	}
	return nil
}

func migrateRoom(c *conn, s Schema, nowMS int64) error {
	tx := &Tx{c: c, ctx: context.Background()}
	version := 0
	if _, err := tx.QueryRow("SELECT version FROM room_version WHERE room=?", []any{s.Room}, &version); err != nil {
		return err
	}
	if version > len(s.Steps) {
		return fmt.Errorf("version %d, this program knows up to %d: %w; install that version again or restore a backup", version, len(s.Steps), ErrNewerSchema)
	}
	for ; version < len(s.Steps); version++ {
		if err := migrateStep(tx, s, version, nowMS); err != nil {
			c.exec("ROLLBACK")
			return fmt.Errorf("step %d: %w", version+1, err)
		}
	}
	return nil
}

func migrateStep(tx *Tx, s Schema, version int, nowMS int64) error {
	if err := tx.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if _, err := tx.c.c.ExecContext(tx.ctx, s.Steps[version]); err != nil {
		return classify(err)
	}
	_, err := tx.Exec(`INSERT INTO room_version(room, version, at_ms) VALUES(?, ?, ?)
		ON CONFLICT(room) DO UPDATE SET version=excluded.version, at_ms=excluded.at_ms`, s.Room, version+1, nowMS)
	if err != nil {
		return err
	}
	return tx.c.exec("COMMIT")
}
