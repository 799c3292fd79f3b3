package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/config"
)

// exampleRules are those of configs/rules.yaml, which a gateway must accept
// without a word.
func exampleRules(t *testing.T) (all []Rule) {
	t.Helper()
	cfg, problems := config.Load("../../configs/rules.yaml", config.Options{Environ: []string{}, Hostname: "h", Actions: Kinds(),
		CheckRule: func(_ *config.Config, r config.Rule) ([]config.Doubt, error) { return nil, Check(exampleRule(r)) }})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, r := range cfg.Rules {
		all = append(all, exampleRule(r))
	}
	return all
}

func exampleRule(r config.Rule) Rule {
	return Rule{Name: r.Name, SQL: r.SQL, Version: r.AWSIoTSQLVersion, Actions: r.Actions, ErrorAction: r.ErrorAction}
}

// step is a message, or a wait.
type step struct {
	topic, payload string
	wait           time.Duration
}

func TestExamples_EveryRuleDoesWhatItSays(t *testing.T) {
	room := func(t float64) step { return step{topic: "room/pump/temp", payload: fmt.Sprintf(`{"t":%g}`, t)} }
	sensor := func(t float64) step { return step{topic: "sensors/a/temp", payload: fmt.Sprintf(`{"t":%g}`, t)} }
	wait := func(d time.Duration) step { return step{wait: d} }
	clocked := func(t float64, ms int64) step {
		return step{topic: "clocked/c", payload: fmt.Sprintf(`{"t":%g,"ts":%d}`, t, ms)}
	}
	seen := make(map[string]bool)
	for _, c := range []struct {
		rule, topic string
		steps       []step
		want        []string
	}{
		{"thermostat", "heater/pump", []step{room(20), room(18), room(20), room(22), room(20), room(18)},
			[]string{`{"heater":"off"}`, `{"heater":"on"}`, `{"heater":"off"}`, `{"heater":"on"}`}},
		{"silence", "alarm/silent/a", []step{sensor(20), wait(20 * time.Second), sensor(21), wait(29 * time.Second), sensor(22), wait(2 * time.Minute)},
			[]string{`{"sensor":"a","t":22,"alarm":"silent"}`}},
		// The bubble's clock begins at midnight, on the edge of a minute.
		{"averages", "minute/a", []step{sensor(20), wait(20 * time.Second), sensor(23), wait(time.Minute), sensor(30), wait(time.Minute)},
			[]string{`{"sensor":"a","t":21.5,"hi":23,"n":2,"ts":946684860000}`, `{"sensor":"a","t":30,"hi":30,"n":1,"ts":946684920000}`}},
		{"on_change", "report/a", []step{sensor(20), sensor(20.4), sensor(20.5), wait(11 * time.Minute), sensor(20.6)},
			[]string{`{"t":20}`, `{"t":20.5}`, `{"t":20.6}`}},
		{"door_open", "alarm/door/front", []step{{topic: "doors/front", payload: `{"open":true}`}, wait(4 * time.Minute), {topic: "doors/front", payload: `{"open":false}`},
			wait(5 * time.Minute), {topic: "doors/front", payload: `{"open":true}`}, wait(6 * time.Minute)}, []string{`{"door":"front"}`}},
		{"calm_alarm", "alarm/hot/m", []step{{topic: "a/m", payload: `{"t":60}`}, {topic: "a/m", payload: `{"t":61}`}, wait(10 * time.Minute),
			{topic: "a/m", payload: `{"t":40}`}, {topic: "a/m", payload: `{"t":62}`}}, []string{`{"t":60}`, `{"t":62}`}},
		{"setpoint", "alarm/setpoint/pump", []step{room(29), room(31)}, []string{`{"t":31}`}},
		{"morning", "report/morning", []step{wait(8 * time.Hour)}, []string{`{"pump":{"desired":{"max":30}},"ts":946710000000}`}},
		{"own_clock", "minute/clocked/c", []step{clocked(10, 0), clocked(20, 30_000), clocked(30, 69_999), clocked(1, 70_000)},
			[]string{`{"t":15,"n":2,"from":-240000,"to":60000}`}},
	} {
		seen[c.rule] = true
		t.Run(c.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, Config{Rules: exampleRules(t), Zone: time.UTC, Checkpoint: -1})
				h.start()
				for _, s := range c.steps {
					if s.wait > 0 {
						time.Sleep(s.wait)
					} else {
						h.engine.Handle(say(s.topic, s.payload))
					}
					synctest.Wait()
				}
				if got := h.said(c.topic); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				h.stop()
			})
		})
	}
	for _, r := range exampleRules(t) {
		if !seen[r.Name] {
			t.Errorf("rule %s of configs/rules.yaml is not tried", r.Name)
		}
	}
}

// What rules.md section 11 prints, a user finds word for word in the example.
func TestExamples_TheStatementsAreThoseOfTheSpecification(t *testing.T) {
	specified := map[string]string{
		"thermostat": `SET @heat = latch(t < 19, t > 21) SELECT CASE @heat WHEN true THEN 'on' ELSE 'off' END AS heater
			FROM 'room/+/temp' WHERE changed(@heat) GROUP BY topic(2)`,
		"silence": `SELECT topic(2) AS sensor, last(t) AS t, 'silent' AS alarm FROM 'sensors/+/temp' GROUP BY topic(2) WINDOW SESSION(30s)`,
		"averages": `SELECT topic(2) AS sensor, avg(t) AS t, max(t) AS hi, count(*) AS n, window_end() AS ts
			FROM 'sensors/+/temp' GROUP BY topic(2) WINDOW TUMBLING(1m)`,
		"on_change":  `SELECT t FROM 'sensors/+/temp' WHERE changed(t, 0.5) OR every(10m) GROUP BY topic(2)`,
		"door_open":  `SELECT topic(2) AS door FROM 'doors/+' WHERE open = true FOR 5m GROUP BY topic(2)`,
		"calm_alarm": `SELECT t FROM 'a/+' WHERE t > 50 AND every(10m) GROUP BY topic(2)`,
		"setpoint":   `SELECT t FROM 'room/+/temp' WHERE t > get_thing_shadow(topic(2)).state.desired.max`,
	}
	words := func(sql string) string { return strings.Join(strings.Fields(sql), " ") }
	for _, r := range exampleRules(t) {
		want, ok := specified[r.Name]
		if delete(specified, r.Name); ok && words(r.SQL) != words(want) {
			t.Errorf("rule %s is %s\nwant %s", r.Name, words(r.SQL), words(want))
		}
	}
	if len(specified) > 0 {
		t.Errorf("missing: %v", specified)
	}
}
