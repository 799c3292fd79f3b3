package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// TestDevice_ConnectsWithTheFilesOfThingCreateAndIsPutOut enrols a device with
// one verb, connects it with unmodified clients over mutual TLS, and takes its
// certificate away.
func TestDevice_ConnectsWithTheFilesOfThingCreateAndIsPutOut(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s := newSite(t, "gw", "")
	tlsPort := gwtest.FreePort(t)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write(strings.Replace(strings.Replace(string(text), "mqtt: {listeners: [", fmt.Sprintf("mqtt: {listeners: [{name: mtls, bind: \"127.0.0.1:%d\", tls: true, auth: certificate}, ", tlsPort), 1),
		"gateway: {id: gw}", "gateway: {id: gw, endpoint: localhost}", 1))
	s.start()
	out := filepath.Join(s.dir, "pump")
	s.do("thing", "create", "pump", "--key", "p256", "--out", out)
	publish := func(topic string) (string, error) {
		cmd := exec.Command("mosquitto_pub", "-h", "localhost", "-p", fmt.Sprint(tlsPort), "--cafile", filepath.Join(out, "ca.pem"),
			"--cert", filepath.Join(out, "cert.pem"), "--key", filepath.Join(out, "private.key"), "-i", "pump", "-V", "mqttv5", "-q", "1", "-t", topic, "-m", "1")
		text, err := cmd.CombinedOutput()
		return string(text), err
	}
	if text, err := publish("dt/pump/x"); err != nil {
		t.Fatalf("an allowed topic: %v\n%s", err, text)
	}
	if text, err := publish("dt/other/x"); err == nil && !strings.Contains(text, "Not authorized") {
		t.Errorf("a forbidden topic was taken: %s", text)
	}
	if facts, err := os.Stat(filepath.Join(out, "private.key")); err != nil || facts.Mode().Perm() != 0o600 {
		t.Errorf("the private key: %v, %v", facts, err)
	}
	s.stop()
	// The certificate survives a restart.
	s.start()
	if text, err := publish("dt/pump/x"); err != nil {
		t.Errorf("after a restart: %v\n%s", err, text)
	}
	s.stop()
}
