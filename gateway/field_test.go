package gateway_test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
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

// BenchmarkShadow_LinkBlackHoledAndAbsent compares the p99 of local updates with
// the link black-holed with that of a gateway without one, in turns in one run.
func BenchmarkShadow_LinkBlackHoledAndAbsent(b *testing.B) {
	sides := []*premises{openTowards(b, blackHole(b)), openTowards(b, "")}
	took := make([][]time.Duration, len(sides))
	for n := range b.N * 200 {
		for i, p := range sides {
			begun := time.Now()
			p.call("POST", "/things/pump/shadow", map[string]any{"state": map[string]any{"reported": map[string]any{"n": n}}})
			took[i] = append(took[i], time.Since(begun))
		}
	}
	p99 := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)*99/100].Microseconds())
	}
	hole, absent := p99(took[0]), p99(took[1])
	b.ReportMetric(hole, "µs-p99-black-holed")
	b.ReportMetric(absent, "µs-p99-absent")
	b.ReportMetric(hole/absent, "ratio")
}
