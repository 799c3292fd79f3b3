package gateway

import (
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/httpapi"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// connections is the broker as the data plane sees it.
type connections struct{ *broker.Broker }

// Remove ends the connection of a client on behalf of the API.
func (c connections) Remove(id iot.ClientID, r httpapi.Removal) bool {
	return c.Broker.Remove(id, broker.Removal(r))
}

// CheckTopic reports why nobody outside may publish to a topic.
func (c connections) CheckTopic(name string) error {
	legal, err := topic.ParseName(name)
	if err != nil {
		return err
	}
	return c.Broker.CheckTopic(legal)
}
