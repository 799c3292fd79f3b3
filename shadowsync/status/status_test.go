package status

import (
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

func TestBoard_ABlockedShadowDegradesHealthUntilNoneIs(t *testing.T) {
	m := metrics.New()
	b := NewBoard(m.Gauge("shadows", "Shadows.", "uplink", "state"), &m.Health, "cloud")
	now := time.Unix(1000, 0)
	pump, fan := iot.ShadowKey{Thing: "pump"}, iot.ShadowKey{Thing: "fan"}
	put := func(key iot.ShadowKey, state, reason string) {
		b.Put(key, Shadow{Thing: key.Thing, State: state, Reason: reason}, now)
	}
	health := func() metrics.State { return m.Health.Components()["sync/cloud"].State }
	put(pump, Synced, "")
	if health() != metrics.OK || b.Waiting() {
		t.Errorf("health %v, waiting %v with all synced", health(), b.Waiting())
	}
	put(pump, Blocked, "too large")
	put(fan, Blocked, "too large")
	put(fan, Pending, "")
	if health() != metrics.Degraded || !b.Waiting() {
		t.Errorf("health %v, waiting %v with one blocked and one pending", health(), b.Waiting())
	}
	put(pump, Synced, "")
	if health() != metrics.OK {
		t.Errorf("health %v with none blocked", health())
	}
}

func TestBoard_TellsNamesInOrderAndTheAge(t *testing.T) {
	m := metrics.New()
	b := NewBoard(m.Gauge("shadows", "Shadows.", "uplink", "state"), &m.Health, "cloud")
	now := time.Unix(1000, 0)
	for _, name := range []iot.ThingName{"pump", "fan"} {
		b.Put(iot.ShadowKey{Thing: name}, Shadow{Thing: name, State: Synced, Since: now}, now)
	}
	all := b.All(now.Add(90 * time.Second))
	if len(all) != 2 || all[0].Thing != "fan" || all[0].Age != 90 {
		t.Errorf("got %+v; want fan first, 90 s old", all)
	}
}
