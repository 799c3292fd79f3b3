package gateway

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/topic"
)

// herald tells the health of all components on $GW/health, retained, after
// every change. Changes that come while it speaks are told together.
type herald struct {
	health *metrics.Health
	house  *house
	clock  clock.Clock
	wake   chan struct{}
}

func newHerald(health *metrics.Health, h *house, clk clock.Clock) *herald {
	r := &herald{health: health, house: h, clock: clk, wake: make(chan struct{}, 1)}
	health.Watch(func(string, metrics.Component) {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	})
	return r
}

// run speaks until ctx ends.
func (r *herald) run(ctx context.Context) error {
	for {
		if err := r.tell(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
	}
}

func (r *herald) tell() error {
	payload, err := json.Marshal(map[string]any{"state": r.health.Overall(), "components": r.health.Components()})
	if err != nil {
		return fmt.Errorf("encode the health: %w", err)
	}
	r.house.Publish(iot.Message{
		Topic: topic.GatewayHealth, Payload: payload, QoS: 1, Retain: true,
		Origin: iot.Origin{Principal: iot.Principal{Kind: iot.House}, Source: "sys/health"}, Arrived: r.clock.Now(),
	})
	return nil
}

// The default bound of the message log (telemetry.md 8.2): the smaller of
// spoolBytesMax and a tenth of the file system.
const (
	spoolBytesMax = 256 << 20
	spoolShare    = 10
)

// autoSpoolBytes is the bound for the file system that holds dir.
func autoSpoolBytes(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return spoolBytesMax
	}
	return min(spoolBytesMax, int64(fs.Blocks)*int64(fs.Bsize)/spoolShare)
}
