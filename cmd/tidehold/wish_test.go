package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// TestSync_AMosquittoKeepsCopiesAndWishesThroughOutages does the same over a
// real Mosquitto: apps leave wishes for 30 things in their slots and ask by
// request, while the gateway's own users write; the link is cut and the gateway
// killed. Afterwards every wish is done once, and every copy is the document.
func TestSync_AMosquittoKeepsCopiesAndWishesThroughOutages(t *testing.T) {
	gwtest.Slow(t, "takes a quarter of a minute")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	upstream := gwtest.StartMosquitto(t)
	link := newFaulty(t, upstream.Address)
	edge := newSite(t, "edge", fmt.Sprintf(`uplinks:
  - {name: plant, profile: mosquitto, endpoint: "tcp://%s", reconnect_max: 1s, shadows: {max_per_second: 0, min_interval: 0s}}
`, link.listener.Addr()))
	edge.start()
	app := gwtest.Connect(t, upstream.Address, "app", gwtest.ClientOptions{})
	want := make(map[string]sections)
	n := 0
	for range gwtest.Rounds(1, 50) {
		link.set(true)
		for i := range 30 {
			thing := fmt.Sprintf("thing-%d", i)
			w := want[thing]
			if n++; random.IntN(2) == 0 {
				edge.do("shadow", "set", thing, fmt.Sprintf(`{"reported":{"N":%d}}`, n))
				w.Reported.N = n
			}
			if n++; random.IntN(3) > 0 {
				body := fmt.Appendf(nil, `{"state":{"desired":{"N":%d}},"clientToken":"wish-%d"}`, n, n)
				if err := app.TryPublishRetain("shadow/edge/"+thing+"/~/want/app", body, 1, true); err != nil {
					t.Fatal(err)
				}
				w.Desired.N = n
			}
			want[thing] = w
		}
		link.set(false)
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		edge.process.Kill()
		edge.start()
		copiesAgree(t, upstream.Address, edge, want)
	}
	edge.stop()
}

// copiesAgree waits until the documents and their copies are what they must be.
func copiesAgree(t *testing.T, address string, edge *site, want map[string]sections) {
	t.Helper()
	look := gwtest.Connect(t, address, "look", gwtest.ClientOptions{})
	look.Subscribe("shadow/edge/+/~/doc")
	missing := make(map[string]bool)
	for thing, w := range want {
		if w != (sections{}) {
			missing[thing] = true
		}
	}
	for deadline := time.Now().Add(time.Minute); len(missing) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("a minute after healing these are not what they must be: %v", missing)
		}
		m := look.Await("a copy", func(gwtest.Message) bool { return true })
		var copied struct{ State sections }
		var thing string
		if json.Unmarshal(m.Payload, &copied) != nil || len(m.Topic) < len("shadow/edge//~/doc") {
			continue
		}
		thing = m.Topic[len("shadow/edge/") : len(m.Topic)-len("/~/doc")]
		if copied.State == want[thing] && sectionsOf(t, edge, thing) == want[thing] {
			delete(missing, thing)
		}
	}
	look.Close()
}
