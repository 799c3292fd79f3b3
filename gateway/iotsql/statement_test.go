package iotsql

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

func mustParse(t testing.TB, sql string) *Statement {
	t.Helper()
	s, err := Parse(sql, Version2016)
	if err != nil {
		t.Fatalf("Parse %s: %v", sql, err)
	}
	return s
}

func contextOf(name, payload string) *Context {
	return &Context{Message: iot.Message{Topic: name, Payload: []byte(payload)}, NowMS: 1_700_000_000_000}
}

// evaluate gives the payload of one message; empty when nothing fires.
func evaluate(t testing.TB, sql, payload string) string {
	t.Helper()
	out, err := mustParse(t, sql).Eval(contextOf("t", payload))
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return string(out.Payload)
}

func TestEval_WhatTheVectorsDoNotSay(t *testing.T) {
	const payload = `{"a":{"x":1.0,"y":2},"b":[1,2],"s":"text","n":10.0,"big":1e5000,"deep":{"k":{"v":7}}}`
	for _, c := range []struct{ sql, want string }{
		{"SELECT n, n AS m, n + 0 AS p", `{"n":10.0,"m":10.0,"p":10}`},
		{"SELECT a.*, 3 AS z", `{"x":1.0,"y":2,"z":3}`},
		{"SELECT a.* AS all", `{"all":{"x":1.0,"y":2}}`},
		{"SELECT VALUE a.*", `{"x":1.0,"y":2}`},
		{"SELECT 5 AS a.x, *, 6 AS a.z", `{"a":{"x":1.0,"y":2,"z":6},"b":[1,2],"s":"text","n":10.0,"big":1e5000,"deep":{"k":{"v":7}}}`},
		{"SELECT 1 AS s, 2 AS s.t", `{"s":{"t":2}}`},
		{"SELECT b[0], a.x + 1, (SELECT 1 AS q FROM a)", `{"expr1":1,"expr2":2,"expr3":{"q":1}}`},
		{"SELECT big, big + 1 AS r, isUndefined(big) AS u", `{"big":1e5000,"u":false}`},
		{"SELECT concat(b, s) AS c", `{"c":[1,2,"text"]}`},
		{"SELECT VALUE * WHERE false", ""},
		{"SELECT s IN (SELECT VALUE s FROM *) AS r", `{}`},
		{"SELECT 1 IN (SELECT VALUE * FROM b) AS r", `{"r":true}`},
		{"SELECT (SELECT k.v AS v FROM deep) AS r", `{"r":{"v":7}}`},
		{"SELECT (SELECT (SELECT v FROM k) AS q FROM deep) AS r", `{"r":{"q":{"v":7}}}`},
		{"SELECT (SELECT *, 1 AS z FROM b) AS r", `{"r":[]}`},
		{"SELECT (SELECT * FROM b) AS r", `{"r":[1,2]}`},
		{"SELECT (SELECT VALUE 1) AS r", `{"r":1}`},
		{"SELECT s[0] AS c, s[-1] AS d, s['0'] AS e, a['x'] AS f", `{"c":"t","e":"t","f":1.0}`},
		{"SELECT s LIKE '%x_' AS a, s LIKE '' AS b, '' LIKE '%%' AS c, 'a\nb' LIKE 'a_b' AS d", `{"a":true,"b":false,"c":true,"d":true}`},
		{"SELECT CASE WHEN s THEN 1 ELSE 2 END AS r", `{"r":2}`},
		{"SELECT +s AS p, +'5' AS q, -'5' AS r", `{"q":5,"r":-5}`},
		{"SELECT cast(5 AS Double)/2 AS d, cast('7' AS Double) AS e", `{"d":2.5,"e":7}`},
		{"SELECT bitnot(13) AS n, bitor(1E20, 1) AS m", `{"n":-14,"m":100000000000000000001}`},
		{"SELECT power(10, 3) + '' AS s, sqrt(2) AS q", `{"s":"1000","q":1.4142135623730951}`},
		{"SELECT decode('AA', 'base64') AS n, decode('QQ==', 'hex') AS u, decode('Q\nQ==', 'base64') AS m", `{"n":null,"m":null}`},
		{"SELECT machinelearning_predict('m') AS p, 1 AS x", `{"x":1}`},
		{"SELECT topic(1) AS t, clientid() AS c, principal() AS p, sourceip() AS i, traceid() AS d, accountid() AS a", `{"t":"t","c":"n/a","a":"000000000000"}`},
		{"SELECT 1 + 2 * 3 AS folded, [1, {'a': nope}] AS l", `{"folded":7,"l":[1,{}]}`},
		{"SELECT nope BETWEEN 1 AND 2 AS a, 5 BETWEEN nope AND 2 AS b, 5 BETWEEN 1 AND nope AS c, 0 BETWEEN 1 AND nope AS d", `{"b":false,"d":false}`},
		{"SELECT 5 AS `a b`.`c`", `{"a b":{"c":5}}`},
	} {
		if got := evaluate(t, c.sql, payload); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.sql, got, c.want)
		}
	}
}

func TestEval_StarBesideOtherItemsNeedsAnObject(t *testing.T) {
	s := mustParse(t, "SELECT *, 1 AS x")
	for _, payload := range []string{"[1]", "5", "nonsense", "\xff", `"s"`, strings.Repeat("[", 101) + strings.Repeat("]", 101)} {
		if out, err := s.Eval(contextOf("t", payload)); !errors.Is(err, ErrNoObject) || out.Fired {
			t.Errorf("%.20q: got %v, %v; want ErrNoObject", payload, out.Fired, err)
		}
	}
	if out, err := s.Eval(contextOf("t", "")); err != nil || string(out.Payload) != `{"x":1}` {
		t.Errorf("empty payload: got %s, %v", out.Payload, err)
	}
}

func TestEval_MessagesThatDoNotMatchCostNoAllocation(t *testing.T) {
	for _, sql := range []string{
		"SELECT t FROM 'a/+' WHERE t > 50",
		"SELECT * FROM 'a/+' WHERE startswith(s, 'x') OR state.reported.mode = 'on'",
		"SET @f = t * 1.8 + 32 SELECT @f AS f FROM 'a/+' WHERE @f > 200 AND t BETWEEN 1 AND 99",
		"SELECT t FROM 'a/+' WHERE regexp_matches(s, '^x[0-9]+$')",
		"SELECT t FROM 'a/+' WHERE topic(2) IN ('x', 'y') AND nope IS NULL",
	} {
		s := mustParse(t, sql)
		ctx := contextOf("a/b", `{"s":"sensor","t":21.5,"state":{"reported":{"mode":"off"}}}`)
		if n := testing.AllocsPerRun(200, func() {
			if out, err := s.Eval(ctx); out.Fired || err != nil {
				t.Error("must not fire")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", sql, n)
		}
	}
}

func TestEval_DocumentIsSharedByRulesOfBothVersions(t *testing.T) {
	d := documentOf([]byte(`{"x":10.0}`))
	for version, want := range map[string]string{Version2015: `{"r":2.5}`, Version2016: `{"r":2}`, VersionBeta: `{"r":2}`} {
		for _, sql := range []string{"SELECT x / 4 AS r", "SELECT get(*, 'x') / 4 AS r", "SELECT x / 4 AS r"} {
			s, err := Parse(sql, version)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := s.Eval(&Context{Document: d}); err != nil || string(out.Payload) != want {
				t.Errorf("%s %s: got %s, want %s (%v)", version, sql, out.Payload, want, err)
			}
		}
	}
}

// An unsupported function is an error when the rule is made, never silently true
// (FL-201).
func TestParse_ChecksFunctionsAndVariables(t *testing.T) {
	for _, c := range []struct{ sql, token, expected string }{
		{"SELECT uper(a)", "uper", "did you mean upper?"},
		{"SELECT zzzzzzzz(a)", "zzzzzzzz", "the name of a function"},
		{"SELECT {'k': zzzzzzzz(a)}", "zzzzzzzz", "the name of a function"},
		{"SELECT [1, -zzzzzzzz(a)]", "zzzzzzzz", "the name of a function"},
		{"SELECT a IN (zzzzzzzz(a))", "zzzzzzzz", "the name of a function"},
		{"SELECT 1 BETWEEN 1 AND zzzzzzzz(a)", "zzzzzzzz", "the name of a function"},
		{"SELECT CASE 1 WHEN 1 THEN zzzzzzzz(a) END", "zzzzzzzz", "the name of a function"},
		{"SELECT CASE zzzzzzzz(a) WHEN 1 THEN 1 END", "zzzzzzzz", "the name of a function"},
		{"SELECT true OR zzzzzzzz(a)", "zzzzzzzz", "the name of a function"},
		{"SELECT cast(zzzzzzzz(a) AS Int)", "zzzzzzzz", "the name of a function"},
		{"SELECT abs(zzzzzzzz(a)) IS NULL", "zzzzzzzz", "the name of a function"},
		{"SELECT a[zzzzzzzz(a)].b", "zzzzzzzz", "the name of a function"},
		{"SELECT (SELECT zzzzzzzz(a) FROM b)", "zzzzzzzz", "the name of a function"},
		{"SELECT encode(*, zzzzzzzz(a))", "zzzzzzzz", "the name of a function"},
		{"SELECT get_or_default(1, zzzzzzzz(a))", "zzzzzzzz", "the name of a function"},
		{"SELECT prev(zzzzzzzz(a))", "zzzzzzzz", "the name of a function"},
		{"SELECT a GROUP BY zzzzzzzz(a)", "zzzzzzzz", "the name of a function"},
		{"SET @b = @a, @a = 1 SELECT @a", "@a", "SET has defined before"},
		{"SELECT decode(a, 'proto', 'b', 'k', 'f', 't')", "decode", "protobuf decode is not built in"},
		{"SELECT get_or_default(a, upper(get_thing_shadow('t')))", "get_thing_shadow", "without functions that look outside"},
		{"SELECT get_dynamodb('t','k','v'), get_dynamodb('t','k','v')", "get_dynamodb", "at most once"},
		{"SELECT a WHERE get_secret('s','SecretString') = 1", "get_secret", "only in SELECT and in templates"},
		{"SELECT get_registry_data(a, 't')", "get_registry_data", "literal 'DescribeThing'"},
		{"SELECT 1 + a.*", ".*", "select item of its own"},
		{"SELECT a FROM 'x/#/y'", "x/#/y", "a topic filter"},
		{"SELECT a FROM SCHEDULE 'hourly'", "hourly", "rate(5 minutes)"},
		{"SELECT avg(t)", "avg", "of a rule with WINDOW"},
		{"SELECT max(max(t)) FROM 'x' WINDOW TUMBLING(1s)", "max", "of a rule with WINDOW"},
		{"SELECT (SELECT sum(t) FROM e) FROM 'x' WINDOW TUMBLING(1s)", "sum", "of a rule with WINDOW"},
		{"SELECT t FROM 'x' WINDOW TUMBLING(1s) ON count(*)", "count", "of a rule with WINDOW"},
		{"SELECT t FROM 'x' WHERE window_end() > 1", "window_end", "of a rule with WINDOW"},
		{"SELECT prev(t) FROM 'x' WINDOW TUMBLING(1s)", "prev", "only in SET and WHERE"},
		{"SELECT t FROM 'x' WHERE changed(t) WINDOW TUMBLING(1s)", "changed", "only in HAVING"},
		{"SELECT (SELECT prev(t) FROM e)", "prev", "of the rule itself"},
		{"SELECT t GROUP BY prev(t)", "prev", "of the rule itself"},
		{"SET @p = prev(t), @q = @p SELECT t GROUP BY @q", "GROUP BY", "does not depend on functions with a memory"},
	} {
		_, err := Parse(c.sql, Version2016)
		var e *Error
		if !errors.As(err, &e) || e.Token != c.token || !strings.Contains(e.Expected, c.expected) {
			t.Errorf("%s: got %v, want token %q, expected %q", c.sql, err, c.token, c.expected)
		}
	}
	if _, err := Parse("SELECT a", "2017-01-01"); err == nil {
		t.Error("an unknown version must be refused")
	}
	for _, sql := range []string{"SELECT prev(t)", "SELECT length(a)", "SELECT get_thing_shadow('t')"} {
		if _, err := Parse(sql, Version2015); err == nil {
			t.Errorf("%s must be refused in 2015-10-08", sql)
		}
	}
}

func TestParse_WarnsOfWhatCanOnlyBeUndefined(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT regexp_matches(a, '(')":           "regexp_matches is always Undefined",
		"SELECT parse_time('yyyy ''x', 1)":        "parse_time is always Undefined",
		"SELECT parse_time('yyyy', 1, 'No/Such')": "unknown zone",
		"SELECT time_to_epoch(a, 'bbb')":          "time_to_epoch is always Undefined",
		"SELECT machinelearning_predict(a)":       "no models",
	} {
		s := mustParse(t, sql)
		if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0].Message, want) || w[0].Line != 1 || w[0].Column != 8 {
			t.Errorf("%s: got %+v, want one with %q", sql, w, want)
		}
		if out, err := s.Eval(contextOf("t", `{"a":"x"}`)); err != nil || string(out.Payload) != "{}" {
			t.Errorf("%s: got %s, %v", sql, out.Payload, err)
		}
	}
	s, err := Parse("SELECT a", "")
	if err != nil || s.Version() != Version2015 || len(s.Warnings()) != 1 {
		t.Errorf("a missing version: got %v, %v", s.Warnings(), err)
	}
}

func TestFilter_IsTheTextOfFrom(t *testing.T) {
	if f, ok := mustParse(t, "SELECT a FROM 'x/+'").Filter(); !ok || f != "x/+" {
		t.Errorf("got %q, %v", f, ok)
	}
	s := mustParse(t, "SELECT a FROM SCHEDULE 'rate(1 hour)'")
	if _, ok := s.Filter(); ok {
		t.Error("a schedule has no filter")
	}
	if text, ok := s.Schedule(); !ok || text != "rate(1 hour)" {
		t.Errorf("got %q, %v", text, ok)
	}
	next, ok := s.NextRun(time.Date(2024, 1, 1, 0, 30, 0, 0, time.UTC))
	if want := time.Date(2024, 1, 1, 1, 0, 0, 0, time.UTC); !ok || !next.Equal(want) {
		t.Errorf("got %v, want %v", next, want)
	}
	if _, ok := mustParse(t, "SELECT a FROM 'x'").NextRun(time.Unix(0, 0)); ok {
		t.Error("a statement without a schedule never runs by itself")
	}
	if _, ok := mustParse(t, "SELECT a").Filter(); ok {
		t.Error("a statement without FROM has no filter")
	}
}

func TestEval_LooksUpThroughTheContext(t *testing.T) {
	var asked []string
	answer := func(ok bool, text string) func(parts ...string) ([]byte, bool) {
		return func(parts ...string) ([]byte, bool) {
			asked = append(asked, strings.Join(parts, " "))
			return []byte(text), ok
		}
	}
	ctx := contextOf("t", `{"thing":"pump","n":1.50}`)
	ctx.Lookups = Lookups{
		Shadow:   func(a, b, c string) ([]byte, bool) { return answer(a == "pump", `{"state":{"v":1.50}}`)(a, b, c) },
		Registry: func(a, b, c string) ([]byte, bool) { return answer(true, `{"thingName":"pump"}`)(a, b, c) },
		Lambda:   func(a string, event []byte) ([]byte, bool) { return answer(true, `[1]`)(a, string(event)) },
		Secret: func(a, b, c string) (string, bool) {
			s, ok := answer(true, `{"user":"u"}`)(a, b, c)
			return string(s), ok
		},
		Row: func(a, b, c, d, e, f string) ([]byte, bool) { return answer(true, `not json`)(a, b, c, d, e, f) },
	}
	sql := `SELECT get_thing_shadow(thing, 'cfg', 'arn:aws:iam::1:role/r').state.v AS v, get_thing_shadow('other') AS o,
		get_registry_data('DescribeThing', thing, 'arn:x').thingName AS name, aws_lambda('arn:f', *) AS f,
		get_secret('id', 'SecretString', 'user', 'arn:r') AS u, get_secret('id', 'SecretBinary', 'arn:r') AS raw,
		get_secret('id', 'Other', 'arn:r') AS bad, get_dynamodb('t', 'k', 1, 'sk', 2, 'arn:r') AS row`
	out, err := mustParse(t, sql).Eval(ctx)
	want := `{"v":1.50,"name":"pump","f":[1],"u":"u","raw":"{\"user\":\"u\"}"}`
	if err != nil || string(out.Payload) != want {
		t.Errorf("got  %s\nwant %s (%v)", out.Payload, want, err)
	}
	wantAsked := []string{
		"pump cfg arn:aws:iam::1:role/r", "other  ", "DescribeThing pump arn:x", `arn:f {"thing":"pump","n":1.50}`,
		"id SecretString arn:r", "id SecretBinary arn:r", "t k 1 sk 2 arn:r",
	}
	if fmt.Sprint(asked) != fmt.Sprint(wantAsked) {
		t.Errorf("asked %q\nwant  %q", asked, wantAsked)
	}
	ctx.Lookups = Lookups{}
	if out, err := mustParse(t, sql).Eval(ctx); err != nil || string(out.Payload) != "{}" {
		t.Errorf("without look-ups: got %s, %v", out.Payload, err)
	}
}

func TestEval_MessageFunctionsSpeakOfTheMessage(t *testing.T) {
	ctx := contextOf("$aws/rules/r", "")
	ctx.Account = "123"
	ctx.Message.Origin = iot.Origin{
		ClientID: "c1", SourceIP: "10.0.0.7", TraceID: "trace", Protocol: 5,
		Principal: iot.Principal{Kind: iot.CertificateKind, ID: "cert"},
	}
	ctx.Message.Properties = &iot.Properties{CorrelationData: []byte{1, 2}, HasPayloadFormat: true, PayloadFormat: 1}
	out, err := mustParse(t, `SELECT topic() AS t, topic(1) AS t1, clientid() AS c, sourceip() AS ip, traceid() AS tr, principal() AS p,
		accountid() AS a, get_mqtt_property('correlation_data') AS d, get_mqtt_property('format_indicator') AS f,
		get_mqtt_property('x') AS x, get_user_properties('k') AS k, newuuid() AS u, rand() AS r, timestamp() AS ts`).Eval(ctx)
	want := `{"t":"","t1":"","c":"c1","ip":"10.0.0.7","tr":"trace","p":"cert","a":"123","d":"AQI=","f":"UTF8_DATA","ts":1700000000000}`
	if err != nil || string(out.Payload) != want {
		t.Errorf("got  %s\nwant %s (%v)", out.Payload, want, err)
	}
}

func TestTemplate_TextVariablesAndFailures(t *testing.T) {
	s := mustParse(t, "SET @room = upper(r) SELECT t FROM 'x'")
	ctx := contextOf("a/b", `{"r":"k","t":1.50,"nil":null,"list":[1,"x"]}`)
	if _, err := s.Eval(ctx); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"plain": "plain", "${@room}/${t}/${topic(2)}": "K/1.50/b", "${list}": `[1,"x"]`, "$${t}": "$1.50", "${t > 1}": "true",
	} {
		tpl, err := ParseTemplate(text, s)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := tpl.Eval(ctx); err != nil || got != want {
			t.Errorf("%q: got %q, want %q (%v)", text, got, want, err)
		}
		if tpl.Constant() != (text == "plain") {
			t.Errorf("%q: Constant is %v", text, tpl.Constant())
		}
		if got, err := tpl.Eval(contextOf("a/b", string(ctx.Message.Payload))); err != nil || got != want {
			t.Errorf("%q without Eval before: got %q, want %q (%v)", text, got, want, err)
		}
	}
	for _, text := range []string{"${nope}", "${nil}"} {
		tpl, err := ParseTemplate(text, s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tpl.Eval(ctx); err == nil || err.Error() != "template "+text+" is Undefined" {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"${@nope}", "${prev(t)}", "${count(*)}", "${nosuch(1)}", "${"} {
		if _, err := ParseTemplate(text, s); err == nil {
			t.Errorf("%q: want an error", text)
		}
	}
	const outside = "${get_secret('a','SecretString')}"
	if _, err := ParseTemplate(outside, s); err != nil {
		t.Errorf("%s: %v", outside, err)
	}
	if _, err := ParseErrorTemplate(outside, s); err == nil {
		t.Errorf("%s must be refused in an error action", outside)
	}
	if _, err := ParseErrorTemplate("${topic()}", s); err != nil {
		t.Error(err)
	}
}

func TestEval_PatternsOfMessagesAreRemembered(t *testing.T) {
	s := mustParse(t, "SELECT regexp_substr(s, p) AS r, parse_time(f, 0, z) AS d, time_to_epoch('1970-01-02', g) AS e")
	ctx := contextOf("t", `{"s":"abc","p":"b.","f":"yyyy","z":"Asia/Tokyo","g":"yyyy-MM-dd"}`)
	for range 3 {
		if out, err := s.Eval(ctx); err != nil || string(out.Payload) != `{"r":"bc","d":"1970","e":86400000}` {
			t.Errorf("got %s, %v", out.Payload, err)
		}
	}
	ctx.Message.Payload = []byte(`{"s":"abc","p":"(","f":"'","z":"x y","g":"'"}`)
	if out, err := s.Eval(ctx); err != nil || string(out.Payload) != `{}` {
		t.Errorf("bad patterns: got %s, %v", out.Payload, err)
	}
}

func TestEval_CountsPatternsThatTakeTooLong(t *testing.T) {
	s := mustParse(t, "SELECT regexp_matches(s, '(?=(a+)+$)(a+)+$') AS m, regexp_replace(s, '(?=(a+)+$)b', '') AS r, 1 AS x")
	ctx := contextOf("t", `{"s":"`+strings.Repeat("a", 40)+`b"}`)
	out, err := s.Eval(ctx)
	timeouts := ctx.TakeTimeouts()
	if err != nil || !strings.HasSuffix(string(out.Payload), `"x":1}`) || strings.Contains(string(out.Payload), `"m"`) || timeouts == 0 {
		t.Errorf("got %s, %d timeouts, %v", out.Payload, timeouts, err)
	}
}

// FuzzEval runs whatever parses on whatever comes; nothing may fall over.
func FuzzEval(f *testing.F) {
	for _, v := range loadVectors(f) {
		f.Add(v.SQL, string(v.payload()))
	}
	f.Fuzz(func(t *testing.T, sql, payload string) {
		s, err := Parse(sql, Version2016)
		if err != nil || len(payload) > 1000 {
			return
		}
		ctx := contextOf("a/b/c", payload)
		ctx.Random = func() float64 { return 0.5 }
		_, _ = s.Eval(ctx)
		st := s.NewState()
		emit := func(Output, error) {}
		for i := range int64(3) {
			ctx.NowMS, ctx.UpMS = i*700, i*700
			st.Handle(ctx, emit)
		}
		saved, err := st.Save()
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.Restore(saved, 5000, 0)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		ctx.NowMS, ctx.UpMS = 1e7, 1e7
		again.Tick(ctx, emit)
	})
}

// FuzzTemplate fills whatever parses with whatever comes.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"a/${topic(2)}/b", "${get(*, '}')}", "${'${x}'}", "$${", "${@v}${CASE t WHEN 1 THEN 'x' END}", "${a.`b c`}"} {
		f.Add(text, `{"t":1}`)
	}
	s, err := Parse("SET @v = t SELECT * FROM 'a'", Version2016)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, payload string) {
		if len(payload) > 1000 {
			return
		}
		for _, parse := range []func(string, *Statement) (*Template, error){ParseTemplate, ParseErrorTemplate} {
			template, err := parse(text, s)
			if err != nil {
				continue
			}
			ctx := contextOf("a/b/c", payload)
			ctx.Random = func() float64 { return 0.5 }
			_, _ = s.Eval(ctx)
			got, err := template.Eval(ctx)
			if err == nil && !strings.Contains(text, "${") && got != text {
				t.Fatalf("%q without a template became %q", text, got)
			}
		}
	})
}
