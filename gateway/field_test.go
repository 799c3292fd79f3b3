package gateway_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// blackHole takes connections and never says a word.
func blackHole(t testing.TB) string {
	t.Helper()
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hole.Close() })
	return hole.Addr().String()
}

func openTowards(t testing.TB, address string) *premises {
	t.Helper()
	uplinks := ""
	if address != "" {
		uplinks = fmt.Sprintf("uplinks:\n  - {name: up, profile: tidehold, endpoint: \"tcp://%s\", shadows: {}}\n", address)
	}
	return open(t, `listeners: [{name: local, bind: "127.0.0.1:0", auth: loopback}]`, uplinks, gateway.Env{})
}

// FL-010: a shadow is read and written while the uplink hangs in its first
// connect and has never been online.
func TestFL_010_AShadowIsAnsweredWhateverTheUplinkDoes(t *testing.T) {
	p := openTowards(t, blackHole(t))
	state := map[string]any{"state": map[string]any{"desired": map[string]any{"on": true}}}
	if status, answer := p.call("POST", "/things/pump/shadow", state); status != http.StatusOK {
		t.Fatalf("update: %d %v", status, answer)
	}
	if status, answer := p.call("GET", "/things/pump/shadow", nil); status != http.StatusOK || answer["version"] != 1.0 {
		t.Errorf("get: %d %v", status, answer)
	}
}

// The sync of each uplink is a component of $GW/health, beside the uplink
// itself: shadows that wait for a link are no fault of the sync.
func TestHealth_CarriesTheSyncOfEachUplink(t *testing.T) {
	p := openTowards(t, blackHole(t))
	app := gwtest.Connect(t, p.addresses["local"], "app", gwtest.ClientOptions{})
	app.Subscribe("$GW/health")
	p.call("POST", "/things/pump/shadow", map[string]any{"state": map[string]any{"reported": map[string]any{"n": 1}}})
	app.Await("the health of sync/up", func(m gwtest.Message) bool {
		var health struct {
			Components map[string]struct{ State string }
		}
		return json.Unmarshal(m.Payload, &health) == nil && health.Components["sync/up"].State == "ok" && health.Components["uplink/up"].State != "ok"
	})
}

// BenchmarkShadow_LinkBlackHoledAndAbsent compares the p99 of local updates of a
// gateway whose link is black-holed with that of two whose upstream is not there
// at all, in turns in one run. Who comes first in a turn changes: the work that
// one call leaves behind (commit, garbage) falls on the next. The second of the
// two shows how far gateways lie apart that are the same; one without any uplink
// shows what having a sync costs, wherever its upstream is.
func BenchmarkShadow_LinkBlackHoledAndAbsent(b *testing.B) {
	const nobody = "127.0.0.1:1"
	sides := []*premises{openTowards(b, blackHole(b)), openTowards(b, nobody), openTowards(b, nobody), openTowards(b, "")}
	took := make([][]time.Duration, len(sides))
	for n := range b.N * 1000 {
		for turn := range sides {
			i := (n + turn) % len(sides)
			begun := time.Now()
			sides[i].call("POST", "/things/pump/shadow", map[string]any{"state": map[string]any{"reported": map[string]any{"n": n}}})
			took[i] = append(took[i], time.Since(begun))
		}
	}
	at := func(all []time.Duration, percent int) float64 {
		slices.Sort(all)
		return float64(all[len(all)*percent/100].Microseconds())
	}
	absent := slices.Concat(took[1], took[2])
	b.ReportMetric(at(took[0], 99), "µs-p99-black-holed")
	b.ReportMetric(at(absent, 99), "µs-p99-absent")
	b.ReportMetric(at(took[3], 99), "µs-p99-without-uplink")
	b.ReportMetric(at(took[0], 50)/at(absent, 50), "ratio-p50")
	b.ReportMetric(at(took[0], 99)/at(absent, 99), "ratio-p99")
	b.ReportMetric(at(took[2], 99)/at(took[1], 99), "ratio-p99-of-two-absent")
}
