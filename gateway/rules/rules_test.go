package rules

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// world is everything an engine speaks to, and remembers what it was told.
type world struct {
	mu        sync.Mutex
	published []iot.Message
	updates   []string
	forwarded []string
	engine    *Engine
	tables    *store.DB
}

func (w *world) Publish(m iot.Message) {
	w.mu.Lock()
	w.published = append(w.published, m)
	w.mu.Unlock()
	w.engine.Handle(m) // as the house does
}

func (w *world) Get(_ context.Context, key iot.ShadowKey, _ string) ([]byte, error) {
	if key.Thing == "pump" {
		return []byte(`{"state":{"desired":{"max":30}}}`), nil
	}
	return nil, iot.Errorf(iot.NotFound, "No shadow exists with name: '%s'", key)
}

func (w *world) Update(_ context.Context, key iot.ShadowKey, payload []byte, o iot.Origin) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if key.Thing == "refused" {
		return nil, errors.New("no")
	}
	w.updates = append(w.updates, key.String()+" "+string(payload)+" by "+o.Source)
	return nil, nil
}

func (w *world) Forward(_ context.Context, uplink, _ string, m iot.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forwarded = append(w.forwarded, uplink+" "+m.Topic+" "+string(m.Payload))
	return nil
}

// start runs an engine with the rules; they are JSON documents by name.
func start(t *testing.T, keys map[string][]string, documents map[string]string) *world {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "tables.db"), Metrics: metrics.New(), Clock: clock.NewSystem()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{tables: db}
	var rules []Rule
	for name, document := range documents {
		r := Rule{}
		if err := json.Unmarshal([]byte(document), &r); err != nil {
			t.Fatal(err)
		}
		r.Name = name
		if r.Version == "" {
			r.Version = "2016-03-23"
		}
		rules = append(rules, r)
	}
	w.engine, err = New(Config{Rules: rules, Keys: keys}, Deps{
		Publisher: w, Shadows: w, Forwarder: w, Tables: db, Clock: clock.NewSystem(), IDs: ids.New(rand.Reader),
		Metrics: metrics.New(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		db.Close()
	})
	return w
}

// until waits for what a worker will do.
func (w *world) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		w.mu.Lock()
		ok := f()
		w.mu.Unlock()
		if ok {
			return
		}
	}
	t.Fatalf("never: %s; published %v, updates %v", what, w.published, w.updates)
}

func say(topic, payload string) iot.Message {
	return iot.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Origin: iot.Origin{ClientID: "c1", Source: "dev/c1", Protocol: 4}, Arrived: time.Now()}
}

func TestRepublish_FillsTemplatesAndKeepsOrder(t *testing.T) {
	w := start(t, nil, map[string]string{"r": `{"sql":"SELECT n FROM 'in/+' WHERE n >= 0","actions":[{"republish":{"topic":"out/${topic(2)}","qos":1}}]}`})
	for i := range 100 {
		w.engine.Handle(say("in/a", `{"n":`+string(rune('0'+i%10))+`}`))
	}
	w.engine.Handle(say("in/a", `{"n":-1}`))
	w.until(t, "100 messages", func() bool { return len(w.published) == 100 })
	for i, m := range w.published {
		want := `{"n":` + string(rune('0'+i%10)) + `}`
		if m.Topic != "out/a" || string(m.Payload) != want || m.QoS != 1 || m.Origin.Source != "rule/r" || m.Origin.Hops != 1 {
			t.Fatalf("message %d: %+v %s", i, m, m.Payload)
		}
	}
}

func TestRepublish_HeadersRetainAndDollar(t *testing.T) {
	w := start(t, nil, map[string]string{
		"h": `{"sql":"SELECT * FROM 'h'","actions":[{"republish":{"topic":"o","qos":"1","retain":true,"headers":{"contentType":"a/${x}","payloadFormatIndicator":"UTF8_DATA","correlationData":"YWI=","messageExpiry":"60","responseTopic":"re","userProperties":[{"key":"k","value":"${x}"}]}}}]}`,
		"d": `{"sql":"SELECT * FROM 'd'","actions":[{"republish":{"topic":"$$aws/things/t/shadow/update"}}],"errorAction":{"republish":{"topic":"err"}}}`,
	})
	w.engine.Handle(say("h", `{"x":1}`))
	w.until(t, "a message", func() bool { return len(w.published) == 1 })
	p := w.published[0].Properties
	if !w.published[0].Retain || p == nil || p.ContentType != "a/1" || p.PayloadFormat != 1 || string(p.CorrelationData) != "ab" ||
		p.MessageExpiry != 60 || p.ResponseTopic != "re" || len(p.User) != 1 || p.User[0].Value != "1" {
		t.Errorf("got %+v with %+v", w.published[0], p)
	}
	// edge-default may not publish below `$`: the payload cannot talk it into it.
	w.engine.Handle(say("d", `{}`))
	w.until(t, "the error document", func() bool { return len(w.published) == 2 })
	if doc := string(w.published[1].Payload); !strings.Contains(doc, "RepublishAction") || !strings.Contains(doc, `$aws/things/t/shadow/update`) || !strings.Contains(doc, "denies") {
		t.Errorf("error document %s", doc)
	}
}

func TestErrorAction_OneDocumentForAllFailures(t *testing.T) {
	w := start(t, nil, map[string]string{"r": `{"sql":"SELECT * FROM 'in'","actions":[
		{"edge.shadow":{"thingName":"refused"}},{"republish":{"topic":"a/${nothing}"}},{"republish":{"topic":"fine"}}],
		"errorAction":{"republish":{"topic":"err","qos":1}}}`})
	w.engine.Handle(say("in", `{"a":1}`))
	w.until(t, "both messages", func() bool { return len(w.published) == 2 })
	if w.published[0].Topic != "fine" || w.published[1].Topic != "err" {
		t.Fatalf("published %v", w.published)
	}
	var document struct {
		RuleName, Topic, ClientID, Base64OriginalPayload, CloudwatchTraceID string
		Failures                                                            []failure
	}
	if err := json.Unmarshal(w.published[1].Payload, &document); err != nil {
		t.Fatal(err)
	}
	if document.RuleName != "r" || document.Topic != "in" || document.ClientID != "c1" || document.Base64OriginalPayload != "eyJhIjoxfQ==" ||
		document.CloudwatchTraceID == "" || len(document.Failures) != 2 || document.Failures[0].Action != "EdgeShadowAction" || document.Failures[1].Action != "RepublishAction" {
		t.Errorf("document %+v", document)
	}
}

func TestShadow_SectionsAndLookups(t *testing.T) {
	w := start(t, nil, map[string]string{
		"s": `{"sql":"SELECT true AS on FROM 'dt/+' WHERE t > get_thing_shadow('pump').state.desired.max","actions":[{"edge.shadow":{"thingName":"${topic(2)}","section":"desired","shadowName":"n"}}]}`,
	})
	w.engine.Handle(say("dt/fan", `{"t":29}`))
	w.engine.Handle(say("dt/fan", `{"t":31}`))
	w.until(t, "an update", func() bool { return len(w.updates) == 1 })
	if want := `fan~n {"state":{"desired":{"on":true}}} by rule/s`; w.updates[0] != want {
		t.Errorf("got %s, want %s", w.updates[0], want)
	}
}

func TestForward_NamesTheUpstreamTopic(t *testing.T) {
	w := start(t, nil, map[string]string{"f": `{"sql":"SELECT a FROM 'x'","actions":[{"edge.forward":{"topic":"up/${a}","uplink":"cloud"}}]}`})
	w.engine.Handle(say("x", `{"a":1}`))
	w.until(t, "a forward", func() bool { return len(w.forwarded) == 1 })
	if w.forwarded[0] != `cloud up/1 {"a":1}` {
		t.Errorf("got %s", w.forwarded[0])
	}
}

func TestLoop_EndsAtTheHopLimit(t *testing.T) {
	w := start(t, nil, map[string]string{"loop": `{"sql":"SELECT * FROM 'l'","actions":[{"republish":{"topic":"l"}}],"errorAction":{"republish":{"topic":"err"}}}`})
	w.engine.Handle(say("l", `{}`))
	time.Sleep(50 * time.Millisecond)
	w.until(t, "the loop ends", func() bool { return len(w.published) >= HopsMax-1 })
	time.Sleep(50 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.published) != HopsMax-1 {
		t.Errorf("%d messages, want %d", len(w.published), HopsMax-1)
	}
}

func TestBasicIngest_RunsOneRuleWhateverItsFrom(t *testing.T) {
	w := start(t, nil, map[string]string{
		"a": `{"sql":"SELECT topic() AS t FROM 'elsewhere'","actions":[{"republish":{"topic":"out"}}]}`,
		"b": `{"sql":"SELECT * FROM '#'","actions":[{"republish":{"topic":"never"}}],"ruleDisabled":true}`,
	})
	w.engine.Ingest("a", say("$aws/rules/a/x/y", `{}`))
	w.engine.Ingest("b", say("$aws/rules/b", `{}`))
	w.engine.Ingest("nobody", say("$aws/rules/nobody", `{}`))
	w.until(t, "a message", func() bool { return len(w.published) == 1 })
	if string(w.published[0].Payload) != `{"t":"x/y"}` {
		t.Errorf("got %s", w.published[0].Payload)
	}
}

func TestTables_PutUpdateDelete(t *testing.T) {
	w := start(t, map[string][]string{"rule_keyed": {"thing"}}, map[string]string{
		"free":   `{"sql":"SELECT * FROM 'free'","actions":[{"dynamoDBv2":{"putItem":{"tableName":"rule_free"}}}]}`,
		"keyed":  `{"sql":"SELECT * FROM 'keyed'","actions":[{"dynamoDBv2":{"putItem":{"tableName":"rule_keyed"}}}]}`,
		"v1":     `{"sql":"SELECT * FROM 'v1/+'","actions":[{"dynamoDB":{"tableName":"rule_v1","hashKeyField":"id","hashKeyValue":"${id}","operation":"${topic(2)}"}}]}`,
		"denied": `{"sql":"SELECT * FROM 'denied'","actions":[{"dynamoDBv2":{"putItem":{"tableName":"shadow"}}}],"errorAction":{"republish":{"topic":"err"}}}`,
	})
	for _, m := range []iot.Message{
		say("free", `{"a":1,"b":"x"}`), say("free", `{"a":2.5,"c":{"d":[1]}}`), say("keyed", `{"thing":"t","n":1}`), say("keyed", `{"thing":"t","n":9007199254740993}`),
		say("v1/INSERT", `{"id":"a","n":1}`), say("v1/INSERT", `{"id":"b"}`), say("v1/UPDATE", `{"id":"a","n":2}`), say("v1/DELETE", `{"id":"b"}`), say("denied", `{"a":1}`),
	} {
		w.engine.Handle(m)
	}
	query := func(text string) string {
		var got string
		if err := w.tables.Read(t.Context(), func(tx *store.Tx) error { _, err := tx.QueryRow(text, nil, &got); return err }); err != nil {
			return err.Error()
		}
		return got
	}
	for text, want := range map[string]string{
		`SELECT group_concat(a||coalesce(b,'')||coalesce(c,''), ';') FROM rule_free`: `1x;2.5{"d":[1]}`,
		`SELECT count(*)||':'||max(n) FROM rule_keyed`:                               `1:9007199254740993`,
		`SELECT group_concat(id||payload) FROM rule_v1`:                              `a{"id":"a","n":2}`,
	} {
		w.until(t, text, func() bool { return query(text) == want })
	}
	w.until(t, "the denial", func() bool { return len(w.published) == 1 })
	if !strings.Contains(string(w.published[0].Payload), "does not allow dynamodb:PutItem") {
		t.Errorf("error document %s", w.published[0].Payload)
	}
}

func TestTime_AStatementFiresWithoutAMessage(t *testing.T) {
	w := start(t, nil, map[string]string{"r": `{"sql":"SELECT last(n) AS n, 'silent' AS alarm FROM 'q' WINDOW SESSION(100ms)","actions":[{"republish":{"topic":"alarm"}}]}`})
	w.engine.Handle(say("q", `{"n":7}`))
	w.until(t, "the alarm", func() bool { return len(w.published) == 1 })
	if string(w.published[0].Payload) != `{"n":7,"alarm":"silent"}` {
		t.Errorf("got %s", w.published[0].Payload)
	}
}

func TestCheck_RefusesWithARule(t *testing.T) {
	long := strings.Repeat("x", 129)
	for name, r := range map[string]Rule{
		"name":     {Name: "a-b", SQL: "SELECT *", Version: "2016-03-23"},
		"too long": {Name: long, SQL: "SELECT *", Version: "2016-03-23"},
		"sql":      {Name: "a", SQL: "SELECT * FORM 'x'", Version: "2016-03-23"},
		"kind":     {Name: "a", SQL: "SELECT *", Actions: []json.RawMessage{[]byte(`{"teleport":{}}`)}},
		"field":    {Name: "a", SQL: "SELECT *", Actions: []json.RawMessage{[]byte(`{"republish":{"topik":"x"}}`)}},
		"role":     {Name: "a", SQL: "SELECT *", Actions: []json.RawMessage{[]byte(`{"republish":{"topic":"x","roleArn":"arn:aws:iam::1:role/ghost"}}`)}},
		"two keys": {Name: "a", SQL: "SELECT *", Actions: []json.RawMessage{[]byte(`{"republish":{"topic":"x"},"edge.log":{"message":"x"}}`)}},
		"template": {Name: "a", SQL: "SELECT *", Actions: []json.RawMessage{[]byte(`{"republish":{"topic":"x/${1+}"}}`)}},
		"error":    {Name: "a", SQL: "SELECT *", ErrorAction: []byte(`{"republish":{}}`)},
		"many":     {Name: "a", SQL: "SELECT *", Actions: make([]json.RawMessage, 11)},
	} {
		if err := Check(r); err == nil || !strings.Contains(err.Error(), `"`+r.Name+`"`) {
			t.Errorf("%s: got %v, want an error that names the rule", name, err)
		}
	}
	if err := Check(Rule{Name: "a", SQL: "SELECT * FROM 'x'", Version: "2016-03-23", Actions: []json.RawMessage{[]byte(`{"edge.log":{"level":"warn","message":"${a}"}}`)}}); err != nil {
		t.Error(err)
	}
}
