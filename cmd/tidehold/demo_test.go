package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// startDemo runs a demo in a folder of its own and gives the addresses it
// prints.
func startDemo(t *testing.T) (p *gwtest.Process, dir, edge, cloud string) {
	t.Helper()
	parent, err := os.MkdirTemp("", "th") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(parent, "demo")
	p = gwtest.Start(t, binary, "demo", "--state", dir)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the demo said:\n%s", tail(p.Output(), 6000))
		}
		os.RemoveAll(parent)
	})
	addresses := regexp.MustCompile(`MQTT (127\.0\.0\.1:\d+)`)
	gwtest.Eventually(t, "the demo tells what to try", func() bool { return strings.Contains(p.Output(), "Ctrl-C") })
	found := addresses.FindAllStringSubmatch(p.Output(), 2)
	return p, dir, found[0][1], found[1][1]
}

// TestDemo_TheMainJobEndToEnd walks the whole mission as a newcomer would:
// read, switch, cut the cable, wish in the cloud, restore.
func TestDemo_TheMainJobEndToEnd(t *testing.T) {
	began := time.Now()
	p, dir, edgeAt, cloudAt := startDemo(t)
	edge, cloud := filepath.Join(dir, "ctl.sock"), filepath.Join(dir, "cloud", "ctl.sock")
	local := gwtest.Connect(t, edgeAt, "looker", gwtest.ClientOptions{})
	local.Subscribe("dt/#", "events/#", "$aws/things/+/shadow/update/#")
	upstream := gwtest.Connect(t, cloudAt, "cloud-app", gwtest.ClientOptions{})
	upstream.Subscribe("gw/demo/#")

	reading := local.Next("dt/climate-1/reading")
	t.Logf("a client has a reading %v after the start of the process", time.Since(began).Round(time.Millisecond))
	var flat map[string]json.Number
	if err := json.Unmarshal(reading.Payload, &flat); err != nil || flat["ts"] == "" || flat["temperature"] == "" || flat["humidity"] == "" {
		t.Errorf("reading %s: want ts, temperature, humidity (%v)", reading.Payload, err)
	}
	var native struct {
		ID, Gw, Src, T string
		M              map[string]json.Number
	}
	up := upstream.Next("gw/demo/t/dt/climate-1/reading")
	if err := json.Unmarshal(up.Payload, &native); err != nil || native.Gw != "demo" || native.T != "dt/climate-1/reading" || native.M["temperature"] == "" {
		t.Errorf("upstream got %s (%v)", up.Payload, err)
	}

	// Way F: a wish in the cloud while the cable is cut.
	must(t, "uplink", "cut", "--socket", edge)
	must(t, "--socket", cloud, "shadow", "set", "fan-1", `{"desired":{"on":true}}`)
	gwtest.Eventually(t, "the spool grows while the cable is cut", func() bool {
		s := ask[spoolStats](t, "spool", "stats", "--socket", edge)
		return len(s.Uplinks) == 1 && s.Uplinks[0].Pending >= 2
	})
	if pin := must(t, "sim", "get", "fan", "--socket", edge); strings.Contains(pin, "true") {
		t.Errorf("the fan runs although the cable was cut: %s", pin)
	}
	must(t, "uplink", "restore", "--socket", edge)
	gwtest.Eventually(t, "the fan runs", func() bool {
		return strings.Contains(must(t, "sim", "get", "fan", "--socket", edge), "true")
	})
	gwtest.Eventually(t, "the cloud sees that the fan runs", func() bool {
		return reportedOn(t, cloud)
	})
	gwtest.Eventually(t, "the spool drains", func() bool {
		s := ask[spoolStats](t, "spool", "stats", "--socket", edge)
		u := s.Uplinks[0]
		if u.Allocated != u.Delivered+u.Pending+u.Lost+u.Folded+u.Skipped {
			t.Errorf("the sum check fails: %+v", u)
		}
		return u.Pending <= 1 && u.Lost == 0
	})

	// Way G: a rule turns heat into a wish, and a button into an event.
	must(t, "--socket", cloud, "shadow", "set", "fan-1", `{"desired":{"on":false}}`)
	must(t, "sim", "set", "climate", "temperature", "31.5", "--socket", edge)
	gwtest.Eventually(t, "the rule wishes for the fan", func() bool { return reportedOn(t, edge) })
	must(t, "sim", "set", "door-button", "off", "--socket", edge)
	must(t, "sim", "set", "door-button", "on", "--socket", edge)
	local.Next("events/door-1")

	// A broken sensor is seen, and repaired.
	must(t, "sim", "fault", "climate", "nack", "--socket", edge)
	gwtest.Eventually(t, "the sensor is not ok", func() bool {
		return strings.Contains(strings.ReplaceAll(must(t, "shadow", "get", "climate-1", "-o", "json", "--socket", edge), " ", ""), `"ok":false`)
	})
	must(t, "sim", "fault", "climate", "none", "--socket", edge)
	gwtest.Eventually(t, "the sensor is ok again", func() bool {
		return strings.Contains(strings.ReplaceAll(must(t, "shadow", "get", "climate-1", "-o", "json", "--socket", edge), " ", ""), `"ok":true`)
	})
	if s := ask[status](t, "status", "--socket", edge); s.Gateway != "demo" || s.State != "ok" || len(s.Listeners) == 0 {
		t.Errorf("status %+v", s)
	}

	p.Signal(syscall.SIGINT)
	if code := p.Wait(15 * time.Second); code != 0 {
		t.Errorf("exit %d after Ctrl-C", code)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the demo left %s behind", dir)
	}
}

func reportedOn(t *testing.T, socket string) bool {
	t.Helper()
	document := ask[struct {
		State struct{ Reported struct{ On bool } }
	}](t, "shadow", "get", "fan-1", "--socket", socket)
	return document.State.Reported.On
}

func TestDemo_ForEndsByItselfAndLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	out := must(t, "demo", "--state", dir, "--for", "2s")
	if !strings.Contains(out, "mosquitto_sub") {
		t.Errorf("it does not tell what to try:\n%s", out)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind", dir)
	}
}

func TestDemo_TwoAtOnceFindFreePorts(t *testing.T) {
	_, _, first, _ := startDemo(t)
	dir := filepath.Join(t.TempDir(), "d")
	out := must(t, "demo", "--state", dir, "--for", "1s")
	if strings.Contains(out, first) || !strings.Contains(out, "is taken") {
		t.Errorf("the second demo does not say that it moved:\n%s", out)
	}
}

func TestDemo_NeverRemovesAFolderOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(mine, []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := verb(t, "demo", "--state", dir, "--for", "1s"); code != 1 || !strings.Contains(out, "not empty") {
		t.Errorf("exit %d: %s", code, out)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}
