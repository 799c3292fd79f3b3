package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// Fifty publishers with a thousand messages on their way each are more than the
// log holds before its commits. They are held back, none of them is refused
// (3.1.1 has no word for that: a PUBACK would be missing for ever), and who
// publishes what nobody stores is not held back with them.
func TestWay_PublishersWaitForTheLogAndEveryAcknowledgementComes(t *testing.T) {
	address := startWith(t, t.TempDir(), "gw", "none", `uplinks:
  - {name: cloud, profile: mosquitto, endpoint: "tcp://127.0.0.1:1", telemetry: [{name: all, from: "dur/#"}]}
`)
	stored := make(chan error, 1)
	var flood *load.Outcome
	go func() {
		var err error
		flood, err = load.Run(t.Context(), load.Plan{Address: address, Prefix: "dur/all", Publishers: 50, QoS: 1, Payload: 64, Window: 1000,
			Duration: 10 * time.Minute, Messages: 2000})
		stored <- err
	}()
	for running := true; running; {
		select {
		case err := <-stored:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
			o, err := load.Run(context.WithoutCancel(t.Context()), load.Plan{Address: address, Prefix: "mem", Publishers: 1, Subscribers: 1, QoS: 1,
				Payload: 64, Window: 10, Duration: time.Minute, Messages: 200})
			if err != nil {
				t.Fatal(err)
			}
			if o.Delivered != 200 || o.Lost+o.Duplicated+o.Reordered > 0 {
				t.Errorf("beside the flood: %+v", o)
			}
		}
	}
	if flood.Published != 50*2000 || flood.Lost > 0 {
		t.Errorf("%d published, %d not acknowledged", flood.Published, flood.Lost)
	}
}
