package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/config/value"

	"github.com/tidehold/tidehold/gateway/uplink/profile"
)

// The frozen keys of contract section 5 with their defaults as the table there
// writes them; "*" is required, "" none.
var frozen = map[string]string{
	"version": "*", "gateway.id": "*", "gateway.labels": "", "gateway.endpoint": "HOSTNAME.local", "gateway.allow_sim_upstream": "auto",
	"gateway.aws.region": "us-east-1", "gateway.aws.account_id": "000000000000", "gateway.aws.accept_any_account": "off",
	"storage.dir": "/var/lib/tidehold", "storage.durability": "full",
	"mqtt.limits.preset": "edge", "mqtt.limits.max_payload": "128KiB", "mqtt.limits.max_topic_levels": "8", "mqtt.limits.max_topic_bytes": "256",
	"mqtt.limits.max_subscriptions_per_client": "50", "mqtt.limits.max_filters_per_subscribe": "8", "mqtt.limits.max_qos": "2",
	"mqtt.limits.publish_rate": "1000/s", "mqtt.limits.publish_bytes": "4MiB/s", "mqtt.limits.max_inflight": "100",
	"mqtt.limits.max_connections": "auto", "mqtt.limits.connect_timeout": "5s", "mqtt.limits.max_retained": "5000", "mqtt.limits.max_retained_bytes": "16MiB",
	"mqtt.session_expiry": "168h", "mqtt.queue.max_messages": "1000", "mqtt.queue.max_bytes": "4MiB", "mqtt.queue.max_age": "168h", "mqtt.queue.when_full": "drop-newest",
	"mqtt.listeners[].name": "*", "mqtt.listeners[].bind": "", "mqtt.listeners[].socket": "", "mqtt.listeners[].tls": "off", "mqtt.listeners[].auth": "*", "mqtt.listeners[].protocol": "mqtt",
	"http.data_plane.bind": ":8443", "http.control.bind": "127.0.0.1:8444", "http.metrics.bind": "127.0.0.1:9464",
	"tls.server.names": "", "tls.server.cert": "", "tls.server.key": "",
	"shadow.require_thing": "off", "shadow.max_bytes": "8KiB", "shadow.max_depth": "8", "shadow.max_in_flight": "10", "shadow.max_rate": "0",
	"log.level": "info", "log.format": "auto",
	"security.on_denied": "aws", "security.policies[].name": "*", "security.policies[].document": "*",
	"security.users[].name": "*", "security.users[].password": "*", "security.users[].policies": "",
	"buses[].name": "*", "buses[].type": "*", "buses[].match.number": "", "buses[].match.path": "", "buses[].match.adapter": "",
	"buses[].speed": "", "buses[].timeout": "200ms", "buses[].recover.scl": "*", "buses[].recover.sda": "*", "buses[].seed": "0",
	"sensors[].name": "*", "sensors[].driver": "*", "sensors[].bus": "", "sensors[].address": "", "sensors[].poll": "10s", "sensors[].options": "", "sensors[].simulate": "",
	"sensors[].thing": "", "sensors[].key": "", "sensors[].shadow": "", "sensors[].shadow_every": "30s", "sensors[].telemetry.topic": "*", "sensors[].telemetry.every": "", "sensors[].telemetry.aggregate": "",
	"inputs[].name": "*", "inputs[].pull": "none", "inputs[].active": "high", "inputs[].edge": "", "inputs[].debounce": "0s", "inputs[].simulate": "",
	"inputs[].thing": "", "inputs[].key": "", "inputs[].shadow": "", "inputs[].shadow_every": "0s", "inputs[].telemetry.topic": "*", "inputs[].telemetry.every": "",
	"outputs[].name": "*", "outputs[].active": "high", "outputs[].on_start": "off", "outputs[].on_stop": "off", "outputs[].on_fault": "off", "outputs[].on_loss.after": "*",
	"outputs[].min_on": "0s", "outputs[].min_off": "0s", "outputs[].max_on": "0s", "outputs[].interlock.group": "*", "outputs[].require": "", "outputs[].confirm.input": "*",
	"outputs[].thing": "", "outputs[].key": "", "outputs[].shadow": "", "outputs[].shadow_every": "0s",
	"things[].name": "*", "things[].type": "", "things[].attributes": "", "things[].groups": "", "things[].policies": "", "things[].shadow.writable": "",
	"rules[].name": "*", "rules[].sql": "*", "rules[].actions": "*", "rules[].awsIotSqlVersion": "2016-03-23", "rules[].errorAction": "", "rules[].ruleDisabled": "false", "rules[].description": "",
	"tables[].name": "*", "tables[].key": "",
	"telemetry.profile": "balanced", "telemetry.store.max_bytes": "auto", "telemetry.store.min_free": "auto", "telemetry.store.wear_daily_budget": "1GiB",
	"telemetry.order": "live-first", "telemetry.store_qos0": "true", "telemetry.drain.rate": "auto", "telemetry.drain.bytes": "auto", "telemetry.drain.inflight": "auto",
	"telemetry.drain.live_reserve": "50%", "telemetry.drain.start_jitter": "auto", "telemetry.clock.hold": "120s", "telemetry.clock.trust_device_time": "false",
	"uplinks[].name": "*", "uplinks[].profile": "generic", "uplinks[].enabled": "true", "uplinks[].endpoint": "*", "uplinks[].port": "", "uplinks[].client_id": "",
	"uplinks[].username": "", "uplinks[].password": "", "uplinks[].proxy": "", "uplinks[].ca": "", "uplinks[].cert": "", "uplinks[].key": "", "uplinks[].status": "shadow/{gateway}/status", "uplinks[].required": "true",
	"uplinks[].drain.rate": "auto", "uplinks[].drain.bytes": "auto", "uplinks[].drain.inflight": "auto", "uplinks[].drain.start_jitter": "auto", "uplinks[].reconnect_max": "60s",
	"uplinks[].shadows.things": "*[]", "uplinks[].shadows.names": "*[]", "uplinks[].shadows.mode": "auto", "uplinks[].shadows.direction": "both",
	"uplinks[].shadows.conflict.desired": "cloudWins", "uplinks[].shadows.conflict.reported": "localWins", "uplinks[].shadows.on_delete": "updateWins",
	"uplinks[].shadows.min_interval": "200ms", "uplinks[].shadows.max_per_second": "10", "uplinks[].shadows.marker": "false", "uplinks[].shadows.root": "shadow/{gateway}",
	"uplinks[].telemetry[].name": "*", "uplinks[].telemetry[].from": "*", "uplinks[].telemetry[].to": "gw/{gateway}/t/{topic}", "uplinks[].telemetry[].qos": "1",
	"uplinks[].telemetry[].retain": "false", "uplinks[].telemetry[].form": "auto", "uplinks[].telemetry[].batch.max": "0", "uplinks[].telemetry[].batch.every": "0s",
	"uplinks[].commands[].from": "gw/{gateway}/cmd/#", "uplinks[].commands[].to": "cmd/{rest}", "uplinks[].commands[].qos": "1",
}

func TestKeys_FrozenDefaultsAreThoseOfTheContract(t *testing.T) {
	got := make(map[string]string)
	for _, e := range keys() {
		got[e.Key] = e.Default
	}
	for key, want := range frozen {
		switch want {
		case "*":
			want = "(required)"
		case "*[]":
			want = "*"
		}
		if def, known := got[key]; !known || def != want {
			t.Errorf("%s: got %q (known: %v), want %q", key, def, known, want)
		}
	}
}

// What the smallest file gives: the defaults as values.
func TestLoad_DefaultsAreFilledIn(t *testing.T) {
	cfg := load(t, "version: 1\ngateway: {id: gw}\n")
	want := &Config{
		File: "test.yaml", Folder: cfg.Folder,
		Gateway: Gateway{ID: "gw", Labels: map[string]string{}, Endpoint: "pi.local", AllowSimUpstream: true, AWS: AWS{"us-east-1", "000000000000", false}},
		Storage: Storage{"/var/lib/tidehold", DurabilityFull, 10 * time.Second},
		Log:     Log{"info", "auto"},
		MQTT: MQTT{
			Limits: Limits{PresetEdge, 128 * kib, 8, 256, 50, 8, 2, 1000, 4 * mib, false, 100, Auto, 5 * time.Second, 5000, 16 * mib},
			Queue:  Queue{1000, 4 * mib, 168 * time.Hour, WhenFullDropNewest}, SessionExpiry: 168 * time.Hour, MaxKeepAlive: 20 * time.Minute,
			Listeners: []Listener{
				{"local", []value.Bind{"127.0.0.1:1883", "[::1]:1883"}, "", false, AuthLoopback, ProtocolMQTT, true},
				{"mtls", []value.Bind{":8883"}, "", true, AuthCertificate, ProtocolMQTT, true},
			},
		},
		HTTP:   HTTP{":8443", "127.0.0.1:8444", "127.0.0.1:9464"},
		Shadow: Shadow{false, 8 * kib, 8, 10, 0},
		Security: Security{OnDenied: OnDeniedAWS, ConnackCode: 5, SubackCode: 135, Policies: []Policy{
			{DeviceDefault, DeviceDefaultDocument, true}, {LocalDefault, LocalDefaultDocument, true},
		}},
		Telemetry: Telemetry{ProfileBalanced, Store{Auto, Auto, 1 << 30}, OrderLiveFirst, true, nil,
			Drain{Auto, Auto, Auto, 0.5, Auto}, Clock{120 * time.Second, false}},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v\nwant\n%+v", cfg, want)
	}
}

func TestLoad_DefaultsOfEntriesAreFilledIn(t *testing.T) {
	cfg := load(t, `
version: 1
gateway: {id: gw}
buses: [{name: b, type: sim}]
sensors: [{name: s, driver: bme280, bus: b, telemetry: {topic: a}}]
inputs: [{name: i, pin: {chip: b, line: 1}, telemetry: {topic: b}}]
outputs: [{name: o, pin: {chip: b, line: 2}}]
uplinks: [{name: u, endpoint: h, shadows: {}, telemetry: [{name: t, from: "dt/#"}], commands: [{}]}]
`)
	s, i, o, u := cfg.Sensors[0], cfg.Inputs[0], cfg.Outputs[0], cfg.Uplinks[0]
	for name, pair := range map[string][2]any{
		"bus timeout": {cfg.Buses[0].Timeout, 200 * time.Millisecond},
		"poll":        {s.Poll, 10 * time.Second},
		"thing":       {s.Thing, cfg.Gateway.ID},
		"key":         {s.Key + i.Key + o.Key, "sio"},
		"every":       {s.ShadowEvery, 30 * time.Second},
		"input every": {i.ShadowEvery + o.ShadowEvery, time.Duration(0)},
		"telemetry":   {s.Telemetry.Every, 10 * time.Second},
		"at a change": {i.Telemetry.Every, time.Duration(0)},
		"edge":        {i.Edge, "rising"},
		"output":      {o.OnStart + o.OnStop + o.OnFault, "offoffoff"},
		"profile":     {u.Profile, profile.All()[0]},
		"enabled":     {u.Enabled && u.Required, true},
		"client id":   {u.ClientID, "gw"},
		"status":      {u.Status, "shadow/gw/status"},
		"reconnect":   {u.ReconnectMax, time.Minute},
		"drain":       {u.Drain, Drain{100, 0, 20, 0.5, 30 * time.Second}},
		"sync": {*u.Shadows, ShadowSync{[]string{"*"}, []string{"*"}, ModePlain,
			SyncPolicy{DirectionBoth, CloudWins, LocalWins, UpdateWins, 200 * time.Millisecond}, 10, false, "shadow/gw", nil}},
		"route":   {u.Telemetry[0], Route{"t", "dt/#", "gw/{gateway}/t/{topic}", 1, false, FormAuto, 0, 0}},
		"command": {u.Commands[0], Command{"gw/gw/cmd/#", "cmd/{rest}", 1}},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %+v, want %+v", name, pair[0], pair[1])
		}
	}
}

func TestExplain_EveryKeyHasAMeaningAndNoMeaningIsLeftOver(t *testing.T) {
	said := meaningOf()
	for _, e := range keys() {
		if said[e.Key] == "" {
			t.Errorf("%s: no meaning in meanings.txt", e.Key)
		}
		delete(said, e.Key)
	}
	for key := range said {
		t.Errorf("%s: no such key", key)
	}
	if text := Explain(); !strings.Contains(text, "shadow.max_bytes\n    size; default 8KiB\n    Largest desired plus reported") {
		t.Errorf("got %s", text)
	}
}
