package output

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

const (
	levelMax = 100
	// rampEvery is the time between two steps of a level that may not jump.
	rampEvery = 100 * time.Millisecond
	// levelSlack is how far a level that was read back may be from the one that
	// was set: hardware counts in steps of its clock.
	levelSlack = 0.5
)

// scale is what the configuration says of the levels of a PWM.
type scale struct {
	low, high     float64 // of wishes
	slew          float64 // per second, 0: jumps
	stop, fault   float64 // 0: not given as a level
	start         float64
	complementary bool // active low: the pin's level is the rest to 100
}

// modeOrLevel takes a word of on_start, on_stop or on_fault, or a level: a
// level above 0 is on.
func modeOrLevel(word string) (mode, float64, error) {
	level, err := strconv.ParseFloat(word, 64)
	switch {
	case err != nil:
		return modeOf(word), 0, nil
	case !(level >= 0 && level <= levelMax):
		return modeOff, 0, fmt.Errorf("level %s is outside 0 to %d", word, levelMax)
	case level == 0:
		return modeOff, 0, nil
	}
	return modeOn, level, nil
}

func scaleOf(c drivers.OutputConfig) *scale {
	if c.PWM == nil {
		return nil
	}
	s := &scale{high: levelMax, slew: c.Slew, complementary: c.Active == "low"}
	if r := c.Range; r != nil && r.Min != nil {
		s.low = *r.Min
	}
	if r := c.Range; r != nil && r.Max != nil {
		s.high = *r.Max
	}
	for word, level := range map[string]*float64{c.OnStart: &s.start, c.OnStop: &s.stop, c.OnFault: &s.fault} {
		_, *level, _ = modeOrLevel(word) // Check has looked
	}
	return s
}

// allows reports whether a level may be wished for.
func (s *scale) allows(level float64) bool {
	return level == 0 || level >= s.low && level <= s.high
}

// target is the level that an output should have which the machine has on.
func (s *scale) target(cause string, wished float64) float64 {
	switch {
	case cause == causeStop && s.stop > 0:
		return s.stop
	case cause == causeFault && s.fault > 0:
		return s.fault
	case wished > 0:
		return wished
	}
	return s.high
}

// approach is the next level on the way to target after dt.
func (s *scale) approach(at, target float64, dt time.Duration) float64 {
	if s.slew <= 0 {
		return target
	}
	step := s.slew * dt.Seconds()
	return min(max(target, at-step), at+step)
}

// dimmer is a PWM channel as the line of an output that is on or off: the
// machine decides that, the dimmer by which level, and how fast it gets there.
type dimmer struct {
	*scale
	line   drivers.LevelLine
	cause  string
	wished float64 // level of the last accepted wish for on
	on     bool
	at     float64 // set last
	since  time.Duration
	hurry  bool // stopping: no ramp
	clock  func() time.Duration
}

var _ drivers.OutputLine = (*dimmer)(nil)

func (d *dimmer) electrical(level float64) float64 {
	if d.complementary {
		return levelMax - level
	}
	return level
}

// open takes over the channel as it stands.
func (d *dimmer) open(line drivers.LevelLine) error {
	level, err := line.Level()
	if err != nil {
		return err
	}
	d.line, d.at, d.since = line, d.electrical(level), d.clock()
	d.on = d.at > 0
	if d.on {
		d.wished = d.at
	}
	return nil
}

// goal is the level the channel is on its way to.
func (d *dimmer) goal() float64 {
	if !d.on {
		return 0
	}
	return d.target(d.cause, d.wished)
}

// Write switches on or off; with a slew it only begins.
func (d *dimmer) Write(on bool) error {
	d.on = on
	return d.step()
}

// step brings the level on its way.
func (d *dimmer) step() error {
	now := d.clock()
	goal := d.goal()
	if d.at == goal {
		return nil
	}
	next := d.approach(d.at, goal, min(now-d.since, rampEvery)) // a late step is no longer one
	if d.hurry {
		next = goal
	}
	if err := d.line.Set(d.electrical(next)); err != nil {
		return err
	}
	d.at, d.since = next, now
	return nil
}

// due is when the next step is; 0 when the level is where it should be.
func (d *dimmer) due() time.Duration {
	if d.line == nil || d.at == d.goal() {
		return 0
	}
	return d.since + rampEvery
}

// Read tells whether the channel is on as it was written: a level on its way
// counts as arrived, one that does not follow does not.
func (d *dimmer) Read() (bool, error) {
	level, err := d.line.Level()
	if err != nil {
		return false, err
	}
	if level = d.electrical(level); max(level-d.at, d.at-level) > levelSlack {
		return level > levelSlack, nil
	}
	return d.on, nil
}

// Close leaves the level as it is.
func (d *dimmer) Close() error { return d.line.Close() }

// initial is the level of a request that is electrical low, high, or kept.
func (d *dimmer) initial(l drivers.Level) *float64 {
	level := 0.0
	switch {
	case l == drivers.Keep:
		return nil
	case l == drivers.High && d.cause == causeStop:
		level = d.target(causeStop, 0)
	case l == drivers.High && d.start > 0:
		level = d.start
	case l == drivers.High:
		level = d.target(causeStart, d.wished)
	}
	level = d.electrical(level)
	return &level
}

// told is the level to report: where it arrived, not each step on the way.
func (d *dimmer) told(before *float64) *float64 {
	if d.line == nil || d.at != d.goal() && before != nil {
		return before
	}
	level := d.at
	return &level
}

// pin is where the output's line lies, for questions about its chip.
func (p *part) pin() drivers.PinConfig {
	if p.dim != nil {
		return drivers.PinConfig{Chip: p.cfg.PWM.Chip, Line: strconv.Itoa(p.cfg.PWM.Channel)}
	}
	return *p.cfg.Pin
}

// place names the line for people.
func (p *part) place() string {
	if p.dim != nil {
		return "pwm " + p.pin().String()
	}
	return "pin " + p.pin().String()
}
