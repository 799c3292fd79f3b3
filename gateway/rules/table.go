package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/store"
)

// retryWaits are the pauses before the attempts of class R3 (rules.md section 8).
var retryWaits = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}

// tableNameForm is AWS's form of a table name; columnsMax bounds a table.
var tableNameForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

const columnsMax = 256

var errNoTables = errors.New("tables.db is not open; see the gateway's health")

// retry attempts f up to three times after its first failure. A refusal that
// another attempt cannot change is given back at once.
func retry(ctx context.Context, f func() error) error {
	err := f()
	for _, wait := range retryWaits {
		if err == nil || iot.CodeOf(err) != iot.Internal {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		err = f()
	}
	return err
}

// write does one change of a table with retries.
func (e *Engine) write(ctx context.Context, op string, fn func(*store.Tx) error) error {
	if e.deps.Tables == nil {
		return errNoTables
	}
	return retry(ctx, func() error { return e.deps.Tables.Write(ctx, op, fn) })
}

type dynamoV2 struct {
	table *iotsql.Template
	role  role
}

func newDynamoV2(s setup) (action, error) {
	var f struct {
		PutItem struct {
			Table string `json:"tableName"`
		} `json:"putItem"`
		RoleARN string `json:"roleArn"`
	}
	if err := s.read(&f); err != nil {
		return nil, err
	}
	t, err := s.required("putItem.tableName", f.PutItem.Table)
	if err != nil {
		return nil, err
	}
	r, err := roleOf(s.roles, f.RoleARN)
	return dynamoV2{t, r}, err
}

func (dynamoV2) failedName() string { return "DynamoActionV2" }

func (a dynamoV2) run(ctx context.Context, e *Engine, in input) (string, error) {
	table, err := fill("tableName", a.table, in)
	if err != nil {
		return "", err
	}
	if err := checkTable(a.role, "dynamodb:PutItem", table); err != nil {
		return table, err
	}
	columns, values, err := item(in.result)
	if err != nil {
		return table, err
	}
	keys := e.keys[table]
	for _, key := range keys {
		if !slices.Contains(columns, key) {
			return table, iot.Errorf(iot.InvalidRequest, "the result has no %q, a key column of table %q", key, table)
		}
	}
	return table, e.write(ctx, "rule table put", func(tx *store.Tx) error {
		return put(tx, table, keys, columns, values)
	})
}

func checkTable(r role, action, table string) error {
	if !tableNameForm.MatchString(table) {
		return iot.Errorf(iot.InvalidRequest, "table %q: want 3 to 255 characters of a-z A-Z 0-9 _ . -", table)
	}
	return r.allow(action, "table/"+table)
}

// item gives the top-level members of a result as columns and SQL values.
func item(result []byte) (columns []string, values []any, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(result, &members); err != nil || members == nil {
		return nil, nil, iot.Errorf(iot.InvalidRequest, "the result is no JSON object")
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

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quotedAll(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = quoted(name)
	}
	return all
}

// put upserts one row; the table and missing columns are made.
func put(tx *store.Tx, table string, keys, columns []string, values []any) error {
	if err := shape(tx, table, keys, columns); err != nil {
		return err
	}
	if len(columns) == 0 {
		_, err := tx.Exec("INSERT INTO " + quoted(table) + " DEFAULT VALUES")
		return err
	}
	text := fmt.Sprintf("INSERT OR REPLACE INTO %s (%s) VALUES (?%s)",
		quoted(table), strings.Join(quotedAll(columns), ", "), strings.Repeat(", ?", len(columns)-1))
	_, err := tx.Exec(text, values...)
	return err
}

// shape makes the table, keyed by keys or by a row number, and adds columns.
func shape(tx *store.Tx, table string, keys, columns []string) error {
	have, err := columnsOf(tx, table)
	if err != nil {
		return err
	}
	if len(have) == 0 {
		return create(tx, table, keys, columns)
	}
	for _, name := range columns {
		if slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, name) }) {
			continue
		}
		if len(have) >= columnsMax {
			return iot.Errorf(iot.InvalidRequest, "table %q has %d columns; no more are added", table, len(have))
		}
		if _, err := tx.Exec("ALTER TABLE " + quoted(table) + " ADD COLUMN " + quoted(name)); err != nil {
			return err
		}
		have = append(have, name)
	}
	return nil
}

func create(tx *store.Tx, table string, keys, columns []string) error {
	if len(columns) > columnsMax {
		return iot.Errorf(iot.InvalidRequest, "table %q: %d columns; at most %d", table, len(columns), columnsMax)
	}
	all := slices.Clone(keys)
	for _, name := range columns {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	definition := strings.Join(quotedAll(all), ", ")
	if len(keys) > 0 {
		definition += ", PRIMARY KEY (" + strings.Join(quotedAll(keys), ", ") + ")"
	} else {
		definition = strings.TrimSuffix("row INTEGER PRIMARY KEY, "+definition, ", ")
	}
	_, err := tx.Exec("CREATE TABLE " + quoted(table) + " (" + definition + ")")
	return err
}

func columnsOf(tx *store.Tx, table string) (names []string, err error) {
	err = tx.Query("SELECT name FROM pragma_table_info(?)", []any{table}, func(scan store.Scan) error {
		var name string
		if err := scan(&name); err != nil {
			return err
		}
		names = append(names, name)
		return nil
	})
	return names, err
}

// dynamo is AWS's first table action: one row by key, the payload as JSON.
type dynamo struct {
	table, hashField, hashValue, rangeField, rangeValue, payloadField, operation *iotsql.Template
	hashNumber, rangeNumber                                                      bool
	role                                                                         role
}

func newDynamo(s setup) (action, error) {
	var f struct {
		Table        string `json:"tableName"`
		HashField    string `json:"hashKeyField"`
		HashType     string `json:"hashKeyType"`
		HashValue    string `json:"hashKeyValue"`
		RangeField   string `json:"rangeKeyField"`
		RangeType    string `json:"rangeKeyType"`
		RangeValue   string `json:"rangeKeyValue"`
		PayloadField string `json:"payloadField"`
		Operation    string `json:"operation"`
		RoleARN      string `json:"roleArn"`
	}
	if err := s.read(&f); err != nil {
		return nil, err
	}
	if f.PayloadField == "" {
		f.PayloadField = "payload"
	}
	if f.Operation == "" {
		f.Operation = "INSERT"
	}
	a := dynamo{hashNumber: f.HashType == "NUMBER", rangeNumber: f.RangeType == "NUMBER"}
	for _, field := range []struct {
		name, text string
		into       **iotsql.Template
		optional   bool
	}{
		{"tableName", f.Table, &a.table, false}, {"hashKeyField", f.HashField, &a.hashField, false},
		{"hashKeyValue", f.HashValue, &a.hashValue, false}, {"rangeKeyField", f.RangeField, &a.rangeField, true},
		{"rangeKeyValue", f.RangeValue, &a.rangeValue, true}, {"payloadField", f.PayloadField, &a.payloadField, false},
		{"operation", f.Operation, &a.operation, false},
	} {
		if field.text == "" && field.optional {
			continue
		}
		t, err := s.required(field.name, field.text)
		if err != nil {
			return nil, err
		}
		*field.into = t
	}
	r, err := roleOf(s.roles, f.RoleARN)
	a.role = r
	return a, err
}

func (dynamo) failedName() string { return "DynamoAction" }

func (a dynamo) run(ctx context.Context, e *Engine, in input) (string, error) {
	texts := make(map[string]string)
	for name, t := range map[string]*iotsql.Template{
		"tableName": a.table, "hashKeyField": a.hashField, "hashKeyValue": a.hashValue, "rangeKeyField": a.rangeField,
		"rangeKeyValue": a.rangeValue, "payloadField": a.payloadField, "operation": a.operation,
	} {
		if t == nil {
			continue
		}
		text, err := fill(name, t, in)
		if err != nil {
			return "", err
		}
		texts[name] = text
	}
	table := texts["tableName"]
	keys, values := []string{texts["hashKeyField"]}, []any{keyValue(texts["hashKeyValue"], a.hashNumber)}
	if a.rangeField != nil && a.rangeValue != nil {
		keys, values = append(keys, texts["rangeKeyField"]), append(values, keyValue(texts["rangeKeyValue"], a.rangeNumber))
	}
	return table, a.perform(ctx, e, texts, keys, values, in.result)
}

func keyValue(text string, number bool) any {
	if number {
		return sqlValue(json.RawMessage(text))
	}
	return text
}

func (a dynamo) perform(ctx context.Context, e *Engine, texts map[string]string, keys []string, values []any, result []byte) error {
	table, operation := texts["tableName"], strings.ToUpper(texts["operation"])
	actions := map[string]string{"INSERT": "dynamodb:PutItem", "UPDATE": "dynamodb:UpdateItem", "DELETE": "dynamodb:DeleteItem"}
	if actions[operation] == "" {
		return iot.Errorf(iot.InvalidRequest, "operation %q: want INSERT, UPDATE or DELETE", operation)
	}
	if err := checkTable(a.role, actions[operation], table); err != nil {
		return err
	}
	columns := append(slices.Clone(keys), texts["payloadField"])
	var payload any = result
	if json.Valid(result) {
		payload = string(result)
	}
	return e.write(ctx, "rule table "+strings.ToLower(operation), func(tx *store.Tx) error {
		if err := shape(tx, table, keys, columns); err != nil {
			return err
		}
		switch operation {
		case "DELETE":
			_, err := tx.Exec("DELETE FROM "+quoted(table)+" WHERE "+strings.Join(quotedAll(keys), " = ? AND ")+" = ?", values...)
			return err
		case "UPDATE":
			return upsert(tx, table, keys, columns, append(slices.Clone(values), payload))
		}
		return put(tx, table, keys, columns, append(slices.Clone(values), payload))
	})
}

// upsert changes the payload column alone; other columns of the row stay.
func upsert(tx *store.Tx, table string, keys, columns []string, values []any) error {
	last := quoted(columns[len(columns)-1])
	text := fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s) ON CONFLICT (%s) DO UPDATE SET %s = excluded.%s",
		quoted(table), strings.Join(quotedAll(columns), ", "), strings.Repeat(", ?", len(columns)-1),
		strings.Join(quotedAll(keys), ", "), last, last)
	_, err := tx.Exec(text, values...)
	return err
}
