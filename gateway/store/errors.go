package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// The failures a caller acts on; found with errors.Is.
var (
	// ErrDiskFull means that no space was left; free some, the next write
	// tries again.
	ErrDiskFull = errors.New("disk full")
	// ErrReadOnly means that the file or its folder cannot be written.
	ErrReadOnly = errors.New("read-only")
	// ErrCorrupt means that the file is damaged or not a database.
	ErrCorrupt = errors.New("database file is damaged")
	// ErrIO means that the medium failed; the file was reopened.
	ErrIO = errors.New("i/o error")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrNewerSchema means that a later version of the program wrote the file.
	ErrNewerSchema = errors.New("written by a newer version")
)

// kinds maps SQLite's primary result codes to our failures.
var kinds = map[int]error{
	lib.SQLITE_FULL:     ErrDiskFull,
	lib.SQLITE_READONLY: ErrReadOnly,
	lib.SQLITE_CANTOPEN: ErrReadOnly,
	lib.SQLITE_PERM:     ErrReadOnly,
	lib.SQLITE_CORRUPT:  ErrCorrupt,
	lib.SQLITE_NOTADB:   ErrCorrupt,
	lib.SQLITE_IOERR:    ErrIO,
}

// failure is an error of the medium: kind for errors.Is, cause for people.
type failure struct{ kind, cause error }

func (f *failure) Error() string { return f.kind.Error() + ": " + f.cause.Error() }

func (f *failure) Unwrap() []error { return []error{f.kind, f.cause} }

// classify gives err its kind when it is a failure of the medium.
func classify(err error) error {
	var s *sqlite.Error
	if errors.As(err, &s) {
		if kind, ok := kinds[s.Code()&0xff]; ok {
			return &failure{kind, err}
		}
	}
	return err
}

// isMedium reports whether err is a failure of the medium: the transaction it
// happened in cannot go on.
func isMedium(err error) bool {
	for _, kind := range []error{ErrDiskFull, ErrReadOnly, ErrCorrupt, ErrIO} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// readOnlyOf gives an error of the file system its kind.
func readOnlyOf(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &failure{ErrReadOnly, err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &failure{ErrDiskFull, err}
	}
	return err
}

// wrap says what was done to which file.
func (db *DB) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store %s %s: %w", op, db.file, err)
}
