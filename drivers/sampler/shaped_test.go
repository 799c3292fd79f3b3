package sampler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// gauges is a driver without a bus, with a channel for each name in its options.
type gauges struct{ names []string }

func (g gauges) Describe() drivers.Info {
	sheet := drivers.Info{Name: "gauges", MaxRead: time.Second, Options: []drivers.Option{{Name: "names", Kind: drivers.Free}}}
	for _, n := range g.names {
		sheet.Channels = append(sheet.Channels, drivers.Channel{Name: n, Quantity: drivers.Ratio, Decimals: 1})
	}
	return sheet
}

func (g gauges) Shape(options map[string]any) (drivers.Driver, []drivers.Problem) {
	for _, n := range options["names"].([]any) {
		g.names = append(g.names, n.(string))
	}
	return g, nil
}

func (g gauges) Open(_ context.Context, h *drivers.Handle, _ drivers.Options) (drivers.Device, error) {
	if h != nil {
		panic("a part without a bus got a handle")
	}
	return g, nil
}

func (g gauges) Identify(context.Context) error { return nil }

func (g gauges) Read(context.Context) (list []drivers.Reading, err error) {
	for _, n := range g.names {
		list = append(list, drivers.Reading{Channel: n, Quantity: drivers.Ratio, Value: 0.5})
	}
	return list, nil
}

func (g gauges) Close() error { return nil }

// Goal: a part that sits on no bus is read, with the channels its options name.
func TestRun_APartWithoutABusIsReadByItsOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := drivers.SensorConfig{Name: "g", Driver: "gauges", Poll: time.Second, Options: map[string]any{"names": []any{"a", "b"}}}
		r := launch(t, nil, Sensor{Config: c, Driver: gauges{}, BusError: drivers.ErrNoBus})
		time.Sleep(2500 * time.Millisecond)
		got := r.record.samples("g")
		if len(got) < 2 || len(got[0].samples) != 2 || got[0].samples[1].Channel != "b" || got[0].samples[1].Value != 0.5 {
			t.Errorf("got %+v", got)
		}
	})
}
