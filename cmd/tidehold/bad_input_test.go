package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

func TestRun_TheSmallestFileRuns(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tidehold.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ngateway: {id: small}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STATE_DIRECTORY", filepath.Join(dir, "state"))
	must(t, "check", file)
	// The default ports may be taken on this machine: that degrades a listener,
	// and the rest serves.
	p := gwtest.Start(t, binary, "run", "--config", file)
	socket := filepath.Join(dir, "state", "ctl.sock")
	gwtest.Eventually(t, "it answers on its socket", func() bool {
		_, code := verb(t, "status", "--socket", socket)
		return code == 0
	})
	if s := ask[status](t, "status", "--socket", socket); s.Gateway != "small" {
		t.Errorf("status %+v", s)
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(15 * time.Second); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.Output())
	}
}

func TestCheck_ListsEveryProblemWithItsPlaceAndAHint(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yaml")
	text := `version: 1
gateway: {id: gw, adress: x}
buses: [{name: board, type: sim}]
sensors:
  - {name: s, driver: bme281, bus: board}
  - {name: t, driver: bme280, bus: nowhere}
rules:
  - {name: r, sql: "SELECT * FORM 'a'", actions: []}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := verb(t, "check", file)
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"bad.yaml:2:", "adress", "bad.yaml:5:", "bme280", "bad.yaml:6:", "nowhere", "bad.yaml:8:", "FORM"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _ = verb(t, "check", file, "-o", "json")
	var problems []map[string]any
	if err := json.Unmarshal([]byte(out), &problems); err != nil || len(problems) < 4 {
		t.Fatalf("%d problems, %v:\n%s", len(problems), err, out)
	}
	for _, member := range []string{"severity", "file", "line", "column", "key", "message", "hint"} {
		if _, ok := problems[0][member]; !ok {
			t.Errorf("no member %q in %v", member, problems[0])
		}
	}
	if out, code := verb(t, "run", "--config", file); code != 1 || !strings.Contains(out, "bad.yaml:2:") {
		t.Errorf("run with a bad file: exit %d\n%s", code, out)
	}
}

func TestRun_ATakenPortDegradesItsListenerAndNothingElse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := newSite(t, "gw", "")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write(strings.Replace(string(text), "mqtt: {listeners: [", fmt.Sprintf("mqtt: {listeners: [{name: second, bind: %q, auth: loopback}, ", taken.Addr()), 1))
	s.start()
	state := ask[status](t, "status", "--socket", s.socket)
	if c := state.Components["listener/second"]; state.State != "degraded" || c.State != "degraded" || !strings.Contains(c.Error, taken.Addr().String()) {
		t.Errorf("status %+v", state)
	}
	client := gwtest.Connect(t, s.at(), "c", gwtest.ClientOptions{})
	client.Subscribe("a")
	client.Publish("a", "x", 1)
	client.Next("a")
	s.stop()
}

func TestRun_MissingBusAndRefusingUpstreamDegradeOnlyThemselves(t *testing.T) {
	s := newSite(t, "gw", fmt.Sprintf(`buses: [{name: main, type: i2c, match: {number: 77}}, {name: board, type: sim}]
sensors:
  - {name: ghost, driver: bme280, bus: main, address: 0x76, poll: 1s}
  - {name: climate, driver: bme280, bus: board, address: 0x76, poll: 1s}
uplinks:
  - {name: nobody, endpoint: "tcp://127.0.0.1:%d", telemetry: [{name: all, from: "dt/#"}]}
`, gwtest.FreePort(t)))
	s.start()
	gwtest.Eventually(t, "the missing bus and the refusing upstream are seen", func() bool {
		state := ask[status](t, "status", "--socket", s.socket)
		return state.State == "degraded" && state.Components["driver/ghost"].State == "degraded" &&
			state.Components["driver/climate"].State == "ok" && state.Components["uplink/nobody"].State == "degraded"
	})
	if out := s.do("shadow", "get", "gw"); !strings.Contains(out, "temperature") {
		t.Errorf("the good sensor's shadow: %s", out)
	}
	s.stop()
}

func TestRun_AReadOnlyStateFolderServesFromMemoryAndSaysSo(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("a read-only mount needs root")
		}
		t.Skip("a read-only mount needs root")
	}
	s := newSite(t, "gw", `uplinks:
  - {name: nobody, endpoint: "tcp://127.0.0.1:9", telemetry: [{name: all, from: "dt/#"}]}
`)
	state := filepath.Join(s.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("cannot mount here: ", err)
		}
		t.Skip("cannot mount here: ", err)
	}
	defer syscall.Unmount(state, 0)
	s.start()
	seen := ask[status](t, "status", "--socket", s.socket)
	if c := seen.Components["storage"]; seen.State != "degraded" || !strings.Contains(c.Error, "read-only") || !strings.Contains(c.Error, state) {
		t.Errorf("status %+v", seen)
	}
	client := gwtest.Connect(t, s.at(), "c", gwtest.ClientOptions{})
	client.Subscribe("local/x", "dt/x")
	client.Publish("local/x", "1", 1) // nobody durable wants it: acknowledged
	client.Next("local/x")
	unsafe := client.TryPublish("dt/x", []byte("2"), 1) // an uplink wants it: heard, never acknowledged
	client.Next("dt/x")
	select {
	case err := <-unsafe:
		t.Errorf("a message that is nowhere on disk was acknowledged (%v)", err)
	default:
	}
	s.do("shadow", "set", "t", `{"desired":{"a":1}}`)
	s.stop()
}

func TestShadow_InvalidJSONIsRejectedAndCounted(t *testing.T) {
	s := newSite(t, "gw", "")
	s.start()
	client := gwtest.Connect(t, s.at(), "c", gwtest.ClientOptions{})
	client.Subscribe("$aws/things/t/shadow/update/+")
	client.Publish("$aws/things/t/shadow/update", `{"state":`, 1)
	if m := client.Next("$aws/things/t/shadow/update/rejected"); !strings.Contains(string(m.Payload), `"code":400`) {
		t.Errorf("rejected with %s", m.Payload)
	}
	if _, code := verb(t, "shadow", "get", "t", "--socket", s.socket); code != 3 {
		t.Errorf("get of a shadow that does not exist: exit %d, want 3", code)
	}
	s.stop()
}
