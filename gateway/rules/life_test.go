package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/store"
)

const allowAll = `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`

func everythingAllowed(rules ...Rule) Config {
	return Config{Rules: rules, Roles: []Role{{Name: "all", Document: []byte(allowAll)}}}
}

// An action that never comes back holds up its own rule and nobody else, and
// least of all a publisher.
func TestSlowAction_DelaysItsOwnRuleAlone(t *testing.T) {
	h := newHouse(t, everythingAllowed(
		rule("slow", "SELECT n FROM 'in'", `{"lambda":{"functionArn":"hang","roleArn":"all"}}`, "error:"+to("err")),
		rule("ask", "SELECT aws_lambda('hang', *) AS a FROM 'in'", `{"lambda":{"functionArn":"hang","roleArn":"all"}}`),
		rule("fast", "SELECT n FROM 'in'", to("out")),
	))
	h.invoke = func(ctx context.Context, c function.Call) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	h.start()
	const messages = 5000
	var worst time.Duration
	began := time.Now()
	for i := range messages {
		start := time.Now()
		h.engine.Handle(say("in", `{"n":`+itoa(i)+`}`))
		worst = max(worst, time.Since(start))
		for i > len(h.said("out"))+500 {
			time.Sleep(time.Millisecond)
		}
	}
	h.until("the fast rule has them all", func() bool { return len(h.said("out")) == messages })
	if worst > 100*time.Millisecond {
		t.Errorf("Handle took %v", worst)
	}
	s, err := h.engine.Status("slow")
	if err != nil || s.Dropped < messages-QueueMax-10 || s.Waiting > QueueMax {
		t.Errorf("status %+v, %v", s, err)
	}
	h.until("the error action is told", func() bool { return len(h.said("err")) > 0 })
	most := int(time.Since(began)/time.Second) + 2 // one a second
	if doc := h.said("err"); len(doc) > most || !strings.Contains(doc[0], "the queue of the rule is full") || !strings.Contains(doc[0], "LambdaAction") {
		t.Errorf("%d documents, the first %s", len(doc), doc[0])
	}
	start := time.Now()
	h.stop()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

func TestPanic_IsOneActionsAlone(t *testing.T) {
	h := newHouse(t, everythingAllowed(rule("r", "SELECT n FROM 'in'", `{"lambda":{"functionArn":"f","roleArn":"all"}}`, to("out"), "error:"+to("err"))))
	h.invoke = func(context.Context, function.Call) ([]byte, error) { panic("oh") }
	h.start()
	for range 2 {
		h.engine.Handle(say("in", `{"n":1}`))
	}
	h.until("the other actions run", func() bool { return len(h.said("out")) == 2 && len(h.said("err")) == 2 })
	if doc := h.said("err")[0]; !strings.Contains(doc, "panic: oh") {
		t.Errorf("document %s", doc)
	}
}

func TestLambda_GetsEventAndContextAndIsTriedAgain(t *testing.T) {
	h := newHouse(t, everythingAllowed(
		rule("call", "SELECT n FROM 'in/+'", `{"lambda":{"functionArn":"arn:aws:lambda:us-east-1:1:function:${topic(2)}:prod","roleArn":"all"}}`, "error:"+to("err")),
		rule("ask", "SELECT aws_lambda('arn:aws:lambda:us-east-1:1:function:add', n).sum AS s, aws_lambda('broken', 1) AS b FROM 'ask'", `{"republish":{"topic":"asked","roleArn":"all"}}`),
		rule("denied", "SELECT aws_lambda('add', n) AS s FROM 'ask'", to("denied")),
	))
	tries := 0
	h.invoke = func(_ context.Context, c function.Call) ([]byte, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch c.Function {
		case "arn:aws:lambda:us-east-1:1:function:add":
			return []byte(`{"sum":` + string(c.Event) + `0}`), nil
		case "broken":
			return nil, errors.New("no")
		}
		if tries++; tries < 3 {
			return nil, errors.New("not yet")
		}
		return []byte("1"), nil
	}
	h.start()
	h.engine.Handle(say("in/f", `{"n":7}`))
	h.engine.Handle(say("ask", `{"n":4}`))
	h.until("the questions are answered", func() bool { return len(h.said("asked")) == 1 && len(h.said("denied")) == 1 })
	if h.said("asked")[0] != `{"s":40}` || h.said("denied")[0] != `{}` {
		t.Errorf("asked %v, denied %v", h.said("asked"), h.said("denied"))
	}
	h.until("the third attempt works", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return tries == 3 })
	time.Sleep(50 * time.Millisecond)
	if len(h.said("err")) != 0 {
		t.Errorf("error documents %v", h.said("err"))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.invoked[0]
	if c.Function != "arn:aws:lambda:us-east-1:1:function:f:prod" && len(h.invoked) > 1 {
		c = h.invoked[1]
	}
	for _, c := range h.invoked {
		if strings.HasSuffix(c.Function, ":prod") && (string(c.Event) != `{"n":7}` || c.Rule != "call" || c.Topic != "in/f" || c.ClientID != "c1" || c.TraceID == "") {
			t.Errorf("call %+v", c)
		}
	}
}

func TestLookups_ReadTablesSecretsAndShadows(t *testing.T) {
	h := newHouse(t, everythingAllowed(
		rule("put", "SELECT * FROM 'put'", `{"dynamoDBv2":{"putItem":{"tableName":"rule_t"},"roleArn":"all"}}`),
		rule("get", `SELECT get_dynamodb('rule_t', 'id', id, 'arn:x:role/all').v AS v, get_secret('key', 'SecretString', 'arn:x:role/all') AS s,
			get_secret('json', 'SecretString', 'k', 'arn:x:role/all') AS j, get_thing_shadow('pump').state.desired.max AS m, get_registry_data('DescribeThing', 'pump', 'arn:x:role/all') AS r FROM 'get'`, `{"republish":{"topic":"out","roleArn":"all"}}`),
		rule("poor", `SELECT get_dynamodb('other', 'id', id, 'arn:x:role/edge-default') AS v, get_secret('key', 'SecretString', 'arn:x:role/edge-default') AS s FROM 'get'`, to("poor")),
	))
	h.cfg.Keys = map[string][]string{"rule_t": {"id"}}
	for name, text := range map[string]string{"key": "s3cret\n", "json": `{"k":"inner"}`} {
		if err := errors.Join(os.MkdirAll(filepath.Join(h.dir, "secrets"), 0o700), os.WriteFile(filepath.Join(h.dir, "secrets", name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	h.engine.Handle(say("put", `{"id":"a","v":{"x":1}}`))
	h.until("the row is there", func() bool {
		n := 0
		_ = h.tables.Read(t.Context(), func(tx *store.Tx) error {
			_, err := tx.QueryRow("SELECT count(*) FROM rule_t", nil, &n)
			return err
		})
		return n == 1
	})
	h.engine.Handle(say("get", `{"id":"a"}`))
	h.until("the answers", func() bool { return len(h.said("out")) == 1 && len(h.said("poor")) == 1 })
	if got, want := h.said("out")[0], `{"v":{"x":1},"s":"s3cret","j":"inner","m":30}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := h.said("poor")[0]; got != `{}` {
		t.Errorf("the default role reads %s", got)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.Contains(h.log.String(), "s3cret") {
		t.Error("the secret is in the log")
	}
}

func TestSchedule_FiresOnTimeAndOnceAfterADowntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{Zone: time.UTC})
		h.start()
		h.create(rule("tick", "SELECT time, topic() AS t, clientid() AS c FROM SCHEDULE 'rate(5 minutes)'", to("tick")))
		h.create(rule("noon", "SELECT time FROM SCHEDULE 'cron(0 12 * * ? *)' WHERE time > 0", to("noon")))
		begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as a bubble has it
		time.Sleep(16 * time.Minute)
		synctest.Wait()
		ticks := h.said("tick")
		if len(ticks) != 3 || ticks[0] != fmt.Sprintf(`{"time":%d,"t":"$schedule/tick","c":"n/a"}`, begin.Add(5*time.Minute).UnixMilli()) {
			t.Fatalf("ticks %v", ticks)
		}
		if s, err := h.engine.Status("tick"); err != nil || s.NextRun != begin.Add(20*time.Minute).UnixMilli() || s.Hits != 3 {
			t.Errorf("status %+v, %v", s, err)
		}
		h.stop()
		time.Sleep(13 * time.Hour) // over noon, and 156 ticks
		h.published = nil
		h.start()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := h.said("tick"); len(got) != 1 || !strings.Contains(got[0], itoa(int(begin.Add(20*time.Minute).UnixMilli()))) {
			t.Errorf("after the downtime: %v", got)
		}
		if got := h.said("noon"); len(got) != 0 { // it has never fired, so it was not due
			t.Errorf("noon %v", got)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := h.said("noon"); len(got) != 1 || got[0] != fmt.Sprintf(`{"time":%d}`, begin.Add(36*time.Hour).UnixMilli()) {
			t.Errorf("noon %v", got)
		}
		if err := h.engine.Disable(t.Context(), "tick"); err != nil {
			t.Fatal(err)
		}
		h.published = nil
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := h.said("tick"); len(got) != 0 {
			t.Errorf("a disabled schedule fires: %v", got)
		}
		h.stop()
	})
}

// cron follows the zone's own clock: 07:00 stays 07:00 over the change to
// summer time (FL-087).
func TestSchedule_KeepsTheHourOverDaylightSaving(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 3, 25, 0, 0, 0, 0, berlin)))
		h := newHouse(t, Config{Zone: berlin, Rules: []Rule{rule("wake", "SELECT time FROM SCHEDULE 'cron(0 7 * * ? *)'", to("wake"))}})
		h.start()
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		var hours []string
		for _, text := range h.said("wake") {
			var v struct{ Time int64 }
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Fatal(err)
			}
			hours = append(hours, time.UnixMilli(v.Time).UTC().Format("02 15:04"))
		}
		if got := strings.Join(hours, ", "); got != "25 06:00, 26 05:00, 27 05:00" {
			t.Errorf("fired at %s UTC", got)
		}
		h.stop()
	})
}

func TestMemory_SurvivesACleanStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{Rules: []Rule{
			rule("heat", "SET @on = latch(t < 19, t > 21) SELECT CASE @on WHEN true THEN 'on' ELSE 'off' END AS heater, '${x}' AS x FROM 'room' WHERE changed(@on)", to("heat/${@on}")),
			rule("open", "SELECT open FROM 'door' WHERE open = true FOR 5m", to("open")),
			rule("mean", "SELECT avg(t) AS t, count(*) AS n FROM 'room' WINDOW TUMBLING(10m)", to("mean")),
		}})
		h.start()
		h.engine.Handle(say("room", `{"t":18}`))
		h.engine.Handle(say("door", `{"open":true}`))
		time.Sleep(time.Minute)
		h.stop()
		h.start()
		h.engine.Handle(say("room", `{"t":20}`)) // in between: nothing has changed
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if len(h.said("open")) != 0 || len(h.said("heat/true")) != 1 || len(h.said("heat/false")) != 0 {
			t.Errorf("too early: %v", h.published)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := h.said("open"); len(got) != 1 {
			t.Errorf("open %v", got)
		}
		h.stop()
		time.Sleep(time.Hour) // the window falls due while the house is down
		h.start()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := h.said("mean"); len(got) != 1 || got[0] != `{"t":19,"n":2}` {
			t.Errorf("mean %v", got)
		}
		h.stop()
	})
}

// The folder as it is at some moment is all that a kill -9 leaves. The load is
// a stream of numbered messages into a tumbling window; afterwards no window
// may have been told with two different values, none may be missing, and what
// a window lost is no more than came since the last checkpoint.
func TestMemory_KillUnderATumblingWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		windows := make(map[int64]map[string]int) // window end → payload → times
		count := 0
		h := newHouse(t, Config{Rules: []Rule{
			rule("sum", "SELECT count(*) AS n, min(n) AS lo, max(n) AS hi, window_end() AS w FROM 'in' WINDOW TUMBLING(7s)", to("out")),
		}})
		first := time.Now()
		for life := range 12 {
			h.published = nil
			h.start()
			for range 400 + 137*life%300 {
				h.engine.Handle(say("in", `{"n":`+itoa(count)+`}`))
				count++
				time.Sleep(100 * time.Millisecond)
			}
			// What subscribers have got counts, then the files are all that is left.
			killed := t.TempDir()
			copyFiles(t, h.dir, killed)
			for _, payload := range h.said("out") {
				var v struct{ W int64 }
				if err := json.Unmarshal([]byte(payload), &v); err != nil {
					t.Fatal(err)
				}
				if windows[v.W] == nil {
					windows[v.W] = make(map[string]int)
				}
				windows[v.W][payload]++
			}
			h.stop()
			h.dir, h.cfg.Dir = killed, killed
			time.Sleep(time.Duration(life) * time.Second)
		}
		missing, lost := 0, 0
		last := int64(0)
		for end := first.UnixMilli()/7000*7000 + 7000; end < time.Now().UnixMilli()-60_000; end += 7000 {
			told := windows[end]
			if len(told) > 1 {
				t.Errorf("window %d was told as %v", end, told)
			}
			if len(told) == 0 {
				missing++
				continue
			}
			for payload := range told {
				var v struct{ N, Lo, Hi int64 }
				if err := json.Unmarshal([]byte(payload), &v); err != nil {
					t.Fatal(err)
				}
				lost += int(v.Hi-v.Lo+1-v.N) + int(max(0, v.Lo-last-1))
				last = v.Hi
			}
		}
		t.Logf("%d messages, %d windows told, %d windows without a message or within a loss, %d messages lost in 11 kills", count, len(windows), missing, lost)
		if most := 11 * 105; lost > most { // 10 s of messages each
			t.Errorf("%d messages lost, at most %d may be", lost, most)
		}
		if len(windows) < count/70-12*3 {
			t.Errorf("only %d windows were told of about %d", len(windows), count/70)
		}
	})
}

// A result that left the memory and was stored is performed after a crash that
// came before its action.
func TestMemory_AStoredResultIsPerformedAfterTheCrash(t *testing.T) {
	h := newHouse(t, everythingAllowed(rule("w", "SELECT count(*) AS n, first(n) AS first FROM 'in' WINDOW SESSION(50ms)", `{"lambda":{"functionArn":"f","roleArn":"all"}}`)))
	hang := make(chan struct{})
	h.invoke = func(ctx context.Context, c function.Call) ([]byte, error) {
		select {
		case <-hang:
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	}
	h.start()
	for i := range 3 {
		h.engine.Handle(say("in", `{"n":`+itoa(i)+`}`))
	}
	h.until("the action has begun", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.invoked) == 1 })
	killed := t.TempDir()
	copyFiles(t, h.dir, killed)
	h.stop()
	h.dir, h.cfg.Dir, h.invoked, h.invoke = killed, killed, nil, nil
	h.start()
	h.until("the result is performed", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.invoked) == 1 })
	if got := string(h.invoked[0].Event); got != `{"n":3,"first":0}` {
		t.Errorf("event %s", got)
	}
	time.Sleep(settleAfter + 200*time.Millisecond)
	h.stop()
	h.invoked = nil
	h.start()
	time.Sleep(100 * time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.invoked) != 0 {
		t.Errorf("performed again: %v", h.invoked)
	}
}

func TestMemory_AFullDiskDoesNotHoldResultsBack(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("w", "SELECT count(*) AS n FROM 'in' WINDOW SESSION(30ms)", to("out"))}})
	h.start()
	if err := h.state.Write(t.Context(), "limit", func(tx *store.Tx) error {
		_, err := tx.Exec("PRAGMA max_page_count=1")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	h.engine.Handle(say("in", `{"x":"`+strings.Repeat("x", 100_000)+`"}`))
	h.until("the result comes", func() bool { return len(h.said("out")) == 1 })
}

// settable is a clock whose wall can be set.
type settable struct {
	*clock.System
	offset *atomic.Int64
}

func (c settable) Now() time.Time { return c.System.Now().Add(time.Duration(c.offset.Load())) }

// A board without a battery clock starts in the past and is set once it hears
// the time; later an operator sets it back by hours.
func TestClock_StepsDoNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		offset.Store(int64(-20 * 365 * 24 * time.Hour))
		h := newHouse(t, Config{Zone: time.UTC, Rules: []Rule{
			rule("tick", "SELECT time FROM SCHEDULE 'rate(5 minutes)'", to("tick")),
			rule("open", "SELECT open FROM 'door' WHERE open = true FOR 2m", to("open")),
			rule("mean", "SELECT count(*) AS n FROM 'in' WINDOW TUMBLING(10m)", to("mean")),
		}})
		h.change = func(d *Deps) { d.Clock = settable{clock.NewSystem(), &offset} }
		h.start()
		time.Sleep(11 * time.Minute)
		h.engine.Handle(say("door", `{"open":true}`))
		h.engine.Handle(say("in", `{}`))
		time.Sleep(time.Minute)
		offset.Store(0) // to the present: what is overdue by twenty years fires once
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := len(h.said("tick")); n != 3 {
			t.Errorf("%d ticks after the step forward, want 2 before and 1 after", n)
		}
		if len(h.said("open")) != 0 || len(h.said("mean")) != 1 {
			t.Errorf("open %v, mean %v: durations follow the steady clock, alignment the wall", h.said("open"), h.said("mean"))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(h.said("open")) != 1 {
			t.Errorf("open %v", h.said("open"))
		}
		offset.Store(int64(-3 * time.Hour))
		before := len(h.said("tick"))
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if n := len(h.said("tick")) - before; n != 3 {
			t.Errorf("%d ticks in a quarter of an hour after the step back", n)
		}
		h.stop()
	})
}
