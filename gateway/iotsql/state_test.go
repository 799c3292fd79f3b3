package iotsql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
)

// world drives one State and writes down what it emits, as `time payload`.
type world struct {
	t   testing.TB
	s   *Statement
	st  *State
	ctx *Context
	log []string
}

func newWorld(t testing.TB, sql string) *world {
	s := mustParse(t, sql)
	return &world{t: t, s: s, st: s.NewState(), ctx: &Context{}}
}

func (w *world) emit(o Output, err error) {
	if err != nil {
		w.t.Error(err)
	}
	w.log = append(w.log, fmt.Sprintf("%d %s", w.ctx.NowMS, o.Payload))
}

// at lets both clocks show ms and fires what is due on the way.
func (w *world) at(ms int64) *world { return w.atBoth(ms, ms) }

func (w *world) atBoth(wall, up int64) *world {
	w.ctx.NowMS, w.ctx.UpMS = wall, up
	w.st.Tick(w.ctx, w.emit)
	return w
}

func (w *world) hear(name, payload string) *world {
	w.ctx.Message = iot.Message{Topic: name, Payload: []byte(payload)}
	w.st.Handle(w.ctx, w.emit)
	return w
}

func (w *world) want(lines ...string) {
	w.t.Helper()
	if got, want := strings.Join(w.log, "\n"), strings.Join(lines, "\n"); got != want {
		w.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// restart saves the State and restores it; the steady clock begins anew.
func (w *world) restart(wall, up int64) *world {
	w.t.Helper()
	saved, err := w.st.Save()
	if err != nil {
		w.t.Fatal(err)
	}
	if w.st, err = w.s.Restore(saved, wall, up); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// TestVectors_SurviveARestartAfterEveryMessage runs the vectors of time once
// more; after each message the state is saved and restored, and the steady
// clock gets another origin.
func TestVectors_SurviveARestartAfterEveryMessage(t *testing.T) {
	for _, v := range loadVectors(t) {
		if v.Inputs == nil || v.Expect.Error != "" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			w := newWorld(t, v.SQL)
			origin := int64(0)
			for _, in := range v.Inputs {
				w.runTo(in.AtMS, origin)
				w.hear(in.Topic, in.Payload)
				origin += 1_000_003
				w.restart(in.AtMS, in.AtMS+origin)
			}
			w.runTo(v.UntilMS, origin)
			var got []timed
			for _, line := range w.log {
				var one timed
				payload := ""
				if _, err := fmt.Sscanf(line, "%d ", &one.AtMS); err != nil {
					t.Fatal(err)
				}
				_, payload, _ = strings.Cut(line, " ")
				one.Output = []byte(payload)
				got = append(got, one)
			}
			if err := sameOutputs(got, v.Expect.Outputs); err != nil {
				t.Error(err)
			}
		})
	}
}

// runTo wakes the State whenever it asks for it, up to ms.
func (w *world) runTo(ms, origin int64) {
	for {
		wait, ok := w.st.Wait()
		if !ok || w.ctx.NowMS+wait > ms {
			break
		}
		w.atBoth(w.ctx.NowMS+wait, w.ctx.NowMS+wait+origin)
	}
	w.atBoth(ms, ms+origin)
}

func TestState_RunsStatementsWithoutMemoryToo(t *testing.T) {
	w := newWorld(t, "SELECT t FROM 'x' WHERE t > 1")
	w.at(5).hear("x", `{"t":1}`).hear("x", `{"t":2}`)
	w.want(`5 {"t":2}`)
	if _, ok := w.st.Wait(); ok {
		t.Error("nothing to wait for")
	}
}

func TestState_LateTimersFireInOrderBeforeTheMessage(t *testing.T) {
	w := newWorld(t, "SELECT topic(2) AS d, timestamp() AS ts FROM 'd/+' WHERE open FOR 10s GROUP BY topic(2)")
	w.at(0).hear("d/b", `{"open":true}`)
	w.at(1000).hear("d/a", `{"open":true}`)
	w.at(1000).hear("d/c", `{"open":"TRUE"}`)
	w.at(60_000).hear("d/c", `{"open":false}`) // nobody ticked in between
	w.want(`10000 {"d":"b","ts":10000}`, `11000 {"d":"a","ts":11000}`, `11000 {"d":"c","ts":11000}`)
}

func TestState_DurationsDoNotFollowTheWallClock(t *testing.T) {
	w := newWorld(t, "SELECT count(*) AS n FROM 'x' WINDOW SESSION(30s)")
	const year = 365 * 86_400_000
	w.atBoth(1000, 0).hear("x", "{}")
	w.atBoth(50*year, 10_000).hear("x", "{}") // the clock was set
	w.atBoth(50*year+29_999, 39_999).want()
	w.atBoth(50*year+30_000, 40_000).want(fmt.Sprintf(`%d {"n":2}`, int64(50*year+30_000)))
}

func TestState_AlignedWindowsFollowTheWallClock(t *testing.T) {
	w := newWorld(t, "SELECT count(*) AS n, window_end() AS e FROM 'x' WINDOW TUMBLING(1m) HAVING every(1h)")
	w.atBoth(1000, 0).hear("x", "{}")
	w.atBoth(50_000_000_000, 1000) // the clock was set
	w.want(`60000 {"n":1,"e":60000}`)
	w.hear("x", "{}")
	w.atBoth(50_000_060_000, 61_000)
	w.want(`60000 {"n":1,"e":60000}`) // one minute later, not fifty million
}

func TestState_HavingRemembersWhatWasEmitted(t *testing.T) {
	w := newWorld(t, "SELECT avg(t) AS a FROM 'x' GROUP BY s WINDOW TUMBLING(10s) HAVING changed(avg(t), 1) AND count(*) > 0")
	for i, v := range []string{"20", "20.5", "20.9", "21", "21.5"} {
		w.at(int64(i)*10_000).hear("x", `{"s":"a","t":`+v+`}`)
	}
	w.at(60_000).want(`10000 {"a":20}`, `40000 {"a":21}`)
}

func TestState_WindowsKeepVariablesAndTopicOfTheLastMessage(t *testing.T) {
	w := newWorld(t, "SET @d = t * 2 SELECT @d AS d, t, topic() AS topic, first(t) AS f, last(@d) AS l FROM 'x/+' WINDOW COUNT(2)")
	w.at(1).hear("x/a", `{"t":1}`).hear("x/b", `{"t":2}`)
	w.want(`1 {"d":4,"t":2,"topic":"x/b","f":1,"l":4}`)
}

func TestState_TemplatesSeeTheEmission(t *testing.T) {
	w := newWorld(t, "SET @k = upper(s) SELECT s FROM 'x/+' GROUP BY topic(2) WINDOW SESSION(1s)")
	tpl, err := ParseTemplate("out/${@k}/${topic(2)}/${timestamp()}", w.s)
	if err != nil {
		t.Fatal(err)
	}
	var topics []string
	emit := func(Output, error) {
		text, err := tpl.Eval(w.ctx)
		if err != nil {
			t.Error(err)
		}
		topics = append(topics, text)
	}
	w.hear("x/a", `{"s":"p"}`).hear("x/b", `{"s":"q"}`)
	w.ctx.Message = iot.Message{Topic: "other"}
	w.ctx.NowMS, w.ctx.UpMS = 5000, 5000
	w.st.Tick(w.ctx, emit)
	if got := strings.Join(topics, " "); got != "out/P/a/1000 out/Q/b/1000" {
		t.Errorf("got %s", got)
	}
	if w.ctx.Message.Topic != "other" || w.ctx.NowMS != 5000 {
		t.Errorf("Tick must leave the context as it was: %s at %d", w.ctx.Message.Topic, w.ctx.NowMS)
	}
}

func TestState_FunctionsWithAMemory(t *testing.T) {
	for _, c := range []struct{ sql, inputs, want string }{
		{"SELECT prev(t, 2) AS p, prev(t, 2, 'none') AS d", "1 2 3 4", `{"d":"none"} {"d":"none"} {"p":1,"d":1} {"p":2,"d":2}`},
		{"SELECT prev(t) AS p", "1 null nope 3", `{} {"p":1} {"p":null} {"p":null}`},
		{"SELECT prev(prev(t)) AS p", "1 2 3", `{} {} {"p":1}`},
		{"SELECT prev(t, 0) AS p", "1 2", `{"p":1} {"p":2}`},
		{"SELECT prev() AS p, latch(t) AS l, changed() AS c", "1", `{}`},
		{"SELECT latch(t > 2, t < 2) AS l", "1 2 3 2 1 nope", `{"l":false} {"l":false} {"l":true} {"l":true} {"l":false} {"l":false}`},
		{"SELECT latch(true, true) AS l", "1", `{"l":false}`},
		{"SELECT t WHERE false AND changed(t) OR changed(t)", "1 1 2", `{"t":1} {"t":2}`},
		{"SELECT t, changed(t) AS c", "1 1 2 nope", `{"t":1,"c":true} {"t":1,"c":false} {"t":2,"c":true} {"c":false}`},
		{"SELECT t WHERE changed(t, 1)", `1 "x" "x" 2`, `{"t":1} {"t":"x"} {"t":2}`},
		{"SELECT rate(t) AS r", "1 2", `{} {}`}, // no time passes
		{"SET @p = prev(t), @q = @p + 1 SELECT @q AS q", "1 2", `{} {"q":2}`},
	} {
		w := newWorld(t, c.sql)
		for _, in := range strings.Fields(c.inputs) {
			if in == "nope" {
				w.hear("x", "{}")
				continue
			}
			w.hear("x", `{"t":`+in+`}`)
		}
		var got []string
		for _, line := range w.log {
			_, payload, _ := strings.Cut(line, " ")
			got = append(got, payload)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s over %s\ngot  %s\nwant %s", c.sql, c.inputs, strings.Join(got, " "), c.want)
		}
	}
}

func TestState_GroupsAreToldApartByValueAndType(t *testing.T) {
	w := newWorld(t, "SELECT g WHERE every(1h) GROUP BY g")
	for _, g := range []string{"1", "1.0", `"1"`, "true", "null", `"true"`, "[1]", "1.00"} {
		w.hear("x", `{"g":`+g+`}`)
	}
	w.hear("x", `{}`).hear("x", `not json`)
	w.want(`0 {"g":1}`, `0 {"g":"1"}`, `0 {"g":true}`, `0 {"g":null}`, `0 {"g":"true"}`, `0 {"g":[1]}`, `0 {}`)
}

func TestState_GroupByMayUseVariablesWithoutMemory(t *testing.T) {
	w := newWorld(t, "SET @room = topic(2), @n = prev(t) SELECT @room AS r, @n AS n GROUP BY @room")
	w.hear("x/a", `{"t":1}`).hear("x/b", `{"t":2}`).hear("x/a", `{"t":3}`)
	w.want(`0 {"r":"a"}`, `0 {"r":"b"}`, `0 {"r":"a","n":1}`)
}

func TestState_ForgetsTheLeastRecentlyUsedGroup(t *testing.T) {
	w := newWorld(t, "SELECT topic(2) AS g WHERE on FOR 1s GROUP BY topic(2)")
	for i := range groupsMax {
		w.hear(fmt.Sprintf("x/%d", i), `{"on":true}`)
	}
	w.hear("x/0", `{"on":true}`).hear("x/new", `{"on":true}`)
	if got := w.st.Stats(); got.Groups != groupsMax || got.DroppedGroups != 1 {
		t.Errorf("got %+v", got)
	}
	w.at(1000)
	if len(w.log) != groupsMax || w.log[0] != `1000 {"g":"0"}` || w.log[1] != `1000 {"g":"2"}` {
		t.Errorf("got %d emissions, first %v: group 1 must be gone", len(w.log), w.log[:2])
	}
}

func TestState_ForDoesNotChangeOnUndefined(t *testing.T) {
	w := newWorld(t, "SELECT t, u FROM 'x' WHERE t > 5 FOR 10s")
	w.at(0).hear("x", `{"t":9}`)
	w.at(9000).hear("x", `{"u":1}`) // undefined: the timer runs on
	w.at(10_000).want(`10000 {"u":1}`)
	w.at(11_000).hear("x", `{"t":9}`) // still no false in between
	w.at(30_000).hear("x", `{"t":1}`).hear("x", `{"t":7}`)
	w.at(50_000).want(`10000 {"u":1}`, `40000 {"t":7}`)
}

func TestState_EventTimeSessionsAndLateMessages(t *testing.T) {
	w := newWorld(t, "SELECT s, count(*) AS n, window_start() AS a, window_end() AS b FROM 'x' GROUP BY s WINDOW SESSION(10s, 15s) ON ts LATE 5s")
	for _, in := range []string{
		`{"s":"a","ts":1000}`, `{"s":"a","ts":8000}`, `{"s":"b","ts":2000}`,
		`{"s":"a","ts":500}`,   // earlier, still open: begins the session anew
		`{"s":"a","ts":20000}`, // another session of a; closes b at 12000 and the first of a at 15500 not yet (mark 15000)
		`{"s":"b","ts":1000}`,  // too late
		`{"s":"b"}`,            // no event time
	} {
		w.hear("x", in)
	}
	w.want(`0 {"s":"b","n":1,"a":2000,"b":12000}`)
	if got := w.st.Stats().Late; got != 2 {
		t.Errorf("%d late, want 2", got)
	}
	if wait, ok := w.st.Wait(); !ok || wait != 15_000 {
		t.Errorf("Wait = %d, %v; silence closes after 15 s", wait, ok)
	}
	w.at(15_000).want(`0 {"s":"b","n":1,"a":2000,"b":12000}`,
		`15000 {"s":"a","n":3,"a":500,"b":15500}`, `15000 {"s":"a","n":1,"a":20000,"b":30000}`)
	w.hear("x", `{"s":"a","ts":19000}`) // its window is closed for good
	if got := w.st.Stats().Late; got != 3 {
		t.Errorf("%d late, want 3", got)
	}
}

func TestState_SlidingWindowIsBounded(t *testing.T) {
	w := newWorld(t, "SELECT count(*) AS n FROM 'x' WINDOW SLIDING(1d)")
	w.hear("x", "{}")
	g := w.st.recent.Front().Value.(*group)
	for len(g.entries) < windowEntriesMax { // as if heard, without summing each time
		g.entries = append(g.entries, g.entries[0])
	}
	w.hear("x", "{}").hear("x", "{}")
	w.want(`0 {"n":1}`, `0 {"n":10000}`, `0 {"n":10000}`)
	if got := w.st.Stats().Dropped; got != 2 {
		t.Errorf("dropped %d, want 2", got)
	}
}

func TestRestore_RefusesWhatDoesNotFit(t *testing.T) {
	w := newWorld(t, "SELECT t, prev(t) AS p FROM 'x' GROUP BY s")
	w.hear("x", `{"t":1,"s":"a"}`)
	saved, err := w.st.Save()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mustParse(t, "SELECT t, prev(t) AS q FROM 'x' GROUP BY s").Restore(saved, 0, 0); !errors.Is(err, ErrOtherStatement) {
		t.Errorf("another statement: got %v", err)
	}
	for _, bad := range []string{"", "{", strings.Replace(string(saved), `"values":["I1"]`, `"values":["?"]`, 1), strings.Replace(string(saved), `"cells":[`, `"cells":[{},`, 1)} {
		if bad == string(saved) {
			t.Fatalf("nothing was damaged in %s", saved)
		}
		if _, err := w.s.Restore([]byte(bad), 0, 0); err == nil {
			t.Errorf("%.60s: want an error", bad)
		}
	}
}

func TestRestore_FiresWhatFellDueMeanwhile(t *testing.T) {
	w := newWorld(t, "SELECT topic(2) AS d FROM 'd/+' WHERE open FOR 5m GROUP BY topic(2)")
	w.at(0).hear("d/a", `{"open":true}`)
	w.restart(3_600_000, 20) // an hour later, just booted
	if wait, ok := w.st.Wait(); !ok || wait != 0 {
		t.Errorf("Wait = %d, %v", wait, ok)
	}
	w.atBoth(3_600_010, 30)
	w.want(`300000 {"d":"a"}`)
	w.atBoth(7_200_000, 3_600_020).want(`300000 {"d":"a"}`)
}
