package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus"
	"github.com/tidehold/tidehold/drivers/bus/shared"
	"github.com/tidehold/tidehold/drivers/expander"
	"github.com/tidehold/tidehold/drivers/input"
	"github.com/tidehold/tidehold/drivers/output"
	"github.com/tidehold/tidehold/drivers/sampler"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/binding"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow"
	"github.com/tidehold/tidehold/gateway/topic"
)

// hardware are the rooms of the parts: the simulated world, the schedules, and
// the binding of channels to shadow fields.
type hardware struct {
	world   *sim.World
	sampler *sampler.Sampler
	inputs  *input.Inputs
	outputs *output.Outputs
	binding *binding.Binding
	shadows *shadow.Service
	watched []iot.ShadowKey
}

// simBus is the type of a bus that lies in memory.
const simBus = "sim"

// newHardware builds the rooms. No hardware is touched: what is missing shows
// in the health of its part.
func (g *Gateway) newHardware(h *house, mem drivers.Memory) (*hardware, error) {
	w := &hardware{world: sim.NewWorld(), shadows: h.shadows}
	buses, err := g.buses(w.world)
	if err != nil {
		return nil, err
	}
	if err := g.simulate(w.world); err != nil {
		return nil, err
	}
	if w.binding, err = binding.New(g.boundParts(buses), shadowWriter{h.shadows}, h, g.env.Clock, g.metrics, g.log); err != nil {
		return nil, err
	}
	if w.sampler, err = sampler.New(g.sensors(buses), w.binding, g.env.Clock, g.metrics, g.log); err != nil {
		return nil, err
	}
	if w.inputs, err = input.New(g.cfg.Inputs, buses, mem, w.binding, g.env.Clock, g.metrics, g.log); err != nil {
		return nil, err
	}
	if w.outputs, err = output.New(g.cfg.Outputs, buses, mem, w.binding, g.env.Clock, g.metrics, g.log); err != nil {
		return nil, err
	}
	for _, o := range g.cfg.Outputs {
		w.watched = append(w.watched, iot.ShadowKey{Thing: o.Thing, Shadow: o.Shadow})
	}
	return w, nil
}

// buses opens the simulated buses and the host's.
func (g *Gateway) buses(world *sim.World) (drivers.Buses, error) {
	for _, b := range g.cfg.Buses {
		if b.Type != simBus {
			continue
		}
		if _, err := world.AddBus(b); err != nil {
			return nil, err
		}
	}
	host, err := bus.Open(g.cfg.Buses, bus.Options{World: world, Figures: shared.NewFigures(g.metrics), Log: g.log})
	if err != nil {
		return nil, fmt.Errorf("buses: %w", err)
	}
	return host, nil
}

// simulate puts the parts that sit on simulated buses into the world.
func (g *Gateway) simulate(world *sim.World) error {
	var all []error
	for _, s := range g.cfg.Sensors {
		if !g.simulated(s.Bus) {
			continue
		}
		driver, ok := g.env.Parts.Driver(s.Driver)
		if !ok {
			return fmt.Errorf("sensor %q: no driver %q", s.Name, s.Driver)
		}
		own, problems := drivers.DriverFor(s, driver)
		if len(problems) > 0 {
			return fmt.Errorf("sensor %q: %s", s.Name, problems[0])
		}
		all = append(all, world.AddSensor(s, own.Describe()))
	}
	for _, in := range g.cfg.Inputs {
		if in.Pin != nil && g.simulated(in.Pin.Chip) {
			all = append(all, world.AddInput(in))
		}
	}
	for _, out := range g.cfg.Outputs {
		if g.simulated(out.Chip()) {
			all = append(all, world.AddOutput(out))
		}
	}
	for _, name := range g.chips() {
		if at, addr, kind, ok := expander.Split(name); ok && g.simulated(at) {
			all = append(all, world.AddExpander(at, addr, kind))
		}
	}
	return errors.Join(all...)
}

// chips are the chips of all pins and channels.
func (g *Gateway) chips() (names []string) {
	for _, in := range g.cfg.Inputs {
		if in.Pin != nil {
			names = append(names, in.Pin.Chip)
		}
	}
	for _, out := range g.cfg.Outputs {
		names = append(names, out.Chip())
	}
	return names
}

// simulated reports whether a bus of the configuration lies in memory.
func (g *Gateway) simulated(name string) bool {
	for _, b := range g.cfg.Buses {
		if b.Name == drivers.RootBus(name) {
			return b.Type == simBus
		}
	}
	return false
}

func (g *Gateway) sensors(buses drivers.Buses) (all []sampler.Sensor) {
	for _, s := range g.cfg.Sensors {
		driver, _ := g.env.Parts.Driver(s.Driver)
		on, err := buses.Bus(s.Bus)
		all = append(all, sampler.Sensor{Config: s, Driver: driver, Bus: on, BusError: err})
	}
	return all
}

// boundParts are the parts with the shadow fields and topics they speak to.
func (g *Gateway) boundParts(lines drivers.Lines) (all []binding.Part) {
	for _, s := range g.cfg.Sensors {
		all = append(all, binding.Part{
			Name: s.Name, Kind: binding.Sensor, Driver: s.Driver, Target: s.Target, Poll: s.Poll,
			Simulated: g.simulated(s.Bus), HealthTopic: topic.DriverHealth(s.Name),
		})
	}
	for _, in := range g.cfg.Inputs {
		all = append(all, binding.Part{
			Name: in.Name, Kind: binding.Input, Driver: "input", Target: in.Target,
			Simulated: in.Pin != nil && lines.Simulated(*in.Pin), HealthTopic: topic.DriverHealth(in.Name),
		})
	}
	for _, out := range g.cfg.Outputs {
		all = append(all, binding.Part{
			Name: out.Name, Kind: binding.Output, Driver: "output", Target: out.Target,
			Simulated: lines.Simulated(drivers.PinConfig{Chip: out.Chip()}), HealthTopic: topic.DriverHealth(out.Name), Levels: out.PWM != nil,
		})
	}
	return all
}

// runners are the loops of the parts. The outputs come first: nothing wishes
// before the lines have their initial levels.
func (w *hardware) runners() []runner {
	return []runner{
		{"sim", w.world.Run},
		{"outputs", w.outputs.Run},
		{"inputs", w.inputs.Run},
		{"sensors", w.sampler.Run},
		{"binding", w.bind},
	}
}

// bind runs the binding once the outputs have their lines, and hands it the
// wishes that stand already.
func (w *hardware) bind(ctx context.Context) error {
	select {
	case <-w.outputs.Ready():
	case <-ctx.Done():
	}
	for _, key := range w.watched {
		if document, err := w.shadows.Get(ctx, key, ""); err == nil {
			w.binding.Current(key, document)
		}
	}
	return w.binding.Run(ctx, w.outputs)
}

// shadowWriter is the binding's way to the shadow service.
type shadowWriter struct{ service *shadow.Service }

// Update applies a patch and drops the answer: the binding hears of deltas by
// the house.
func (s shadowWriter) Update(ctx context.Context, key iot.ShadowKey, payload []byte, o iot.Origin) error {
	_, err := s.service.Update(ctx, key, payload, o)
	return err
}

// Wires are the buses and lines of the configuration, without running the
// gateway: what people look at by hand (drivers.md section 9). It touches no
// hardware; the simulated world in it is its own.
func (g *Gateway) Wires() (drivers.Buses, error) {
	world := sim.NewWorld()
	buses, err := g.buses(world)
	if err != nil {
		return nil, err
	}
	return buses, g.simulate(world)
}

// SafeOutputs puts every output of the configuration to its on_stop level
// without running the gateway: what `ExecStopPost` calls after a crash
// (drivers.md section 6). Simulated lines have no outside and are left out.
func (g *Gateway) SafeOutputs() error {
	host, err := bus.Open(nil, bus.Options{Log: g.log})
	if err != nil {
		return fmt.Errorf("outputs --safe: %w", err)
	}
	var outside []drivers.OutputConfig
	for _, out := range g.cfg.Outputs {
		if !g.simulated(out.Chip()) {
			outside = append(outside, out)
		}
	}
	return output.Safe(outside, host)
}
