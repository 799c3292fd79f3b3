package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/rules/folder"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/rules/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// world remembers what actions did to it.
type world struct {
	*World
	t         testing.TB
	dir       string
	db        *store.DB
	published []iot.Message
	log       bytes.Buffer
	did       []string
	fail      error
	ingests   bool
}

const roles = `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":["*/secret*","secret*/*"]}]}`

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(context.Background(), store.Options{Path: filepath.Join(dir, "tables.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	m := metrics.New()
	w := &world{t: t, dir: dir, db: db}
	all, err := role.Parse("all", []byte(roles))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]*role.Role{"all": all, role.Default: role.BuiltIn()[0]}
	w.World = &World{
		Publisher: w, Shadows: w, Forwarder: w, Devices: w, Functions: w, Upstream: w,
		Tables: table.New(db, nil), Buckets: folder.New(filepath.Join(dir, "buckets"), 0), Files: folder.New(filepath.Join(dir, "files"), 0),
		Web: NewClient(nil, false), Inside: NewClient(nil, true),
		Role:  func(name string) (*role.Role, bool) { r, ok := known[name]; return r, ok },
		Gauge: NewGauges(m), Clock: clock.Fixed{Wall: time.UnixMilli(1_700_000_000_000)}, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	return w
}

func (w *world) note(format string, args ...any) error {
	w.did = append(w.did, fmt.Sprintf(format, args...))
	return w.fail
}

func (w *world) Publish(m iot.Message) { w.published = append(w.published, m) }
func (w *world) Get(context.Context, iot.ShadowKey, string) ([]byte, error) {
	return nil, nil
}
func (w *world) Update(_ context.Context, k iot.ShadowKey, b []byte, o iot.Origin) ([]byte, error) {
	return nil, w.note("update %s %s by %s", k, b, o.Source)
}
func (w *world) Forward(_ context.Context, uplink, priority string, m iot.Message) error {
	if priority != "" {
		return w.note("forward %q %s as %s, %d s", uplink, m.Topic, priority, m.Properties.MessageExpiry)
	}
	return w.note("forward %q %s %s %d", uplink, m.Topic, m.Payload, m.QoS)
}
func (w *world) Drive(device, command, who string, payload []byte) error {
	return w.note("%s sets %s %s %s", who, device, command, payload)
}
func (w *world) Invoke(_ context.Context, c function.Call) ([]byte, error) {
	return nil, w.note("invoke %s %s for %s on %s", c.Function, c.Event, c.Rule, c.Topic)
}
func (w *world) Ingest(_ context.Context, rule string, m iot.Message) (bool, error) {
	if !w.ingests {
		return false, nil
	}
	return true, w.note("ingest %s %s %s", rule, m.Topic, m.Payload)
}

// compile makes an action of a rule on the topic a/b.
func compile(t testing.TB, document string) (*Action, *iotsql.Statement, error) {
	t.Helper()
	s, err := iotsql.Parse("SET @v = x SELECT x, y, z FROM 'a/+'", "2016-03-23")
	if err != nil {
		t.Fatal(err)
	}
	a, err := Compile(json.RawMessage(document), Setup{
		Statement: s, Role: func(name string) bool { return name == "all" || name == role.Default }, Implicit: "all",
		Named: map[string]json.RawMessage{"bell": json.RawMessage(`{"edge.device":{"device":"bell","command":"ring","roleArn":"all"}}`)},
	})
	return a, s, err
}

// run performs a document for one message and gives the resource, or the error.
func (w *world) run(document, payload string) (string, error) {
	w.t.Helper()
	a, s, err := compile(w.t, document)
	if err != nil {
		w.t.Fatalf("%s: %v", document, err)
	}
	m := iot.Message{Topic: "a/b", Payload: []byte(payload), Origin: iot.Origin{ClientID: "c", TraceID: "t"}}
	ctx := &iotsql.Context{Message: m}
	out, err := s.Eval(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	result := out.Payload
	if !json.Valid([]byte(payload)) {
		result = []byte(payload)
	}
	return a.Run(context.Background(), w.World, &Call{Rule: "r", Message: m, Payload: result}, a.Fill(ctx))
}

func TestRun_DoesWhatTheDocumentSays(t *testing.T) {
	for _, c := range []struct{ document, payload, resource, did string }{
		{`{"edge.shadow":{"thingName":"${y}","section":"desired"}}`, `{"x":1,"y":"t"}`, "t", `update t {"state":{"desired":{"x":1,"y":"t"}}} by rule/r`},
		{`{"edge.shadow":{"thingName":"t","shadowName":"${@v}","section":"document"}}`, `{"x":"n"}`, "t~n", `update t~n {"x":"n"} by rule/r`},
		{`{"edge.device":{"device":"${y}","command":"pulse ${x}","roleArn":"all"}}`, `{"x":5,"y":"relay"}`, "relay", `rule/r sets relay pulse 5 {"x":5,"y":"relay"}`},
		{`{"edge.forward":{"topic":"up/${x}","qos":0,"uplink":"cloud"}}`, `{"x":5}`, "up/5", `forward "cloud" up/5 {"x":5} 0`},
		{`{"edge.forward":{"topic":"up","priority":"critical","ttlSeconds":60}}`, `{"x":5}`, "up", `forward "" up as critical, 60 s`},
		{`{"lambda":{"functionArn":"arn:aws:lambda:us-east-1:1:function:${y}"}}`, `{"y":"f"}`, "arn:aws:lambda:us-east-1:1:function:f", `invoke arn:aws:lambda:us-east-1:1:function:f {"y":"f"} for r on a/b`},
		{`{"lambda":{"functionArn":"arn:edge:action:edge.device:bell"}}`, `{"x":1}`, "bell", `rule/r sets bell ring {"x":1}`},
	} {
		w := newWorld(t)
		resource, err := w.run(c.document, c.payload)
		if err != nil || resource != c.resource || len(w.did) != 1 || w.did[0] != c.did {
			t.Errorf("%s: %q, %v, did %q, want %q", c.document, resource, err, w.did, c.did)
		}
	}
}

func TestRun_RefusesWhatTheRoleOrTheDocumentForbids(t *testing.T) {
	for _, c := range []struct{ document, payload, want string }{
		{`{"republish":{"topic":"a/${x}"}}`, `{"y":1}`, "topic: template ${x} is Undefined"},
		{`{"republish":{"topic":"${x}"}}`, `{"x":"$aws/things/t/shadow/update"}`, `role "edge-default" denies iot:Publish`},
		{`{"republish":{"topic":"${x}","roleArn":"all"}}`, `{"x":"$aws/things/t/shadow/update/accepted"}`, "the gateway's own"},
		{`{"republish":{"topic":"${x}","roleArn":"all"}}`, `{"x":"a/#"}`, "a/#"},
		{`{"republish":{"topic":"${x}","roleArn":"all"}}`, `{"x":""}`, "topic"},
		{`{"republish":{"topic":"${x}","roleArn":"all"}}`, `{"x":"secret/a"}`, "denies"},
		{`{"republish":{"topic":"t","headers":{"messageExpiry":"${x}"}}}`, `{"x":"soon"}`, "want seconds"},
		{`{"edge.shadow":{"thingName":"${x}"}}`, `{"x":"a/b"}`, "thing name"},
		{`{"edge.device":{"device":"relay"}}`, `{}`, "does not allow edge:DeviceWrite"},
		{`{"lambda":{"functionArn":"f","roleArn":"edge-default"}}`, `{}`, "does not allow lambda:InvokeFunction"},
		{`{"dynamoDBv2":{"putItem":{"tableName":"${x}"}}}`, `{"x":"other"}`, "does not allow dynamodb:PutItem"},
		{`{"dynamoDBv2":{"putItem":{"tableName":"${x}"},"roleArn":"all"}}`, `{"x":"sqlite_schema"}`, "no name of the file's own"},
		{`{"dynamoDB":{"tableName":"rule_t","hashKeyField":"id","hashKeyValue":"1","operation":"${x}"}}`, `{"x":"DROP"}`, "want INSERT, UPDATE or DELETE"},
		{`{"edge.sql":{"statement":"DELETE FROM rule_absent"}}`, `{}`, "no such table"},
		{`{"edge.sql":{"statement":"INSERT INTO other(a) VALUES(:x)"}}`, `{"x":1}`, "does not allow sqlite:Exec"},
		{`{"edge.sql":{"statement":"SELECT 1 AS n","mode":"query","resultTopic":"${x}"}}`, `{"x":"$aws/rules/r"}`, "denies iot:Publish"},
		{`{"timestream":{"databaseName":"d","tableName":"rule_s","dimensions":[{"name":"d","value":"v"}],"timestamp":{"value":"${x}","unit":"YEARS"}}}`, `{"x":1}`, "want SECONDS"},
		{`{"timestream":{"databaseName":"d","tableName":"rule_s","dimensions":[{"name":"d","value":"v"}],"timestamp":{"value":"${x}"}}}`, `{"x":"now"}`, "want a whole number"},
		{`{"s3":{"bucketName":"bucket","key":"${x}","roleArn":"all"}}`, `{"x":"../../etc/passwd"}`, "without . and .."},
		{`{"s3":{"bucketName":"${x}","key":"k","roleArn":"all"}}`, `{"x":".."}`, "want 3 to 63"},
		{`{"s3":{"bucketName":"bucket","key":"k"}}`, `{}`, "does not allow s3:PutObject"},
		{`{"edge.file":{"path":"${x}","roleArn":"all"}}`, `{"x":"/etc/passwd"}`, "without . and .."},
		{`{"edge.file":{"path":"a","roleArn":"all"}}`, "\xff", "the result is no JSON"},
		{`{"cloudwatchMetric":{"metricNamespace":"n","metricName":"m","metricValue":"${x}","metricUnit":"None","roleArn":"all"}}`, `{"x":"many"}`, "want a number"},
		{`{"http":{"url":"${x}"}}`, `{"x":"ftp://example.com/"}`, "want http or https"},
		{`{"http":{"url":"https://example.com/a/${x}"}}`, `{"x":"../b"}`, `the path holds ".."`},
		{`{"http":{"url":"https://example.com/a/${x}"}}`, `{"x":"%2e%2e/b"}`, `the path holds ".."`},
		{`{"http":{"url":"https://user:pass@example.com/"}}`, `{}`, "no user"},
		{`{"http":{"url":"https://example.com/","headers":[{"key":"X-A","value":"${x}"}]}}`, `{"x":"a\nb"}`, "control character"},
		{`{"http":{"url":"https://example.com/","roleArn":"edge-default"}}`, `{}`, "does not allow http:Post"},
		{`{"kinesis":{"streamName":"s","anything":[1]}}`, `{}`, "kinesis: not available locally"},
	} {
		w := newWorld(t)
		start := time.Now()
		_, err := w.run(c.document, c.payload)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: got %v, want %q", c.document, c.payload, err, c.want)
		}
		if len(w.did)+len(w.published) != 0 || time.Since(start) > time.Second {
			t.Errorf("%s: did %v, published %v in %v", c.document, w.did, w.published, time.Since(start))
		}
	}
}

func TestRepublish_StopsALoop(t *testing.T) {
	w := newWorld(t)
	a, _, err := compile(t, `{"republish":{"topic":"t"}}`)
	if err != nil {
		t.Fatal(err)
	}
	for hops := range 10 {
		call := &Call{Rule: "r", Message: iot.Message{Origin: iot.Origin{Hops: hops, Uplink: "u", Sim: true}}}
		_, err := a.Run(t.Context(), w.World, call, Filled{Texts: []string{"t"}})
		if (err == nil) != (hops < HopsMax-1) || err != nil && !strings.HasPrefix(err.Error(), "RuleLoop") {
			t.Errorf("after %d hops: %v", hops, err)
		}
	}
	if m := w.published[0]; m.Origin.Hops != 1 || m.Origin.Uplink != "u" || !m.Origin.Sim || m.Origin.Principal.Kind != iot.House {
		t.Errorf("message %+v", m)
	}
}

func TestTables_StatementsInsertUpdateUpsertDeleteAndQuery(t *testing.T) {
	w := newWorld(t)
	must := func(document, payload string) {
		t.Helper()
		if _, err := w.run(document, payload); err != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
	must(`{"edge.sql":{"statement":"INSERT INTO rule_t(id, v, inner) VALUES(:x, :y, :z.a)"}}`, `{"x":1,"y":"one","z":{"a":true}}`)
	must(`{"edge.sql":{"statement":"INSERT INTO rule_t(id, v) VALUES(:x, :y)","mode":"exec"}}`, `{"x":2,"y":"two'; DROP TABLE rule_t; --"}`)
	must(`{"edge.sql":{"statement":"UPDATE rule_t SET v = v || '!' WHERE id = :x"}}`, `{"x":1}`)
	must(`{"edge.sql":{"statement":"DELETE FROM rule_t WHERE id = :x"}}`, `{"x":3}`)
	must(`{"edge.sql":{"statement":"SELECT id, v, inner FROM rule_t ORDER BY id","mode":"query","resultTopic":"rows/${topic(2)}"}}`, `{}`)
	want := `[{"id":1,"v":"one!","inner":1},{"id":2,"v":"two'; DROP TABLE rule_t; --","inner":null}]`
	if len(w.published) != 1 || w.published[0].Topic != "rows/b" || string(w.published[0].Payload) != want || w.published[0].Origin.Hops != 1 {
		t.Errorf("published %v: %s", w.published, w.published[0].Payload)
	}
	must(`{"timestream":{"databaseName":"d","tableName":"rule_s","dimensions":[{"name":"dev","value":"${topic(2)}"}],"timestamp":{"value":"${x}","unit":"SECONDS"}}}`, `{"x":1700000000,"y":21.5}`)
	must(`{"timestream":{"databaseName":"d","tableName":"rule_s","dimensions":[{"name":"dev","value":"c"}]}}`, `{"y":1}`)
	must(`{"edge.sql":{"statement":"SELECT time, dims, measure, value FROM rule_s ORDER BY dims, measure","mode":"query","resultTopic":"series"}}`, `{}`)
	want = `[{"time":1700000000000,"dims":{"dev":"b"},"measure":"x","value":1700000000},{"time":1700000000000,"dims":{"dev":"b"},"measure":"y","value":21.5},{"time":1700000000000,"dims":{"dev":"c"},"measure":"y","value":1}]`
	if got := string(w.published[1].Payload); got != want {
		t.Errorf("series %s", got)
	}
	must(`{"dynamoDB":{"tableName":"rule_d","hashKeyField":"id","hashKeyType":"NUMBER","hashKeyValue":"${x}","rangeKeyField":"r","rangeKeyValue":"${y}","payloadField":"p"}}`, `{"x":7,"y":"a"}`)
	must(`{"edge.sql":{"statement":"SELECT * FROM rule_d","mode":"query","resultTopic":"d"}}`, `{}`)
	if got := string(w.published[2].Payload); got != `[{"id":7,"r":"a","p":{"x":7,"y":"a"}}]` {
		t.Errorf("row %s", got)
	}
}

func TestFiles_ObjectsLinesAndLogGroups(t *testing.T) {
	w := newWorld(t)
	for _, c := range [][2]string{
		{`{"s3":{"bucketName":"my-bucket","key":"${topic(2)}/${x}.json","cannedAcl":"private","roleArn":"all"}}`, `{"x":1}`},
		{`{"s3":{"bucketName":"my-bucket","key":"raw","roleArn":"all"}}`, "\xff\x00"},
		{`{"edge.file":{"path":"log/${topic(2)}.jsonl","roleArn":"all"}}`, `{"x":1,"y":"a"}`},
		{`{"edge.file":{"path":"log/${topic(2)}.jsonl","format":"jsonl","maxBytes":4096,"keep":2,"roleArn":"all"}}`, `{"x":2}`},
		{`{"edge.file":{"path":"t.csv","format":"csv","columns":["x","y","none"],"roleArn":"all"}}`, `{"x":1.50,"y":"a,\"b\""}`},
		{`{"edge.file":{"path":"t.csv","format":"csv","columns":["x","y","none"],"roleArn":"all"}}`, `{"x":[1],"y":null}`},
		{`{"cloudwatchLogs":{"logGroupName":"/gw/${topic(2)}","roleArn":"all"}}`, `{"x":1}`},
		{`{"cloudwatchLogs":{"logGroupName":"raw","roleArn":"all"}}`, "text"},
	} {
		if _, err := w.run(c[0], c[1]); err != nil {
			t.Errorf("%s: %v", c[0], err)
		}
	}
	for name, want := range map[string]string{
		"buckets/my-bucket/b/1.json": `{"x":1}`, "buckets/my-bucket/raw": "\xff\x00",
		"files/log/b.jsonl":     "{\"x\":1,\"y\":\"a\"}\n{\"x\":2}\n",
		"files/t.csv":           "x,y,none\n1.50,\"a,\"\"b\"\"\",\n[1],,\n",
		"files/logs/gw/b.jsonl": "{\"timestamp\":1700000000000,\"message\":{\"x\":1}}\n",
		"files/logs/raw.jsonl":  "{\"timestamp\":1700000000000,\"message\":\"text\"}\n",
	} {
		got, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestLogAndMetric_AreLocal(t *testing.T) {
	w := newWorld(t)
	if _, err := w.run(`{"edge.log":{"level":"warn","message":"x is ${x}"}}`, `{"x":5}`); err != nil {
		t.Error(err)
	}
	if got := w.log.String(); !strings.Contains(got, `level=WARN msg="rule says" rule=r message="x is 5"`) {
		t.Errorf("log %s", got)
	}
	m := metrics.New()
	w.Gauge = NewGauges(m)
	for i := range gaugesMax + 1 {
		_, err := w.run(`{"cloudwatchMetric":{"metricNamespace":"plant","metricName":"m${x}","metricValue":"${y}","metricUnit":"Count","roleArn":"all"}}`, fmt.Sprintf(`{"x":%d,"y":2.5}`, i))
		if (err == nil) != (i < gaugesMax) {
			t.Fatalf("series %d: %v", i, err)
		}
	}
	page := httptest.NewRecorder()
	m.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(page.Body.String(), `tidehold_rule_metric{name="m7",namespace="plant",unit="Count"} 2.5`) {
		t.Error("the gauge is not there")
	}
}

func TestWebhook_RetryClassesAndWhatItSends(t *testing.T) {
	var got []string
	answers := []int{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		got = append(got, fmt.Sprintf("%s %s %s %s %s", q.Method, q.URL, q.Header.Get("Content-Type"), q.Header.Get("X-Key"), body))
		code := answers[0]
		answers = answers[1:]
		if code == http.StatusFound {
			http.Redirect(rw, q, "http://example.com/", code)
			return
		}
		rw.WriteHeader(code)
	}))
	defer server.Close()
	waits := retryWaits
	retryWaits = []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}
	defer func() { retryWaits = waits }()
	for _, c := range []struct {
		answers []int
		ok      bool
		calls   int
	}{
		{[]int{200}, true, 1}, {[]int{204}, true, 1}, {[]int{503, 429, 408, 201}, true, 4}, {[]int{500, 500, 500, 500}, false, 4},
		{[]int{404}, false, 1}, {[]int{401}, false, 1}, {[]int{302}, false, 1},
	} {
		w := newWorld(t)
		r, err := role.Parse("all", []byte(`{"Statement":{"Effect":"Allow","Action":"http:Post","Resource":"`+server.URL+`/hook"}}`))
		if err != nil {
			t.Fatal(err)
		}
		w.Role = func(string) (*role.Role, bool) { return r, true }
		got, answers = nil, slices.Clone(c.answers)
		resource, err := w.run(`{"http":{"url":"`+strings.ToUpper(server.URL[:4])+server.URL[4:]+`/hook/${x}?q=1#f","confirmationUrl":"x","headers":[{"key":"x-key","value":"k${x}"}]}}`, `{"x":1}`)
		if (err == nil) != c.ok || len(got) != c.calls || resource != server.URL+"/hook/1?q=1" {
			t.Errorf("%v: %v after %d calls, resource %s", c.answers, err, len(got), resource)
		}
		if got[0] != `POST /hook/1?q=1 application/json k1 {"x":1}` {
			t.Errorf("request %s", got[0])
		}
	}
}

// This host and its link are out of reach unless the url and a role spell them.
func TestWebhook_ThisHostMustBeSpelledOut(t *testing.T) {
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	waits := retryWaits
	retryWaits = nil
	defer func() { retryWaits = waits }()
	for _, c := range []struct {
		resource, url string
		ok            bool
	}{
		{"*", server.URL, false}, {"http://*", server.URL, false}, {"http://127.0.0.1*", server.URL, false},
		{server.URL + "/*", server.URL, true}, {server.URL, server.URL + "/x", true},
		{"http://localhost:" + port + "/*", "http://localhost:" + port + "/", true}, {"*", "http://localhost:" + port + "/", false},
		{"http://[::ffff:127.0.0.1]:" + port + "/*", "http://[::ffff:127.0.0.1]:" + port + "/", true}, {"*", "http://[::ffff:127.0.0.1]:" + port + "/", false},
		{"*", "http://0.0.0.0:" + port + "/", false}, {"*", "http://169.254.169.254/latest/meta-data", false}, {"*", "http://[fe80::1%25lo]:" + port + "/", false},
		{"*", "http://127.1:" + port + "/", false}, {"*", "http://2130706433:" + port + "/", false},
	} {
		w := newWorld(t)
		r, err := role.Parse("all", []byte(`{"Statement":{"Effect":"Allow","Action":"http:Post","Resource":"`+c.resource+`"}}`))
		if err != nil {
			t.Fatal(err)
		}
		w.Role = func(string) (*role.Role, bool) { return r, true }
		reached = false
		_, err = w.run(`{"http":{"url":"`+c.url+`"}}`, `{}`)
		if (err == nil) != c.ok || reached != c.ok {
			t.Errorf("%s with role for %s: %v, reached %v", c.url, c.resource, err, reached)
		}
	}
}

func TestAttempt_R3TriesThreeTimesMoreWithinItsDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start := time.Now()
		w.fail = errors.New("not now")
		if _, err := w.run(`{"lambda":{"functionArn":"f"}}`, `{"x":1}`); err == nil || len(w.did) != 4 || time.Since(start) != 2600*time.Millisecond {
			t.Errorf("lambda: %v, %d attempts in %v", err, len(w.did), time.Since(start))
		}
		w.did, w.fail = nil, iot.Errorf(iot.InvalidRequest, "never")
		if _, err := w.run(`{"lambda":{"functionArn":"f"}}`, `{"x":1}`); err == nil || len(w.did) != 1 {
			t.Errorf("a failure that stays: %v, %d attempts", err, len(w.did))
		}
		w.did, w.fail = nil, errors.New("no")
		if _, err := w.run(`{"edge.shadow":{"thingName":"t"}}`, `{"x":1}`); err == nil || len(w.did) != 1 {
			t.Errorf("class R0: %v, %d attempts", err, len(w.did))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		a := &Action{class: again, limit: time.Second}
		begun := time.Now()
		err := a.attempt(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if err == nil || time.Since(begun) != 50*time.Millisecond {
			t.Errorf("an ended context: %v after %v", err, time.Since(begun))
		}
		w.db.Close()
	})
}

func TestDistant_GoesToTheNamesakeOnceAMessage(t *testing.T) {
	w := newWorld(t)
	w.ingests = true
	call := &Call{Rule: "r", Message: iot.Message{Topic: "a/b", Payload: []byte(`{"raw":1}`)}, Payload: []byte(`{"x":1}`)}
	for _, document := range []string{`{"sns":{"targetArn":"arn:aws:sns:x","roleArn":"arn:aws:iam::1:role/only-at-aws"}}`, `{"firehose":{"deliveryStreamName":"d"}}`} {
		a, _, err := compile(t, document)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Run(t.Context(), w.World, call, Filled{}); err != nil {
			t.Error(err)
		}
	}
	if len(w.did) != 1 || w.did[0] != `ingest r a/b {"raw":1}` {
		t.Errorf("did %v", w.did)
	}
}

func TestRun_WhatThisGatewayLacksIsToldAtOnce(t *testing.T) {
	for document, want := range map[string]string{
		`{"lambda":{"functionArn":"f"}}`:                                    "a function is not available",
		`{"edge.device":{"device":"d","roleArn":"all"}}`:                    "a device is not available",
		`{"edge.forward":{"topic":"t"}}`:                                    "an upstream is not available",
		`{"s3":{"bucketName":"bucket","key":"k","roleArn":"all"}}`:          "a folder of buckets is not available",
		`{"edge.file":{"path":"p","roleArn":"all"}}`:                        "a folder of files is not available",
		`{"dynamoDBv2":{"putItem":{"tableName":"rule_t"}}}`:                 "tables.db is not open",
		`{"edge.sql":{"statement":"DELETE FROM rule_t"}}`:                   "tables.db is not open",
		`{"cloudwatchLogs":{"logGroupName":"g","roleArn":"all"}}`:           "a folder of files is not available",
		`{"iotSiteWise":{"putAssetPropertyValueEntries":[],"roleArn":"x"}}`: "not available locally",
	} {
		w := newWorld(t)
		w.World.Functions, w.World.Devices, w.World.Forwarder, w.World.Upstream, w.World.Tables, w.World.Buckets, w.World.Files = nil, nil, nil, nil, nil, nil, nil
		if _, err := w.run(document, `{"x":1}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", document, err)
		}
	}
}

func TestCompile_RefusesWithTheReason(t *testing.T) {
	for document, want := range map[string]string{
		`{"teleport":{}}`: `action "teleport" is not available here`,
		`{"republish":{"topic":"a"},"edge.log":{}}`:                                                "one key",
		`{"republish":"a"}`:                                                                        "want an object",
		`[]`:                                                                                       "one key",
		`{"republish":{}}`:                                                                         "topic is missing",
		`{"republish":{"topik":"a"}}`:                                                              "topik",
		`{"republish":{"topic":"a","qos":2}}`:                                                      "want 0 or 1",
		`{"republish":{"topic":"${"}}`:                                                             "topic",
		`{"republish":{"topic":"a","roleArn":"ghost"}}`:                                            `role "ghost" does not exist`,
		`{"edge.shadow":{"thingName":"t","section":"all"}}`:                                        "want reported, desired or document",
		`{"edge.forward":{"topic":"t","priority":"high"}}`:                                         "want critical, normal or bulk",
		`{"edge.log":{"level":"loud","message":"m"}}`:                                              "want debug",
		`{"edge.sql":{"statement":"DROP TABLE x"}}`:                                                "begins with",
		`{"edge.sql":{"statement":"SELECT 1","mode":"query"}}`:                                     "resultTopic",
		`{"edge.sql":{"statement":"DELETE FROM t","resultTopic":"x"}}`:                             "resultTopic",
		`{"edge.file":{"path":"p","format":"xml"}}`:                                                "want jsonl or csv",
		`{"edge.file":{"path":"p","format":"csv"}}`:                                                "columns are missing",
		`{"edge.file":{"path":"p","columns":["a"]}}`:                                               "for format csv",
		`{"edge.file":{"path":"p","keep":-1}}`:                                                     "keep",
		`{"http":{"url":"http://x/","auth":{"sigv4":{}}}}`:                                         "auth is not available",
		`{"http":{"url":"http://x/","headers":[{"key":"Host","value":"y"}]}}`:                      "cannot be set",
		`{"http":{"url":"http://x/","headers":[{"key":"a b","value":"y"}]}}`:                       "cannot be set",
		`{"timestream":{"databaseName":"d","tableName":"t","dimensions":[]}}`:                      "at least one",
		`{"dynamoDB":{"tableName":"t","hashKeyField":"a","hashKeyValue":"b","rangeKeyField":"c"}}`: "both or not at all",
		`{"lambda":{"functionArn":"arn:edge:action:edge.device:horn"}}`:                            "no action of this name",
		`{"lambda":{"functionArn":"arn:edge:action:edge.log:bell"}}`:                               `of kind "edge.device"`,
	} {
		if _, _, err := compile(t, document); err == nil || !strings.Contains(err.Error(), want) || iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("%s: got %v, want %q", document, err, want)
		}
	}
	var sql *iotsql.Error
	if _, _, err := compile(t, `{"republish":{"topic":"${1+}"}}`); !errors.As(err, &sql) {
		t.Errorf("a template's error is %v", err)
	}
	s, err := iotsql.Parse("SELECT * FROM 'a'", "2016-03-23")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Compile(json.RawMessage(`{"republish":{"topic":"${get_secret('a','SecretString','arn:x')}"}}`), Setup{Statement: s, Error: true, Role: func(string) bool { return true }})
	if err == nil {
		t.Error("the error action looks outside")
	}
}

func TestFits_TellsTextsOfAnotherDocument(t *testing.T) {
	a, _, err := compile(t, `{"republish":{"topic":"${x}","headers":{"contentType":"c"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f    Filled
		want bool
	}{{Filled{Texts: []string{"a", "b"}}, true}, {Filled{Texts: []string{"a"}}, false}, {Filled{Err: "x"}, true}} {
		if got := a.Fits(c.f); got != c.want {
			t.Errorf("%+v: %v", c.f, got)
		}
	}
	if named := a.Named(Filled{Texts: []string{"t", "c"}}); named["topic"] != "t" || named["headers.contentType"] != "c" {
		t.Errorf("named %v", named)
	}
}
