package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// play is a device, an app with the same SDK, and an app of the data plane,
// about one thing.
type play struct {
	*testing.T
	lan    *lan
	sdk    string // file of scripts/examples/play
	always args   // what every connection of this client says
	thing  string
	folder string
	device *peer
	app    *peer
	http   app
}

// TestPlay_ADeviceAndAnApp plays with each MQTT client and each client of the
// data plane what a device and an app do with each other in the field.
func TestPlay_ADeviceAndAnApp(t *testing.T) {
	gwtest.Slow(t, "runs clients of other languages")
	gwtest.Need(t, "node")
	python := gwtest.Python(t, "boto3")
	l := newLAN(t)
	defer l.stop()
	staff := l.enrol("staff", "--policy", "local-default")
	js := func(t *testing.T) app { return l.peer(t, "node", "dataplane.mjs", l.endpoint()) }
	boto := func(t *testing.T) app { return l.peer(t, python, "boto.py", l.endpoint()) }
	for _, c := range []struct {
		name, sdk string
		always    args
		http      func(*testing.T) app
	}{
		{"v1", "v1.mjs", nil, js}, {"v2-mqtt5", "v2-mqtt5.mjs", nil, boto}, {"v2-mqtt311", "v2-mqtt311.mjs", nil, boto},
		{"mqttjs", "mqttjs.mjs", nil, boto}, {"mqttjs-mqtt5", "mqttjs.mjs", args{"version": 5}, js},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &play{T: t, lan: l, sdk: c.sdk, always: c.always, thing: "pump-" + c.name, http: c.http(t)}
			p.folder = l.enrol(p.thing)
			p.app = l.peer(t, "node", p.sdk)
			p.ok(p.app, "connect", p.connect("app-"+c.name, staff, p.signed(args{"clean": true})))
			p.wishIsFollowed()
			p.staleVersionIsRefused()
			p.namedShadowsStandApart()
			p.deletedAndMadeAgain()
			p.awayAndBack()
			p.retainedIsFound()
		})
	}
}

// TestPlay_TheCommandLine makes, refuses, lists, deletes and misses shadows
// with the AWS CLI, and leaves a retained message.
func TestPlay_TheCommandLine(t *testing.T) {
	gwtest.Slow(t, "runs the AWS CLI")
	gwtest.Need(t, "/usr/bin/aws")
	l := newLAN(t)
	defer l.stop()
	p := &play{T: t, lan: l, thing: "pump", http: cli{t, l}}
	if d := p.ok(p.http, "update", p.named(reported(args{"rate": 5}))); d.Version != 1 {
		t.Errorf("the first report made version %d", d.Version)
	}
	p.refused(p.http, "ConflictException", "update", p.named(args{"version": 7, "state": args{}}))
	p.settled(p.named(nil))
	if d := p.ok(p.http, "list", p.of(nil)); strings.Join(d.Results, " ") != "cfg" {
		t.Errorf("the thing has the named shadows %v", d.Results)
	}
	p.ok(p.http, "delete", p.named(nil))
	p.refused(p.http, "ResourceNotFoundException", "get", p.named(nil))
	p.ok(p.http, "publish", args{"topic": "cmd/pump/mode", "payload": "eco", "retain": true})
	late := gwtest.Connect(t, l.at(), "late", gwtest.ClientOptions{})
	late.Subscribe("cmd/pump/mode")
	if m := late.Next("cmd/pump/mode"); string(m.Payload) != "eco" || !m.Retained {
		t.Errorf("a late subscriber hears %q, retained %v", m.Payload, m.Retained)
	}
}

// connect are the arguments of a connection by mutual TLS.
func (p *play) connect(id, folder string, more args) args {
	a := args{"host": "localhost", "port": p.lan.tls, "id": id, "folder": folder, "ca": filepath.Join(folder, "ca.pem")}
	maps.Copy(a, p.always)
	maps.Copy(a, more)
	return a
}

// signed has a client of AWS connect by WebSocket and access key; mqtt.js cannot.
func (p *play) signed(a args) args {
	if p.sdk != "mqttjs.mjs" {
		a["port"], a["keys"] = p.lan.web, args{"id": p.lan.key.AccessKeyID, "secret": p.lan.key.SecretAccessKey, "region": "eu-central-1"}
	}
	return a
}

// online starts the device with a persistent session and a last will.
func (p *play) online(more args) document {
	p.Helper()
	p.device = p.lan.peer(p, "node", p.sdk)
	a := p.connect(p.thing, p.folder, args{"clean": false, "thing": p.thing, "will": args{"topic": "dt/" + p.thing + "/gone", "payload": "power"}})
	maps.Copy(a, more)
	return p.ok(p.device, "connect", a)
}

// ok asks for what must succeed.
func (p *play) ok(who app, op string, a args) document {
	p.Helper()
	d, refused := who.ask(op, a)
	if refused != "" {
		p.Fatalf("%s %v: %s", op, a, refused)
	}
	return d
}

// refused asks for what must fail, with this name or number.
func (p *play) refused(who app, want, op string, a args) {
	p.Helper()
	if _, got := who.ask(op, a); got != want {
		p.Fatalf("%s %v: got %q, want %s", op, a, got, want)
	}
}

func desired(state args) args  { return args{"state": args{"desired": state}} }
func reported(state args) args { return args{"state": args{"reported": state}} }

// of is the arguments of an operation on the thing's classic shadow.
func (p *play) of(body args) args {
	if body == nil {
		return args{"thing": p.thing}
	}
	return args{"thing": p.thing, "body": body}
}

// named is the same for its shadow `cfg`.
func (p *play) named(body args) args {
	a := p.of(body)
	a["shadow"] = "cfg"
	return a
}

func (p *play) shadowTopic(end string) string { return "$aws/things/" + p.thing + "/shadow/" + end }

// settled checks that the shadow has no delta, and gives its version.
func (p *play) settled(a args) int64 {
	p.Helper()
	d := p.ok(p.http, "get", a)
	if d.State.Delta != nil || d.State.Reported == nil {
		p.Fatalf("the shadow is not settled: %s", d.State)
	}
	return d.Version
}

// wishIsFollowed makes a shadow by a report, and follows a wish.
func (p *play) wishIsFollowed() {
	p.Helper()
	if p.online(nil).Present {
		p.Error("a first connection found a session")
	}
	p.ok(p.device, "watch", p.of(nil))
	p.refused(p.device, "404", "get", p.of(nil))
	if d := p.ok(p.device, "update", p.of(reported(args{"on": false}))); d.Version != 1 {
		p.Errorf("the first report made version %d", d.Version)
	}
	if d := p.ok(p.http, "update", p.of(desired(args{"on": true}))); d.Version != 2 {
		p.Errorf("the wish made version %d", d.Version)
	}
	p.device.hears(p.shadowTopic("update/delta"), `"on":true`)
	if p.sdk != "v1.mjs" { // whose class has no word for it
		p.device.hears(p.shadowTopic("update/documents"), `"previous"`)
	}
	p.ok(p.device, "update", p.of(reported(args{"on": true})))
	if v := p.settled(p.of(nil)); v != 3 {
		p.Errorf("version %d after the second report", v)
	}
}

// staleVersionIsRefused writes with an old version, from both sides.
func (p *play) staleVersionIsRefused() {
	p.Helper()
	stale := desired(args{"on": false})
	stale["version"] = 1
	p.refused(p.http, "ConflictException", "update", p.of(stale))
	if p.sdk != "v1.mjs" {
		p.refused(p.device, "409", "update", p.of(stale))
		return
	}
	// The class of v1 puts the version it knows into each update by itself.
	blind := p.lan.peer(p, "node", p.sdk)
	p.ok(blind, "connect", p.connect("blind", filepath.Join(p.lan.dir, "staff"), args{"clean": true, "thing": p.thing, "stale": true}))
	p.ok(blind, "update", p.of(desired(args{"n": 1})))
	p.ok(p.http, "update", p.of(args{"state": args{"desired": args{"n": nil}}}))
	p.refused(blind, "409", "update", p.of(desired(args{"n": 2})))
	p.ok(blind, "end", nil)
}

// namedShadowsStandApart follows a wish in a named shadow.
func (p *play) namedShadowsStandApart() {
	p.Helper()
	p.ok(p.device, "watch", p.named(nil))
	p.ok(p.http, "update", p.named(desired(args{"rate": 5})))
	p.device.hears(p.shadowTopic("name/cfg/update/delta"), `"rate":5`)
	p.ok(p.device, "update", p.named(reported(args{"rate": 5})))
	if v := p.settled(p.named(nil)); v != 2 {
		p.Errorf("version %d of the named shadow", v)
	}
	if d := p.ok(p.device, "get", p.named(nil)); d.Version != 2 {
		p.Errorf("the device sees version %d of the named shadow", d.Version)
	}
	p.ok(p.http, "update", args{"thing": p.thing, "shadow": "log", "body": desired(args{"level": "info"})})
	if d := p.ok(p.http, "list", p.of(nil)); strings.Join(d.Results, " ") != "cfg log" {
		p.Errorf("the thing has the named shadows %v", d.Results)
	}
}

// deletedAndMadeAgain deletes the shadow; its versions go on.
func (p *play) deletedAndMadeAgain() {
	p.Helper()
	last := p.settled(p.of(nil))
	p.ok(p.device, "delete", p.of(nil))
	p.refused(p.http, "ResourceNotFoundException", "get", p.of(nil))
	p.refused(p.http, "ResourceNotFoundException", "delete", p.of(nil))
	p.refused(p.device, "404", "get", p.of(nil))
	if p.sdk == "v1.mjs" {
		// Its class goes on with the version that was deleted. AWS refuses that
		// too; who uses it registers again (aws-iot-device-sdk-js issue 68).
		p.refused(p.device, "409", "update", p.of(reported(args{"on": false})))
		p.ok(p.device, "forget", p.of(nil))
	}
	if d := p.ok(p.device, "update", p.of(reported(args{"on": false}))); d.Version != last+2 {
		p.Errorf("version %d after the deletion of version %d", d.Version, last)
	}
}

// awayAndBack loses the device: its will is told, what came for it waits, and
// it finds the wish.
func (p *play) awayAndBack() {
	p.Helper()
	p.ok(p.device, "subscribe", args{"topics": []string{"cmd/" + p.thing + "/do"}})
	p.ok(p.app, "subscribe", args{"topics": []string{"dt/" + p.thing + "/#"}})
	p.ok(p.device, "publish", args{"topic": "dt/" + p.thing + "/reading", "payload": "21"})
	p.app.hears("dt/"+p.thing+"/reading", "21")
	p.device.kill()
	p.app.hears("dt/"+p.thing+"/gone", "power")
	p.ok(p.app, "publish", args{"topic": "cmd/" + p.thing + "/do", "payload": "first"})
	p.ok(p.http, "publish", args{"topic": "cmd/" + p.thing + "/do", "payload": "second"})
	p.ok(p.http, "update", p.of(desired(args{"on": true})))
	// Now by the port of everything. v2 always says x-amzn-mqtt-ca; the others
	// have said nothing before.
	if !p.online(args{"port": p.lan.web, "alpn": map[string]string{"v1.mjs": "x-amzn-mqtt-ca", "mqttjs.mjs": "mqtt"}[p.sdk]}).Present {
		p.Error("the session is lost")
	}
	p.device.hears("cmd/"+p.thing+"/do", "first")
	p.device.hears("cmd/"+p.thing+"/do", "second")
	p.device.hears(p.shadowTopic("update/delta"), `"on":true`)
	p.ok(p.device, "watch", p.of(nil))
	if d := p.ok(p.device, "get", p.of(nil)); string(d.State.Delta) != `{"on":true}` {
		p.Errorf("the delta that waited: %s", d.State.Delta)
	}
	p.ok(p.device, "update", p.of(reported(args{"on": true})))
	p.settled(p.of(nil))
}

// retainedIsFound leaves messages for who subscribes later.
func (p *play) retainedIsFound() {
	p.Helper()
	p.ok(p.app, "publish", args{"topic": "cmd/" + p.thing + "/mode", "payload": "eco", "retain": true})
	p.ok(p.http, "publish", args{"topic": "cmd/" + p.thing + "/note", "payload": "hi", "retain": true})
	p.ok(p.device, "end", nil)
	if p.online(args{"clean": true}).Present {
		p.Error("a clean start found a session")
	}
	p.ok(p.device, "subscribe", args{"topics": []string{"cmd/" + p.thing + "/+"}})
	for topic, text := range map[string]string{"mode": "eco", "note": "hi"} {
		// The class of v1 does not tell the flag.
		if m := p.device.hears(fmt.Sprintf("cmd/%s/%s", p.thing, topic), text); !m.Retain && p.sdk != "v1.mjs" {
			p.Errorf("%s is not marked as retained", m.Topic)
		}
	}
	if d := p.ok(p.http, "retained", args{"topic": "cmd/" + p.thing + "/mode"}); strings.Join(d.Results, " ") != "eco" {
		p.Errorf("the data plane tells the retained message %q", d.Results)
	}
	if d := p.ok(p.http, "topics", nil); !strings.Contains(strings.Join(d.Results, " "), fmt.Sprintf("cmd/%[1]s/mode cmd/%[1]s/note", p.thing)) {
		p.Errorf("the data plane lists the retained messages %v", d.Results)
	}
	p.ok(p.http, "publish", args{"topic": "cmd/" + p.thing + "/tell", "payload": "x", "user": []args{{"by": "app"}}})
	if m := p.device.hears("cmd/"+p.thing+"/tell", "x"); p.sdk == "v2-mqtt5.mjs" && m.User != `[{"by":"app"}]` {
		p.Errorf("the user properties of HTTP arrive as %q", m.User)
	}
	if by, ok := p.http.(*peer); ok && by.name == "dataplane.mjs" { // Debian's boto3 does not know the operation
		p.ok(p.http, "disconnect", args{"id": p.thing})
		p.app.hears("dt/"+p.thing+"/gone", "power")
	}
	p.ok(p.device, "end", nil)
	p.ok(p.app, "end", nil)
}
