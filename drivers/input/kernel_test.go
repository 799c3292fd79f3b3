package input

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// debouncing is a line whose kernel may debounce.
type debouncing struct {
	refuse error
	asked  time.Duration
}

func (d *debouncing) Read() (bool, error) { return false, nil }
func (d *debouncing) Wait(context.Context) (drivers.LineEdge, error) {
	return drivers.LineEdge{}, context.Canceled
}
func (d *debouncing) Close() error                        { return nil }
func (d *debouncing) Debounce(stable time.Duration) error { d.asked = stable; return d.refuse }

// Goal: exactly one of kernel and daemon debounces, never both or none.
func TestBegin_TheKernelDebouncesWhereItCanAndTheDaemonElse(t *testing.T) {
	for what, c := range map[string]struct {
		line     *debouncing
		cfg      drivers.InputConfig
		kernel   bool
		software time.Duration
	}{
		"able":           {&debouncing{}, drivers.InputConfig{Debounce: 20 * time.Millisecond}, true, 0},
		"refuses":        {&debouncing{refuse: errors.New("old kernel")}, drivers.InputConfig{Debounce: 20 * time.Millisecond}, true, 20 * time.Millisecond},
		"nothing to do":  {&debouncing{}, drivers.InputConfig{}, false, 0},
		"a counter":      {&debouncing{}, drivers.InputConfig{Debounce: 5 * time.Millisecond, Counter: &drivers.CounterConfig{PerUnit: 1}}, false, 5 * time.Millisecond},
		"a counter, min": {&debouncing{}, drivers.InputConfig{Counter: &drivers.CounterConfig{PerUnit: 1, MinPulse: 7 * time.Millisecond}}, false, 7 * time.Millisecond},
	} {
		c.cfg.Name, c.cfg.Pin = "door", &drivers.PinConfig{Line: "GPIO17"}
		in, err := New([]drivers.InputConfig{c.cfg}, anyLines{}, nil, &record{}, clock.NewSystem(), metrics.New(), nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := in.begin(in.parts[0], c.line)
		if err != nil {
			t.Fatal(err)
		}
		if (c.line.asked > 0) != c.kernel || w.deb.stable != c.software {
			t.Errorf("%s: kernel asked for %v, software waits %v", what, c.line.asked, w.deb.stable)
		}
	}
}

// anyLines has no line: the test brings its own.
type anyLines struct{ drivers.Lines }

func (anyLines) Simulated(drivers.PinConfig) bool { return false }
