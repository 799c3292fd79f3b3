package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quotedAll(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = quoted(name)
	}
	return all
}

func where(keys []string) string {
	return " WHERE " + strings.Join(quotedAll(keys), " = ? AND ") + " = ?"
}

// put replaces the row with these keys, or adds one; the table and missing
// columns are made.
func put(tx *store.Tx, table string, keys, columns []string, values []any) error {
	have, err := shape(tx, table, keys, columns)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		_, err := tx.Exec("INSERT INTO " + quoted(table) + " DEFAULT VALUES")
		return err
	}
	// A table that was made otherwise may not know that the keys are its keys.
	if len(keys) > 0 && !sameSet(have.primary, keys) {
		args := make([]any, len(keys))
		for i, key := range keys {
			args[i] = values[slices.Index(columns, key)]
		}
		if _, err := tx.Exec("DELETE FROM "+quoted(table)+where(keys), args...); err != nil {
			return err
		}
	}
	verb := "INSERT OR REPLACE"
	if len(keys) == 0 {
		verb = "INSERT" // a member that has the name of the row number replaces no row
	}
	return insert(tx, verb, table, columns, values)
}

func insert(tx *store.Tx, verb, table string, columns []string, values []any) error {
	text := fmt.Sprintf("%s INTO %s (%s) VALUES (?%s)",
		verb, quoted(table), strings.Join(quotedAll(columns), ", "), strings.Repeat(", ?", len(columns)-1))
	_, err := tx.Exec(text, values...)
	return err
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.EqualFunc(a, b, strings.EqualFold)
}

// columns are those of a table that exists: none means there is no table.
type columns struct{ names, primary []string }

// shape makes the table, keyed by keys or by a row number, and adds columns.
func shape(tx *store.Tx, table string, keys, want []string) (columns, error) {
	have, err := columnsOf(tx, table)
	if err != nil {
		return have, err
	}
	if len(have.names) == 0 {
		return columns{primary: keys}, create(tx, table, keys, want)
	}
	for _, name := range want {
		if slices.ContainsFunc(have.names, func(h string) bool { return strings.EqualFold(h, name) }) {
			continue
		}
		if len(have.names) >= ColumnsMax {
			return have, iot.Errorf(iot.InvalidRequest, "table %q has %d columns; no more are added", table, len(have.names))
		}
		if _, err := tx.Exec("ALTER TABLE " + quoted(table) + " ADD COLUMN " + quoted(name)); err != nil {
			return have, err
		}
		have.names = append(have.names, name)
	}
	return have, nil
}

func create(tx *store.Tx, table string, keys, want []string) error {
	if len(want) > ColumnsMax {
		return iot.Errorf(iot.InvalidRequest, "table %q: %d columns; at most %d", table, len(want), ColumnsMax)
	}
	all := slices.Clone(keys)
	for _, name := range want {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	definition := strings.Join(quotedAll(all), ", ")
	if len(keys) > 0 {
		definition += ", PRIMARY KEY (" + strings.Join(quotedAll(keys), ", ") + ")"
	} else {
		definition = strings.TrimSuffix(rowNumber(all)+" INTEGER PRIMARY KEY, "+definition, ", ")
	}
	_, err := tx.Exec("CREATE TABLE " + quoted(table) + " (" + definition + ")")
	return err
}

// rowNumber is the name of the row number's column: `row_number`, or another
// when a member has that name.
func rowNumber(taken []string) string {
	name := "row_number"
	for slices.ContainsFunc(taken, func(t string) bool { return strings.EqualFold(t, name) }) {
		name += "_"
	}
	return quoted(name)
}

func columnsOf(tx *store.Tx, table string) (c columns, err error) {
	err = tx.Query("SELECT name, pk FROM pragma_table_info(?)", []any{table}, func(scan store.Scan) error {
		var name string
		var primary int
		if err := scan(&name, &primary); err != nil {
			return err
		}
		c.names = append(c.names, name)
		if primary > 0 {
			c.primary = append(c.primary, name)
		}
		return nil
	})
	return c, err
}
