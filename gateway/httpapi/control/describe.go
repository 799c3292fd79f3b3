package control

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Describe gives what DescribeThing or ListThingGroupsForThing answers about a
// thing, as JSON. It asks no policy: who calls it has been allowed. Any other
// operation is InvalidRequest.
func (h *Handler) Describe(ctx context.Context, name string, thing iot.ThingName) ([]byte, error) {
	i := slices.IndexFunc(h.known, func(op operation) bool { return op.name == name })
	if i < 0 || name != "DescribeThing" && name != "ListThingGroupsForThing" {
		return nil, iot.Errorf(iot.InvalidRequest, "%s is not available here; there are DescribeThing and ListThingGroupsForThing", name)
	}
	value, err := h.known[i].do(&call{Context: ctx, h: h, vars: map[string]string{"thing": string(thing)}, first: "thing"})
	if err != nil {
		return nil, err
	}
	if a, is := value.(answer); is {
		value = compact(a)
	}
	return json.Marshal(value)
}
