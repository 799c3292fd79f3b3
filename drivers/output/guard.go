package output

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/drivers"
)

// guard is one entry of `require`: PART.CHANNEL OP NUMBER, or INPUT for an
// input that must be on, or `not INPUT`.
type guard struct {
	part, channel string
	op            string
	value         float64
}

// operators by length, so that `>=` is not read as `>`.
var operators = []string{">=", "<=", "==", "!=", ">", "<"}

func parseGuard(text string) (guard, error) {
	for _, op := range operators {
		left, right, found := strings.Cut(text, op)
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(right), 64)
		part, channel, dotted := strings.Cut(strings.TrimSpace(left), ".")
		if err != nil || !dotted || part == "" || channel == "" {
			return guard{}, fmt.Errorf("guard %q: want PART.READING %s NUMBER", text, op)
		}
		return guard{part, channel, op, value}, nil
	}
	name, negated := strings.CutPrefix(strings.TrimSpace(text), "not ")
	name = strings.TrimSpace(name)
	if name == "" || strings.ContainsAny(name, " .=<>!") {
		return guard{}, fmt.Errorf("guard %q: want PART.READING > NUMBER, or the name of an input", text)
	}
	g := guard{part: name, channel: "on", op: "==", value: 1}
	if negated {
		g.value = 0
	}
	return g, nil
}

func (g guard) holds(v float64) bool {
	switch g.op {
	case ">":
		return v > g.value
	case ">=":
		return v >= g.value
	case "<":
		return v < g.value
	case "<=":
		return v <= g.value
	case "==":
		return v == g.value
	}
	return v != g.value
}

// board is what guards look at: the last values and health of other parts.
type board struct {
	values map[string]map[string]float64
	faulty map[string]bool
}

// judge gives the state of a list of guards: faulty beats failing beats
// unknown beats holding.
func (b board) judge(guards []guard) GuardState {
	state := GuardHolds
	for _, g := range guards {
		v, known := b.values[g.part][g.channel]
		switch {
		case b.faulty[g.part]:
			return GuardFaulty
		case known && !g.holds(v):
			state = GuardFails
		case !known && state == GuardHolds:
			state = GuardUnknown
		}
	}
	return state
}

// Check says what is wrong with an entry of `outputs`.
func Check(c drivers.OutputConfig) []drivers.Problem {
	var problems []drivers.Problem
	add := func(path, format string, args ...any) {
		problems = append(problems, drivers.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	word := func(path, value string, allowed ...string) {
		for _, a := range append(allowed, "") {
			if value == a {
				return
			}
		}
		add(path, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
	word("active", c.Active, "high", "low")
	modes := word
	if c.PWM != nil {
		modes = func(path, value string, allowed ...string) {
			if _, err := strconv.ParseFloat(value, 64); err != nil {
				word(path, value, allowed...)
			} else if _, _, err := modeOrLevel(value); err != nil {
				add(path, "%v", err)
			}
		}
	}
	modes("on_start", c.OnStart, "off", "on", "restore", "keep")
	modes("on_stop", c.OnStop, "off", "on", "keep")
	modes("on_fault", c.OnFault, "off", "on", "keep")
	checkLevels(c, add)
	checkTimes(c, add, word)
	for i, text := range c.Require {
		if _, err := parseGuard(text); err != nil {
			add(fmt.Sprintf("require[%d]", i), "%v", err)
		}
	}
	return problems
}

func checkLevels(c drivers.OutputConfig, add func(string, string, ...any)) {
	if c.PWM == nil {
		switch {
		case c.Pin == nil:
			add("pin", "an output needs a pin or a pwm")
		case c.Range != nil:
			add("range", "a pin is on or off; only a pwm has levels")
		case c.Slew != 0:
			add("slew", "a pin is on or off; only a pwm has levels")
		}
		return
	}
	s := scaleOf(c)
	if !(s.low >= 0 && s.low < s.high && s.high <= levelMax) {
		add("range", "want 0 to %d, min below max", levelMax)
	}
	if !(c.Slew >= 0 && c.Slew <= 1e6) {
		add("slew", "want a change per second, like 20/s")
	}
	if c.Slew > 0 && c.Interlock != nil {
		add("slew", "an output that takes its time to go off cannot keep an interlock; remove one of them")
	}
	if c.PWM.Frequency <= 0 {
		add("pwm.frequency", "want more than 0")
	}
}

func checkTimes(c drivers.OutputConfig, add func(string, string, ...any), word func(string, string, ...string)) {
	if c.MinOn < 0 || c.MinOff < 0 || c.MaxOn < 0 {
		add("min_on", "times must not be negative")
	}
	if c.MaxOn > 0 && c.MinOn > c.MaxOn {
		add("max_on", "%v is less than min_on %v", c.MaxOn, c.MinOn)
	}
	if l := c.OnLoss; l != nil {
		word("on_loss.state", l.State, "off", "on")
		if l.After <= 0 {
			add("on_loss.after", "want more than 0")
		}
	}
	if l := c.Interlock; l != nil && (l.Group == "" || l.Wait < 0) {
		add("interlock", "want {group: NAME, wait: 500ms}")
	}
	if l := c.Confirm; l != nil && (l.Input == "" || l.Within <= 0) {
		add("confirm", "want {input: NAME, within: 3s}")
	}
}

// settingsOf turns a checked entry into rules.
func settingsOf(c drivers.OutputConfig) Settings {
	s := Settings{Name: c.Name, MinOn: c.MinOn, MinOff: c.MinOff, MaxOn: c.MaxOn, MinOnHard: c.MinOnHard, ApplyOld: c.ApplyOld, Guarded: len(c.Require) > 0}
	for word, m := range map[*string]*mode{&c.OnStart: &s.OnStart, &c.OnStop: &s.OnStop, &c.OnFault: &s.OnFault} {
		*m, _, _ = modeOrLevel(*word) // Check has looked
	}
	if l := c.OnLoss; l != nil {
		s.LossAfter, s.LossState = l.After, l.State == "on"
	}
	if l := c.Interlock; l != nil {
		s.Group, s.Wait = l.Group, l.Wait
	}
	if l := c.Confirm; l != nil {
		s.ConfirmWithin = l.Within
	}
	return s
}

func modeOf(word string) mode {
	if word == "" {
		return modeOff
	}
	return mode(word)
}
