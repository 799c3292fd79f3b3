package gateway_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/gwtest/shadowvector"
)

// The ways of architecture section 5 through a whole house: real broker, real
// SQLite files, real TCP.

type partTable map[string]drivers.Driver

func (p partTable) Driver(name string) (drivers.Driver, bool) { d, ok := p[name]; return d, ok }
func (p partTable) Names() []string                           { return []string{"bme280"} }

var driverTable = partTable{"bme280": bme280.Driver{}}

// start runs a gateway with one loopback listener and what the test adds, and
// gives the listener's address.
func start(t testing.TB, id, more string) (address string) {
	t.Helper()
	return startIn(t, t.TempDir(), id, more)
}

func startIn(t testing.TB, dir, id, more string) (address string) {
	t.Helper()
	return startWith(t, dir, id, "edge", more)
}

// startWith is startIn with a preset of limits.
func startWith(t testing.TB, dir, id, limits, more string) (address string) {
	t.Helper()
	text := fmt.Sprintf(`version: 1
gateway: {id: %s}
storage: {dir: %s}
mqtt: {limits: %s, listeners: [{name: local, bind: "127.0.0.1:0", auth: loopback}]}
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
%s`, id, dir, limits, more)
	return serve(t, text, gateway.Env{})[0].Address
}

// serve runs a gateway of a configuration until the test ends; env adds to the
// host's world.
func serve(t testing.TB, text string, env gateway.Env) (addresses []gateway.Address) {
	t.Helper()
	cfg, problems := config.LoadBytes("test.yaml", []byte(text), gateway.CheckOptions(driverTable))
	if config.HasErrors(problems) {
		t.Fatalf("configuration: %v", problems)
	}
	ready := make(chan []gateway.Address, 1)
	env.Random, env.Parts = rand.Reader, driverTable
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	env.Ready = func(all []gateway.Address) { ready <- all }
	if env.Clock == nil {
		env.Clock = clock.NewSystem()
	}
	if testing.Verbose() && os.Getenv("TIDEHOLD_TEST_LOG") != "" {
		env.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	g, err := gateway.New(cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	select {
	case addresses = <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("gateway ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("gateway is not ready")
	}
	return addresses
}

func TestWayA_PublishReachesSubscribersAndRules(t *testing.T) {
	address := start(t, "gw", `rules:
  - {name: hot, sql: "SELECT t, topic(2) AS who FROM 'dt/+' WHERE t > 30", actions: [{republish: {topic: "hot/${topic(2)}", qos: 1}}]}
`)
	device, app := gwtest.Connect(t, address, "device", gwtest.ClientOptions{}), gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("dt/#", "hot/#")
	device.Publish("dt/a", `{"t":29}`, 1)
	device.Publish("dt/a", `{"t":31}`, 1)
	app.Next("dt/a")
	app.Next("dt/a")
	if m := app.Next("hot/a"); string(m.Payload) != `{"t":31,"who":"a"}` || m.QoS != 1 {
		t.Errorf("the rule said %+v %s", m, m.Payload)
	}
	if !app.Silent("hot/a", 200*time.Millisecond) {
		t.Error("29 degrees are not hot")
	}
}

// TestWayB_ShadowVectors plays all shared vectors against the broker over TCP.
func TestWayB_ShadowVectors(t *testing.T) {
	address := start(t, "gw", "")
	shadowvector.Play(t, os.DirFS(filepath.Join("shadow", "testdata")), vectorBroker{t, address})
}

// vectorBroker connects the player's clients over TCP.
type vectorBroker struct {
	t       testing.TB
	address string
}

func (b vectorBroker) Connect(id string, will *shadowvector.Will, hear func(shadowvector.Message)) (shadowvector.Client, error) {
	o := gwtest.ClientOptions{Hear: func(m gwtest.Message) {
		hear(shadowvector.Message{Topic: m.Topic, Payload: m.Payload, Retain: m.Retained})
	}}
	if will != nil {
		o.WillTopic, o.WillText = will.Topic, string(will.Payload)
	}
	c, err := gwtest.Dial(b.t, b.address, id, o)
	return vectorClient{c}, err
}

type vectorClient struct{ *gwtest.Client }

func (c vectorClient) Publish(topic string, payload []byte, qos byte, retain bool) error {
	return c.TryPublishRetain(topic, payload, qos, retain)
}
func (c vectorClient) Subscribe(filter string, _ byte) error { return c.TrySubscribe(filter) }
func (c vectorClient) Disconnect(clean bool) error {
	if clean {
		c.Close()
		return nil
	}
	c.Drop()
	return nil
}

const board = `buses: [{name: board, type: sim, seed: 1}]
sensors:
  - {name: climate, driver: bme280, bus: board, address: 0x76, poll: 200ms, shadow_every: 200ms, thing: climate-1, key: ., telemetry: {topic: dt/climate-1/reading},
     simulate: {temperature: {ramp: {from: 10, to: 30, period: 10s}}}}
outputs:
  - {name: fan, pin: {chip: board, line: 27}, thing: fan-1, key: .}
`

func TestWayD_ASensorReachesShadowAndTelemetry(t *testing.T) {
	address := start(t, "gw", board)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("dt/#", "$aws/things/climate-1/shadow/update/documents")
	var flat struct {
		TS          int64
		Temperature *float64
	}
	m := app.Next("dt/climate-1/reading")
	if err := json.Unmarshal(m.Payload, &flat); err != nil || flat.Temperature == nil || time.Since(time.UnixMilli(flat.TS)) > time.Minute {
		t.Errorf("reading %s, %v", m.Payload, err)
	}
	if m := app.Next("$aws/things/climate-1/shadow/update/documents"); !strings.Contains(string(m.Payload), `"temperature"`) {
		t.Errorf("shadow %s", m.Payload)
	}
}

// TestWayE_TelemetryGoesUpToAPlainBroker proves ids, forms and deletion with a
// real Mosquitto, and that nothing is sent twice when nothing went wrong.
func TestWayE_TelemetryGoesUpToAPlainBroker(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	consumer := gwtest.Connect(t, upstream.Address, "consumer", gwtest.ClientOptions{})
	consumer.Subscribe("gw/#")
	address := start(t, "gw", fmt.Sprintf(`uplinks:
  - name: plant
    profile: mosquitto
    endpoint: "tcp://%s"
    drain: {rate: 0, bytes: 0, start_jitter: 0s}
    telemetry:
      - {name: inject, from: "in/#", form: inject}
      - {name: all, from: "dt/#"}
`, upstream.Address))
	device := gwtest.Connect(t, address, "device", gwtest.ClientOptions{})
	for i := range 300 {
		device.Publish("dt/x", fmt.Sprintf(`{"n":%d}`, i), 1)
	}
	device.Publish("in/x", `{"n":1}`, 1)
	device.Publish("other/x", `{"n":1}`, 1)
	for i := range 300 {
		if m := consumer.Next("gw/gw/t/dt/x"); string(m.Payload) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Fatalf("message %d arrived as %s", i, m.Payload)
		}
	}
	if m := consumer.Next("gw/gw/t/in/x"); !strings.Contains(string(m.Payload), `"_gw":{"id":"gw:`) {
		t.Errorf("inject: %s", m.Payload)
	}
	for _, m := range consumer.Heard() {
		if strings.Contains(m.Topic, "/other/") || m.Topic == "gw/gw/t/dt/x" {
			t.Errorf("arrived too: %s %s", m.Topic, m.Payload)
		}
	}
}

// TestWayF_AWishOfTheCloudReachesThePinAndComesBack runs two gateways and
// follows `desired` down and `reported` up.
func TestWayF_AWishOfTheCloudReachesThePinAndComesBack(t *testing.T) {
	cloud := start(t, "cloud", "")
	edge := start(t, "edge", board+fmt.Sprintf(`uplinks:
  - {name: up, profile: tidehold, endpoint: "tcp://%s", shadows: {}}
`, cloud))
	app, local := gwtest.Connect(t, cloud, "app", gwtest.ClientOptions{}), gwtest.Connect(t, edge, "local", gwtest.ClientOptions{})
	app.Subscribe("$aws/things/fan-1/shadow/update/documents")
	local.Subscribe("$aws/things/fan-1/shadow/update/delta")
	app.Publish("$aws/things/fan-1/shadow/update", `{"state":{"desired":{"on":true}}}`, 1)
	local.Next("$aws/things/fan-1/shadow/update/delta")
	app.Await("reported.on in the cloud", func(m gwtest.Message) bool {
		var d struct {
			Current struct {
				State struct{ Reported struct{ On bool } }
			}
		}
		return json.Unmarshal(m.Payload, &d) == nil && d.Current.State.Reported.On
	})
}

// TestWayF_APlainBrokerCarriesWishesAndCopies does the same with a real
// Mosquitto: a retained wish from before the gateway came, the retained copy,
// and a request with its answer.
func TestWayF_APlainBrokerCarriesWishesAndCopies(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	app := gwtest.Connect(t, upstream.Address, "app", gwtest.ClientOptions{})
	app.Subscribe("shadow/gw/#")
	if err := app.TryPublishRetain("shadow/gw/fan-1/~/want/app", []byte(`{"state":{"desired":{"on":true}},"clientToken":"w1"}`), 1, true); err != nil {
		t.Fatal(err)
	}
	start(t, "gw", board+fmt.Sprintf(`uplinks:
  - {name: plant, profile: mosquitto, endpoint: "tcp://%s", shadows: {}}
`, upstream.Address))
	app.Await("the copy says that the fan runs", func(m gwtest.Message) bool {
		var d struct {
			State struct{ Reported struct{ On bool } }
		}
		return m.Topic == "shadow/gw/fan-1/~/doc" && json.Unmarshal(m.Payload, &d) == nil && d.State.Reported.On
	})
	app.Publish("shadow/gw/fan-1/~/update", `{"state":{"desired":{"on":false}},"clientToken":"r1"}`, 1)
	app.Await("the answer to the request", func(m gwtest.Message) bool {
		return m.Topic == "shadow/gw/fan-1/~/update/accepted" && strings.Contains(string(m.Payload), `"clientToken":"r1"`)
	})
}

func TestWayF_CommandsComeDownOnce(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	address := start(t, "gw", board+fmt.Sprintf(`uplinks:
  - {name: plant, profile: mosquitto, endpoint: "tcp://%s", commands: [{}], telemetry: [{name: all, from: "cmd/#"}]}
`, upstream.Address))
	local, cloud := gwtest.Connect(t, address, "local", gwtest.ClientOptions{}), gwtest.Connect(t, upstream.Address, "cloud", gwtest.ClientOptions{})
	local.Subscribe("cmd/#", "$aws/things/fan-1/shadow/update/documents")
	cloud.Subscribe("gw/gw/t/#", "shadow/gw/status")
	cloud.Await("the gateway is online", func(m gwtest.Message) bool {
		return m.Topic == "shadow/gw/status" && strings.Contains(string(m.Payload), `"online":true`)
	})
	cloud.Publish("gw/gw/cmd/fan-1/fan", `{"on":true}`, 1)
	if m := local.Next("cmd/fan-1/fan"); string(m.Payload) != `{"on":true}` {
		t.Errorf("command %s", m.Payload)
	}
	local.Await("the command moves the pin", func(m gwtest.Message) bool { return strings.Contains(string(m.Payload), `"on":true`) })
	if !cloud.Silent("gw/gw/t/cmd/fan-1/fan", 500*time.Millisecond) {
		t.Error("what came from an uplink went back to it")
	}
}

func TestWayG_ARuleUpdatesAShadowAndIsHeard(t *testing.T) {
	address := start(t, "gw", board+`rules:
  - {name: wish, sql: "SELECT true AS on FROM 'button' WHERE pressed", actions: [{edge.shadow: {thingName: fan-1, section: desired}}, {republish: {topic: seen}}]}
`)
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("seen", "$aws/things/fan-1/shadow/update/documents")
	app.Publish("button", `{"pressed":true}`, 1)
	app.Next("seen")
	app.Await("the fan reports that it runs", func(m gwtest.Message) bool {
		return strings.Contains(strings.ReplaceAll(string(m.Payload), " ", ""), `"cause":"desired"`)
	})
}

func TestAuthorise_ForgedReservedTopicsReachNobody(t *testing.T) {
	address := start(t, "gw", "")
	app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{})
	app.Subscribe("$aws/things/t/shadow/update/accepted", "$GW/health")
	for _, forged := range []string{"$aws/things/t/shadow/update/accepted", "$GW/health/x", "$SYS/x", "$aws/events/presence/connected/x"} {
		c := gwtest.Connect(t, address, "forger", gwtest.ClientOptions{})
		c.TryPublish(forged, []byte("forged"), 1)
		gwtest.Eventually(t, "the forger of "+forged+" is put out", func() bool { return !c.Connected() })
	}
	for _, m := range app.Heard() {
		if string(m.Payload) == "forged" {
			t.Errorf("a forged message arrived on %s", m.Topic)
		}
	}
}
