package rules

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// payload300 is the reading of the bars: about 300 bytes of JSON.
const payload300 = `{"device":"climate-1","site":"hall-7","ts":1732456789123,"temperature":21.5,"humidity":41.25,"pressure":1013.25,` +
	`"battery":{"voltage":3.71,"percent":87,"charging":false},"gps":{"lat":52.520008,"lon":13.404954,"alt":34},"tags":["indoor","east","second-floor"],"status":"ok","firmware":"2.14.3"}`

// sink is a house that counts.
type sink struct{ n atomic.Int64 }

func (s *sink) Publish(iot.Message) { s.n.Add(1) }

func benchEngine(b testing.TB, rules ...Rule) (*Engine, *sink) {
	b.Helper()
	s := new(sink)
	e, err := New(Config{Rules: rules}, Deps{Publisher: s, Clock: clock.NewSystem(), IDs: ids.New(rand.Reader), Metrics: metrics.New(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return e, s
}

// look is what the evaluator does with one message, without its goroutine.
func lookBench(b *testing.B, rules ...Rule) {
	e, _ := benchEngine(b, rules...)
	v := &evaluator{engine: e}
	look := v.look
	a := arrival{message: say("dt/climate-1/reading", payload300)}
	b.ReportAllocs()
	b.SetBytes(int64(len(payload300)))
	for b.Loop() {
		v.one(&a, look)
	}
}

func BenchmarkFilter_OneFailing(b *testing.B) {
	lookBench(b, rule("r", "SELECT temperature FROM 'dt/+/reading' WHERE temperature > 24.5 AND status = 'ok'", to("o")))
}

// Failing rules on one topic share one reading of the payload: each further
// one costs its filter alone.
func BenchmarkFilter_FailingOnOneTopic(b *testing.B) {
	for _, n := range []int{1, 3, 10, 100} {
		b.Run(fmt.Sprint(n, " rules"), func(b *testing.B) { lookBench(b, failing(n)...) })
	}
}

func failing(n int) (rules []Rule) {
	for i := range n {
		rules = append(rules, rule(fmt.Sprint("r", i), fmt.Sprintf("SELECT temperature FROM 'dt/+/reading' WHERE temperature > %d", 30+i), to("o")))
	}
	return rules
}

func thousand(matching int) []Rule {
	var rules []Rule
	for i := range matching {
		name := "dt/other-" + fmt.Sprint(i)
		if i == matching/2 {
			name = "dt/climate-1"
		}
		rules = append(rules, rule(fmt.Sprint("r", i), "SELECT temperature FROM '"+name+"/reading' WHERE temperature > 24.5", to("o")))
	}
	return rules
}

func BenchmarkRules_OneOfOne(b *testing.B)      { lookBench(b, thousand(1)...) }
func BenchmarkRules_OneOfThousand(b *testing.B) { lookBench(b, thousand(1000)...) }

func BenchmarkHandle_NoRuleMatches(b *testing.B) {
	e, _ := benchEngine(b, thousand(1000)...)
	m := say("nobody/wants/this", payload300)
	b.ReportAllocs()
	for b.Loop() {
		e.Handle(m)
	}
}

// From Handle to the publisher, through intake, evaluation and worker.
func BenchmarkFire_Republish(b *testing.B) {
	e, s := benchEngine(b, rule("r", "SELECT temperature, topic(2) AS device FROM 'dt/+/reading' WHERE temperature > 20", to("alarm/${topic(2)}")))
	done := make(chan struct{})
	ctx := b.Context()
	go func() { defer close(done); _ = e.Run(ctx) }()
	for !e.running() {
		time.Sleep(time.Millisecond)
	}
	m := say("dt/climate-1/reading", payload300)
	m.Origin.TraceID = "00000000-0000-4000-8000-000000000000" // the broker's
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		e.Handle(m)
		for n++; n-s.n.Load() > 500; {
			runtime.Gosched()
		}
	}
	for s.n.Load() < n {
		time.Sleep(time.Millisecond)
	}
}

// The same work on one core, without the hand-over between goroutines.
func BenchmarkFire_RepublishOnOneCore(b *testing.B) {
	e, s := benchEngine(b, rule("r", "SELECT temperature, topic(2) AS device FROM 'dt/+/reading' WHERE temperature > 20", to("alarm/${topic(2)}")))
	r := e.table.Load().byName["r"]
	v := &evaluator{engine: e}
	look := v.look
	a := arrival{message: say("dt/climate-1/reading", payload300)}
	a.message.Origin.TraceID = "00000000-0000-4000-8000-000000000000"
	ctx := b.Context()
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		v.one(&a, look)
		j, _ := r.queue.Take()
		r.perform(ctx, j)
		n++
	}
	if s.n.Load() != n {
		b.Errorf("%d published of %d", s.n.Load(), n)
	}
}

// The way of a message that is no JSON through intake and evaluator, on one
// core and without a goroutine to wake: what a rule costs besides the filter.
func BenchmarkHandle_IntakeAndLook(b *testing.B) {
	e, _ := benchEngine(b, rule("r", "SELECT * FROM '#' WHERE n > 1 AND topic(1) = 'never'", to("o")))
	v := &evaluator{engine: e, now: e.now()}
	look := v.look
	m := say("dt/climate-1/reading", strings.Repeat("\x01", 256))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		e.Handle(m)
		if n++; n%64 > 0 {
			continue
		}
		batch := e.intake.take()
		for i := range batch {
			v.one(&batch[i], look)
		}
		e.intake.done(batch)
	}
}

// What a message costs its publisher while a failing filter looks at it: the
// evaluator runs beside.
func BenchmarkHandle_PublisherSide(b *testing.B) {
	e, _ := benchEngine(b, rule("r", "SELECT temperature FROM 'dt/+/reading' WHERE temperature > 24.5", to("o")))
	ctx := b.Context()
	var run sync.WaitGroup
	run.Go(func() { _ = e.Run(ctx) })
	m := say("dt/climate-1/reading", payload300)
	b.ReportAllocs()
	for b.Loop() {
		e.Handle(m)
	}
}

func TestFilter_FailingOnesAllocateNothing(t *testing.T) {
	for _, n := range []int{1, 3, 10, 100} {
		e, _ := benchEngine(t, failing(n)...)
		v := &evaluator{engine: e}
		look := v.look
		a := arrival{message: say("dt/climate-1/reading", payload300)}
		if got := testing.AllocsPerRun(100, func() { v.one(&a, look) }); got != 0 {
			t.Errorf("%d rules: %v allocations", n, got)
		}
	}
}

// Rules on other topics are not even asked: that is why a thousand cost what
// one costs (BenchmarkRules_OneOfThousand measures it).
func TestRules_OnlyThoseWhoseTopicMatchesAreLookedAt(t *testing.T) {
	e, _ := benchEngine(t, thousand(1000)...)
	v := &evaluator{engine: e}
	var looked []string
	v.one(&arrival{message: say("dt/climate-1/reading", payload300)}, func(r *runner) { looked = append(looked, r.name) })
	if len(looked) != 1 || looked[0] != "r500" {
		t.Errorf("looked at %v, want r500 alone", looked)
	}
}

func TestBar_AnIdleRuleIsSmall(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for name, sql := range map[string]string{
		"filter":  "SELECT temperature, topic(2) AS device, battery.voltage AS v FROM 'dt/%d/+/reading' WHERE temperature > 24.5 AND status = 'ok'",
		"windows": "SELECT topic(2) AS sensor, avg(t) AS t, max(t) AS hi, count(*) AS n FROM 'sensors/%d/+' GROUP BY topic(2) WINDOW TUMBLING(1m)",
		"asking":  "SELECT get_thing_shadow('pump').state.desired.max AS m FROM 'in/%d'",
	} {
		const n = 500
		rules := make([]Rule, n)
		for i := range rules {
			rules[i] = rule(fmt.Sprint("r", i), fmt.Sprintf(sql, i), to("alarm/${topic(2)}"), `{"dynamoDBv2":{"putItem":{"tableName":"rule_x"}}}`, "error:"+to("errors"))
		}
		goroutines, before := runtime.NumGoroutine(), heap()
		e, _ := benchEngine(t, rules...)
		after := heap()
		each := float64(after-before) / n
		t.Logf("%s: %.1f KiB each, %d goroutines for %d rules", name, each/1024, runtime.NumGoroutine()-goroutines, n)
		if each > 20<<10 {
			t.Errorf("%s: %.0f bytes each, at most 20 KiB", name, each)
		}
		runtime.KeepAlive(e)
	}
}

// Ten thousand groups: what they take, what a message costs, and what a
// checkpoint costs.
func BenchmarkWindow_TenThousandGroups(b *testing.B) {
	e, _ := benchEngine(b, rule("w", "SELECT topic(2) AS s, avg(temperature) AS t, count(*) AS n FROM 'dt/+/reading' GROUP BY topic(2) WINDOW TUMBLING(1h)", to("o")))
	r := e.table.Load().byName["w"]
	p := r.program.Load()
	messages := make([]iot.Message, 10_000)
	for i := range messages {
		messages[i] = say(fmt.Sprintf("dt/s%d/reading", i), payload300)
	}
	now := e.now()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range messages {
		r.evaluate(p, &messages[i], nil, now)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	start := time.Now()
	saved, err := p.memory.state.Save()
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	if _, err := p.statement.Restore(saved, now.wall.UnixMilli(), now.up.Milliseconds()); err != nil {
		b.Fatal(err)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		r.evaluate(p, &messages[i%len(messages)], nil, now)
		i++
	}
	// The loop forgets what was reported before it.
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e4, "B/group")
	b.ReportMetric(float64(took.Milliseconds()), "ms/save")
	b.ReportMetric(float64(len(saved))/1e6, "MB/save")
	if n := p.memory.state.Stats(); n.Groups != 10_000 {
		b.Errorf("%+v", n)
	}
}
