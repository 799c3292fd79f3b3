package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

var notes = Schema{Room: "notes", Steps: []string{"CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"}}

func open(t testing.TB, o Options) *DB {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "state.db")
	}
	if o.Schemas == nil {
		o.Schemas = []Schema{notes}
	}
	db, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func insert(text string) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO note(text) VALUES(?)", text)
		return err
	}
}

// stall keeps the writer busy with a group of its own until the channel is
// closed, so that what is queued meanwhile becomes one group.
func stall(db *DB) chan struct{} {
	hold, started := make(chan struct{}), make(chan struct{})
	db.WriteAsync("hold", func(*Tx) error { close(started); <-hold; return nil }, func(error) {})
	<-started
	return hold
}

func count(t testing.TB, db *DB) (n int) {
	t.Helper()
	err := db.Read(context.Background(), func(tx *Tx) error {
		_, err := tx.QueryRow("SELECT count(*) FROM note", nil, &n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWrite_IsSeenByReadersAfterItsReturn(t *testing.T) {
	db := open(t, Options{})
	if err := db.Write(context.Background(), "insert", insert("a")); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestWrite_AnErrorUndoesOnlyItsOwnWrite(t *testing.T) {
	db := open(t, Options{})
	mine := errors.New("mine")
	hold := stall(db)
	var got []error
	ended := make(chan struct{})
	take := func(err error) { got = append(got, err) }
	db.WriteAsync("a", insert("a"), take)
	db.WriteAsync("b", func(tx *Tx) error { insert("b")(tx); return mine }, take)
	db.WriteAsync("c", insert("c"), func(err error) { take(err); close(ended) })
	close(hold)
	<-ended
	if len(got) != 3 || got[0] != nil || got[1] != mine || got[2] != nil {
		t.Errorf("outcomes %v", got)
	}
	if n := count(t, db); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}
