package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// python gives a function that runs a script for every line, with `event`.
func python(t testing.TB, name, body string) Function {
	t.Helper()
	path := gwtest.Python(t)
	script := "import sys,json,os,time\n" + body
	if !strings.Contains(body, "stdin") {
		script = "import sys,json,os,time\nfor line in sys.stdin:\n    event=json.loads(line)\n    " +
			strings.ReplaceAll(body, "\n", "\n    ") + "\n    sys.stdout.flush()\n"
	}
	file := filepath.Join(t.TempDir(), name+".py")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	return Function{Name: name, Command: []string{path, "-u", file}, Env: map[string]string{"PATH": os.Getenv("PATH")}}
}

// run starts a runner for the test's length.
func run(t testing.TB, functions ...Function) *Runner {
	t.Helper()
	r, err := New(Config{Functions: functions}, metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end")
		}
	})
	for _, ok := r.enter(); !ok; _, ok = r.enter() {
		time.Sleep(time.Millisecond)
	}
	r.alive.Done()
	return r
}

func call(t testing.TB, r *Runner, name, event string) string {
	t.Helper()
	answer, err := r.Invoke(t.Context(), Call{Function: name, Event: []byte(event), Rule: "r", Topic: "a/b", TraceID: "trace", ClientID: "c"})
	if err != nil {
		return "error: " + err.Error()
	}
	return string(answer)
}

func TestInvoke_OneProcessAnswersManyCalls(t *testing.T) {
	r := run(t, python(t, "double", `print(json.dumps({"n": event["n"]*2, "pid": os.getpid()}))`))
	var pids []int
	for i := range 5 {
		var got struct{ N, PID int }
		if err := json.Unmarshal([]byte(call(t, r, "arn:aws:lambda:us-east-1:1:function:double:alias", "{\n\"n\": "+strconv.Itoa(i)+"}")), &got); err != nil || got.N != 2*i {
			t.Fatalf("call %d: %+v, %v", i, got, err)
		}
		pids = append(pids, got.PID)
	}
	if pids[0] != pids[4] {
		t.Errorf("processes %v, want one", pids)
	}
}

func TestInvoke_ContextComesAsAskedFor(t *testing.T) {
	once := python(t, "once", `data = sys.stdin.read()
print(json.dumps([json.loads(data), os.environ["TIDEHOLD_RULE"], os.environ["TIDEHOLD_TOPIC"], os.environ["TIDEHOLD_TRACE_ID"], os.environ["TIDEHOLD_CLIENT_ID"], sorted(os.environ)]))`)
	once.Once = true
	wrapped := python(t, "wrapped", `print(json.dumps(event))`)
	wrapped.Envelope = true
	t.Setenv("SECRET_OF_THE_DAEMON", "x")
	r := run(t, once, wrapped)
	if got := call(t, r, "once", `{"a":1}`); !strings.HasPrefix(got, `[{"a": 1}, "r", "a/b", "trace", "c"`) || strings.Contains(got, "SECRET") {
		t.Errorf("once: %s", got)
	}
	want := `{"event": {"a": 1}, "context": {"clientId": "c", "functionName": "wrapped", "ruleName": "r", "topic": "a/b", "traceId": "trace"}}`
	if got := call(t, r, "wrapped", `{"a":1}`); got != want {
		t.Errorf("wrapped: %s", got)
	}
}

func TestInvoke_FailuresAreToldAndDoNotStay(t *testing.T) {
	r := run(t,
		python(t, "odd", `
if event == "die": print("oh", file=sys.stderr); sys.exit(3)
if event == "fail": print('{"errorMessage":"no","errorType":"Bad"}'); continue
if event == "text": print("hello"); continue
if event == "twice": print("1\n2"); continue
if event == "big": print('"' + "x"*7000000 + '"'); continue
if event == "close": sys.stdout.close(); time.sleep(5)
print(json.dumps("fine"))`),
		Function{Name: "absent", Command: []string{"/nowhere/at/all"}},
	)
	for _, c := range []struct{ event, want string }{
		{`"die"`, `error: function "odd": it ended without an answer: exit status 3: oh`},
		{`"x"`, `"fine"`}, // one failure alone makes no pause
		{`"fail"`, `error: function "odd": it failed: Bad no`},
		{`"text"`, `error: function "odd": it answered no JSON: "hello"`},
		{`"twice"`, `1`},
		{`"x"`, `"fine"`}, // and not the 2 of the call before
		{`"big"`, `error: function "odd": it answered more than 6291456 bytes`},
		{`"x"`, `"fine"`},
		{`{`, `error: function "odd": the event is no JSON: unexpected end of JSON input`},
		{`"` + strings.Repeat("x", 6<<20) + `"`, `error: function "odd": the event has 6291458 bytes; at most 6291456`},
	} {
		if got := call(t, r, "odd", c.event); got != c.want {
			t.Errorf("%.20s: got %.200s, want %s", c.event, got, c.want)
		}
	}
	if got := call(t, r, "nobody", `1`); got != `error: function "nobody" does not exist` {
		t.Error(got)
	}
	for range 3 {
		call(t, r, "absent", `1`)
	}
	if got := call(t, r, "absent", `1`); !strings.Contains(got, "times in a row and is started again in") {
		t.Errorf("a failing start is not paused: %s", got)
	}
}

func TestInvoke_AHangingProcessIsKilledWithItsChildren(t *testing.T) {
	dir := t.TempDir()
	f := python(t, "hang", `
import subprocess
if event == "hang":
    child = subprocess.Popen(["sleep", "600"])
    open("`+dir+`/pids", "w").write(f"{os.getpid()} {child.pid}")
    time.sleep(600)
print(json.dumps(event))`)
	r := run(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := r.Invoke(ctx, Call{Function: "hang", Event: []byte(`"hang"`)})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
		t.Fatalf("got %v after %v", err, time.Since(start))
	}
	if got := call(t, r, "hang", `"again"`); got != `"again"` {
		t.Errorf("after the kill: %s", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pids"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(text)) {
		if !gone(pid) {
			t.Errorf("process %s lives on", pid)
		}
	}
}

// gone waits until a process does not run any more; a zombie whose new parent
// does not look after it counts as gone.
func gone(pid string) bool {
	for range 200 {
		status, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func TestInvoke_MemoryIsLimited(t *testing.T) {
	f := python(t, "hog", `
try:
    hog = bytearray(event)
    print(len(hog))
except MemoryError:
    print('"too much"')`)
	f.Memory = 64 << 20
	r := run(t, f)
	if got := call(t, r, "hog", "1000000"); got != "1000000" {
		t.Errorf("1 MB: %s", got)
	}
	if got := call(t, r, "hog", "200000000"); got != `"too much"` {
		t.Errorf("200 MB: %s", got)
	}
}

func TestInvoke_LargeEventsPassBothWays(t *testing.T) {
	cat := Function{Name: "cat", Command: []string{"/bin/cat"}}
	once := Function{Name: "once", Command: []string{"/bin/cat"}, Once: true}
	r := run(t, cat, once)
	event := `"` + strings.Repeat("x", 5<<20) + `"`
	for _, name := range []string{"cat", "once", "cat"} {
		if got := call(t, r, name, event); got != event {
			t.Errorf("%s: got %d bytes, %.100s", name, len(got), got)
		}
	}
}

func TestInvoke_InstancesRunAtOnceAndWaitingIsBounded(t *testing.T) {
	f := python(t, "slow", `
time.sleep(event)
print(1)`)
	f.Instances, f.Timeout = 2, 3*time.Second
	r := run(t, f)
	var all sync.WaitGroup
	refused := make(chan string, 200)
	for range WaitingMax + 10 {
		all.Go(func() {
			if got := call(t, r, "slow", "0.4"); strings.Contains(got, "wait for it already") {
				refused <- got
			}
		})
	}
	all.Wait()
	if n := len(refused); n < 1 || n > 10 {
		t.Errorf("%d calls were refused, want some of the 10 too many", n)
	}
}

func TestRun_EndsProcessesAndCalls(t *testing.T) {
	r, err := New(Config{Functions: []Function{python(t, "slow", `
print(os.getpid())
sys.stdout.flush()
time.sleep(600)`)}}, metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Invoke(t.Context(), Call{Function: "slow", Event: []byte("1")}); iot.CodeOf(err) != iot.Unavailable {
		t.Errorf("before Run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	time.Sleep(20 * time.Millisecond)
	pid := call(t, r, "slow", "1")
	hung := make(chan string)
	go func() { hung <- call(t, r, "slow", "1") }()
	time.Sleep(50 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := <-hung; !strings.Contains(got, "in time") {
		t.Errorf("the call under way: %s", got)
	}
	if !gone(pid) {
		t.Errorf("process %s outlives Run", pid)
	}
}

func TestRest_IdleProcessesEnd(t *testing.T) {
	f := python(t, "idle", `print(os.getpid())`)
	f.Idle = time.Millisecond
	r := run(t, f)
	first := call(t, r, "idle", "1")
	if !gone(first) {
		t.Error("an idle process stays")
	}
	if second := call(t, r, "idle", "1"); second == first {
		t.Error("the same process answers")
	}
}

func TestEndpoint_GetsEventAndContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		switch string(body) {
		case "1\n":
			http.Redirect(w, q, "http://example.com/", http.StatusFound)
		case "2\n":
			http.Error(w, "sorry", http.StatusTeapot)
		default:
			fmt.Fprintf(w, `{"got":%s,"rule":%q,"topic":%q}`, body, q.Header.Get("X-Tidehold-Rule"), q.Header.Get("X-Tidehold-Topic"))
		}
	}))
	defer server.Close()
	r := run(t, Function{Name: "web", URL: server.URL + "/f"})
	for event, want := range map[string]string{
		`{"a": 1}`: "{\"got\":{\"a\":1}\n,\"rule\":\"r\",\"topic\":\"a%2Fb\"}",
		"1":        `error: function "web": status 302 Found: `,
		"2":        `error: function "web": status 418 I'm a teapot: sorry`,
	} {
		if got := call(t, r, "web", event); got != want {
			t.Errorf("%s: got %s, want %s", event, got, want)
		}
	}
}

func TestNew_RefusesWithTheReason(t *testing.T) {
	ok := []string{"/bin/true"}
	for want, list := range map[string][]Function{
		"a name has":        {{Name: "a b", Command: ok}},
		"either a command":  {{Name: "a"}},
		"or a url":          {{Name: "a", Command: ok, URL: "http://localhost/"}},
		"given twice":       {{Name: "a", Command: ok}, {Name: "a", Command: ok}},
		"want 1 to 16":      {{Name: "a", Command: ok, Instances: 99}},
		"at most 1m0s":      {{Name: "a", Command: ok, Timeout: time.Hour}},
		"at least 1 MiB":    {{Name: "a", Command: ok, Memory: 1}},
		"want localhost":    {{Name: "a", URL: "http://example.com/"}},
		"want http://127.0": {{Name: "a", URL: "file:///etc/passwd"}},
		"zero byte":         {{Name: "a", Command: []string{"a\x00b"}}},
	} {
		if _, err := New(Config{Functions: list}, metrics.New(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestNameOf_TakesNamesAndARNs(t *testing.T) {
	for arn, want := range map[string]string{
		"f": "f", "arn:aws:lambda:us-east-1:123456789012:function:f": "f", "arn:aws:lambda:us-east-1:123456789012:function:f:prod": "f", "arn:edge:f": "f",
	} {
		if got := NameOf(arn); got != want {
			t.Errorf("%s: got %s, want %s", arn, got, want)
		}
	}
}

func BenchmarkInvoke_WarmProcess(b *testing.B) {
	r := run(b, Function{Name: "cat", Command: []string{"/bin/cat"}})
	event := Call{Function: "cat", Event: []byte(`{"temperature":21.5}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Invoke(b.Context(), event); err != nil {
			b.Fatal(err)
		}
	}
}
