package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// Every action of rules through a whole house: real broker, real SQLite, real
// processes, real HTTP.

// everything is a role that may do everything.
const everything = `roles:
  - {name: all, document: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "*", Resource: "*"}]}}
`

// script writes an executable and gives its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestActions_FunctionsAnswerAndStayWarm(t *testing.T) {
	near := script(t, `n=0; while read -r line; do n=$((n+1)); printf '{"call":%d,"got":%s}\n' $n "$line"; done`)
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"far":%s}`, body)
	}))
	t.Cleanup(far.Close)
	address := start(t, "gw", everything+fmt.Sprintf(`functions:
  - {name: near, command: [%s]}
  - {name: far, url: "%s"}
  - {name: hangs, command: [sleep, "600"], timeout: 200ms}
things: [{name: pump, attributes: {site: graz}}]
rules:
  - {name: asks, sql: "SELECT aws_lambda('near', *) AS near, aws_lambda('far', n) AS far, aws_lambda('hangs', n) AS hangs,
      get_registry_data('DescribeThing','pump','arn:aws:iam::1:role/all').attributes.site AS site FROM 'in'", actions: [{republish: {topic: out, roleArn: all}}]}
  - {name: tells, sql: "SELECT n FROM 'tell'", actions: [{lambda: {functionArn: "arn:aws:lambda:eu-west-1:1:function:near", roleArn: all}}]}
`, near, far.URL))
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("out")
	for call := 1; call <= 2; call++ {
		app.Publish("in", `{"n":7}`, 1)
		if m := app.Next("out"); string(m.Payload) != fmt.Sprintf(`{"near":{"call":%d,"got":{"n":7}},"far":{"far":7},"site":"graz"}`, call) {
			t.Errorf("call %d: %s", call, m.Payload)
		}
	}
	app.Publish("tell", `{"n":1}`, 1)
	app.Publish("in", `{"n":8}`, 1)
	if m := app.Next("out"); !strings.Contains(string(m.Payload), `"call":4`) && !strings.Contains(string(m.Payload), `"call":3`) {
		t.Errorf("after the action: %s", m.Payload)
	}
}

// A function that hangs for a minute must not hold up who publishes, nor other
// rules.
func TestActions_AHangingFunctionNeverSlowsAPublisher(t *testing.T) {
	address := start(t, "gw", everything+`functions: [{name: hangs, command: [sleep, "600"]}]
rules:
  - {name: stuck, sql: "SELECT n FROM 'in'", actions: [{lambda: {functionArn: hangs, roleArn: all}}]}
  - {name: waits, sql: "SELECT aws_lambda('hangs', n) AS x FROM 'in'", actions: [{republish: {topic: never, roleArn: all}}]}
  - {name: well, sql: "SELECT n FROM 'in' WHERE n % 500 = 0", actions: [{republish: {topic: out}}]}
`)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("out")
	started := time.Now()
	for n := 1; n <= 2000; n++ {
		app.Publish("in", fmt.Sprintf(`{"n":%d}`, n), 1)
	}
	for n := 500; n <= 2000; n += 500 {
		if m := app.Next("out"); string(m.Payload) != fmt.Sprintf(`{"n":%d}`, n) {
			t.Errorf("got %s, want %d", m.Payload, n)
		}
	}
	if took := time.Since(started); took > 50*time.Second { // one call that hangs would take 60 s
		t.Errorf("2000 messages took %v", took)
	}
}

func TestActions_ADeviceIsDrivenAndSaysWhoDidIt(t *testing.T) {
	address := start(t, "gw", board+everything+`rules:
  - {name: wish, sql: "SELECT VALUE pressed FROM 'button'", actions: [{edge.device: {device: fan, roleArn: all}}]}
  - {name: refused, sql: "SELECT VALUE pressed FROM 'forbidden'", actions: [{edge.device: {device: fan}}], errorAction: {republish: {topic: errors}}}
`)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("errors", "$aws/things/fan-1/shadow/update/documents")
	app.Publish("button", `{"pressed":true}`, 1)
	app.Await("the fan says who switched it on", func(m gwtest.Message) bool {
		return strings.Contains(string(m.Payload), `"cause":"rule/wish"`) && strings.Contains(string(m.Payload), `"on":true`)
	})
	app.Publish("forbidden", `{"pressed":false}`, 1)
	if m := app.Next("errors"); !strings.Contains(string(m.Payload), "EdgeDeviceAction") || !strings.Contains(string(m.Payload), "edge:DeviceWrite") {
		t.Errorf("%s", m.Payload)
	}
}

func TestActions_TablesFilesAndWebhooks(t *testing.T) {
	var calls atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable) // the second attempt succeeds
		}
	}))
	t.Cleanup(web.Close)
	dir := t.TempDir()
	address := startIn(t, dir, "gw", fmt.Sprintf(`roles:
  - {name: all, document: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "*", Resource: "*"}, {Effect: Allow, Action: "http:Post", Resource: "%[1]s/hook"}]}}
tables: [{name: log, key: [id]}]
rules:
  - name: keeps
    sql: "SELECT id, n FROM 'in'"
    actions:
      - {dynamoDBv2: {putItem: {tableName: log}, roleArn: all}}
      - {edge.sql: {statement: "UPDATE log SET n = n + 1 WHERE id = :id", roleArn: all}}
      - {timestream: {databaseName: d, tableName: series, dimensions: [{name: id, value: "${id}"}], roleArn: all}}
      - {s3: {bucketName: bucket, key: "${id}/last", roleArn: all}}
      - {edge.file: {path: day.jsonl, roleArn: all}}
      - {http: {url: "%[1]s/hook", roleArn: all}}
      - {edge.sql: {mode: query, statement: "SELECT n FROM log WHERE id = :id", resultTopic: rows, roleArn: all}}
`, web.URL))
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("rows")
	app.Publish("in", `{"id":"a","n":1}`, 1)
	app.Publish("in", `{"id":"a","n":5}`, 1)
	for _, want := range []string{`[{"n":2}]`, `[{"n":6}]`} {
		if m := app.Next("rows"); string(m.Payload) != want {
			t.Errorf("rows %s, want %s", m.Payload, want)
		}
	}
	for path, want := range map[string]string{"buckets/bucket/a/last": `{"id":"a","n":5}`, "files/day.jsonl": "{\"id\":\"a\",\"n\":1}\n{\"id\":\"a\",\"n\":5}\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("%d requests; want two deliveries and one that was tried again", n)
	}
}

// What only AWS has goes to the rule of the same name there, by Basic Ingest,
// however long the link was away; the other gateway plays AWS.
func TestActions_WhatOnlyAWSHasGoesUpByBasicIngest(t *testing.T) {
	cloud := start(t, "cloud", `rules: [{name: fans, sql: "SELECT n, topic() AS t FROM 'nothing'", actions: [{republish: {topic: arrived}}]}]
`)
	app := gwtest.Connect(t, cloud, "app", gwtest.ClientOptions{})
	app.Subscribe("arrived", "up/alarm")
	edge := start(t, "edge", fmt.Sprintf(`uplinks: [{name: aws, profile: aws-iot-core, endpoint: "tcp://%s", drain: {start_jitter: 0s}}]
rules:
  - {name: fans, sql: "SELECT 1 AS one FROM 'a/b/c/d/e/f/g/h'", actions: [{sns: {targetArn: x, roleArn: y}}, {sqs: {queueUrl: x, roleArn: y}}]}
  - {name: alarm, sql: "SELECT n FROM 'a/#'", actions: [{edge.forward: {topic: up/alarm, priority: critical, ttlSeconds: 60}}]}
`, cloud))
	device := gwtest.Connect(t, edge, "device", gwtest.ClientOptions{})
	device.Publish("a/b/c/d/e/f/g/h", `{"n":3}`, 1)
	if m := app.Next("arrived"); string(m.Payload) != `{"n":3,"t":"a/b/c/d/e/f/g/h"}` {
		t.Errorf("at AWS: %s", m.Payload)
	}
	if m := app.Next("up/alarm"); !strings.Contains(string(m.Payload), `"cls":0`) || !strings.Contains(string(m.Payload), `"m":{"n":3}`) {
		t.Errorf("forwarded: %s", m.Payload)
	}
	if !app.Silent("arrived", 300*time.Millisecond) {
		t.Error("two actions that only AWS has brought the message up twice")
	}
}

func TestCheck_SaysWhichActionsCannotWork(t *testing.T) {
	for text, want := range map[string]string{
		`{lambda: {functionArn: f}}`:                                   `no function "f"`,
		`{edge.device: {device: fan}}`:                                 `no output "fan"`,
		`{edge.forward: {topic: a}}`:                                   "there is no uplink",
		`{sns: {targetArn: a, roleArn: b}}`:                            "no uplink is AWS",
		`{http: {url: "http://example.com/"}}`:                         "edge-default",
		`{republish: {topic: $$aws/things/t/shadow/update}}`:           "edge-default",
		`{lambda: {functionArn: "arn:edge:action:edge.device:motor"}}`: `no output "pump"`,
		`{dynamoDBv2: {putItem: {tableName: secret}}}`:                 "edge-default",
		`{republish: {topic: a}}`:                                      "",
		`{republish: {topic: "${topic(2)}"}}`:                          "",
		`{edge.sql: {statement: "DELETE FROM rule_x"}}`:                "",
	} {
		_, problems := config.LoadBytes("t.yaml", []byte(fmt.Sprintf(`version: 1
gateway: {id: g}
actions: [{name: motor, action: {edge.device: {device: pump}}}]
rules: [{name: r, sql: "SELECT * FROM 'a'", actions: [%s]}]
`, text)), gateway.CheckOptions(driverTable))
		got := fmt.Sprint(problems)
		switch {
		case config.HasErrors(problems):
			t.Errorf("%s: %v", text, problems)
		case want == "" && len(problems) > 0, want != "" && !(strings.Contains(got, want) && strings.Contains(got, "rules[r].actions[0]: this action cannot work")):
			t.Errorf("%s: got %s, want %q", text, got, want)
		}
	}
}
