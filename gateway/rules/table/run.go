package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/store"
)

// The permissions of edge.sql.
const (
	permitExec  = "sqlite:Exec"
	permitQuery = "sqlite:Query"
)

// Allow says whether a permission is given; its error ends the statement.
type Allow func(role.Need) error

// Exec runs a statement that changes rows, with the parameters bound from the
// result. Tables and columns that an INSERT names are made first.
func (t *Tables) Exec(ctx context.Context, s *Statement, result []byte, allow Allow) error {
	args, err := s.Bind(result)
	if err != nil {
		return err
	}
	return t.db.Write(ctx, "rule sql exec", func(tx *store.Tx) error {
		if s.target != "" {
			if err := allow(role.Need{Action: permitExec, Resource: "table/" + s.target}); err != nil {
				return err
			}
			if _, err := shape(tx, s.target, t.keys[s.target], s.columns); err != nil {
				return err
			}
		}
		if err := permit(tx, s, args, allow); err != nil {
			return err
		}
		_, err := tx.Exec(s.text, args...)
		return refusal(err)
	})
}

// Query runs a statement that reads, and gives its rows as a JSON array of
// objects.
func (t *Tables) Query(ctx context.Context, s *Statement, result []byte, allow Allow) ([]byte, error) {
	args, err := s.Bind(result)
	if err != nil {
		return nil, err
	}
	names, err := t.columns(ctx, s, args, allow)
	if err != nil {
		return nil, err
	}
	out, rows := []byte{'['}, 0
	err = t.db.Read(ctx, func(tx *store.Tx) error {
		if err := permit(tx, s, args, allow); err != nil {
			return err
		}
		return tx.Query(s.text, args, func(scan store.Scan) (err error) {
			if rows++; rows > 1 {
				out = append(out, ',')
			}
			if out, err = appendRow(out, names, scan); err != nil {
				return err
			}
			if rows > RowsMax || len(out) > BytesMax {
				return iot.Errorf(iot.TooLarge, "the query gives more than %d rows or %d bytes; use LIMIT", RowsMax, BytesMax)
			}
			return nil
		})
	})
	if err != nil {
		return nil, refusal(err)
	}
	return append(out, ']'), nil
}

// Needs are the permissions that the statement asks for, as SQLite compiles it
// now. For a table that does not exist yet it is what the text says.
func (t *Tables) Needs(ctx context.Context, s *Statement) (needs []role.Need, err error) {
	note := func(n role.Need) error {
		if !slices.Contains(needs, n) {
			needs = append(needs, n)
		}
		return nil
	}
	if s.target != "" {
		_ = note(role.Need{Action: permitExec, Resource: "table/" + s.target}) // cannot fail
	}
	err = t.db.Read(ctx, func(tx *store.Tx) error { return permit(tx, s, make([]any, len(s.with)), note) })
	if s.target != "" && err != nil && strings.Contains(err.Error(), "no such table: "+s.target) {
		err = nil
	}
	return needs, err
}

// permit asks allow about every table that the compiled statement opens. The
// statement is compiled, not run: EXPLAIN lists the program, whose OpenRead,
// OpenWrite and Clear name tables and indices by their root pages.
func permit(tx *store.Tx, s *Statement, args []any, allow Allow) error {
	pages, err := rootPages(tx)
	if err != nil {
		return err
	}
	var needs []role.Need
	virtual := 0
	err = tx.Query("EXPLAIN "+s.text, args, func(scan store.Scan) error {
		var address, p1, p2, p3, p5 int64
		var op string
		var p4, comment any
		if err := scan(&address, &op, &p1, &p2, &p3, &p4, &p5, &comment); err != nil {
			return err
		}
		root, database, action := p2, p3, permitQuery
		switch op {
		case "OpenRead", "ReopenIdx":
		case "OpenWrite":
			action = permitExec
		case "Clear":
			root, database, action = p1, p2, permitExec
		case "VOpen":
			virtual++
			return nil
		case "VUpdate", "Destroy", "CreateBtree", "ParseSchema", "DropTable", "DropIndex", "Vacuum", "JournalMode":
			return iot.Errorf(iot.InvalidRequest, "the statement does more than change or read rows (%s)", op)
		default:
			return nil
		}
		table, ok := pages[root]
		if !ok || database != 0 {
			return iot.Errorf(iot.InvalidRequest, "the statement opens something that is no table of rules")
		}
		if table != sequenceTable {
			needs = append(needs, role.Need{Action: action, Resource: "table/" + table})
		}
		return nil
	})
	if err != nil {
		return refusal(err)
	}
	if virtual > 0 && !slices.Contains(s.names, "json_each") && !slices.Contains(s.names, "json_tree") {
		return iot.Errorf(iot.InvalidRequest, "the statement opens a virtual table; only json_each and json_tree are for rules")
	}
	for _, n := range needs {
		if err := allow(n); err != nil {
			return err
		}
	}
	return nil
}

// sequenceTable counts for AUTOINCREMENT; SQLite opens it by itself.
const sequenceTable = "sqlite_sequence"

// rootPages are the users' tables by the root pages of themselves and of their
// indices. The schema table and the store's own are not among them.
func rootPages(tx *store.Tx) (map[int64]string, error) {
	pages := make(map[int64]string)
	err := tx.Query("SELECT tbl_name, rootpage FROM sqlite_schema WHERE rootpage > 0", nil, func(scan store.Scan) error {
		var table string
		var root int64
		if err := scan(&table, &root); err != nil {
			return err
		}
		if table == sequenceTable || !reserved(table) {
			pages[root] = table
		}
		return nil
	})
	return pages, err
}

// refusal makes an error of the statement itself one that is not tried again.
func refusal(err error) error {
	var known *iot.Error
	if err == nil || errors.As(err, &known) || medium(err) {
		return err
	}
	return &iot.Error{Code: iot.InvalidRequest, Message: "sqlite refuses the statement", Err: err}
}

// medium reports whether err may be gone at the next attempt.
func medium(err error) bool {
	for _, kind := range []error{store.ErrDiskFull, store.ErrReadOnly, store.ErrCorrupt, store.ErrIO, store.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return strings.Contains(err.Error(), "interrupt") || strings.Contains(err.Error(), "locked") || strings.Contains(err.Error(), "busy")
}

// columnNames are those of one query under one schema.
type columnNames struct {
	schema int64
	names  []string
}

const namesMax = 256 // queries whose columns are remembered

// columns gives the names of a query's columns. SQLite tells them for a view;
// a temporary one is made of the query and undone at once.
func (t *Tables) columns(ctx context.Context, s *Statement, args []any, allow Allow) ([]string, error) {
	var schema int64
	err := t.db.Read(ctx, func(tx *store.Tx) error {
		if err := permit(tx, s, args, allow); err != nil {
			return err
		}
		_, err := tx.QueryRow("PRAGMA schema_version", nil, &schema)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	known, ok := t.names[s.text]
	t.mu.Unlock()
	if ok && known.schema == schema {
		return known.names, nil
	}
	var names []string
	err = t.db.Write(ctx, "rule sql columns", func(tx *store.Tx) error {
		if _, err := tx.Exec("CREATE TEMP VIEW rule_columns AS " + s.unbound()); err != nil {
			return err
		}
		have, err := columnsOf(tx, "rule_columns")
		names = have.names
		return errors.Join(err, errUndo)
	})
	if !errors.Is(err, errUndo) || len(names) == 0 {
		return nil, refusal(fmt.Errorf("columns of the query: %w", err))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names) >= namesMax {
		clear(t.names)
	}
	t.names[s.text] = columnNames{schema, names}
	return names, nil
}

var errUndo = errors.New("undo")
