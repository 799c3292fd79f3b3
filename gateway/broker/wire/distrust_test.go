package wire

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/ban"
	"github.com/tidehold/tidehold/gateway/iot"
)

// TestListener_CountsRefusedIdentitiesAndNotTheNetwork: ten certificates that
// nobody knows ban their address, a bad line does not.
func TestListener_CountsRefusedIdentitiesAndNotTheNetwork(t *testing.T) {
	l := &Listener{Gate: newGate()}
	guesser, bad := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for range ban.FailuresMax {
		l.distrust(guesser, iot.Errorf(iot.Unauthorized, "certificate is not registered"))
		l.distrust(bad, errors.New("connection reset by peer"))
	}
	if !l.Gate.Banned(guesser, time.Now()) {
		t.Error("ten unknown certificates are no reason")
	}
	if l.Gate.Banned(bad, time.Now()) {
		t.Error("a bad line is banned")
	}
}
