// Package table keeps the tables of users' rules in tables.db: rows put by the
// actions dynamoDB and dynamoDBv2, series of timestream, and the statements of
// edge.sql (rules.md section 8).
//
// What it promises. A call that returned nil has been committed; one that
// failed has changed nothing. Tables and columns come into being when a row
// needs them, at most ColumnsMax columns a table. A statement of edge.sql does
// only what its caller allows: the tables it touches are those that SQLite's
// own compiler names, so that a view, a trigger or a subquery hides none.
// Calls block for one commit, a query until its context ends; a query gives at
// most RowsMax rows and BytesMax bytes.
package table

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

// Limits of tables.
const (
	ColumnsMax = 256
	RowsMax    = 10_000
	BytesMax   = 1 << 20
)

// nameForm is AWS's form of a table's name.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

// Tables are the tables of one tables.db.
type Tables struct {
	db   *store.DB
	keys map[string][]string

	mu    sync.Mutex
	names map[string]columnNames // of queries, by text
}

// New takes tables.db and the key columns of the declared tables.
func New(db *store.DB, keys map[string][]string) *Tables {
	return &Tables{db: db, keys: keys, names: make(map[string]columnNames)}
}

// CheckName reports why a table cannot have this name.
func CheckName(name string) error {
	if !nameForm.MatchString(name) || reserved(name) {
		return iot.Errorf(iot.InvalidRequest, "table %q: want 3 to 255 characters of a-z A-Z 0-9 _ . -, and no name of the file's own", name)
	}
	return nil
}

// reserved are the tables of SQLite and of the store.
func reserved(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasPrefix(lower, "sqlite_") || lower == "room_version"
}

// Declare makes the declared tables that are missing.
func (t *Tables) Declare(ctx context.Context) error {
	return t.db.Write(ctx, "rule tables declare", func(tx *store.Tx) error {
		for name, keys := range t.keys {
			if _, err := shape(tx, name, keys, keys); err != nil {
				return err
			}
		}
		return nil
	})
}

// Put stores the members of a JSON object as one row, keyed as the table was
// declared; a table that nobody declared gets a row number.
func (t *Tables) Put(ctx context.Context, table string, result []byte) error {
	columns, values, err := item(result)
	if err != nil {
		return err
	}
	keys := t.keys[table]
	for _, key := range keys {
		if !slices.Contains(columns, key) {
			return iot.Errorf(iot.InvalidRequest, "the result has no %q, a key column of table %q", key, table)
		}
	}
	return t.db.Write(ctx, "rule table put", func(tx *store.Tx) error { return put(tx, table, keys, columns, values) })
}

// The operations of a Change.
const (
	Insert = "INSERT"
	Update = "UPDATE"
	Delete = "DELETE"
)

// Key is one key column and its value.
type Key struct {
	Column string
	Value  any
}

// KeyValue is the value of a key as the action gives it.
func KeyValue(text string, number bool) any {
	if number {
		return sqlValue(json.RawMessage(text))
	}
	return text
}

// Change is one operation of the action dynamoDB: a row by key, its payload in
// one column.
type Change struct {
	Table, Operation string
	Keys             []Key
	Column           string // of the payload
	Payload          []byte
}

// Change does c. Insert replaces a row, Update changes the payload column of a
// row that may be new.
func (t *Tables) Change(ctx context.Context, c Change) error {
	keys, values := make([]string, len(c.Keys)), make([]any, len(c.Keys))
	for i, key := range c.Keys {
		keys[i], values[i] = key.Column, key.Value
	}
	columns := append(slices.Clone(keys), c.Column)
	var payload any = c.Payload
	if utf8.Valid(c.Payload) && json.Valid(c.Payload) {
		payload = string(c.Payload)
	}
	row := append(slices.Clone(values), payload)
	return t.db.Write(ctx, "rule table "+strings.ToLower(c.Operation), func(tx *store.Tx) error {
		if c.Operation == Insert {
			return put(tx, c.Table, keys, columns, row)
		}
		if _, err := shape(tx, c.Table, keys, columns); err != nil {
			return err
		}
		if c.Operation == Delete {
			_, err := tx.Exec("DELETE FROM "+quoted(c.Table)+where(keys), values...)
			return err
		}
		text := "UPDATE " + quoted(c.Table) + " SET " + quoted(c.Column) + " = ?" + where(keys)
		done, err := tx.Exec(text, append([]any{payload}, values...)...)
		if err != nil || done.RowsAffected > 0 {
			return err
		}
		return insert(tx, "INSERT", c.Table, columns, row)
	})
}

// Row finds a row by its keys and gives it as a JSON object; false when there
// is none.
func (t *Tables) Row(ctx context.Context, table string, keys []Key) (row []byte, found bool, err error) {
	text, args := "", []any(nil)
	for i, key := range keys {
		glue := " AND "
		if i == 0 {
			glue = " WHERE "
		}
		// A column without a type keeps numbers and texts apart.
		text += glue + "(" + quoted(key.Column) + " = ? OR " + quoted(key.Column) + " = ?)"
		args = append(args, key.Value, KeyValue(fmt.Sprint(key.Value), true))
	}
	err = t.db.Read(ctx, func(tx *store.Tx) error {
		have, err := columnsOf(tx, table)
		if err != nil || len(have.names) == 0 {
			return err
		}
		for _, key := range keys {
			if !slices.Contains(have.names, key.Column) {
				return nil // in quotes SQLite would take it for a text
			}
		}
		return tx.Query("SELECT * FROM "+quoted(table)+text+" LIMIT 1", args, func(scan store.Scan) error {
			row, found = nil, true
			row, err = appendRow(nil, have.names, scan)
			return err
		})
	})
	return row, found, err
}

// appendRow adds a row as a JSON object. Texts that are JSON objects or arrays
// are what they were before they were stored.
func appendRow(out []byte, names []string, scan store.Scan) ([]byte, error) {
	values, places := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		places[i] = &values[i]
	}
	if err := scan(places...); err != nil {
		return nil, err
	}
	out = append(out, '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		text, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		out = append(append(out, text...), ':')
		if text, err = jsonOf(values[i]); err != nil {
			return nil, err
		}
		out = append(out, text...)
	}
	return append(out, '}'), nil
}

func jsonOf(v any) ([]byte, error) {
	switch x := v.(type) {
	case []byte:
		return json.Marshal(base64.StdEncoding.EncodeToString(x))
	case string:
		if x != "" && (x[0] == '{' || x[0] == '[') && json.Valid([]byte(x)) {
			return []byte(x), nil
		}
	case float64:
		if x != x || x > 1e308 || x < -1e308 {
			return []byte("null"), nil
		}
	}
	return json.Marshal(v)
}

// item gives the top-level members of a result as columns and SQL values.
func item(result []byte) (columns []string, values []any, err error) {
	members, err := objectOf(result)
	if err != nil {
		return nil, nil, err
	}
	for name := range members {
		if name == "" || strings.ContainsRune(name, 0) {
			return nil, nil, iot.Errorf(iot.InvalidRequest, "the result has a member that cannot name a column: %q", name)
		}
		columns = append(columns, name)
	}
	slices.Sort(columns)
	for _, name := range columns {
		values = append(values, sqlValue(members[name]))
	}
	return columns, values, nil
}

func objectOf(result []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(result, &members); err != nil || members == nil {
		return nil, iot.Errorf(iot.InvalidRequest, "the result is no JSON object")
	}
	return members, nil
}

// sqlValue keeps whole numbers and fractions that SQLite holds exactly as
// numbers; what it would round, and what is no scalar, stays JSON text.
func sqlValue(raw json.RawMessage) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return string(raw)
	}
	switch x := v.(type) {
	case nil, string, bool:
		return x
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil && len(x.String()) <= 17 {
			return f
		}
		return x.String()
	}
	return string(raw)
}
