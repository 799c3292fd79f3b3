package uplink

import (
	"errors"
	"strings"
	"testing"
)

func TestProfiles_HaveEveryName(t *testing.T) {
	for _, name := range []string{AWSIoTCore, Tidehold, Mosquitto, EMQX, HiveMQ, NATS, Generic} {
		p, ok := ProfileOf(name)
		if !ok || p.Name != name || p.KeepAlive == 0 || p.ReconnectMax == 0 || p.ConnectTimeout == 0 {
			t.Errorf("%s: got %+v, %v", name, p, ok)
		}
	}
	if aws, _ := ProfileOf(AWSIoTCore); aws.ReconnectMax.Seconds() != 128 || aws.Status {
		t.Errorf("aws-iot-core: cap %v, status %v", aws.ReconnectMax, aws.Status)
	}
	if _, ok := ProfileOf("azure"); ok {
		t.Error("an unknown profile is known")
	}
	if len(Profiles()) != 7 {
		t.Errorf("got %d profiles", len(Profiles()))
	}
}

func TestProfileCheck_RefusesWhatCanNeverPass(t *testing.T) {
	slashes := strings.Repeat("a/", 8) + "a"
	for _, c := range []struct {
		profile, topic string
		payload        int
		ok             bool
	}{
		{AWSIoTCore, "a/b", 128 * kib, true},
		{AWSIoTCore, "a/b", 128*kib + 1, false},
		{AWSIoTCore, strings.Repeat("x", 256), 0, true},
		{AWSIoTCore, strings.Repeat("x", 257), 0, false},
		{AWSIoTCore, slashes, 0, false},
		{AWSIoTCore, "$aws/rules/r/" + slashes[:15], 0, true},
		{Tidehold, "$aws/rules/r/" + slashes[:15], 0, false},
		{Mosquitto, slashes, 0, true},
		{Mosquitto, "a b", 0, true},
		{NATS, "a b", 0, false},
		{NATS, "$MQTT/x", 0, false},
		{NATS, "a", 1_000_001, false},
		{Generic, "", 0, false},
		{Generic, "a/+", 0, false},
		{Generic, "a\x00", 0, false},
		{Generic, "\xff", 0, false},
	} {
		p, _ := ProfileOf(c.profile)
		if err := p.Check(c.topic, c.payload); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s, topic %.20q, %d bytes: got %v, want ok %v", c.profile, c.topic, c.payload, err, c.ok)
		}
	}
}

func TestParseEndpoint_Forms(t *testing.T) {
	for _, c := range []struct {
		text string
		port int
		want string
	}{
		{"broker.lan", 0, "tls://broker.lan:8883"},
		{"broker.lan", 443, "tls://broker.lan:443"},
		{"broker.lan:8884", 443, "tls://broker.lan:8884"},
		{"tcp://10.0.0.1", 0, "tcp://10.0.0.1:1883"},
		{"tcp://[::1]:1884", 0, "tcp://[::1]:1884"},
		{"tls://b", 0, "tls://b:8883"},
		{"ws://b", 0, "ws://b:80/mqtt"},
		{"wss://b:9443/path", 0, "wss://b:9443/path"},
	} {
		if got, err := ParseEndpoint(c.text, c.port); err != nil || got.String() != c.want {
			t.Errorf("%q, %d: got %v, %v, want %s", c.text, c.port, got, err, c.want)
		}
	}
	for _, text := range []string{"", "http://b", "tcp://", "tcp://b:0", "tcp://b:70000", "tcp://u:p@b", "tcp://b/path", "tls://b?x=1", "a b"} {
		if got, err := ParseEndpoint(text, 0); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}
