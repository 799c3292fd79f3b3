package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The files that belong to one database besides itself.
var companions = []string{"-wal", "-shm"}

const damagedSuffix = ".damaged"

// OpenReadOnly opens a file for reading alone, also one whose daemon is
// stopped or running. Writes get ErrReadOnly; nothing is migrated. A missing
// file is an error.
func OpenReadOnly(ctx context.Context, path string) (*DB, error) {
	o := Options{Path: path}.withDefaults()
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("store open %s: %w", path, err)
	}
	db := &DB{o: o, log: o.Log, file: filepath.Base(path), readOnly: true,
		readers: make(chan *conn, o.Readers), queue: make(chan *request), ended: make(chan struct{})}
	for range o.Readers {
		db.readers <- nil
	}
	err := db.Read(ctx, func(tx *Tx) error {
		var n int
		_, err := tx.QueryRow("SELECT count(*) FROM sqlite_schema", nil, &n)
		return err
	})
	if err != nil {
		return nil, db.wrap("open", err)
	}
	return db, nil
}

// Backup writes a consistent copy of the file, without a log, to path, which
// must not exist. Writers go on meanwhile.
func (db *DB) Backup(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return db.wrap("backup", fmt.Errorf("%s exists already; choose another name", path))
	}
	c, err := openConn(ctx, db.o, true)
	if err != nil {
		return db.wrap("backup", err)
	}
	defer c.close()
	if _, err := c.c.ExecContext(ctx, "PRAGMA query_only=0"); err != nil {
		return db.wrap("backup", classify(err))
	}
	if _, err := c.c.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return db.wrap("backup", classify(err))
	}
	return db.wrap("backup", os.Chmod(path, 0o600))
}

// Reclaim gives at most pages free pages back to the file system.
func (db *DB) Reclaim(ctx context.Context, pages int) error {
	return db.Write(ctx, "reclaim", func(tx *Tx) error {
		_, err := tx.Exec(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages))
		return err
	})
}

// Verify reads the whole file and gives ErrCorrupt with SQLite's findings when
// it is damaged. It takes time in proportion to the file.
func (db *DB) Verify(ctx context.Context) error {
	var found []string
	err := db.Read(ctx, func(tx *Tx) error {
		return tx.Query("PRAGMA integrity_check(20)", nil, func(scan Scan) error {
			var line string
			err := scan(&line)
			found = append(found, line)
			return err
		})
	})
	if err != nil {
		return db.wrap("verify", err)
	}
	if len(found) == 1 && found[0] == "ok" {
		return nil
	}
	return db.wrap("verify", &failure{ErrCorrupt, errors.New(strings.Join(found, "; "))})
}

// UsedBytes is what the file's pages in use take, as this transaction sees
// them; free pages are reused and do not count.
func (tx *Tx) UsedBytes() (int64, error) {
	var pages, free int64
	if _, err := tx.QueryRow("PRAGMA page_count", nil, &pages); err != nil {
		return 0, err
	}
	if _, err := tx.QueryRow("PRAGMA freelist_count", nil, &free); err != nil {
		return 0, err
	}
	return (pages - free) * pageBytes, nil
}

// LogBytes is the size of the write-ahead log on disk.
func (db *DB) LogBytes() int64 {
	st, err := os.Stat(db.o.Path + "-wal")
	if err != nil {
		return 0
	}
	return st.Size()
}

// SetAside renames a damaged file, its log included, to NAME.bad-1 and gives
// that path. An older NAME.bad-1 is replaced: one is kept, so that a disk that
// damages every file does not fill up. The file must not be open.
func SetAside(path string) (string, error) {
	bad := strings.TrimSuffix(path, filepath.Ext(path)) + ".bad-1"
	for _, suffix := range companions {
		os.Remove(bad + suffix)
	}
	if err := os.Rename(path, bad); err != nil {
		return "", fmt.Errorf("store set aside %s: %w", path, readOnlyOf(err))
	}
	for _, suffix := range companions {
		if err := os.Rename(path+suffix, bad+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("store set aside %s: %w", path+suffix, readOnlyOf(err))
		}
	}
	os.Remove(path + damagedSuffix)
	return bad, nil
}

// MarkDamaged notes beside the file that reading it met damage, so that the
// next start sets it aside.
func (db *DB) MarkDamaged() error {
	f, err := os.OpenFile(db.o.Path+damagedSuffix, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return db.wrap("mark damaged", readOnlyOf(err))
	}
	return f.Close()
}

// IsMarkedDamaged reports whether MarkDamaged was called for the file at path.
func IsMarkedDamaged(path string) bool {
	_, err := os.Stat(path + damagedSuffix)
	return err == nil
}
