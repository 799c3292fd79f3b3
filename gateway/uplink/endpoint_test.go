package uplink

import (
	"testing"
)

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
