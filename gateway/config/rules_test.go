package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoad_RolesActionsAndFunctionsAreRead(t *testing.T) {
	dir := writeFiles(t, map[string]string{"tidehold.yaml": smallest + `
roles:
  - name: writer
    document: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "iot:Publish", Resource: "topic/a/*"}]}
actions: [{name: alarm, action: {edge.log: {message: hot}}}]
functions:
  - {name: near, command: [bin/near, --fast], env: {LANG: C}, timeout: 3s, memory: 64MiB, instances: 2, envelope: on}
  - {name: far, url: "http://127.0.0.1:9000/f"}
`})
	cfg, problems := Load(filepath.Join(dir, "tidehold.yaml"), quiet())
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	if got := cfg.Roles[0]; got.Name != "writer" || !strings.HasPrefix(got.Document, `{"Version":"2012-10-17","Statement":[{`) {
		t.Errorf("role: %+v", got)
	}
	if got := cfg.Actions[0]; got.Name != "alarm" || string(got.Action) != `{"edge.log":{"message":"hot"}}` {
		t.Errorf("action: %+v", got)
	}
	near, far := cfg.Functions[0], cfg.Functions[1]
	if near.Command[0] != filepath.Join(dir, "bin/near") || near.Env["LANG"] != "C" || near.Timeout != 3*time.Second || near.Memory != 64<<20 || near.Instances != 2 || !near.Envelope {
		t.Errorf("function: %+v", near)
	}
	if far.URL != "http://127.0.0.1:9000/f" || far.Timeout != time.Minute || far.Idle != 5*time.Minute {
		t.Errorf("function: %+v", far)
	}
}

func TestLoad_NamesOfRolesAndFunctionsAreUnique(t *testing.T) {
	_, problems := LoadBytes("t.yaml", []byte(smallest+`
functions: [{name: f, url: "http://localhost/"}, {name: f, url: "http://localhost/"}]
actions: [{name: a, action: {edge.bell: {}}}]
`), quiet())
	got := errorsOf(problems)
	for _, want := range []string{`function "f" stands twice`, `action "edge.bell" is not available here`} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
