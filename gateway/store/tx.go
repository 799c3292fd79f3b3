package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Tx is one transaction, valid only inside the function it was handed to and
// only in the goroutine of that function.
type Tx struct {
	c   *conn
	ctx context.Context
	// failed is the first failure of the medium: the group cannot go on,
	// whatever the function makes of it.
	failed error
}

// Result tells what a statement did.
type Result struct {
	RowsAffected int64
	LastInsertID int64
}

// Scan copies the columns of a row; a nil column needs a pointer to a pointer
// or one of the destination types that can be nil.
type Scan func(dest ...any) error

// Exec runs a statement that gives no rows. It is prepared once per text.
func (tx *Tx) Exec(text string, args ...any) (Result, error) {
	st, err := tx.c.prepare(tx.ctx, text)
	if err != nil {
		return Result{}, tx.note(text, err)
	}
	res, err := st.ExecContext(tx.ctx, args...)
	if err != nil {
		return Result{}, tx.note(text, err)
	}
	var r Result
	r.RowsAffected, _ = res.RowsAffected()
	r.LastInsertID, _ = res.LastInsertId()
	return r, nil
}

// Query calls row for every row, in order, and ends early when row gives an
// error. row must not use the transaction for writing the same table.
func (tx *Tx) Query(text string, args []any, row func(Scan) error) error {
	st, err := tx.c.prepare(tx.ctx, text)
	if err != nil {
		return tx.note(text, err)
	}
	rows, err := st.QueryContext(tx.ctx, args...)
	if err != nil {
		return tx.note(text, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return tx.note(text, err)
	}
	return nil
}

// QueryRow copies the columns of the first row; found is false when there is
// none.
func (tx *Tx) QueryRow(text string, args []any, dest ...any) (found bool, err error) {
	st, err := tx.c.prepare(tx.ctx, text)
	if err != nil {
		return false, tx.note(text, err)
	}
	err = st.QueryRowContext(tx.ctx, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, tx.note(text, err)
	}
	return true, nil
}

// note classifies err and remembers a failure of the medium.
func (tx *Tx) note(text string, err error) error {
	err = classify(err)
	if tx.failed == nil && isMedium(err) {
		tx.failed = err
	}
	return fmt.Errorf("statement %q: %w", clip(text, 60), err)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}
