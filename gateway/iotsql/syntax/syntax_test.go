package syntax

import (
	"errors"
	"strings"
	"testing"
)

func modern() Dialect { return Dialect{Version: "2016-03-23", Modern: true} }

func TestParse_ErrorsNamePlaceTokenAndExpectation(t *testing.T) {
	for _, c := range []struct {
		sql          string
		line, column int
		token        string
		expected     string
	}{
		{"", 1, 1, "", "SELECT"},
		{"SELECT", 1, 7, "", "an expression"},
		{"SELECT a\nFROM t", 2, 6, "t", "a topic filter in quotes"},
		{"SELECT größe, FROM 't'", 1, 15, "FROM", "reserved word"},
		{"SELECT 1 < 2 < 3", 1, 14, "<", "comparisons do not chain"},
		{"SELECT a IS NULL = true", 1, 18, "=", "comparisons do not chain"},
		{"SELECT 'a FROM t", 1, 8, "'a FROM t", "a closing quote"},
		{"SELECT `a", 1, 8, "`a", "a closing backtick"},
		{"SELECT 1x", 1, 9, "x", "no letter straight after a number"},
		{"SELECT 1.5s", 1, 11, "s", "no letter"},
		{"SELECT 99999999999d", 1, 8, "99999999999d", "a shorter duration"},
		{"SELECT @", 1, 8, "@", "1 to 64"},
		{"SELECT a; ", 1, 9, ";", "an operator"},
		{"SELECT a /* b", 1, 10, "/*", "*/"},
		{"SELECT a FROM 't' SET @a = 1", 1, 19, "SET", "SET stands before SELECT"},
		{"SELECT VALUE a, b", 1, 15, ",", "SELECT VALUE takes one item"},
		{"SELECT cast(a AS blob)", 1, 18, "blob", "a type"},
		{"SELECT cast(a, Int)", 1, 14, ",", "AS"},
		{"SELECT {a: 1}", 1, 9, "a", "a key in quotes"},
		{"SELECT [1,]", 1, 11, "]", "an expression"},
		{"SELECT (1", 1, 10, "", `")"`},
		{"SELECT f(1", 1, 11, "", `"," or ")"`},
		{"SELECT a AS 5", 1, 13, "5", "an alias"},
		{"SELECT a AS b.5", 1, 15, "5", "a name after the dot"},
		{"SELECT a..b", 1, 10, ".", "a name after the dot"},
		{"SELECT a BETWEEN 1 OR 2", 1, 20, "OR", "AND"},
		{"SELECT a IS 1", 1, 13, "1", "NULL or UNDEFINED"},
		{"SELECT CASE a ELSE 1 END", 1, 15, "ELSE", "WHEN"},
		{"SELECT CASE WHEN a 1 END", 1, 20, "1", "THEN"},
		{"SELECT CASE WHEN a THEN 1", 1, 26, "", "END"},
		{"SELECT a FROM 't' WHERE b FOR 5", 1, 31, "5", "a duration"},
		{"SELECT a FROM 't' GROUP a", 1, 25, "a", "BY"},
		{"SELECT a FROM 't' WINDOW WIDE(1s)", 1, 26, "WIDE", "TUMBLING"},
		{"SELECT a FROM 't' WINDOW HOPPING(1s)", 1, 36, ")", "the hop"},
		{"SELECT a FROM 't' WINDOW HOPPING(1s, 2s)", 1, 38, "2s", "a hop that is at most the size"},
		{"SELECT a FROM 't' WINDOW COUNT(0)", 1, 32, "0", "a whole number from 1"},
		{"SELECT a FROM 't' WINDOW SLIDING(1s) ON ts", 1, 38, "ON", "no ON with SLIDING"},
		{"SELECT a FROM 't' HAVING a", 1, 19, "HAVING", "only after WINDOW"},
		{"SET a = 1 SELECT a", 1, 5, "a", "a variable"},
		{"SET @a 1 SELECT a", 1, 8, "1", `"="`},
		{"SELECT a" + strings.Repeat(" ", 300_000), 1, 1, "SELECT a", "256 KiB"},
		{"SELECT " + strings.Repeat("(", 250) + "a", 1, 207, "(", "levels of nesting"},
		{"SELECT a" + strings.Repeat("+a", 6000), 1, 10009, "+", "operators in a row"},
		{"SELECT \xff", 1, 1, "invalid bytes", "UTF-8"},
	} {
		_, _, err := Parse(c.sql, modern())
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.40q: got %v, want an *Error", c.sql, err)
			continue
		}
		if e.Line != c.line || e.Column != c.column || !strings.HasPrefix(e.Token, c.token) || c.token == "" && e.Token != "" ||
			!strings.Contains(e.Expected, c.expected) {
			t.Errorf("%.40q:\ngot  %d:%d %q %q\nwant %d:%d %q %q", c.sql, e.Line, e.Column, e.Token, e.Expected, c.line, c.column, c.token, c.expected)
		}
		if !strings.HasPrefix(err.Error(), "sql line ") {
			t.Errorf("%.40q: sentence %q", c.sql, err)
		}
	}
}

func TestParse_OldVersionRefusesWhatIsNewer(t *testing.T) {
	for _, sql := range []string{
		"SELECT (SELECT a FROM b)", "SELECT [1]", "SELECT {}", "SELECT cast(1 AS Decimal)", "SELECT 5s", "SELECT a FROM SCHEDULE 'rate(1 minute)'",
		"SELECT a FROM 't' GROUP BY a", "SELECT a FROM 't' WHERE a FOR 5m",
	} {
		_, _, err := Parse(sql, Dialect{Version: "2015-10-08"})
		if err == nil || !strings.Contains(err.Error(), "2015-10-08") {
			t.Errorf("%s: got %v, want a refusal that names the version", sql, err)
		}
		if _, _, err := Parse(sql, modern()); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestParse_ValueIsAKeywordOnlyBeforeAnExpression(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT VALUE a": true, "SELECT VALUE *": true, "SELECT VALUE * FROM 't'": true, "SELECT VALUE (a)": true, "SELECT VALUE [a]": true,
		"SELECT VALUE {}": true, "SELECT VALUE 'x'": true, "SELECT VALUE @": false, "SELECT VALUE NOT a": true, "SELECT VALUE CASE WHEN a THEN 1 END": true,
		"SELECT value": false, "SELECT value FROM 't'": false, "SELECT value * 2": false, "SELECT value - 1": false, "SELECT value.x": false,
		"SELECT value, b": false, "SELECT value AS x": false, "SELECT value WHERE a": false, "SELECT value = 1": false, "SELECT value IN (1)": false,
		"SELECT value NOT IN (1)": false, "SELECT value AND a": false, "SELECT VALUE 5": true,
	} {
		_, q, err := Parse(sql, modern())
		if strings.HasSuffix(sql, "@") {
			if err == nil {
				t.Errorf("%s: want an error", sql)
			}
			continue
		}
		if err != nil || q.Value != want {
			t.Errorf("%s: %v, want VALUE to be a keyword: %v", sql, err, want)
		}
	}
}

func TestParse_ContextualWordsStayNames(t *testing.T) {
	for _, sql := range []string{
		"SELECT for, group, window, having, schedule, on, late, tumbling, count, value FROM 't' WHERE for = 1 AND window > having",
		"SELECT group FROM 't' WHERE group FOR 5s GROUP BY group WINDOW",
	} {
		_, _, err := Parse(sql, modern())
		if ended := strings.HasSuffix(sql, "WINDOW"); (err != nil) != ended {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestParseTemplate_FindsTheEndByTokens(t *testing.T) {
	for text, want := range map[string][]string{
		"plain":                         {"plain"},
		"a/${b}/c":                      {"a/", "${b}", "/c"},
		"${a}${b}":                      {"${a}", "${b}"},
		"$a $$ {x}":                     {"$a $$ {x}"},
		"${ {'}':'${'} }/x":             {"${ {'}':'${'} }", "/x"},
		"${get({'a':{'b':1}},'a').b}":   {"${get({'a':{'b':1}},'a').b}"},
		"${CASE a WHEN 1 THEN '}' END}": {"${CASE a WHEN 1 THEN '}' END}"},
		"":                              nil,
	} {
		parts, err := ParseTemplate(text, modern())
		var got []string
		for _, p := range parts {
			got = append(got, p.Text)
		}
		if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q: got %q, want %q (%v)", text, got, want, err)
		}
	}
	for text, column := range map[string]int{"${a": 4, "x${": 4, "${}": 3, "${a b}": 5, "${'x}": 3, "\xff": 1, "${a;}": 4} {
		_, err := ParseTemplate(text, modern())
		var e *Error
		if !errors.As(err, &e) || e.Column != column {
			t.Errorf("%q: got %v, want an error in column %d", text, err, column)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, sql := range []string{
		"SET @a = 1 SELECT *, a.b[0] AS c.d FROM 't/#' WHERE NOT a = 1 AND b IN (1,2) OR c LIKE 'x%'",
		"SELECT VALUE (SELECT x FROM y WHERE z BETWEEN 1 AND 2) FROM 'a'",
		"SELECT CASE a WHEN 1 THEN 'x' ELSE {'k':[1.5e3]} END FROM SCHEDULE 'rate(5 minutes)'",
		"SELECT avg(t) FROM 'x' WHERE t > 1 GROUP BY topic(2) WINDOW HOPPING(10s, 5s) ON ts LATE 1m HAVING count(*) > 1 /* c */",
	} {
		f.Add(sql, true)
	}
	f.Fuzz(func(t *testing.T, sql string, is2016 bool) {
		d := Dialect{Version: "v", Modern: is2016}
		_, q, err := Parse(sql, d)
		var e *Error
		if err == nil && q == nil || err != nil && (!errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Expected == "") {
			t.Errorf("%q: got %v, %v", sql, q, err)
		}
		if _, err := ParseTemplate(sql, d); err != nil && !errors.As(err, &e) {
			t.Errorf("template %q: %v", sql, err)
		}
	})
}
