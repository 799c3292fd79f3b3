package rules

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// house is a gateway round an engine whose life can be cut and begun again on
// the same folder.
type house struct {
	t       testing.TB
	dir     string
	cfg     Config
	change  func(*Deps)
	engine  *Engine
	state   *store.DB
	tables  *store.DB
	metrics *metrics.Registry
	log     bytes.Buffer
	cut     func() error

	mu        sync.Mutex
	published []iot.Message
	invoked   []function.Call
	invoke    func(context.Context, function.Call) ([]byte, error)
	set       []string
}

func newHouse(t testing.TB, cfg Config) *house {
	h := &house{t: t, dir: t.TempDir(), cfg: cfg}
	h.cfg.Dir = h.dir
	return h
}

func (h *house) open(name string, schemas ...store.Schema) *store.DB {
	h.t.Helper()
	db, err := store.Open(context.Background(), store.Options{Path: filepath.Join(h.dir, name), Schemas: schemas, Durability: store.Normal})
	if err != nil {
		h.t.Fatal(err)
	}
	return db
}

// start runs an engine on the folder; stop or the test's end ends it.
func (h *house) start() *house {
	h.t.Helper()
	h.state, h.tables, h.metrics = h.open("state.db", Schema()), h.open("tables.db"), metrics.New()
	clk := clock.NewSystem()
	d := Deps{
		Publisher: h, Shadows: h, Forwarder: h, Devices: h, Functions: h, State: h.state, Tables: h.tables,
		Clock: clk, IDs: ids.New(rand.Reader), Metrics: h.metrics, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &h.log, mu: &h.mu}, nil)),
	}
	if h.change != nil {
		h.change(&d)
	}
	engine, err := New(h.cfg, d)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := engine.Load(context.Background()); err != nil {
		h.t.Fatal(err)
	}
	h.engine = engine
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	for !engine.running() {
		time.Sleep(time.Millisecond)
	}
	ended := false
	h.cut = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		err := <-done
		h.state.Close()
		h.tables.Close()
		return err
	}
	h.t.Cleanup(func() {
		if err := h.cut(); err != nil {
			h.t.Error(err)
		}
	})
	return h
}

func (h *house) stop() {
	h.t.Helper()
	if err := h.cut(); err != nil {
		h.t.Error(err)
	}
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (h *house) Publish(m iot.Message) {
	h.mu.Lock()
	h.published = append(h.published, m)
	h.mu.Unlock()
	h.engine.Handle(m)
}

func (h *house) Get(_ context.Context, key iot.ShadowKey, _ string) ([]byte, error) {
	if key.Thing == "pump" {
		return []byte(`{"state":{"desired":{"max":30}}}`), nil
	}
	return nil, iot.Errorf(iot.NotFound, "No shadow exists with name: '%s'", key)
}

func (h *house) Update(context.Context, iot.ShadowKey, []byte, iot.Origin) ([]byte, error) {
	return nil, nil
}

func (h *house) Forward(context.Context, string, string, iot.Message) error { return nil }

func (h *house) Drive(device, command, _ string, payload []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.set = append(h.set, device+" "+command+" "+string(payload))
	return nil
}

func (h *house) Invoke(ctx context.Context, c function.Call) ([]byte, error) {
	h.mu.Lock()
	h.invoked = append(h.invoked, c)
	f := h.invoke
	h.mu.Unlock()
	if f == nil {
		return []byte("null"), nil
	}
	return f(ctx, c)
}

// said are the payloads published to a topic.
func (h *house) said(topic string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, m := range h.published {
		if m.Topic == topic {
			all = append(all, string(m.Payload))
		}
	}
	return all
}

// until waits for what a worker will do.
func (h *house) until(what string, f func() bool) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t.Fatalf("never: %s; published %d, log %s", what, len(h.published), h.log.String())
}

func rule(name, sql string, actions ...string) Rule {
	r := Rule{Name: name, SQL: sql, Version: "2016-03-23", Actions: []json.RawMessage{}}
	for _, a := range actions {
		if text, ok := strings.CutPrefix(a, "error:"); ok {
			r.ErrorAction = json.RawMessage(text)
			continue
		}
		r.Actions = append(r.Actions, json.RawMessage(a))
	}
	return r
}

func to(topic string) string { return `{"republish":{"topic":"` + topic + `","qos":1}}` }

func (h *house) create(rules ...Rule) {
	h.t.Helper()
	for _, r := range rules {
		if err := h.engine.Create(context.Background(), r); err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestCreate_RunsAtOnceAndSurvivesARestart(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("file", "SELECT * FROM 'f'", to("of"))}}).start()
	ctx := t.Context()
	h.create(rule("a", "SELECT n FROM 'in/+' WHERE n > 0", to("out")))
	h.engine.Handle(say("in/x", `{"n":1}`))
	h.until("the rule runs", func() bool { return len(h.said("out")) == 1 })

	changed := rule("a", "SELECT n + 1 AS n FROM 'in/+'", to("out2"))
	changed.Description = "changed"
	if err := h.engine.Replace(ctx, changed); err != nil {
		t.Fatal(err)
	}
	h.create(rule("b", "SELECT * FROM 'b'", to("ob")), rule("c", "SELECT * FROM 'c'", to("oc")))
	if err := h.engine.Disable(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := h.engine.Delete(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // before and after a restart
		h.published = nil
		for _, m := range []iot.Message{say("in/x", `{"n":1}`), say("b", `{}`), say("c", `{}`), say("f", `{}`)} {
			h.engine.Handle(m)
		}
		h.engine.Ingest("b", say("$aws/rules/b/x", `{}`))
		h.engine.Ingest("a", say("$aws/rules/a/x", `{"n":5}`))
		h.until("the rules run", func() bool { return len(h.said("out2")) == 2 && len(h.said("of")) == 1 })
		if got := h.said("out2"); got[0] != `{"n":2}` || got[1] != `{"n":6}` || len(h.said("ob"))+len(h.said("oc"))+len(h.said("out")) != 0 {
			t.Errorf("published %v", h.published)
		}
		d, err := h.engine.Get("a")
		if err != nil || d.ARN != "arn:aws:iot:us-east-1:000000000000:rule/a" || d.Rule.Description != "changed" || d.Rule.CreatedAt < 1e9 || string(d.Rule.Actions[0]) != to("out2") {
			t.Errorf("got %+v, %v", d, err)
		}
		h.stop()
		h.start()
	}
	if err := h.engine.Enable(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	h.engine.Handle(say("b", `{}`))
	h.until("the rule that was enabled runs", func() bool { return len(h.said("ob")) == 1 })
}

func TestChange_AnswersWithAWSCodes(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("file", "SELECT * FROM 'f'")}}).start()
	ctx, e := t.Context(), h.engine
	h.create(rule("mine", "SELECT * FROM 'a'"))
	gone := `Access to topic rule 'ghost' was denied`
	for name, c := range map[string]struct {
		err  error
		code iot.Code
		text string
	}{
		"create again":     {e.Create(ctx, rule("mine", "SELECT *")), iot.AlreadyExists, "mine"},
		"create from file": {e.Create(ctx, rule("file", "SELECT *")), iot.AlreadyExists, "file"},
		"bad sql":          {e.Create(ctx, rule("x", "SELECT * FROM 'a' WHERE")), iot.SQLParse, "line 1"},
		"bad role":         {e.Create(ctx, rule("x", "SELECT * FROM 'a'", `{"republish":{"topic":"x","roleArn":"arn:aws:iam::1:role/ghost"}}`)), iot.InvalidRequest, `role "ghost" does not exist`},
		"bad template":     {e.Create(ctx, rule("x", "SELECT * FROM 'a'", to("${1+}"))), iot.SQLParse, "actions[0]"},
		"replace unknown":  {e.Replace(ctx, rule("ghost", "SELECT *")), iot.Unauthorized, gone},
		"replace bad":      {e.Replace(ctx, rule("mine", "SELECT")), iot.SQLParse, "mine"},
		"replace file":     {e.Replace(ctx, rule("file", "SELECT *")), iot.UpdateConflict, "configuration file"},
		"delete unknown":   {e.Delete(ctx, "ghost"), iot.Unauthorized, gone},
		"delete file":      {e.Delete(ctx, "file"), iot.UpdateConflict, "configuration file"},
		"enable unknown":   {e.Enable(ctx, "ghost"), iot.Unauthorized, gone},
		"disable file":     {e.Disable(ctx, "file"), iot.UpdateConflict, "configuration file"},
		"get unknown":      {second(e.Get("ghost")), iot.Unauthorized, gone},
		"trace unknown":    {second(e.Trace("ghost")), iot.Unauthorized, gone},
		"status unknown":   {second(e.Status("ghost")), iot.Unauthorized, gone},
	} {
		if iot.CodeOf(c.err) != c.code || !strings.Contains(iot.MessageOf(c.err), c.text) {
			t.Errorf("%s: got %v (%v), want %v with %q", name, c.err, iot.CodeOf(c.err), c.code, c.text)
		}
	}
	h.engine.Handle(say("a", "1")) // what was refused has changed nothing
	if rules := e.Rules(); len(rules) != 2 {
		t.Errorf("rules %v", rules)
	}
	if _, err := ParseRule("x", []byte(`{"sql":"SELECT *"}`)); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("a body without actions: %v", err)
	}
	if r, err := ParseRule("x", []byte(`{"sql":"SELECT *","actions":[],"ruleDisabled":true}`)); err != nil || !r.Disabled || r.Name != "x" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestCreate_WithoutStateIsUnavailable(t *testing.T) {
	h := newHouse(t, Config{Rules: []Rule{rule("file", "SELECT * FROM 'f'", to("o"))}})
	h.change = func(d *Deps) { d.State = nil }
	h.start()
	if err := h.engine.Create(t.Context(), rule("a", "SELECT *")); iot.CodeOf(err) != iot.Unavailable {
		t.Errorf("got %v", err)
	}
	h.engine.Handle(say("f", "{}"))
	h.until("the rule of the file runs", func() bool { return len(h.said("o")) == 1 })
}

func TestList_PagesAndFilters(t *testing.T) {
	h := newHouse(t, Config{}).start()
	for i := range 5 {
		r := rule("r"+string(rune('0'+i)), "SELECT * FROM 'a/"+string(rune('0'+i))+"/#'")
		r.Disabled = i == 3
		h.create(r)
	}
	var names []string
	for q, pages := (Query{Max: 2}), 0; ; pages++ {
		page, next, err := h.engine.List(q)
		if err != nil || len(page) > 2 || pages > 3 {
			t.Fatal(page, err)
		}
		for _, l := range page {
			names = append(names, l.Name)
		}
		if q.Token = next; next == "" {
			break
		}
	}
	if !slices.Equal(names, []string{"r0", "r1", "r2", "r3", "r4"}) {
		t.Errorf("names %v", names)
	}
	off := true
	for want, q := range map[string]Query{"r2": {Topic: "a/2/b"}, "r3": {Disabled: &off}, "r4": {Topic: "a/4/#"}} {
		page, _, err := h.engine.List(q)
		if err != nil || len(page) != 1 || page[0].Name != want || !strings.HasPrefix(page[0].Pattern, "a/") {
			t.Errorf("%+v: got %v, %v", q, page, err)
		}
	}
	if _, _, err := h.engine.List(Query{Token: "!"}); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("bad token: %v", err)
	}
}

func TestRoles_DecideAtOnceAndSurviveARestart(t *testing.T) {
	document := func(topics string) []byte {
		return []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/` + topics + `"}]}`)
	}
	h := newHouse(t, Config{Roles: []Role{{Name: "fixed", Document: document("f/*")}}}).start()
	ctx := t.Context()
	if err := h.engine.CreateRole(ctx, "mine", document("a/*")); err != nil {
		t.Fatal(err)
	}
	h.create(rule("r", "SELECT * FROM 'in'", `{"republish":{"topic":"${x}/y","roleArn":"arn:aws:iam::123456789012:role/service-role/mine"}}`, "error:"+to("err")))
	send := func(topic string) { h.engine.Handle(say("in", `{"x":"`+topic+`"}`)) }
	send("a")
	h.until("the role allows", func() bool { return len(h.said("a/y")) == 1 })
	send("b")
	h.until("the role denies", func() bool { return len(h.said("err")) == 1 })
	if doc := h.said("err")[0]; !strings.Contains(doc, `role \"mine\" does not allow iot:Publish on \"topic/b/y\"`) {
		t.Errorf("document %s", doc)
	}
	if err := h.engine.ReplaceRole(ctx, "mine", document("b/*")); err != nil {
		t.Fatal(err)
	}
	send("b")
	h.until("the replaced role allows", func() bool { return len(h.said("b/y")) == 1 })
	for name, c := range map[string]struct {
		err  error
		code iot.Code
	}{
		"again":           {h.engine.CreateRole(ctx, "mine", document("x")), iot.AlreadyExists},
		"built in":        {h.engine.CreateRole(ctx, "edge-default", document("x")), iot.AlreadyExists},
		"malformed":       {h.engine.CreateRole(ctx, "x", []byte(`{}`)), iot.MalformedPolicy},
		"replace unknown": {h.engine.ReplaceRole(ctx, "ghost", document("x")), iot.NotFound},
		"replace fixed":   {h.engine.ReplaceRole(ctx, "fixed", document("x")), iot.UpdateConflict},
		"delete used":     {h.engine.DeleteRole(ctx, "mine"), iot.DeleteConflict},
		"delete fixed":    {h.engine.DeleteRole(ctx, "fixed"), iot.UpdateConflict},
		"delete unknown":  {h.engine.DeleteRole(ctx, "ghost"), iot.NotFound},
		"get unknown":     {second(h.engine.Role("ghost")), iot.NotFound},
	} {
		if iot.CodeOf(c.err) != c.code {
			t.Errorf("%s: got %v, want %v", name, c.err, c.code)
		}
	}
	h.stop()
	h.start()
	send("b")
	h.until("the stored role allows", func() bool { return len(h.said("b/y")) == 2 })
	if err := h.engine.Delete(ctx, "r"); err != nil {
		t.Fatal(err)
	}
	if err := h.engine.DeleteRole(ctx, "mine"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range h.engine.Roles() {
		names = append(names, r.Name)
		if !r.ReadOnly || !json.Valid(r.Document) {
			t.Errorf("role %+v", r)
		}
	}
	if !slices.Equal(names, []string{"edge-default", "fixed"}) {
		t.Errorf("roles %v", names)
	}
}

func TestLoad_AStoredRuleThatIsRefusedNowDoesNotStopTheHouse(t *testing.T) {
	h := newHouse(t, Config{Roles: []Role{{Name: "some", Document: []byte(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)}}}).start()
	h.create(rule("r", "SELECT * FROM 'a'", `{"republish":{"topic":"b","roleArn":"some"}}`), rule("ok", "SELECT * FROM 'a'", to("o")))
	h.stop()
	h.cfg.Roles, h.cfg.Rules = nil, []Rule{rule("ok", "SELECT * FROM 'a'", to("file"))}
	h.start()
	h.engine.Handle(say("a", "{}"))
	h.until("the rule of the file stands before the stored one", func() bool { return len(h.said("file")) == 1 })
	if len(h.said("o"))+len(h.said("b")) != 0 {
		t.Errorf("published %v", h.published)
	}
	d, err := h.engine.Get("r")
	if err != nil || !strings.Contains(d.Rule.Broken, `role "some" does not exist`) {
		t.Errorf("got %+v, %v", d, err)
	}
	if s, err := h.engine.Status("r"); err != nil || s.Enabled || s.Broken == "" {
		t.Errorf("status %+v, %v", s, err)
	}
	if _, _, err := h.engine.List(Query{Topic: "a"}); err != nil {
		t.Error(err)
	}
	if err := h.engine.Delete(t.Context(), "r"); err != nil {
		t.Error(err)
	}
}

// Messages that come while a rule is replaced over and over are each performed
// exactly once, by the old document or by the new one.
func TestReplace_LosesNoMessage(t *testing.T) {
	h := newHouse(t, Config{}).start()
	h.create(rule("r", "SELECT n FROM 'in'", to("out")))
	const messages = 20_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range messages {
			h.engine.Handle(say("in", `{"n":`+string(json.Number(itoa(i)))+`}`))
			for i%100 == 0 && i > len(h.said("out"))+500 {
				time.Sleep(time.Millisecond) // the queue holds QueueMax
			}
		}
	}()
	for i := 0; ; i++ {
		if err := h.engine.Replace(t.Context(), rule("r", "SELECT n, "+itoa(i)+" AS v FROM 'in'", to("out"))); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			h.until("all messages", func() bool { return len(h.said("out")) == messages })
			for i, payload := range h.said("out") {
				if !strings.HasPrefix(payload, `{"n":`+itoa(i)) {
					t.Fatalf("message %d is %s", i, payload)
				}
			}
			return
		default:
		}
	}
}

func itoa(i int) string {
	b, _ := json.Marshal(i)
	return string(b)
}

func copyFiles(t testing.TB, from, to string) {
	t.Helper()
	for _, name := range []string{"state.db", "state.db-wal", "tables.db", "tables.db-wal"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
