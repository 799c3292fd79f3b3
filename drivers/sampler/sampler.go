// Package sampler reads sensors on schedule and keeps a broken one from
// disturbing the others.
//
// Each sensor has its own goroutine; the bus decides whose turn it is, so a
// conversion of one chip is another's chance. A sensor is read at once after
// the start and then on a grid of its interval that is shifted by its name,
// without drift; ticks that were missed are skipped and counted. A read that
// does not end within the driver's MaxRead, and the wait for a shared bus, is
// given up: its sensor is busy until the driver returns. A panic in a driver is
// caught, counted and makes that sensor faulty. A missing chip is asked ever
// less often, up to a minute.
//
// Replace exchanges the sensors while Run runs; those that did not change go on
// undisturbed. A Sink is called by several goroutines at once, in order for one
// sensor; it must not block. The package stores nothing. Run waits for reads
// that were given up, as long as their last transaction takes.
package sampler

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/filter"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// Sink takes what the sampler finds.
type Sink interface {
	// Samples brings the readings of one poll of a sensor.
	Samples(part string, samples []drivers.Sample)
	// Health brings a change of a sensor's health.
	Health(part string, h drivers.Health)
}

// Sensor is one configured sensor.
type Sensor struct {
	Config drivers.SensorConfig
	Driver drivers.Driver
	// Bus is where the sensor sits; nil makes it missing with BusError.
	Bus      drivers.Bus
	BusError error
}

// Sampler reads sensors. Build it with New.
type Sampler struct {
	mu      sync.Mutex
	parts   []*part
	changes chan change
	ended   chan struct{} // Run is over

	sink Sink
	clk  clock.Clock
	log  *slog.Logger
	reg  *metrics.Registry

	polls   *metrics.Counter
	skipped *metrics.Counter
	panics  *metrics.Counter
	seconds *metrics.Histogram
}

// New checks the sensors and prepares their filters. It touches no hardware.
func New(sensors []Sensor, sink Sink, clk clock.Clock, m *metrics.Registry, log *slog.Logger) (*Sampler, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sampler{changes: make(chan change), ended: make(chan struct{}), sink: sink, clk: clk, log: log, reg: m,
		polls:   m.Counter("driver_polls_total", "Polls of sensors by outcome.", "part", "outcome"),
		skipped: m.Counter("driver_polls_skipped_total", "Polls left out because the one before still ran or the bus was late.", "part"),
		panics:  m.Counter("driver_panics_total", "Panics of drivers that were caught.", "part"),
		seconds: m.Histogram("driver_read_seconds", "Duration of a read.", []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5}, "part"),
	}
	var err error
	s.parts, err = s.build(sensors, nil)
	return s, err
}

// Health gives the present health of every sensor by name.
func (s *Sampler) Health() map[string]drivers.Health {
	parts := s.list()
	out := make(map[string]drivers.Health, len(parts))
	for _, p := range parts {
		p.mu.Lock()
		out[p.cfg.Name] = p.tracker.Health()
		p.mu.Unlock()
	}
	return out
}

// part is one sensor at work. All but tracker belongs to its lane.
type part struct {
	cfg      drivers.SensorConfig
	stop     context.CancelFunc // of its lane
	over     chan struct{}      // its lane has ended
	driver   drivers.Driver
	sheet    drivers.Info
	options  drivers.Options
	bus      drivers.Bus
	busErr   error
	address  []uint16
	channels []*channel

	mu      sync.Mutex
	tracker *drivers.Tracker

	due    time.Duration
	device drivers.Device
	epoch  uint64       // of the bus when the device was opened
	doubt  doubt        // identical implausible values
	busy   chan outcome // a read that was given up and still runs
	slow   bool         // the slow read was logged
}

func newPart(c Sensor, clk clock.Clock) (*part, error) {
	cfg := c.Config
	driver, _ := drivers.DriverFor(cfg, c.Driver)
	sheet := driver.Describe()
	if problems := drivers.CheckSensor(cfg, c.Driver); len(problems) > 0 {
		return nil, fmt.Errorf("sensor %s: %s", cfg.Name, problems[0])
	}
	options, _ := drivers.CheckOptions(sheet.Options, cfg.Options)
	p := &part{cfg: cfg, driver: driver, sheet: sheet, options: options, bus: c.Bus, busErr: c.BusError, address: cfg.Address}
	if len(p.address) == 0 {
		p.address = sheet.Addresses
	}
	for _, ch := range sheet.Channels {
		r, listed := cfg.Readings[ch.Name]
		if len(cfg.Readings) > 0 && !listed {
			continue
		}
		built, err := newChannel(ch, r)
		if err != nil {
			return nil, fmt.Errorf("sensor %s: reading %s: %w", cfg.Name, ch.Name, err)
		}
		p.channels = append(p.channels, built)
	}
	simulated := p.bus != nil && p.bus.Simulated()
	p.tracker = drivers.NewTracker(cfg.Poll, simulated, clk.Up(), clk.Now())
	return p, nil
}

// offset shifts a sensor's grid within its interval by its name.
func offset(name string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(name))
	return time.Duration(h.Sum64() % uint64(interval))
}

// nextTick is the first point of the grid start + shift + k*interval after now.
func nextTick(now, start, shift, interval time.Duration) time.Duration {
	first := start + shift
	if now < first {
		return first
	}
	return first + ((now-first)/interval+1)*interval
}

// channel is one reading's way from SI to a sample.
type channel struct {
	drivers.Channel
	as       string
	unit     drivers.Unit
	decimals int
	chain    *filter.Chain
	rng      *drivers.Range
	maxStep  float64

	began  bool
	last   float64
	lastAt time.Duration
}

func newChannel(ch drivers.Channel, r drivers.ReadingConfig) (*channel, error) {
	c := &channel{Channel: ch, as: ch.Name, unit: ch.Unit, decimals: ch.Decimals, rng: r.Range, maxStep: r.MaxStep}
	if r.As != "" {
		c.as = r.As
	}
	if r.Unit != nil {
		c.unit = *r.Unit
	}
	if r.Decimals != nil {
		c.decimals = *r.Decimals
	}
	var err error
	c.chain, err = filter.Parse(r.Filters)
	return c, err
}

// step checks and filters one SI value. An error means it is no value.
func (c *channel) step(si float64, now time.Duration) (drivers.Sample, error) {
	v, err := drivers.Convert(c.Quantity, si, c.unit)
	if err != nil {
		return drivers.Sample{}, err
	}
	if v != v || !c.rng.Contains(v) {
		return drivers.Sample{}, fmt.Errorf("%s %v %s: %w", c.as, filter.Round(v, c.decimals), c.unit, drivers.ErrOutOfRange)
	}
	if err := c.plausible(v, now); err != nil {
		return drivers.Sample{}, err
	}
	r := c.chain.Step(now, v)
	return drivers.Sample{
		Reading:  drivers.Reading{Channel: c.as, Quantity: c.Quantity, Value: filter.Round(r.Value, c.decimals), Unit: c.unit},
		Decimals: c.decimals, Class: c.Class,
		Passed: r.Passed, Live: r.HasLive, LiveValue: filter.Round(r.Live, c.decimals),
	}, nil
}

// plausible refuses a change faster than max_step per second. A value that
// stays there is believed after as long as the step would have taken.
func (c *channel) plausible(v float64, now time.Duration) error {
	if c.maxStep > 0 && c.began {
		if change := max(v-c.last, c.last-v); change > c.maxStep*(now-c.lastAt).Seconds() {
			return fmt.Errorf("%s went from %v to %v %s: %w", c.as, filter.Round(c.last, c.decimals), filter.Round(v, c.decimals), c.unit, drivers.ErrImplausible)
		}
	}
	c.began, c.last, c.lastAt = true, v, now
	return nil
}

// fault empties what a fault made worthless.
func (c *channel) fault() { c.chain.Reset() }

func (p *part) channel(name string) *channel {
	i := slices.IndexFunc(p.channels, func(c *channel) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return p.channels[i]
}
