package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// counted is what the rule of the kill test writes about a window.
type counted struct{ N, Lo, Hi, W int64 }

const (
	killWindow     = 100 * time.Millisecond
	killCheckpoint = 300 * time.Millisecond
	// killSlack is what a busy host may take to write a checkpoint down.
	killSlack = 700 * time.Millisecond
	// provenWindows is how many windows must have had to be told.
	provenWindows = 20
)

// killRules counts messages in windows; a file outlives every kill.
const killRules = `roles:
  - {name: files, document: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "file:Append", Resource: "*"}]}}
rules:
  - name: count
    sql: "SELECT count(*) AS n, min(n) AS lo, max(n) AS hi, window_end() AS w FROM 'dt/+/count' WINDOW TUMBLING(100ms)"
    actions: [{edge.file: {path: windows.jsonl, roleArn: files}}]
`

// heardWindows notes which windows certainly hold a message, and since when.
type heardWindows struct {
	mu    sync.Mutex
	acked map[int64]time.Time // by the window's end: the first acknowledgement
}

// note counts a message only when it went and was answered in one window.
func (h *heardWindows) note(sent, acked time.Time) {
	size := killWindow.Milliseconds()
	if sent.UnixMilli()/size != acked.UnixMilli()/size {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if end := (sent.UnixMilli()/size + 1) * size; h.acked[end].IsZero() {
		h.acked[end] = acked
	}
}

// until moves into must the windows that were heard before a moment, and
// forgets the others: those may go with the kill.
func (h *heardWindows) until(moment time.Time, must map[int64]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for end, acked := range h.acked {
		if acked.Before(moment) {
			must[end] = true
		}
	}
	clear(h.acked)
}

// TestKill_TumblingWindowsAreToldOnceAndFew kills the gateway under load, at
// random moments: no window may be told with two values, and none may be
// missing that held a message a checkpoint before the kill.
func TestKill_TumblingWindowsAreToldOnceAndFew(t *testing.T) {
	s := newSite(t, "gw", killRules)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(s.dir, "state")
	s.write(strings.Replace(string(text), "storage: {dir: "+state+"}", "storage: {dir: "+state+", rules_checkpoint: "+killCheckpoint.String()+"}", 1))
	heard := heardWindows{acked: make(map[int64]time.Time)}
	p := &publisher{t: t, at: s.at(), name: "p", acked: make(map[int]bool), heard: heard.note}
	stop, stopped := make(chan struct{}), make(chan struct{})
	s.start()
	go func() { defer close(stopped); p.run(stop) }()
	must := make(map[int64]bool) // ends of windows that must have been told
	rounds := gwtest.Rounds(4, 40)
	for n := 0; n < rounds || len(must) < provenWindows && n < 3*rounds; n++ { // a busy host takes more rounds to prove as much
		time.Sleep(killCheckpoint + killSlack + 1500*time.Millisecond + time.Duration(rand.Int64N(int64(2*killWindow))))
		killed := time.Now()
		s.process.Kill()
		heard.until(killed.Add(-killCheckpoint-killSlack), must)
		s.start()
	}
	close(stop)
	<-stopped
	time.Sleep(killCheckpoint + killSlack)
	s.stop()
	windows := readWindows(t, filepath.Join(state, "files", "windows.jsonl"))
	for end, values := range windows {
		for _, v := range values[1:] {
			if v != values[0] {
				t.Errorf("window %d was told as %+v and as %+v", end, values[0], v)
			}
		}
		if v := values[0]; v.N < 1 || v.Hi-v.Lo+1 < v.N {
			t.Errorf("window %d counts %d messages from %d to %d", end, v.N, v.Lo, v.Hi)
		}
	}
	for end := range must {
		if len(windows[end]) == 0 {
			t.Errorf("window %d was never told", end)
		}
	}
	if len(must) < provenWindows {
		t.Errorf("only %d windows had to be told: nothing is proven", len(must))
	}
	t.Logf("%d windows told, %d of them had to be", len(windows), len(must))
}

func readWindows(t *testing.T, path string) map[int64][]counted {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	windows := make(map[int64][]counted)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v counted
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Errorf("line %q: %v", lines.Text(), err)
			continue
		}
		windows[v.W] = append(windows[v.W], v)
	}
	return windows
}

// withControl opens AWS's API on a free port of a site.
func (s *site) withControl() (url string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", gwtest.FreePort(s.t))
	s.write(strings.Replace(string(text), "control: {bind: off}", fmt.Sprintf("control: {bind: %q}", at), 1))
	return "http://" + at
}

// The verbs of people, on a real gateway: what they make runs, and they say
// what it does.
func TestRuleVerbs_MakeTryTraceAndRemoveARule(t *testing.T) {
	s := newSite(t, "gw", "")
	s.start()
	app := gwtest.Connect(t, s.at(), "app", gwtest.ClientOptions{})
	app.Subscribe("hot/#")
	s.do("role", "create", "speaker", "--document", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"topic/hot/*"}]}`)
	s.do("rule", "create", "hot", "--sql", "SELECT t FROM 'dt/+' WHERE t > 30", "--action", `{"republish":{"topic":"${side}/${topic(2)}","roleArn":"arn:aws:iam::1:role/speaker"}}`)
	app.Publish("dt/a", `{"t":31,"side":"hot"}`, 1)
	app.Next("hot/a")
	app.Publish("dt/a", `{"t":32,"side":"cold"}`, 1) // its role says no
	app.Publish("dt/a", `{"t":1}`, 1)

	type trial struct {
		Matched, Covered, Real bool
		Output                 string
		Actions                []struct {
			Action, Role, Resource string
			Verdicts               []struct {
				Action, Resource string
				Allowed          bool
			}
		}
	}
	out := ask[trial](t, "rule", "test", "hot", "--topic", "dt/x", "--payload", `{"t":40,"side":"cold"}`, "--socket", s.socket)
	if !out.Matched || !out.Covered || out.Output != `{"t":40}` || len(out.Actions) != 1 || out.Actions[0].Resource != "cold/x" || out.Actions[0].Verdicts[0].Allowed {
		t.Errorf("dry run: %+v", out)
	}
	if out := ask[trial](t, "rule", "test", "--sql", "SELECT t FROM 'dt/#' WHERE t < 5", "--action", `{"edge.log":{"message":"cold"}}`, "--socket", s.socket); !out.Real || !out.Matched || out.Output != `{"t":1}` {
		t.Errorf("on a recent message: %+v", out)
	}
	if text := s.do("rule", "test", "hot", "--topic", "dt/x", "--payload", `{"t":40,"side":"hot"}`); !strings.Contains(text, "hot/x") || !strings.Contains(text, "allowed") {
		t.Errorf("table: %s", text)
	}
	type page struct {
		RuleName string
		Status   struct {
			Hits, Misses, Errors uint64
			LastMatch            int64
			LastError            string
		}
	}
	gwtest.Eventually(t, "the list counts", func() bool {
		list := ask[[]page](t, "rule", "list", "--socket", s.socket)
		return len(list) == 1 && list[0].Status.Hits == 2 && list[0].Status.Misses == 1 && list[0].Status.Errors == 1 && list[0].Status.LastMatch > 0 && strings.Contains(list[0].Status.LastError, "speaker")
	})
	if trace := s.do("rule", "trace", "hot"); strings.Count(trace, "dt/a") != 3 || !strings.Contains(trace, "cold/a") {
		t.Errorf("trace: %s", trace)
	}
	if out, code := verb(t, "rule", "create", "bad", "--sql", "SELECT t FRM 'a'", "--socket", s.socket); code != 1 || !strings.Contains(out, "line 1") {
		t.Errorf("bad SQL: exit %d, %s", code, out)
	}
	if _, code := verb(t, "role", "delete", "speaker", "--socket", s.socket); code != 1 {
		t.Errorf("a role in use was removed: exit %d", code)
	}
	s.do("rule", "replace", "hot", "--sql", "SELECT t FROM 'dt/+' WHERE t > 20", "--action", `{"republish":{"topic":"hot/now"}}`)
	s.do("rule", "disable", "hot")
	app.Publish("dt/a", `{"t":25}`, 1)
	if !app.Silent("hot/now", 200*time.Millisecond) {
		t.Error("a disabled rule fired")
	}
	s.do("rule", "enable", "hot")
	app.Publish("dt/a", `{"t":26}`, 1)
	app.Next("hot/now")
	s.do("rule", "delete", "hot")
	s.do("role", "delete", "speaker")
	for _, args := range [][]string{{"get", "hot"}, {"trace", "hot"}, {"delete", "hot"}, {"enable", "hot"}, {"test", "hot", "--topic", "a"}} {
		args = append([]string{"rule"}, append(args, "--socket", s.socket)...)
		if out, code := verb(t, args...); code != 3 || !strings.Contains(out, `rule "hot" does not exist`) {
			t.Errorf("%v of a removed rule: exit %d, %s", args, code, out)
		}
	}
}

// The unmodified command line of AWS makes the same rules.
func TestRules_TheAWSCommandLineMakesTheSame(t *testing.T) {
	gwtest.Need(t, "/usr/bin/aws")
	s := newSite(t, "gw", "")
	url := s.withControl()
	s.start()
	key := ask[struct{ AccessKeyId, SecretAccessKey string }](t, "access-key", "create", "--socket", s.socket)
	aws := func(args ...string) (string, error) {
		cmd := exec.Command("/usr/bin/aws", append([]string{"iot", "--endpoint-url", url, "--region", "us-east-1", "--output", "json"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_ACCESS_KEY_ID="+key.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+key.SecretAccessKey)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	good := func(args ...string) string {
		t.Helper()
		out, err := aws(args...)
		if err != nil {
			t.Fatalf("aws iot %v: %v\n%s", args, err, out)
		}
		return out
	}
	payload := `{"sql":"SELECT t FROM 'dt/+' WHERE t > 30","awsIotSqlVersion":"2016-03-23","description":"hot",` +
		`"actions":[{"republish":{"topic":"hot/${topic(2)}","roleArn":"arn:aws:iam::123456789012:role/edge-default","qos":1}}]}`
	good("create-topic-rule", "--rule-name", "hot", "--topic-rule-payload", payload)
	app := gwtest.Connect(t, s.at(), "app", gwtest.ClientOptions{})
	app.Subscribe("hot/#")
	app.Publish("dt/a", `{"t":31}`, 1)
	app.Next("hot/a")
	var got struct {
		RuleArn string
		Rule    struct{ RuleName, SQL, Description, AwsIotSqlVersion string }
	}
	if err := json.Unmarshal([]byte(good("get-topic-rule", "--rule-name", "hot")), &got); err != nil || got.RuleArn != "arn:aws:iot:us-east-1:000000000000:rule/hot" ||
		got.Rule.SQL != "SELECT t FROM 'dt/+' WHERE t > 30" || got.Rule.Description != "hot" || got.Rule.AwsIotSqlVersion != "2016-03-23" {
		t.Errorf("get: %+v, %v", got, err)
	}
	if out := good("list-topic-rules", "--topic", "dt/x"); !strings.Contains(out, `"ruleName": "hot"`) {
		t.Errorf("list: %s", out)
	}
	if out, err := aws("create-topic-rule", "--rule-name", "bad", "--topic-rule-payload", `{"sql":"SELECT nosuch(t) FROM 'a'","actions":[]}`); err == nil || !strings.Contains(out, "SqlParseException") || !strings.Contains(out, "nosuch") {
		t.Errorf("bad SQL: %v, %s", err, out)
	}
	good("disable-topic-rule", "--rule-name", "hot")
	good("enable-topic-rule", "--rule-name", "hot")
	good("delete-topic-rule", "--rule-name", "hot")
	if out := s.do("rule", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("after delete: %s", out)
	}
}
