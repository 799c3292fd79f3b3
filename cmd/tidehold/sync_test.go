package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// TestSync_TwoGatewaysAgreeAfterEveryFault edits things on both sides while the
// gateway and its upstream, a second Tidehold, are killed and the link is cut.
// Afterwards both sides hold the same documents, and every edit of the cloud's
// `desired` that nobody contradicted is there.
func TestSync_TwoGatewaysAgreeAfterEveryFault(t *testing.T) {
	gwtest.Slow(t, "takes half a minute")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cloud := newSite(t, "cloud", "")
	cloud.start()
	edge := newSite(t, "edge", fmt.Sprintf(`uplinks:
  - {name: up, profile: tidehold, endpoint: "tcp://%s", reconnect_max: 1s, shadows: {max_per_second: 0}}
`, cloud.at()))
	edge.start()

	things := []string{"pump", "fan", "valve"}
	desired, reported := make(map[string]int), make(map[string]int)
	faults := 0
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		thing := things[random.IntN(len(things))]
		n := random.IntN(1_000_000)
		// A verb that meets a dead process fails, and changes nothing.
		if random.IntN(2) == 0 {
			if _, code := verb(t, "shadow", "set", thing, fmt.Sprintf(`{"desired":{"n":%d}}`, n), "--socket", cloud.socket); code == 0 {
				desired[thing] = n
			}
		} else if _, code := verb(t, "shadow", "set", thing, fmt.Sprintf(`{"reported":{"n":%d}}`, n), "--socket", edge.socket); code == 0 {
			reported[thing] = n
		}
		if random.IntN(12) == 0 {
			faults++
			hurt(t, random, edge, cloud)
		}
	}
	verb(t, "uplink", "restore", "--socket", edge.socket)
	for _, thing := range things {
		var here, there sections
		deadline := time.Now().Add(30 * time.Second)
		for time.Now().Before(deadline) {
			here, there = sectionsOf(t, edge, thing), sectionsOf(t, cloud, thing)
			if reflect.DeepEqual(here, there) && here.Desired.N == desired[thing] && here.Reported.N == reported[thing] {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if !reflect.DeepEqual(here, there) || here.Desired.N != desired[thing] || here.Reported.N != reported[thing] {
			t.Errorf("%s after %d faults: edge %+v, cloud %+v, want desired %d, reported %d", thing, faults, here, there, desired[thing], reported[thing])
		}
	}
	t.Logf("%d faults, all things agree", faults)
	edge.stop()
	cloud.stop()
}

// hurt kills one side, or cuts the link for a moment.
func hurt(t *testing.T, random *rand.Rand, edge, cloud *site) {
	switch random.IntN(3) {
	case 0:
		edge.process.Kill()
		edge.start()
	case 1:
		cloud.process.Kill()
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		cloud.start()
	case 2:
		verb(t, "uplink", "cut", "--socket", edge.socket)
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
		verb(t, "uplink", "restore", "--socket", edge.socket)
	}
}

type sections struct {
	Desired, Reported struct{ N int }
}

func sectionsOf(t *testing.T, s *site, thing string) sections {
	t.Helper()
	out, code := verb(t, "shadow", "get", thing, "-o", "json", "--socket", s.socket)
	if code != 0 {
		return sections{}
	}
	var document struct{ State sections }
	if err := json.Unmarshal([]byte(out), &document); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return document.State
}
