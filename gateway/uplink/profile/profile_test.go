package profile

import (
	"errors"
	"strings"
	"testing"
)

func TestProfiles_HaveEveryName(t *testing.T) {
	for _, name := range []string{AWSIoTCore, Tidehold, Mosquitto, EMQX, HiveMQ, NATS, Generic} {
		p, ok := Of(name)
		if !ok || p.Name != name || p.KeepAlive == 0 || p.ReconnectMax == 0 || p.ConnectTimeout == 0 {
			t.Errorf("%s: got %+v, %v", name, p, ok)
		}
	}
	if aws, _ := Of(AWSIoTCore); aws.ReconnectMax.Seconds() != 128 || aws.Status {
		t.Errorf("aws-iot-core: cap %v, status %v", aws.ReconnectMax, aws.Status)
	}
	if _, ok := Of("azure"); ok {
		t.Error("an unknown profile is known")
	}
	if len(All()) != 7 {
		t.Errorf("got %d profiles", len(All()))
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
		p, _ := Of(c.profile)
		if err := p.Check(c.topic, c.payload); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s, topic %.20q, %d bytes: got %v, want ok %v", c.profile, c.topic, c.payload, err, c.ok)
		}
	}
}
