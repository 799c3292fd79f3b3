package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// A subscriber of MQTT 5 hears every header of a republished message, templates
// filled in, and a later one finds it retained.
func TestActions_RepublishedHeadersReachSubscribersOfMQTT5(t *testing.T) {
	gwtest.Need(t, "mosquitto_sub")
	address := start(t, "gw", everything+`rules:
  - name: dress
    sql: "SELECT n FROM 'in/+'"
    actions:
      - republish:
          topic: "out/${topic(2)}"
          qos: 1
          retain: true
          roleArn: all
          headers:
            payloadFormatIndicator: UTF8_DATA
            contentType: "${kind}"
            responseTopic: "answer/${n}"
            correlationData: "${encode(kind, 'base64')}"
            messageExpiry: "${n * 100}"
            userProperties: [{key: unit, value: "${unit}"}, {key: by, value: "${clientid()}"}]
`)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("out/#")
	app.Publish("in/a", `{"n":6,"kind":"text/plain","unit":"°C"}`, 1)
	if m := app.Next("out/a"); m.QoS != 1 || string(m.Payload) != `{"n":6}` {
		t.Errorf("heard %+v", m)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	late := gwtest.Start(t, "mosquitto_sub", "-h", host, "-p", port, "-V", "mqttv5", "-q", "1", "-t", "out/#", "-F", "%t|%r|%F|%C|%R|%D|%P|%p.")
	defer late.Kill()
	gwtest.Eventually(t, "the retained message arrives", func() bool { return strings.Contains(late.Output(), "}.") })
	if want := `out/a|1|1|text/plain|answer/6|text/plain|unit:°C by:app|{"n":6}.`; !strings.Contains(late.Output(), want) {
		t.Errorf("heard %q, want %q", late.Output(), want)
	}
}

func TestActions_ShadowsTakeEachSection(t *testing.T) {
	address := start(t, "gw", `rules:
  - {name: r, sql: "SELECT t FROM 'in/+'", actions: [{edge.shadow: {thingName: "${topic(2)}"}}]}
  - {name: d, sql: "SELECT max FROM 'wish/+'", actions: [{edge.shadow: {thingName: "${topic(2)}", shadowName: "${name}", section: desired}}]}
  - {name: w, sql: "SELECT * FROM 'whole/+'", actions: [{edge.shadow: {thingName: "${topic(2)}", section: document}}]}
  - {name: asks, sql: "SELECT get_thing_shadow('pump').state AS plain, get_thing_shadow('pump', 'limits').state AS named FROM 'ask'", actions: [{republish: {topic: answer}}]}
`)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("answer", "$aws/things/pump/shadow/update/accepted", "$aws/things/pump/shadow/name/limits/update/accepted")
	app.Publish("in/pump", `{"t":20,"x":1}`, 1)
	app.Next("$aws/things/pump/shadow/update/accepted")
	app.Publish("whole/pump", `{"state":{"reported":{"on":true}},"clientToken":"tok"}`, 1)
	if m := app.Next("$aws/things/pump/shadow/update/accepted"); !strings.Contains(string(m.Payload), `"clientToken":"tok"`) {
		t.Errorf("document: %s", m.Payload)
	}
	app.Publish("wish/pump", `{"max":30,"name":"limits"}`, 1)
	app.Next("$aws/things/pump/shadow/name/limits/update/accepted")
	app.Publish("ask", `{}`, 1)
	if m := app.Next("answer"); string(m.Payload) != `{"plain":{"reported":{"t":20,"on":true}},"named":{"desired":{"max":30},"delta":{"max":30}}}` &&
		string(m.Payload) != `{"plain":{"reported":{"on":true,"t":20}},"named":{"desired":{"max":30},"delta":{"max":30}}}` {
		t.Errorf("shadows: %s", m.Payload)
	}
}

// Rows by every verb of SQL and every operation of DynamoDB, in one real file.
func TestActions_TablesTakeEveryVerb(t *testing.T) {
	address := start(t, "gw", everything+`tables: [{name: log, key: [id]}, {name: dyn, key: [id, at]}]
rules:
  - {name: put, sql: "SELECT id, n FROM 'put'", actions: [{dynamoDBv2: {putItem: {tableName: log}, roleArn: all}}]}
  - {name: insert, sql: "SELECT id, n FROM 'insert'", actions: [{edge.sql: {statement: "INSERT INTO log(id, n) VALUES(:id, :n)", roleArn: all}}], errorAction: {republish: {topic: errors}}}
  - {name: upsert, sql: "SELECT id, n FROM 'upsert'", actions: [{edge.sql: {statement: "INSERT INTO log(id, n) VALUES(:id, :n) ON CONFLICT(id) DO UPDATE SET n = excluded.n + 100", roleArn: all}}]}
  - {name: update, sql: "SELECT id, n FROM 'update'", actions: [{edge.sql: {statement: "UPDATE log SET n = n + :n WHERE id = :id", roleArn: all}}]}
  - {name: delete, sql: "SELECT id FROM 'delete'", actions: [{edge.sql: {statement: "DELETE FROM log WHERE id = :id", roleArn: all}}]}
  - {name: rows, sql: "SELECT 1 AS one FROM 'rows/+'", actions: [{edge.sql: {mode: query, statement: "SELECT id, n FROM log ORDER BY id", resultTopic: "told/${topic(2)}", roleArn: all}}], errorAction: {republish: {topic: "told/${topic(2)}"}}}
  - {name: dyn, sql: "SELECT v FROM 'dyn/+'", actions: [{dynamoDB: {tableName: dyn, hashKeyField: id, hashKeyValue: "${id}", rangeKeyField: at, rangeKeyType: NUMBER, rangeKeyValue: "${at}", payloadField: body, operation: "${topic(2)}", roleArn: all}}]}
  - {name: dynRows, sql: "SELECT 1 AS one FROM 'dynrows'", actions: [{edge.sql: {mode: query, statement: "SELECT id, at, body FROM dyn ORDER BY at", resultTopic: told/dyn, roleArn: all}}], errorAction: {republish: {topic: told/dyn}}}
  - {name: one, sql: "SELECT get_dynamodb('dyn','id','a','at','2','arn:aws:iam::1:role/all').body.v AS v FROM 'one'", actions: [{republish: {topic: told/one}}]}
`)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("told/#", "errors")
	// Each rule has a queue of its own: ask until the rows are as they must be.
	// A question before the first row is answered by the error document.
	ask := func(question, answer, want string) {
		t.Helper()
		last := ""
		gwtest.Eventually(t, "the rows are "+want, func() bool {
			app.Publish(question, `{}`, 1)
			last = string(app.Next(answer).Payload)
			return last == want
		})
	}
	app.Publish("put", `{"id":"a","n":1}`, 1)
	ask("rows/x", "told/x", `[{"id":"a","n":1}]`)
	app.Publish("insert", `{"id":"b","n":2}`, 1)
	ask("rows/x", "told/x", `[{"id":"a","n":1},{"id":"b","n":2}]`)
	app.Publish("upsert", `{"id":"b","n":3}`, 1)
	ask("rows/x", "told/x", `[{"id":"a","n":1},{"id":"b","n":103}]`)
	app.Publish("update", `{"id":"a","n":41}`, 1)
	ask("rows/x", "told/x", `[{"id":"a","n":42},{"id":"b","n":103}]`)
	app.Publish("delete", `{"id":"b"}`, 1)
	ask("rows/x", "told/x", `[{"id":"a","n":42}]`)
	app.Publish("insert", `{"id":"a","n":0}`, 1)
	if m := app.Next("errors"); !strings.Contains(string(m.Payload), "EdgeSqlAction") {
		t.Errorf("a key twice: %s", m.Payload)
	}
	for n, operation := range []string{"INSERT", "INSERT", "UPDATE"} {
		app.Publish("dyn/"+operation, fmt.Sprintf(`{"id":"a","at":%d,"v":%d}`, min(n, 1)+1, n), 1)
	}
	ask("dynrows", "told/dyn", `[{"id":"a","at":1,"body":{"v":0}},{"id":"a","at":2,"body":{"v":2}}]`)
	app.Publish("one", `{}`, 1)
	if m := app.Next("told/one"); string(m.Payload) != `{"v":2}` {
		t.Errorf("get_dynamodb: %s", m.Payload)
	}
	app.Publish("dyn/DELETE", `{"id":"a","at":1}`, 1)
	ask("dynrows", "told/dyn", `[{"id":"a","at":2,"body":{"v":2}}]`)
}

// journal is a log that a test reads while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func TestActions_LogLinesLogGroupsAndFiguresAreLocal(t *testing.T) {
	dir, lines := t.TempDir(), new(journal)
	p := openAt(t, "off", dir, `listeners: [{name: local, bind: "127.0.0.1:0", auth: loopback}]`, everything+`rules:
  - name: says
    sql: "SELECT n FROM 'in/+'"
    actions:
      - {edge.log: {level: warn, message: "n is ${n}"}}
      - {cloudwatchLogs: {logGroupName: "plant/${topic(2)}", roleArn: all}}
      - {cloudwatchMetric: {metricNamespace: plant, metricName: "${topic(2)}", metricValue: "${n}", metricUnit: Count, roleArn: all}}
      - {republish: {topic: done}}
`, gateway.Env{Log: slog.New(slog.NewTextHandler(lines, nil))})
	app := gwtest.Connect(t, p.addresses["local"], "app", gwtest.ClientOptions{})
	app.Subscribe("done")
	app.Publish("in/hall", `{"n":7}`, 1)
	app.Next("done") // actions run in the order of the list
	if !strings.Contains(lines.String(), `level=WARN msg="rule says" rule=says message="n is 7"`) {
		t.Errorf("the journal: %s", lines)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "files/logs/plant/hall.jsonl")); err != nil || !strings.Contains(string(text), `"message":{"n":7}`) {
		t.Errorf("log group: %q, %v", text, err)
	}
	page, err := http.Get("http://" + p.addresses["metrics"] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if text, err := io.ReadAll(page.Body); err != nil || !strings.Contains(string(text), `tidehold_rule_metric{name="hall",namespace="plant",unit="Count"} 7`) {
		t.Errorf("the figure is not told (%v)", err)
	}
}

// One document for all failed actions of a message, as AWS writes it.
func TestActions_TheErrorActionGetsTheDocumentOfAWS(t *testing.T) {
	address := start(t, "gw", `rules:
  - name: fails
    sql: "SELECT n FROM 'in/+'"
    actions: [{lambda: {functionArn: "f${n}"}}, {republish: {topic: "ok/${topic(2)}"}}, {dynamoDBv2: {putItem: {tableName: "${table}"}}}]
    errorAction: {republish: {topic: "errors/${topic(2)}"}}
`)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("ok/#", "errors/#")
	const payload = `{"n":5,"table":"secrets"}`
	app.Publish("in/a", payload, 1)
	app.Next("ok/a") // the failure before it does no harm
	var got struct {
		RuleName, Topic, CloudwatchTraceID, ClientID, Base64OriginalPayload string
		Failures                                                            []struct{ FailedAction, FailedResource, ErrorMessage string }
	}
	if m := app.Next("errors/a"); json.Unmarshal(m.Payload, &got) != nil {
		t.Fatalf("document: %s", m.Payload)
	}
	original, err := base64.StdEncoding.DecodeString(got.Base64OriginalPayload)
	if err != nil || string(original) != payload || got.RuleName != "fails" || got.Topic != "in/a" || got.ClientID != "app" || got.CloudwatchTraceID == "" || len(got.Failures) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if f := got.Failures[0]; f.FailedAction != "LambdaAction" || f.FailedResource != "f5" || !strings.Contains(f.ErrorMessage, "lambda:InvokeFunction") {
		t.Errorf("first: %+v", f)
	}
	if f := got.Failures[1]; f.FailedAction != "DynamoActionV2" || f.FailedResource != "secrets" || !strings.Contains(f.ErrorMessage, "dynamodb:PutItem") {
		t.Errorf("second: %+v", f)
	}
}

// Whatever a publisher writes into a payload, the templates of a rule lead
// nowhere that its role does not allow.
func TestRoles_APayloadCannotSteerARuleOutOfItsRole(t *testing.T) {
	var mu sync.Mutex
	var visited []string
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		visited = append(visited, r.URL.Path)
	}))
	t.Cleanup(web.Close)
	dir := t.TempDir()
	address := startIn(t, dir, "gw", fmt.Sprintf(`roles:
  - name: narrow
    document:
      Version: "2012-10-17"
      Statement:
        - {Effect: Allow, Action: ["iot:Publish", "iot:UpdateThingShadow", "dynamodb:PutItem", "s3:PutObject", "file:Append", "sqlite:Query"], Resource: ["topic/mine/*", "thing/mine-*", "table/mine_*", "mine-*", "bucket/mine-*", "object/mine-*", "*mine*"]}
        - {Effect: Allow, Action: "http:Post", Resource: "%[1]s/mine/*"}
rules:
  - name: steered
    sql: "SELECT n FROM 'in'"
    actions:
      - {republish: {topic: "${topic}", roleArn: narrow}}
      - {edge.shadow: {thingName: "${thing}", roleArn: narrow}}
      - {dynamoDBv2: {putItem: {tableName: "${table}"}, roleArn: narrow}}
      - {http: {url: "%[1]s/${path}", roleArn: narrow}}
      - {s3: {bucketName: "${bucket}", key: "${key}", roleArn: narrow}}
      - {edge.file: {path: "${file}", roleArn: narrow}}
      - {republish: {topic: mine/done, roleArn: narrow}}
    errorAction: {republish: {topic: errors}}
`, web.URL))
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("#", "$aws/things/+/shadow/update/accepted")
	failures := func(payload string) (failed []string) {
		t.Helper()
		app.Publish("in", payload, 1)
		app.Next("mine/done")
		if !strings.Contains(payload, "other") {
			return nil
		}
		var document struct {
			Failures []struct{ FailedAction string }
		}
		if m := app.Next("errors"); json.Unmarshal(m.Payload, &document) != nil {
			t.Fatalf("%s", m.Payload)
		}
		for _, f := range document.Failures {
			failed = append(failed, f.FailedAction)
		}
		return failed
	}
	failures(`{"n":1,"topic":"mine/a","thing":"mine-1","table":"mine_t","path":"mine/x","bucket":"mine-b","key":"k","file":"mine/f.jsonl"}`)
	app.Next("mine/a")
	app.Next("$aws/things/mine-1/shadow/update/accepted")
	for _, payload := range []string{
		`{"n":2,"topic":"other/a","thing":"other-1","table":"other_t","path":"other","bucket":"other-b","key":"k","file":"other.jsonl"}`,
		`{"n":3,"topic":"$aws/things/other/shadow/update","thing":"mine/../other","table":"mine_t\"; DROP TABLE mine_t; -- other","path":"mine/../other","bucket":"../mine-b","key":"../../other","file":"mine/../../other"}`,
		`{"n":4,"topic":"mine/../other/#","thing":"","table":"sqlite_schema","path":"mine/%2e%2e/other","bucket":"..","key":"/etc/other","file":"/etc/other"}`,
	} {
		if failed := failures(payload); len(failed) != 6 {
			t.Errorf("%s: failed %v, want all six", payload, failed)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(visited) != 1 || visited[0] != "/mine/x" {
		t.Errorf("visited %v", visited)
	}
	for _, folder := range []string{"buckets", "files"} {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(path string, d os.DirEntry, err error) error {
			if strings.Contains(filepath.Base(path), "other") {
				t.Errorf("written: %s", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if !app.Silent("other/a", 50*time.Millisecond) {
		t.Error("a steered message was published")
	}
}
