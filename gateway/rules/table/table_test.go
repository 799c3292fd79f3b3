package table

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/store"
)

func open(t testing.TB, keys map[string][]string) *Tables {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "tables.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tables := New(db, keys)
	if err := tables.Declare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tables
}

// allowed permits what the list names, as `Exec a`.
func allowed(list ...string) Allow {
	return func(n role.Need) error {
		text := strings.TrimPrefix(n.Action, "sqlite:") + " " + strings.TrimPrefix(n.Resource, "table/")
		if slices.Contains(list, text) {
			return nil
		}
		return iot.Errorf(iot.Forbidden, "no %s", text)
	}
}

func everything(role.Need) error { return nil }

func (t *Tables) exec(tb testing.TB, text, result string) error {
	tb.Helper()
	s, err := Parse(text, ModeExec)
	if err != nil {
		return err
	}
	return t.Exec(tb.Context(), s, []byte(result), everything)
}

func (t *Tables) query(tb testing.TB, text, result string) string {
	tb.Helper()
	s, err := Parse(text, ModeQuery)
	if err != nil {
		return "error: " + err.Error()
	}
	rows, err := t.Query(tb.Context(), s, []byte(result), everything)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(rows)
}

func TestPut_KeepsTypesAndKeys(t *testing.T) {
	tables := open(t, map[string][]string{"rule_keyed": {"thing"}, "rule_two": {"a", "b"}})
	ctx := t.Context()
	for _, p := range []struct{ table, result string }{
		{"rule_free", `{"a":1,"b":"x","n":null,"o":{"d":[1]}}`}, {"rule_free", `{"a":2.5,"row":true}`}, {"rule_free", `{}`},
		{"rule_keyed", `{"thing":"t","n":1}`}, {"rule_keyed", `{"thing":"t","n":9007199254740993,"big":1234567890.123456789012}`},
		{"rule_two", `{"a":1,"b":1,"v":1}`}, {"rule_two", `{"a":1,"b":2,"v":2}`}, {"rule_two", `{"a":1,"b":1,"v":3}`},
	} {
		if err := tables.Put(ctx, p.table, []byte(p.result)); err != nil {
			t.Errorf("%s %s: %v", p.table, p.result, err)
		}
	}
	for query, want := range map[string]string{
		"SELECT a, b, n, o, row FROM rule_free ORDER BY rowid": `[{"a":1,"b":"x","n":null,"o":{"d":[1]},"row":null},{"a":2.5,"b":null,"n":null,"o":null,"row":1},{"a":null,"b":null,"n":null,"o":null,"row":null}]`,
		"SELECT * FROM rule_keyed":                             `[{"thing":"t","n":9007199254740993,"big":"1234567890.123456789012"}]`,
		"SELECT b, v FROM rule_two ORDER BY b":                 `[{"b":1,"v":3},{"b":2,"v":2}]`,
	} {
		if got := tables.query(t, query, `{}`); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	for want, p := range map[string][2]string{
		`has no "thing"`:    {"rule_keyed", `{"n":1}`},
		"no JSON object":    {"rule_keyed", `[1]`},
		"cannot name":       {"rule_free", `{"":1}`},
		"UNIQUE constraint": {"rule_free", `{"row_number":1}`},
		"columns; at most ": {"rule_wide", wide(ColumnsMax + 1)},
	} {
		if err := tables.Put(ctx, p[0], []byte(p[1])); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func wide(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"c%d":%d`, i, i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestChange_WorksOnTablesHoweverTheyWereMade(t *testing.T) {
	tables := open(t, map[string][]string{"rule_declared": nil})
	change := func(table, operation, id, payload string) {
		t.Helper()
		c := Change{Table: table, Operation: operation, Keys: []Key{{"id", KeyValue(id, false)}, {"n", KeyValue("1", true)}}, Column: "payload", Payload: []byte(payload)}
		if err := tables.Change(t.Context(), c); err != nil {
			t.Errorf("%s %s: %v", operation, table, err)
		}
	}
	for _, table := range []string{"rule_declared", "rule_own"} {
		change(table, Insert, "a", `{"x":1}`)
		change(table, Insert, "b", `{"x":1}`)
		if err := tables.exec(t, "INSERT INTO "+table+"(id, n, extra) VALUES('c', 1, 'keep')", `{}`); err != nil {
			t.Fatal(err)
		}
		change(table, Update, "c", "\xff")
		change(table, Update, "d", `{"x":4}`)
		change(table, Insert, "a", `{"x":2}`)
		change(table, Delete, "b", ``)
		want := `[{"id":"a","payload":{"x":2},"extra":null},{"id":"c","payload":"/w==","extra":"keep"},{"id":"d","payload":{"x":4},"extra":null}]`
		if got := tables.query(t, "SELECT id, payload, extra FROM "+table+" ORDER BY id", `{}`); got != want {
			t.Errorf("%s: got %s, want %s", table, got, want)
		}
	}
}

func TestRow_FindsByTextOrNumber(t *testing.T) {
	tables := open(t, map[string][]string{"rule_t": {"id"}})
	for _, row := range []string{`{"id":5,"v":{"a":1}}`, `{"id":"x","v":"y","w":1.5}`} {
		if err := tables.Put(t.Context(), "rule_t", []byte(row)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ table, column, value, want string }{
		{"rule_t", "id", "5", `{"id":5,"v":{"a":1},"w":null}`}, {"rule_t", "id", "x", `{"id":"x","v":"y","w":1.5}`},
		{"rule_t", "id", "none", ""}, {"rule_t", "nocolumn", "nocolumn", ""}, {"rule_absent", "id", "5", ""},
	} {
		row, found, err := tables.Row(t.Context(), c.table, []Key{{c.column, c.value}})
		if err != nil || string(row) != c.want || found != (c.want != "") {
			t.Errorf("%+v: got %s, %v, %v", c, row, found, err)
		}
	}
}

func TestAppend_StoresOneRowPerMember(t *testing.T) {
	tables := open(t, nil)
	r := Record{Database: "d", Table: "rule_s", Dimensions: []Dimension{{"site", "hall"}, {"dev", "c1"}}, TimeMS: 1000, Result: []byte(`{"t":21.5,"h":40,"n":null,"s":"ok"}`)}
	for range 2 { // the same record again replaces itself
		if err := tables.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	want := `[{"time":1000,"database":"d","dims":{"dev":"c1","site":"hall"},"measure":"h","value":40},{"time":1000,"database":"d","dims":{"dev":"c1","site":"hall"},"measure":"s","value":"ok"},` +
		`{"time":1000,"database":"d","dims":{"dev":"c1","site":"hall"},"measure":"t","value":21.5}]`
	if got := tables.query(t, `SELECT * FROM rule_s ORDER BY measure`, `{}`); got != want {
		t.Errorf("got %s", got)
	}
	for _, result := range []string{`{}`, `1`} {
		r.Result = []byte(result)
		if err := tables.Append(t.Context(), r); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("%s: %v", result, err)
		}
	}
}

func TestExec_BindsFromTheResultAndMakesWhatAnInsertNames(t *testing.T) {
	tables := open(t, map[string][]string{"rule_dev": {"id"}})
	const event = `{"id":"a","m":{"t":21.5,"deep":{"x":[1,2]}},"on":true,"weird name":1}`
	upsert := "INSERT INTO rule_dev(id, t, deep, missing) VALUES(:id, :m.t, :m.deep, :m.none.x) ON CONFLICT(id) DO UPDATE SET t = excluded.t + :m.t, n = coalesce(n, 0) + 1; -- done"
	if err := tables.exec(t, upsert, event); err == nil || !strings.Contains(err.Error(), "no such column: n") {
		t.Errorf("a column that no insert names: %v", err)
	}
	upsert = strings.Replace(upsert, ", n = coalesce(n, 0) + 1", "", 1)
	for range 2 {
		if err := tables.exec(t, upsert, event); err != nil {
			t.Fatal(err)
		}
	}
	if err := tables.exec(t, "INSERT INTO rule_new(value, at) SELECT value, :id FROM json_each(:m.deep.x)", event); err != nil {
		t.Fatal(err)
	}
	if err := tables.exec(t, "UPDATE rule_new SET at = ':id' || (SELECT count(*) FROM rule_dev) WHERE value = 2", event); err != nil {
		t.Fatal(err)
	}
	if err := tables.exec(t, "DELETE FROM rule_new WHERE value = :m.t", event); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"SELECT * FROM rule_dev":                                              `[{"id":"a","t":43,"deep":{"x":[1,2]},"missing":null}]`,
		"SELECT value, at FROM rule_new WHERE at <> :id":                      `[{"value":2,"at":":id1"}]`,
		"SELECT count(*) AS n, 'x?1' AS x FROM rule_new":                      `[{"n":2,"x":"x?1"}]`,
		"SELECT :m.t AS t, 1.0 AS f":                                          `[{"t":21.5,"f":1}]`,
		"WITH r(n) AS (VALUES(1),(2)) SELECT n FROM r":                        `[{"n":1},{"n":2}]`,
		"SELECT a.id, b.value FROM rule_dev a JOIN rule_new b ON b.value = 1": `[{"id":"a","value":1}]`,
		"SELECT 1 AS x WHERE 0":                                               `[]`,
		"SELECT x'ff' AS b":                                                   `[{"b":"/w=="}]`,
	} {
		if got := tables.query(t, query, event); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	if err := tables.exec(t, upsert, `"text"`); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("a result that is no object: %v", err)
	}
}

// What a statement touches is what SQLite's compiler says, not what its text
// looks like.
func TestPermit_NamesEveryTable(t *testing.T) {
	tables := open(t, map[string][]string{"rule_a": {"id"}, "rule_b": {"id"}, "other": {"id"}, "rule_auto": {"id"}})
	err := tables.db.Write(t.Context(), "prepare", func(tx *store.Tx) error {
		for _, text := range []string{
			"CREATE VIEW rule_view AS SELECT id FROM other",
			"CREATE TRIGGER tr AFTER DELETE ON rule_b BEGIN DELETE FROM other; END",
			"CREATE TABLE rule_seq(id INTEGER PRIMARY KEY AUTOINCREMENT, v)",
			"CREATE INDEX other_index ON other(id)",
		} {
			if _, err := tx.Exec(text); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode  Mode
		text  string
		needs string
	}{
		{ModeQuery, "SELECT * FROM rule_a", "Query rule_a"},
		{ModeQuery, "SELECT count(*) FROM rule_a", "Query rule_a"},
		{ModeQuery, "SELECT * FROM rule_view", "Query other"},
		{ModeQuery, "SELECT (SELECT max(id) FROM other) FROM rule_a", "Query other,Query rule_a"},
		{ModeQuery, "SELECT * FROM rule_a WHERE id IN (SELECT id FROM \"other\")", "Query other,Query rule_a"},
		{ModeQuery, "SELECT id FROM other ORDER BY id LIMIT 1", "Query other"},
		{ModeQuery, "SELECT 1", ""},
		{ModeExec, "DELETE FROM rule_a", "Exec rule_a"},
		{ModeExec, "DELETE FROM rule_b", "Exec other,Exec rule_b,Query rule_b"},
		{ModeExec, "UPDATE rule_a SET id = (SELECT id FROM other)", "Exec rule_a,Query other"},
		{ModeExec, "INSERT INTO rule_seq(v) VALUES(1)", "Exec rule_seq"},
		{ModeExec, "INSERT INTO main.rule_a SELECT * FROM other", "Exec rule_a,Query other"},
		{ModeExec, "INSERT INTO rule_later(a) VALUES(1)", "Exec rule_later"},
	} {
		s, err := Parse(c.text, c.mode)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		needs, err := tables.Needs(t.Context(), s)
		var got []string
		for _, n := range needs {
			text := strings.TrimPrefix(n.Action, "sqlite:") + " " + strings.TrimPrefix(n.Resource, "table/")
			if !strings.HasPrefix(text, "Query rule_a") || !slices.Contains(got, "Exec rule_a") {
				got = append(got, text)
			}
		}
		slices.Sort(got)
		if strings.Join(got, ",") != c.needs || err != nil {
			t.Errorf("%s: got %v, want %s (%v)", c.text, got, c.needs, err)
		}
	}
	s, err := Parse("SELECT * FROM rule_view", ModeQuery)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tables.Query(t.Context(), s, nil, allowed("Query rule_view")); iot.CodeOf(err) != iot.Forbidden {
		t.Errorf("a view hides its table: %v", err)
	}
	s, err = Parse("INSERT INTO rule_x(a) VALUES(1)", ModeExec)
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Exec(t.Context(), s, nil, allowed("Exec rule_y")); iot.CodeOf(err) != iot.Forbidden {
		t.Errorf("exec without permission: %v", err)
	}
	if got := tables.query(t, "SELECT * FROM rule_x", ""); !strings.Contains(got, "no such table") {
		t.Errorf("the refused insert made its table: %s", got)
	}
}

func TestParse_RefusesWhatIsNoStatementOfRules(t *testing.T) {
	for _, c := range []struct {
		mode       Mode
		text, want string
	}{
		{ModeExec, "", "empty"}, {ModeExec, "-- only a comment", "empty"},
		{ModeExec, "DROP TABLE rule_a", "begins with"}, {ModeExec, "ATTACH 'state.db' AS s", "begins with"}, {ModeExec, "PRAGMA journal_mode=OFF", "begins with"},
		{ModeExec, "SELECT 1", "begins with"}, {ModeQuery, "DELETE FROM rule_a", "begins with"}, {ModeExec, "EXPLAIN DELETE FROM x", "begins with"},
		{"both", "SELECT 1", "want exec or query"},
		{ModeExec, "DELETE FROM a; DELETE FROM b", "more than one"}, {ModeExec, "DELETE FROM a RETURNING *", "RETURNING"},
		{ModeExec, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) INSERT INTO a SELECT x FROM c", "RECURSIVE"},
		{ModeQuery, "SELECT * FROM sqlite_schema", "not for rules"}, {ModeQuery, "SELECT * FROM \"SQLITE_master\"", "not for rules"},
		{ModeQuery, "SELECT * FROM pragma_database_list", "not for rules"}, {ModeQuery, "SELECT * FROM dbstat", "not for rules"},
		{ModeQuery, "SELECT load_extension('x')", "not for rules"}, {ModeQuery, "SELECT * FROM room_version", "not for rules"},
		{ModeQuery, "SELECT ?", "a parameter is written"}, {ModeQuery, "SELECT ?1", "a parameter is written"}, {ModeQuery, "SELECT @x", "a parameter is written"},
		{ModeQuery, "SELECT $x", "a parameter is written"}, {ModeQuery, "SELECT :1", "a parameter is written"},
		{ModeQuery, "SELECT 'open", "never closes"}, {ModeQuery, "SELECT /* open", "never closes"}, {ModeQuery, "SELECT [open", "never closes"},
		{ModeQuery, "SELECT '\xff'", "UTF-8"}, {ModeQuery, "SELECT " + strings.Repeat("1,", 40000) + "1", "at most"},
	} {
		if _, err := Parse(c.text, c.mode); err == nil || !strings.Contains(err.Error(), c.want) || iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("%.40s: want %q, got %v", c.text, c.want, err)
		}
	}
	s, err := Parse(`/* :no */ SELECT ':no', ":no", :a.b, :a.b, [x y], :ä.c -- :no`+"\n, `q``r`", ModeQuery)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/* :no */ SELECT ':no', \":no\", ?1, ?1, [x y], ?2 -- :no\n, `q``r`"; s.text != want || len(s.with) != 2 {
		t.Errorf("got %s with %v", s.text, s.with)
	}
}

func TestQuery_IsBounded(t *testing.T) {
	tables := open(t, nil)
	if got := tables.query(t, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 20000) SELECT x FROM c", ""); !strings.Contains(got, "use LIMIT") {
		t.Errorf("got %.100s", got)
	}
	s, err := Parse("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) AS n FROM c", ModeQuery)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := tables.Query(ctx, s, nil, everything); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("an endless query: %v after %v", err, time.Since(start))
	}
	if got := tables.query(t, "SELECT 1 AS x", ""); got != `[{"x":1}]` {
		t.Errorf("afterwards: %s", got)
	}
}

func TestQuery_ColumnsFollowTheSchema(t *testing.T) {
	tables := open(t, nil)
	for i, result := range []string{`{"a":1}`, `{"b":2}`} {
		if err := tables.Put(t.Context(), "rule_g", []byte(result)); err != nil {
			t.Fatal(err)
		}
		want := []string{`[{"row_number":1,"a":1}]`, `[{"row_number":1,"a":1,"b":null},{"row_number":2,"a":null,"b":2}]`}[i]
		if got := tables.query(t, "SELECT * FROM rule_g", ""); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestCheckName_SparesTheFilesOwnTables(t *testing.T) {
	for name, ok := range map[string]bool{"rule_a": true, "sqlite_schema": false, "room_version": false, "ab": false, "a b c": false, "t.u-v": true} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse_OnlyOneStatementOfItsKindPasses(f *testing.F) {
	for _, text := range []string{"SELECT :a.b FROM t", "SELECT 'x'';' -- c", "SELECT `a`[b]\"c\" /**/;", "SELECT 1;;", "SELECT :a:b.c.d"} {
		f.Add(text)
	}
	tables := open(f, map[string][]string{"rule_a": {"id"}})
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text, ModeQuery)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = tables.Query(ctx, s, []byte(`{"a":{"b":1}}`), func(n role.Need) error {
			if n.Resource != "table/rule_a" || n.Action != permitQuery {
				t.Errorf("%q needs %v", text, n)
			}
			return nil
		})
		if errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%q tried to write: %v", text, err)
		}
	})
}
