// Package row runs a statement in a transaction and reads what it gives. It keeps
// nothing; errors are the store's, and what it reads is as old as the transaction.
package row

import "github.com/tidehold/tidehold/gateway/store"

// One gives the first row of a query; false when there is none.
func One[T any](tx *store.Tx, text string, scan func(store.Scan) (T, error), args ...any) (first T, found bool, err error) {
	all, err := All(tx, text, scan, args...)
	if err != nil || len(all) == 0 {
		return first, false, err
	}
	return all[0], true, nil
}

// All collects the rows of a query.
func All[T any](tx *store.Tx, text string, scan func(store.Scan) (T, error), args ...any) (all []T, err error) {
	err = tx.Query(text, args, func(s store.Scan) error {
		one, err := scan(s)
		all = append(all, one)
		return err
	})
	return all, err
}

// Names collects a column of names.
func Names(tx *store.Tx, text string, args ...any) ([]string, error) {
	return All(tx, text, func(s store.Scan) (name string, err error) { return name, s(&name) }, args...)
}

// Number reads a count.
func Number(tx *store.Tx, text string, args ...any) (n int, err error) {
	_, err = tx.QueryRow(text, args, &n)
	return n, err
}

// Exec runs statements that take the same arguments.
func Exec(tx *store.Tx, texts []string, args ...any) error {
	for _, text := range texts {
		if _, err := tx.Exec(text, args...); err != nil {
			return err
		}
	}
	return nil
}
