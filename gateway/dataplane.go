package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/httpapi"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
)

// connections is the broker as the data plane sees it.
type connections struct {
	*broker.Broker
	checker *access.Checker
}

// Remove ends the connection of a client on behalf of the API.
func (c connections) Remove(id iot.ClientID, r httpapi.Removal) bool {
	return c.Broker.Remove(id, broker.Removal(r))
}

// CheckPublish reports why nobody outside may publish m; a reserved topic is a
// denial like those over MQTT.
func (c connections) CheckPublish(m iot.Message) error {
	if _, err := topic.ParseName(m.Topic); err != nil {
		return err
	}
	err := c.Broker.CheckPublish(m)
	if err != nil && iot.CodeOf(err) == iot.Forbidden {
		c.checker.Reserved(&access.Client{Principal: m.Origin.Principal, RemoteIP: m.Origin.SourceIP, HTTP: true}, m.Topic)
	}
	return err
}

// shadowDesk is the shadow service as the HTTP API sees it.
type shadowDesk struct {
	*shadow.Service
	clock clock.Clock
}

// History gives the last changes of a shadow, the newest first.
func (d shadowDesk) History(ctx context.Context, key iot.ShadowKey) (any, error) {
	past, err := d.Service.History(ctx, key)
	return append([]shadow.Past{}, past...), err
}

// Follow writes a shadow as it is and after every change.
func (d shadowDesk) Follow(ctx context.Context, key iot.ShadowKey, write func([]byte) error) error {
	return d.Service.Follow(ctx, key, func(c shadow.Change) error {
		document, err := d.document(c)
		if err != nil {
			return err
		}
		return write(document)
	})
}

// document is the body of get/accepted with `changedBy`, or what is left to say
// of a shadow that was deleted.
func (d shadowDesk) document(c shadow.Change) ([]byte, error) {
	who, err := json.Marshal(shadow.WhoOf(c.Origin))
	if err != nil {
		return nil, err
	}
	now := d.clock.Now()
	if c.Deleted {
		return fmt.Appendf(nil, `{"version":%d,"timestamp":%d,"deleted":true,"changedBy":%s}`, c.Version, now.Unix(), who), nil
	}
	body, err := doc.Get(c.Doc, c.Key, "", now)
	if err != nil {
		return nil, err
	}
	return slices.Concat(body[:len(body)-1], []byte(`,"changedBy":`), who, []byte("}")), nil
}
