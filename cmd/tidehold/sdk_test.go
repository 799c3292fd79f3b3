package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// lan is a gateway as devices and apps of a LAN see it: mutual TLS, one port
// for everything as 443 would be, and the control endpoint with an access key.
type lan struct {
	*site
	tls, web, control int
	key               struct{ AccessKeyID, SecretAccessKey string }
	keys              []string // the same as an app's environment
	examples          string   // scripts/examples
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	examples := gwtest.Examples(t, "aws-iot-device-sdk", "aws-iot-device-sdk-v2", "mqtt", "@aws-sdk/client-iot-data-plane")
	l := &lan{site: newSite(t, "gw", ""), tls: gwtest.FreePort(t), web: gwtest.FreePort(t), control: gwtest.FreePort(t), examples: examples}
	l.write(fmt.Sprintf(`version: 1
gateway: {id: gw, endpoint: localhost}
storage: {dir: %s/state}
mqtt:
  listeners:
    - {name: local, bind: "127.0.0.1:%d", auth: loopback}
    - {name: mtls, bind: "127.0.0.1:%d", tls: true, auth: certificate}
    - {name: web, bind: "127.0.0.1:%d", tls: true, auth: certificate, protocol: auto}
http: {data_plane: {bind: off}, control: {bind: "127.0.0.1:%d"}, metrics: {bind: off}}
`, l.dir, l.port, l.tls, l.web, l.control))
	l.start()
	l.key = ask[struct{ AccessKeyID, SecretAccessKey string }](t, "access-key", "create", "--socket", l.socket)
	l.keys = []string{"AWS_ACCESS_KEY_ID=" + l.key.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + l.key.SecretAccessKey,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "HOME=" + l.dir}
	return l
}

// endpoint is what `--endpoint-url` takes.
func (l *lan) endpoint() string { return fmt.Sprintf("http://127.0.0.1:%d", l.control) }

// enrol makes a thing and gives the folder of its files.
func (l *lan) enrol(name string, more ...string) string {
	l.t.Helper()
	folder := filepath.Join(l.dir, name)
	l.do(append([]string{"thing", "create", name, "--out", folder}, more...)...)
	return folder
}

// switched runs an app to its end: it wishes, and waits until the lamp has followed.
func (l *lan) switched(app []string, thing, word string) <-chan string {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	l.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, app[0], append(app[1:], thing, word, l.endpoint())...)
	cmd.Dir = l.examples
	cmd.Env = append(append(os.Environ(), "PATH=/usr/bin:"+os.Getenv("PATH")), l.keys...)
	done := make(chan string, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		done <- fmt.Sprintf("%s%v", out, err)
	}()
	return done
}

// lamp is the command line of an example for one thing.
type lamp func(thing, folder string) []string

// lamps are the examples of devices by name.
func (l *lan) lamps() map[string]lamp {
	l.t.Helper()
	paho := filepath.Join(l.dir, "paho-go")
	if out, err := exec.Command("go", "build", "-o", paho, "../../scripts/examples/paho-go").CombinedOutput(); err != nil {
		l.t.Fatalf("build paho-go: %v\n%s", err, out)
	}
	all := map[string]lamp{"paho-go": func(thing, folder string) []string {
		return []string{paho, thing, folder, fmt.Sprintf("localhost:%d", l.tls)}
	}}
	for _, name := range []string{"v1", "v2-mqtt5", "v2-mqtt311", "mqttjs"} {
		all[name] = func(thing, folder string) []string {
			return []string{"node", filepath.Join(l.examples, "lamp-"+name+".mjs"), thing, folder, "localhost", fmt.Sprint(l.tls)}
		}
	}
	return all
}

// TestExamples_ALampFollowsItsShadow runs each example as its user would. A
// lamp makes its shadow, follows an app, and finds a wish of the time it was
// away.
func TestExamples_ALampFollowsItsShadow(t *testing.T) {
	gwtest.Slow(t, "runs clients of other languages")
	gwtest.Need(t, "node", "/usr/bin/aws")
	l := newLAN(t)
	defer l.stop()
	python := gwtest.Python(t, "boto3")
	lamps := l.lamps()
	js, boto, cli := []string{"node", "switch.mjs"}, []string{python, "switch.py"}, []string{"./switch.sh"}
	for _, c := range []struct {
		name      string
		app, away []string
	}{
		{"v1", js, boto}, {"v2-mqtt5", boto, js}, {"v2-mqtt311", js, cli}, {"mqttjs", cli, js}, {"paho-go", boto, js},
	} {
		t.Run(c.name, func(t *testing.T) { l.followed(t, c.name, lamps[c.name], c.app, c.away) })
	}
}

// followed plays one lamp and two apps.
func (l *lan) followed(t *testing.T, name string, lamp lamp, app, away []string) {
	thing := "lamp-" + name
	command := lamp(thing, l.enrol(thing))
	says := func(p *gwtest.Process, text string) {
		t.Helper()
		gwtest.Eventually(t, name+" says: "+text, func() bool { return strings.Contains(p.Output(), text) })
	}
	first := gwtest.Start(t, command[0], command[1:]...)
	defer func() { t.Logf("%s", first.Output()) }()
	says(first, "the lamp is off")
	if out := <-l.switched(app, thing, "on"); !strings.Contains(out, thing+" is on\n<nil>") {
		t.Fatalf("%v: %s", app, out)
	}
	says(first, "the lamp is on")
	first.Kill()
	wish := l.switched(away, thing, "off")
	gwtest.Eventually(t, "the wish is in the shadow", func() bool {
		return strings.Contains(must(t, "shadow", "get", thing, "-o", "json", "--socket", l.socket), `"delta"`)
	})
	second := gwtest.Start(t, command[0], command[1:]...)
	says(second, "the lamp is off")
	if out := <-wish; !strings.Contains(out, thing+" is off\n<nil>") {
		t.Fatalf("%v: %s", away, out)
	}
	second.Kill()
}

// TestExamples_LampsOutliveTheGateway kills the gateway under all lamps. They
// come back by themselves, and follow a wish that was made before they did.
func TestExamples_LampsOutliveTheGateway(t *testing.T) {
	gwtest.Slow(t, "runs clients of other languages")
	gwtest.Need(t, "node")
	l := newLAN(t)
	defer l.stop()
	on := make(map[string]*gwtest.Process)
	for name, lamp := range l.lamps() {
		command := lamp("lamp-"+name, l.enrol("lamp-"+name))
		on[name] = gwtest.Start(t, command[0], command[1:]...)
	}
	follow := func(text string) {
		t.Helper()
		for name, lamp := range on {
			gwtest.Eventually(t, name+" says: "+text, func() bool { return strings.Contains(lamp.Output(), text) })
		}
	}
	follow("the lamp is off")
	l.process.Kill()
	l.start()
	for name := range on {
		l.do("shadow", "set", "lamp-"+name, `{"desired":{"on":true}}`)
	}
	follow("the lamp is on")
	for name, lamp := range on {
		gwtest.Eventually(t, name+" has reported", func() bool { return !strings.Contains(l.do("shadow", "get", "lamp-"+name, "-o", "json"), `"delta"`) })
		t.Logf("%s: %s", name, lamp.Output())
	}
}
