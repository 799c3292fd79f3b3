package control

import (
	"fmt"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/presence"
)

func TestConnectivity_StandsInRecordsAndCanBeSearched(t *testing.T) {
	h := build(t)
	h.handler.cfg.Connectivity = func(id iot.ClientID) (presence.State, bool) {
		return presence.State{Connected: id == "lamp-1", At: 1700000000123, Session: "s"}, id != "lamp-3"
	}
	for n := range 3 {
		h.ok("POST", fmt.Sprintf("/things/lamp-%d", n+1), "")
	}
	if got := fmt.Sprint(h.ok("GET", "/things/lamp-1", "")["connectivity"]); got != "map[connected:true sessionIdentifier:s timestamp:1.700000000123e+12]" {
		t.Errorf("lamp-1: %s", got)
	}
	if got := h.ok("GET", "/things/lamp-3", "")["connectivity"]; got != nil {
		t.Errorf("a thing that never came has %v", got)
	}
	for query, n := range map[string]int{"thingName:lamp* AND connectivity.connected:true": 1, "thingName:lamp* AND connectivity.connected:false": 2} {
		if got := h.ok("POST", "/indices/search", fmt.Sprintf(`{"queryString":%q}`, query))["things"].([]any); len(got) != n {
			t.Errorf("%s: %v, want %d", query, got, n)
		}
	}
}
