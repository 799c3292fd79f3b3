package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// secureSite is a site with mutual TLS and the control endpoint on this host.
type secureSite struct {
	*site
	tls, control int
}

func newSecureSite(t testing.TB, more string) *secureSite {
	t.Helper()
	s := &secureSite{newSite(t, "gw", more), gwtest.FreePort(t), gwtest.FreePort(t)}
	s.write(fmt.Sprintf(`version: 1
gateway: {id: gw, endpoint: localhost}
storage: {dir: %s}
mqtt:
  listeners:
    - {name: local, bind: "127.0.0.1:%d", auth: loopback}
    - {name: mtls, bind: "127.0.0.1:%d", tls: true, auth: certificate}
http: {data_plane: {bind: off}, control: {bind: "127.0.0.1:%d"}, metrics: {bind: off}}
%s`, filepath.Join(s.dir, "state"), s.port, s.tls, s.control, more))
	s.start()
	return s
}

// environment of a program that signs with an access key of the site, made with
// these flags. Debian's programs are found before others.
func (s *secureSite) environment(flags ...string) []string {
	s.t.Helper()
	key := ask[struct{ AccessKeyId, SecretAccessKey string }](s.t, append([]string{"access-key", "create", "--socket", s.socket}, flags...)...)
	return append(os.Environ(),
		"PATH=/usr/bin:/bin", "AWS_ACCESS_KEY_ID="+key.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+key.SecretAccessKey,
		"AWS_DEFAULT_REGION=us-east-1", "AWS_CONFIG_FILE=/dev/null", "AWS_PAGER=", "HOME="+s.dir)
}

// enrolled makes a device with one verb; its files lie in the folder given back.
func (s *secureSite) enrolled(name string, flags ...string) string {
	s.t.Helper()
	out := filepath.Join(s.dir, name)
	s.do(append([]string{"thing", "create", name, "--out", out}, flags...)...)
	return out
}

// mosquitto are the flags of Mosquitto's clients for a device's files.
func (s *secureSite) mosquitto(dir string) []string {
	return []string{"-h", "localhost", "-p", fmt.Sprint(s.tls), "--cafile", filepath.Join(dir, "ca.pem"), "--cert", filepath.Join(dir, "cert.pem"),
		"--key", filepath.Join(dir, "private.key"), "-i", filepath.Base(dir), "-V", "mqttv5", "-q", "1"}
}

func (s *secureSite) publishes(dir, topic string) error {
	out, err := exec.Command("mosquitto_pub", append(s.mosquitto(dir), "-t", topic, "-m", "1")...).CombinedOutput()
	// The client prints a refusal, and fails only if it reads the DISCONNECT
	// behind it before it has left by itself.
	if err == nil && strings.Contains(string(out), "Not authorized") {
		err = errors.New("refused")
	}
	if err != nil {
		return fmt.Errorf("mosquitto_pub to %s: %w\n%s", topic, err, out)
	}
	return nil
}

// TestIdentity_TheWholeStoryWithEachOfAWSsClients runs the scripts that a user
// could have written: a device is made, connects with exactly the files it was
// given, is kept from a forbidden topic, and is out when its certificate is
// INACTIVE. They print after how long; the log shows it.
func TestIdentity_TheWholeStoryWithEachOfAWSsClients(t *testing.T) {
	s := newSecureSite(t, "")
	ca := filepath.Join(s.dir, "ca.pem")
	s.do("ca", "get", "--out", ca)
	for _, c := range []struct {
		name string
		need func(t *testing.T)
	}{
		{"identity.sh", func(t *testing.T) { gwtest.Need(t, "/usr/bin/aws", "mosquitto_pub", "mosquitto_sub", "stdbuf") }},
		{"identity.py", func(t *testing.T) { gwtest.Python(t, "boto3", "paho.mqtt") }},
		{"identity.mjs", func(t *testing.T) { gwtest.Need(t, "node"); gwtest.Examples(t, "@aws-sdk/client-iot", "mqtt") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.need(t)
			cmd := exec.Command(filepath.Join(gwtest.Examples(t), c.name), fmt.Sprintf("http://127.0.0.1:%d", s.control), "localhost", fmt.Sprint(s.tls), ca)
			cmd.Env = s.environment()
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "ms after the answer to") || !strings.Contains(string(out), "stays out") {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
	if left := ask[[]struct{ ThingName string }](t, "thing", "list", "--socket", s.socket); len(left) > 1 {
		t.Errorf("the stories left things behind: %v", left)
	}
}

// TestDevice_FilesOfThingCreateWorkWithUnmodifiedClients connects openssl,
// Mosquitto's clients and both pahos with what one verb wrote.
func TestDevice_FilesOfThingCreateWorkWithUnmodifiedClients(t *testing.T) {
	s := newSecureSite(t, "")
	for _, kind := range []string{"rsa", "p256"} {
		dir := s.enrolled("pump-"+kind, "--key", kind)
		t.Run(kind+"/openssl", func(t *testing.T) { speaksOpenSSL(t, s, dir) })
		t.Run(kind+"/mosquitto", func(t *testing.T) { speaksMosquitto(t, s, dir) })
		t.Run(kind+"/paho Go", func(t *testing.T) { speaksPahoGo(t, s, dir) })
		t.Run(kind+"/paho Python", func(t *testing.T) { speaksPahoPython(t, s, dir) })
	}
	if facts, err := os.Stat(filepath.Join(s.dir, "pump-rsa", "private.key")); err != nil || facts.Mode().Perm() != 0o600 {
		t.Errorf("the private key: %v, %v", facts, err)
	}
}

// connack is the acceptance of a CONNECT.
const connack = "\x20\x02\x00\x00"

// openssl sends a CONNECT and a DISCONNECT through openssl s_client with the
// files of a device, and gives what it prints: of the handshake, then the answer.
func (s *secureSite) openssl(dir string, flags ...string) (string, error) {
	name := filepath.Base(dir)
	cmd := exec.Command("openssl", append([]string{"s_client", "-connect", fmt.Sprintf("localhost:%d", s.tls), "-verify_return_error",
		"-verify_hostname", "localhost", "-CAfile", filepath.Join(dir, "ca.pem"), "-cert", filepath.Join(dir, "cert.pem"),
		"-key", filepath.Join(dir, "private.key"), "-alpn", "x-amzn-mqtt-ca", "-ign_eof"}, flags...)...)
	connect := "\x00\x04MQTT\x04\x02\x00\x3c\x00" + string(rune(len(name))) + name
	cmd.Stdin = strings.NewReader("\x10" + string(rune(len(connect))) + connect + "\xe0\x00")
	out, err := cmd.Output()
	return string(out), err
}

func speaksOpenSSL(t *testing.T, s *secureSite, dir string) {
	gwtest.Need(t, "openssl")
	out, err := s.openssl(dir, "-servername", "localhost")
	for _, want := range []string{"Verify return code: 0 (ok)", "ALPN protocol: x-amzn-mqtt-ca", connack} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q: %v\n%q", want, err, out)
		}
	}
}

func speaksMosquitto(t *testing.T, s *secureSite, dir string) {
	gwtest.Need(t, "mosquitto_pub", "mosquitto_sub")
	name := filepath.Base(dir)
	if err := s.publishes(dir, "dt/"+name+"/x"); err != nil {
		t.Error(err)
	}
	if err := s.publishes(dir, "dt/other/x"); err == nil {
		t.Error("a forbidden topic was taken")
	}
	// With -E the client ends at the SUBACK, and says so when it was refused.
	heard := exec.Command("mosquitto_sub", append(s.mosquitto(dir), "-t", "$aws/things/"+name+"/shadow/get/accepted", "-E")...)
	if out, err := heard.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("subscribe to its own shadow: %v\n%s", err, out)
	}
}

func speaksPahoGo(t *testing.T, s *secureSite, dir string) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "private.key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	name := filepath.Base(dir)
	c := gwtest.Connect(t, fmt.Sprintf("localhost:%d", s.tls), name, gwtest.ClientOptions{
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "localhost"},
	})
	c.Subscribe("cmd/" + name + "/#")
	gwtest.Connect(t, s.at(), "house", gwtest.ClientOptions{}).Publish("cmd/"+name+"/go", "now", 1)
	if m := c.Next("cmd/" + name + "/go"); string(m.Payload) != "now" {
		t.Errorf("heard %q", m.Payload)
	}
}

// pahoPython connects, publishes at QoS 1 and waits for the PUBACK.
const pahoPython = `
import sys, threading, paho.mqtt.client as mqtt
host, port, folder, name = sys.argv[1:]
done = threading.Event()
c = mqtt.Client(client_id=name, protocol=mqtt.MQTTv5)
c.tls_set(ca_certs=folder + "/ca.pem", certfile=folder + "/cert.pem", keyfile=folder + "/private.key")
c.on_connect = lambda c, u, f, reason, p: c.publish("dt/%s/x" % name, "1", 1)
c.on_publish = lambda c, u, mid: done.set()
c.connect(host, int(port))
c.loop_start()
assert done.wait(60), "no PUBACK"
c.disconnect()
c.loop_stop()
`

func speaksPahoPython(t *testing.T, s *secureSite, dir string) {
	python := gwtest.Python(t, "paho.mqtt")
	if out, err := exec.Command(python, "-c", pahoPython, "localhost", fmt.Sprint(s.tls), dir, filepath.Base(dir)).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDevice_ComesBackAfterARestart(t *testing.T) {
	gwtest.Need(t, "mosquitto_pub")
	s := newSecureSite(t, "")
	dir := s.enrolled("pump", "--key", "p256")
	s.stop()
	s.start()
	if err := s.publishes(dir, "dt/pump/x"); err != nil {
		t.Error(err)
	}
	s.stop()
}
