package shadow

import (
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// FL-012: accepted, delta and documents for every write, of named shadows too.
func TestFL_012_EveryWriteOfANamedShadowIsAnswered(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	named := iot.ShadowKey{Thing: classic.Thing, Shadow: "config"}
	for _, body := range []string{`{"state":{"desired":{"led":"on"}}}`, `{"state":{"reported":{"led":"off"}}}`} {
		got := lines(h.ask(t, "c", named, topic.Update, body))
		prefix := topic.ShadowPrefix(named) + "/update/"
		for i, kind := range []string{"accepted", "delta", "documents"} {
			if len(got) != 3 || !strings.HasPrefix(got[i], prefix+kind+" ") {
				t.Fatalf("after %s: %v; want accepted, delta, documents", body, got)
			}
		}
	}
}
