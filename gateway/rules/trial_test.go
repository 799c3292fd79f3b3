package rules

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/topic"
)

func TestTest_ShowsWhatWouldBeDoneAndDoesNothing(t *testing.T) {
	h := newHouse(t, everythingAllowed()).start()
	m := say("room/kitchen/temp", `{"t":31}`)
	r := rule("", "SELECT t, topic(2) AS room, aws_lambda('f', 1) AS l FROM 'room/+/temp' WHERE t > get_thing_shadow('pump').state.desired.max",
		to("alarm/${topic(2)}"), to("$$aws/things/x/shadow/update"), `{"dynamoDBv2":{"putItem":{"tableName":"secret_${t}"}}}`, to("${nothing}"),
		`{"edge.sql":{"statement":"INSERT INTO rule_log(t) VALUES(:t)"}}`, `{"lambda":{"functionArn":"f","roleArn":"all"}}`, "error:"+to("errors"))
	out, err := h.engine.Test(t.Context(), Trial{Rule: r, Message: &m})
	if err != nil {
		t.Fatal(err)
	}
	if !out.Matched || !out.Covered || out.Real || out.Output != `{"t":31,"room":"kitchen"}` || out.Topic != m.Topic || out.Payload != `{"t":31}` || len(out.Actions) != 6 {
		t.Fatalf("got %+v", out)
	}
	for i, want := range []string{
		"republish by edge-default on alarm/kitchen: iot:Publish topic/alarm/kitchen true",
		"republish by edge-default on $aws/things/x/shadow/update: iot:Publish topic/$aws/things/x/shadow/update false",
		"dynamoDBv2 by edge-default on secret_31: dynamodb:PutItem table/secret_31 false",
		"republish by edge-default on : topic: template ${nothing} is Undefined",
		"edge.sql by edge-default on rule_log: sqlite:Exec table/rule_log true",
		"lambda by all on f: lambda:InvokeFunction function/f true",
	} {
		a := out.Actions[i]
		got := a.Action + " by " + a.Role + " on " + a.Resource + ":"
		for _, v := range a.Verdicts {
			got += " " + v.Action + " " + v.Resource + " " + map[bool]string{true: "true", false: "false"}[v.Allowed]
		}
		if a.Error != "" {
			got += " " + a.Error
		}
		if got != want {
			t.Errorf("action %d: got %s, want %s", i, got, want)
		}
	}
	if out.Actions[0].Fields["topic"] != "alarm/kitchen" || out.OnError == nil || out.OnError.Resource != "errors" {
		t.Errorf("fields %v, error action %+v", out.Actions[0].Fields, out.OnError)
	}
	if len(h.published)+len(h.invoked) != 0 {
		t.Errorf("published %v, invoked %v", h.published, h.invoked)
	}
}

func TestTest_TakesRealMessagesAndMovesTheClock(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("seen", "SELECT * FROM 'seen/#'")}}).start()
	windowed := rule("", "SELECT avg(n) AS n, count(*) AS c FROM 'in/+' WINDOW TUMBLING(1m)", to("out"))
	if _, err := h.engine.Test(t.Context(), Trial{Rule: windowed}); iot.CodeOf(err) != iot.NotFound {
		t.Errorf("without a message: %v", err)
	}
	h.engine.Handle(say("in/x", `{"n":4}`)) // no rule wants it; it is remembered all the same
	h.engine.Handle(say("seen/1", `{"n":5}`))
	h.until("the message is remembered", func() bool { return len(h.engine.Recent("seen/#")) == 1 })
	out, err := h.engine.Test(t.Context(), Trial{Rule: windowed})
	if err != nil || !out.Real || out.Topic != "in/x" || !out.Matched || out.Output != `{"n":4,"c":1}` || out.AfterMS <= 0 || out.AfterMS > 60_000 {
		t.Errorf("got %+v, %v", out, err)
	}
	for name, c := range map[string]struct {
		sql, payload string
		want         TrialResult
	}{
		"miss":       {"SELECT * FROM 'a' WHERE x > 1", `{"x":1}`, TrialResult{}},
		"not from":   {"SELECT * FROM 'b'", `{"x":1}`, TrialResult{Matched: true, Output: `{"x":1}`}},
		"error":      {"SELECT *, 1 AS one FROM 'a'", `[1]`, TrialResult{Error: "sql select *: the payload is not a JSON object"}},
		"binary":     {"SELECT * FROM 'a'", "\xff", TrialResult{Matched: true, Output: "/w==", IsBase64: true}},
		"hold":       {"SELECT x FROM 'a' WHERE x = 1 FOR 5m", `{"x":1}`, TrialResult{Matched: true, Output: `{"x":1}`, AfterMS: 300_000}},
		"hold false": {"SELECT x FROM 'a' WHERE x = 1 FOR 5m", `{"x":2}`, TrialResult{}},
	} {
		m := say("a", c.payload)
		out, err := h.engine.Test(t.Context(), Trial{Rule: rule("", c.sql), Message: &m})
		if err != nil || out.Matched != c.want.Matched || out.Output != c.want.Output || out.Error != c.want.Error || out.IsBase64 != c.want.IsBase64 || out.AfterMS != c.want.AfterMS {
			t.Errorf("%s: got %+v, %v", name, out, err)
		}
	}
	scheduled := rule("", "SELECT time > 0 AS ok FROM SCHEDULE 'rate(1 hour)'")
	if out, err := h.engine.Test(t.Context(), Trial{Rule: scheduled}); err != nil || out.Output != `{"ok":true}` || !out.Covered {
		t.Errorf("schedule: %+v, %v", out, err)
	}
	if _, err := h.engine.Test(t.Context(), Trial{Rule: rule("", "SELEC")}); iot.CodeOf(err) != iot.SQLParse {
		t.Errorf("bad sql: %v", err)
	}
	if _, err := h.engine.Test(t.Context(), Trial{Name: "ghost"}); iot.CodeOf(err) != iot.Unauthorized {
		t.Errorf("unknown: %v", err)
	}
	if out, err := h.engine.Test(t.Context(), Trial{Name: "seen"}); err != nil || out.Topic != "seen/1" {
		t.Errorf("by name: %+v, %v", out, err)
	}
	if got := h.engine.Recent(topic.Filter("in/+")); len(got) != 1 {
		t.Errorf("recent %v", got)
	}
}

func TestStatus_CountsAndTracesEvaluations(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{
		rule("r", "SELECT *, topic() AS t FROM 'in' WHERE n > 1", to("out"), to("$$SYS/x")),
		rule("w", "SELECT count(*) AS n FROM 'in' GROUP BY n WINDOW TUMBLING(1h)"),
	}}).start()
	for _, payload := range []string{`{"n":1}`, `{"n":2}`, `{"n":3}`, `{}`} {
		h.engine.Handle(say("in", payload))
	}
	h.until("all are through", func() bool { s, err := h.engine.Status("r"); return err == nil && s.Evaluated == 4 && s.Errors == 2 })
	s, err := h.engine.Status("r")
	if err != nil || s.Hits != 2 || s.Misses != 2 || s.LastMatch == 0 || !strings.Contains(s.LastError, "RepublishAction") || !s.Enabled || !s.FromFile {
		t.Errorf("status %+v, %v", s, err)
	}
	h.until("the window has its groups", func() bool { s, _ := h.engine.Status("w"); return s.Memory != nil && s.Memory.Groups == 4 })
	if all := h.engine.Book(); len(all) != 2 || all[0].Name != "r" || all[1].Name != "w" {
		t.Errorf("statuses %+v", all)
	}
	trace, err := h.engine.Trace("r")
	if err != nil || len(trace) != 4 {
		t.Fatal(trace, err)
	}
	if e := trace[1]; !e.Matched || e.Output != `{"n":3,"t":"in"}` || e.ClientID != "c1" || e.TraceID == "" || len(e.Actions) != 2 || e.Actions[0].Resource != "out" || e.Actions[1].Error == "" {
		t.Errorf("trace %+v", e)
	}
	if e := trace[3]; e.Matched || e.Payload != `{"n":1}` {
		t.Errorf("trace %+v", e)
	}
	h.stop() // brings the last counts into the metrics
	page := httptest.NewRecorder()
	h.metrics.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`tidehold_rule_evaluations_total{rule="r"} 4`, `tidehold_rule_misses_total{rule="r"} 2`, `tidehold_rule_matches_total{rule="r"} 2`,
		`tidehold_rule_action_failures_total{action="RepublishAction",rule="r"} 2`, `tidehold_rule_last_match_timestamp_seconds{rule="r"}`,
		`tidehold_rule_last_error_timestamp_seconds{rule="r"}`, `tidehold_rule_duration_seconds_count{rule="r"} 2`,
	} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// A rule with a real function: the executable is asked by the statement and
// called by the action.
func TestFunction_RealProcessEndToEnd(t *testing.T) {
	path := gwtest.Python(t)
	script := filepath.Join(t.TempDir(), "double.py")
	if err := os.WriteFile(script, []byte("import sys,json\nfor line in sys.stdin:\n    e=json.loads(line)\n    print(json.dumps({'twice': e['n']*2}), flush=True)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runner, err := function.New(function.Config{Functions: []function.Function{{Name: "double", Command: []string{path, script}, Env: map[string]string{"PATH": os.Getenv("PATH")}}}}, metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- runner.Run(ctx) }()
	t.Cleanup(func() { <-done })
	h := newHouse(t, everythingAllowed(
		rule("ask", "SELECT aws_lambda('arn:aws:lambda:us-east-1:000000000000:function:double', *).twice AS twice FROM 'in'", `{"republish":{"topic":"out","roleArn":"all"}}`),
		rule("call", "SELECT * FROM 'in'", `{"lambda":{"functionArn":"arn:aws:lambda:us-east-1:000000000000:function:double","roleArn":"all"}}`, "error:"+to("err")),
	))
	h.change = func(d *Deps) { d.Functions = runner; d.Clock = clock.NewSystem() }
	h.start()
	h.engine.Handle(say("in", `{"n":21}`))
	h.until("the answer", func() bool { return len(h.said("out")) == 1 })
	if got := h.said("out")[0]; got != `{"twice":42}` {
		t.Errorf("got %s", got)
	}
	h.engine.Handle(say("in", "no JSON"))
	h.until("the failure is told", func() bool { return len(h.said("err")) == 1 })
	h.stop()
}

// A message that is sifted in passing is counted, traced and remembered like one
// that was evaluated.
func TestSift_CountsLikeAnEvaluation(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("r", "SELECT t FROM 'dt/+' WHERE t > 30", to("hot"))}}).start()
	for _, payload := range []string{`{"t":29}`, `{"t":31}`, `{"t":"\u0032"}`, `{"u":1}`} {
		h.engine.Handle(say("dt/a", payload))
	}
	h.until("the rule has seen all", func() bool {
		s, err := h.engine.Status("r")
		return err == nil && s.Evaluated == 4 && s.Hits == 1 && s.Misses == 3
	})
	if trace, err := h.engine.Trace("r"); err != nil || len(trace) != 4 {
		t.Errorf("traced %d, %v", len(trace), err)
	}
	if recent := h.engine.Recent("dt/+"); len(recent) != 1 {
		t.Errorf("remembered %d", len(recent))
	}
	h.until("one fires", func() bool { return len(h.said("hot")) == 1 })
	h.stop()
	recorder := httptest.NewRecorder()
	h.metrics.Handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(recorder.Body.String(), `tidehold_rule_misses_total{rule="r"} 3`) {
		t.Error("the metrics have not heard of the misses")
	}
}

// page is what a scraper of metrics gets.
func (h *house) page() string {
	page := httptest.NewRecorder()
	h.metrics.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return page.Body.String()
}

func TestMemory_WhatItGivesUpIsInTheMetrics(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("w", "SELECT count(*) AS n FROM 'in/+' GROUP BY topic(2) WINDOW TUMBLING(10s) ON ts", to("out"))}}).start()
	for _, ts := range []string{"1000", "11000", "2000", `"x"`} {
		h.engine.Handle(say("in/a", `{"ts":`+ts+`}`))
	}
	h.engine.Handle(say("in/b", `{"ts":12000}`))
	h.until("the window", func() bool { return len(h.said("out")) == 1 })
	h.stop() // which brings the counts in
	for _, line := range []string{`tidehold_rule_groups{rule="w"} 2`, `tidehold_rule_late_messages_total{rule="w"} 2`, `tidehold_rule_groups_dropped_total{rule="w"} 0`} {
		if !strings.Contains(h.page(), line) {
			t.Errorf("no %s", line)
		}
	}
}

func TestPattern_OneThatTakesTooLongIsCountedAndLogged(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("r", "SELECT regexp_matches(s, '(?=(a+)+$)(a+)+$') AS m, 1 AS x FROM 'in'", to("out"))}}).start()
	h.engine.Handle(say("in", `{"s":"`+strings.Repeat("a", 60)+`b"}`))
	h.until("the result without the function's value", func() bool { return slices.Equal(h.said("out"), []string{`{"x":1}`}) })
	h.until("the count", func() bool { return strings.Contains(h.page(), `tidehold_rule_pattern_timeouts_total{rule="r"} 1`) })
	h.stop()
	if !strings.Contains(h.log.String(), "rule pattern took too long") {
		t.Errorf("log %s", h.log.String())
	}
}
