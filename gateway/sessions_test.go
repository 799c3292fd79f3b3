package gateway_test

import (
	"fmt"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// A message that an uplink and a persistent session want waits for both; after
// a restart the session gets what it missed, in order, and its subscriptions
// are there before the first publish.
func TestWay_PersistentSessionsAndRetainedMessagesOutliveTheHouse(t *testing.T) {
	dir := t.TempDir()
	const uplink = `uplinks:
  - {name: cloud, profile: mosquitto, endpoint: "tcp://127.0.0.1:1", telemetry: [{name: all, from: "dt/up/#"}]}
`
	t.Run("before", func(t *testing.T) {
		address := startIn(t, dir, "gw", uplink)
		app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{Persistent: true})
		app.Subscribe("dt/#", "$aws/things/lamp/shadow/update/documents")
		app.Drop()
		device := gwtest.Connect(t, address, "device", gwtest.ClientOptions{})
		for i := range 10 {
			device.Publish("dt/up/n", fmt.Sprint(i), byte(1+i%2))
		}
		if err := device.TryPublishRetain("state/lamp", []byte("on"), 1, true); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("after", func(t *testing.T) {
		address := startIn(t, dir, "gw", uplink)
		device := gwtest.Connect(t, address, "device", gwtest.ClientOptions{})
		device.Publish("dt/up/n", "10", 1)
		device.Publish("$aws/things/lamp/shadow/update", `{"state":{"reported":{"on":true}}}`, 1)
		app := gwtest.Connect(t, address, "app", gwtest.ClientOptions{Persistent: true})
		for i := range 11 {
			if m := app.Next("dt/up/n"); string(m.Payload) != fmt.Sprint(i) {
				t.Errorf("got %s, want %d", m.Payload, i)
			}
		}
		app.Next("$aws/things/lamp/shadow/update/documents")
		app.Subscribe("state/#")
		if m := app.Next("state/lamp"); !m.Retained || string(m.Payload) != "on" {
			t.Errorf("retained: %+v", m)
		}
	})
}
