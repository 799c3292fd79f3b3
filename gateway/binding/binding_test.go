package binding

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
	"github.com/tidehold/tidehold/drivers/input"
	"github.com/tidehold/tidehold/drivers/output"
	"github.com/tidehold/tidehold/drivers/sampler"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// house is a shadow service and a publisher that keep everything.
type house struct {
	mu       sync.Mutex
	start    time.Time
	updates  []string
	messages []iot.Message
	at       []time.Duration
	refuse   bool
}

func (h *house) Update(_ context.Context, key iot.ShadowKey, payload []byte, _ iot.Origin) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse {
		return errors.New("disk full")
	}
	h.updates = append(h.updates, key.String()+" "+string(payload))
	return nil
}

func (h *house) Publish(m iot.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages, h.at = append(h.messages, m), append(h.at, time.Since(h.start))
}

func (h *house) last(thing string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.updates) - 1; i >= 0; i-- {
		if strings.HasPrefix(h.updates[i], thing+" ") {
			return h.updates[i]
		}
	}
	return ""
}

// had reports whether an update of the thing contained text.
func (h *house) had(thing, text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range h.updates {
		if strings.HasPrefix(u, thing+" ") && strings.Contains(u, text) {
			return true
		}
	}
	return false
}

// TestRun_TheDemosBoardFromChipToShadowAndBack goes the whole way: register,
// driver, sampler, binding, shadow; and delta, output, pin, read-back, shadow.
func TestRun_TheDemosBoardFromChipToShadowAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{start: time.Now()}
		bindings, world, stop := launch(t, h)
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := h.last("climate-1"); !strings.Contains(got, `"ok":true`) || !strings.Contains(got, `"temperature":22`) {
			t.Errorf("climate after 100 ms: %s", got)
		}
		if len(h.messages) == 0 || h.messages[0].Topic != "dt/climate-1/reading" || h.at[0] > 2*time.Second {
			t.Fatalf("first reading: %v at %v", h.messages, h.at)
		}
		mustDo(t, world.Set("climate", "temperature", "31.5"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !h.had("climate-1", `"temperature":31.5`) {
			t.Errorf("climate after the change: %s", h.last("climate-1"))
		}
		mustDo(t, world.Set("door-button", "on", ""))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := h.last("door-1"); !strings.Contains(got, `"count":1,"on":true`) {
			t.Errorf("door: %s", got)
		}
		bindings.Delta(iot.ShadowKey{Thing: "fan-1"}, []byte(`{"on":true}`))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if v, err := world.Get("fan", ""); err != nil || v["on"] != true {
			t.Errorf("fan pin: %v, %v", v, err)
		}
		if got := h.last("fan-1"); !strings.Contains(got, `"cause":"desired"`) || !strings.Contains(got, `"on":true`) {
			t.Errorf("fan: %s", got)
		}
		if !bindings.Command(iot.Message{Topic: "cmd/fan-1/fan", Payload: []byte(`{"on":false}`)}) {
			t.Error("the command was not taken")
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := h.last("fan-1"); !strings.Contains(got, `"why":"min_on"`) {
			t.Errorf("fan within min_on: %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := h.last("fan-1"); !strings.Contains(got, `"on":false`) || !strings.Contains(got, `"refused":null`) {
			t.Errorf("fan after min_on: %s", got)
		}
		stop()
	})
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// launch runs the board of design/example-config.yaml in the bubble.
func launch(t *testing.T, h *house) (*Binding, *sim.World, func()) {
	t.Helper()
	tempDelta, rawUnit := []any{map[string]any{"delta": 0.1}, map[string]any{"heartbeat": "30s"}}, drivers.Unit("°C")
	sensor := drivers.SensorConfig{Name: "climate", Driver: "bme280", Bus: "board", Address: []uint16{0x76}, Poll: time.Second,
		Readings: map[string]drivers.ReadingConfig{"temperature": {Unit: &rawUnit, Filters: tempDelta}, "humidity": {}},
		Simulate: map[string]any{"temperature": map[string]any{"sine": map[string]any{"mean": 22, "amplitude": 3, "period": "10m"}}},
		Target:   drivers.Target{Thing: "climate-1", Key: ".", ShadowEvery: 2 * time.Second, Telemetry: &drivers.TelemetryConfig{Topic: "dt/climate-1/reading", Every: time.Second}}}
	in := drivers.InputConfig{Name: "door-button", Pin: &drivers.PinConfig{Chip: "board", Line: "17"}, Pull: "up", Active: "low", Debounce: 20 * time.Millisecond,
		Target: drivers.Target{Thing: "door-1", Key: ".", Telemetry: &drivers.TelemetryConfig{Topic: "dt/door-1/button"}}}
	out := drivers.OutputConfig{Name: "fan", Pin: &drivers.PinConfig{Chip: "board", Line: "27"}, MinOn: 2 * time.Second, MaxOn: 30 * time.Minute,
		Target: drivers.Target{Thing: "fan-1", Key: "."}}
	world := sim.NewWorld()
	bus, err := world.AddBus(drivers.BusConfig{Name: "board", Type: "sim", Seed: 42})
	mustDo(t, err)
	mustDo(t, world.AddSensor(sensor, bme280.Driver{}.Describe()))
	mustDo(t, world.AddInput(in))
	mustDo(t, world.AddOutput(out))
	m, clk := metrics.New(), clock.NewSystem()
	bindings, err := New([]Part{
		{Name: "climate", Kind: Sensor, Driver: "bme280", Target: sensor.Target, Poll: sensor.Poll, Simulated: true},
		{Name: "door-button", Kind: Input, Driver: "input", Target: in.Target, Simulated: true},
		{Name: "fan", Kind: Output, Driver: "output", Target: out.Target, Simulated: true},
	}, h, h, clk, m, nil)
	mustDo(t, err)
	outputs, err := output.New([]drivers.OutputConfig{out}, world, nil, bindings, clk, m, nil)
	mustDo(t, err)
	inputs, err := input.New([]drivers.InputConfig{in}, world, nil, bindings, clk, m, nil)
	mustDo(t, err)
	sensors, err := sampler.New([]sampler.Sensor{{Config: sensor, Driver: bme280.Driver{}, Bus: bus}}, bindings, clk, m, nil)
	mustDo(t, err)
	parts, stopParts := context.WithCancel(t.Context())
	last, stopLast := context.WithCancel(t.Context())
	var first, second sync.WaitGroup
	first.Go(func() { _ = outputs.Run(parts) })
	first.Go(func() { _ = inputs.Run(parts) })
	first.Go(func() { _ = sensors.Run(parts) })
	first.Go(func() { _ = world.Run(parts) })
	second.Go(func() { _ = bindings.Run(last, outputs) })
	return bindings, world, func() { stopParts(); first.Wait(); stopLast(); second.Wait() }
}

func TestRun_ThePinsLastLevelIsReportedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{start: time.Now()}
		bindings, _, stop := launch(t, h)
		synctest.Wait()
		bindings.Delta(iot.ShadowKey{Thing: "fan-1"}, []byte(`{"on":true}`))
		time.Sleep(time.Second)
		stop()
		if got := h.last("fan-1"); !strings.Contains(got, `"on":false`) || !strings.Contains(got, `"cause":"stop"`) {
			t.Errorf("last words: %s", got)
		}
	})
}

func TestRun_ARefusedShadowServiceIsAskedAgainAndNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{start: time.Now(), refuse: true}
		_, world, stop := launch(t, h)
		defer stop()
		synctest.Wait()
		mustDo(t, world.Set("door-button", "on", ""))
		time.Sleep(10 * time.Minute)
		h.mu.Lock()
		h.refuse = false
		h.mu.Unlock()
		time.Sleep(retryMax + time.Second)
		synctest.Wait()
		for thing, want := range map[string]string{"door-1": `"count":1`, "fan-1": `"on":false`, "climate-1": `"ok":true`} {
			if !h.had(thing, want) {
				t.Errorf("%s: %q; want %s", thing, h.last(thing), want)
			}
		}
	})
}

func TestWant_TooManyWishesDropTheOldest(t *testing.T) {
	b, err := New([]Part{{Name: "fan", Kind: Output, Target: drivers.Target{Thing: "fan-1", Key: "."}}}, nil, nil, clock.Fixed{}, metrics.New(), nil)
	mustDo(t, err)
	for i := range wishesMax + 3 {
		b.Delta(iot.ShadowKey{Thing: "fan-1"}, fmt.Appendf(nil, `{"on":%v}`, i%2 == 0))
	}
	if len(b.wishes) != wishesMax || b.wishes[len(b.wishes)-1].On != ((wishesMax+2)%2 == 0) {
		t.Errorf("%d wishes wait", len(b.wishes))
	}
}
