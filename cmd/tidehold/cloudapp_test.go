package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// fan is a simulated output that follows the shadow of fan-1.
const fan = `buses: [{name: board, type: sim, seed: 1}]
outputs: [{name: fan, pin: {chip: board, line: 27}, thing: fan-1, key: .}]
`

// appCommand is one of the cloud apps of scripts/examples.
func appCommand(script, address string, args ...string) *exec.Cmd {
	host, port, _ := strings.Cut(address, ":")
	return exec.Command("../../scripts/examples/"+script, append([]string{host, port}, args...)...)
}

// runApp runs one to its end and gives what it says.
func runApp(t *testing.T, script, address string, args ...string) string {
	t.Helper()
	out, err := appCommand(script, address, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// TestExamples_ACloudAppOverShadowsOfItsOwn drives a pin behind a gateway by the
// shadow of the upstream, a second Tidehold.
func TestExamples_ACloudAppOverShadowsOfItsOwn(t *testing.T) {
	gwtest.Need(t, "mosquitto_rr")
	cloud := newSite(t, "cloud", "")
	cloud.start()
	defer cloud.stop()
	edge := newSite(t, "edge", fan+fmt.Sprintf("uplinks:\n  - {name: up, profile: tidehold, endpoint: \"tcp://%s\", shadows: {}}\n", cloud.at()))
	edge.start()
	defer edge.stop()
	for _, wish := range []string{"on", "off"} {
		if out := runApp(t, "cloud-app-service.sh", cloud.at(), "fan-1", wish); !strings.Contains(out, "fan-1 has followed") {
			t.Errorf("%s: %s", wish, out)
		}
	}
}

// TestExamples_ACloudAppOverAPlainBroker leaves a wish before the gateway has
// ever been there; the slot is clear afterwards.
func TestExamples_ACloudAppOverAPlainBroker(t *testing.T) {
	gwtest.Need(t, "mosquitto_pub", "mosquitto_sub")
	upstream := gwtest.StartMosquitto(t)
	edge := newSite(t, "edge", fan+fmt.Sprintf("uplinks:\n  - {name: plant, profile: mosquitto, endpoint: \"tcp://%s\", shadows: {}}\n", upstream.Address))
	var out bytes.Buffer
	wish := appCommand("cloud-app-plain.sh", upstream.Address, "edge", "fan-1", "on")
	wish.Stdout, wish.Stderr = &out, &out
	if err := wish.Start(); err != nil {
		t.Fatal(err)
	}
	edge.start()
	defer edge.stop()
	if err := wish.Wait(); err != nil || !strings.Contains(out.String(), "fan-1 has followed") {
		t.Errorf("%v: %s", err, out.String())
	}
	look := exec.Command("mosquitto_sub", "-p", upstream.Address[strings.LastIndex(upstream.Address, ":")+1:], "-t", "shadow/edge/fan-1/~/want/#", "-W", "1")
	if slots, _ := look.Output(); len(slots) != 0 {
		t.Errorf("the slot still has %s", slots)
	}
}
