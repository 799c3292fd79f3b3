package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/spelling"
	"github.com/tidehold/tidehold/gateway/topic"
)

func (l *loader) bus(m *tree.Map) {
	defer m.Done()
	b := drivers.BusConfig{Name: name(m), Type: m.Word("type", tree.Required, "i2c", "spi", "onewire", busSim)}
	b.Match = l.match(m.Map("match"))
	b.Speed = tree.Get(m, "speed", "frequency", "", value.ParseHertz)
	b.Timeout = m.Duration("timeout", "200ms")
	if r, ok := m.Optional("recover"); ok {
		b.Recover = &drivers.Recover{SCL: r.Text("scl", tree.Required), SDA: r.Text("sda", tree.Required)}
		r.Done()
	}
	b.Seed = tree.Get(m, "seed", "whole number", "0", func(s string) (uint64, error) {
		n, err := value.ParseInteger(s, 0, 1<<62)
		return uint64(n), err
	})
	if b.Timeout == 0 {
		m.Fail("timeout", "a bus without a limit could block its sensors", "like 200ms")
	}
	l.sites.buses = append(l.sites.buses, site{m, b.Name})
	l.cfg.Buses = append(l.cfg.Buses, b)
}

func (l *loader) match(m *tree.Map) drivers.Match {
	defer m.Done()
	var match drivers.Match
	if number := m.Integer("number", "", 0, 1<<16); m.Has("number") {
		n := int(number)
		match.Number = &n
	}
	match.Path = m.Text("path", "")
	match.Adapter = m.Text("adapter", "")
	if len(m.Keys()) > 1 {
		m.Fail("", "more than one of number, path, adapter", "one of them finds the bus")
	}
	return match
}

func (l *loader) sensor(m *tree.Map) {
	defer m.Done()
	s := drivers.SensorConfig{Name: name(m), Driver: m.Text("driver", tree.Required), Bus: m.Text("bus", "")}
	s.Address = addresses(m)
	s.Poll = m.Duration("poll", "10s")
	s.Options = m.FreeMap("options")
	m.Items("readings", func(channel string, r *tree.Map) {
		if s.Readings == nil {
			s.Readings = make(map[string]drivers.ReadingConfig)
		}
		s.Readings[channel] = reading(r)
	})
	s.Simulate = l.simulate(m)
	s.Target = l.target(m, s.Name, "30s", true)
	if s.Telemetry != nil && s.Telemetry.Every == 0 {
		s.Telemetry.Every = s.Poll
	}
	l.sites.sensors = append(l.sites.sensors, site{m, s.Name})
	l.cfg.Sensors = append(l.cfg.Sensors, s)
}

// addresses reads one address of a bus, or a list to try.
func addresses(m *tree.Map) []uint16 {
	parse := func(s string) (uint16, error) {
		n, err := value.ParseInteger(s, 0, 0x3ff)
		return uint16(n), err
	}
	const form = "address like 0x76, or a list of them"
	if m.Kind("address") != tree.List {
		if a := tree.Get(m, "address", form, "", parse); m.Has("address") {
			return []uint16{a}
		}
		return nil
	}
	var list []uint16
	for i, text := range m.Texts("address", form) {
		a, err := parse(text)
		if err != nil {
			m.Fail(fmt.Sprintf("address[%d]", i), err.Error(), "")
			continue
		}
		list = append(list, a)
	}
	return list
}

func reading(m *tree.Map) drivers.ReadingConfig {
	defer m.Done()
	r := drivers.ReadingConfig{As: m.Text("as", ""), MaxStep: tree.Get(m, "max_step", "number per second", "0", value.ParseNumber)}
	if unit := drivers.Unit(m.Text("unit", "")); m.Has("unit") {
		r.Unit = &unit
	}
	if n := int(m.Integer("decimals", "", 0, 9)); m.Has("decimals") {
		r.Decimals = &n
	}
	r.Filters = m.FreeList("filters", "list of filters")
	if bounds, ok := m.Optional("range"); ok {
		r.Range = &drivers.Range{Min: number(bounds, "min"), Max: number(bounds, "max")}
		bounds.Done()
	}
	return r
}

// number reads an optional number; nil is none.
func number(m *tree.Map, key string) *float64 {
	v := tree.Get(m, key, "number", "", value.ParseNumber)
	if !m.Has(key) {
		return nil
	}
	return &v
}

// simulate reads the signals of a part; a file to replay is found from the
// folder of the configuration.
func (l *loader) simulate(m *tree.Map) map[string]any {
	signals := m.FreeMap("simulate")
	for _, raw := range signals {
		signal, ok := raw.(map[string]any)
		if path, is := signal["replay"].(string); ok && is && !filepath.IsAbs(path) {
			signal["replay"] = l.path(path)
		}
	}
	return signals
}

// target reads where the values of a part go.
func (l *loader) target(m *tree.Map, part, every string, telemetry bool) drivers.Target {
	t := drivers.Target{Thing: l.cfg.Gateway.ID, Shadow: tree.Get(m, "shadow", "shadow name", "", iot.ParseShadowName)}
	if thing := tree.Get(m, "thing", "thing name", "", iot.ParseThingName); thing != "" {
		t.Thing = thing
	}
	t.Key = tree.Get(m, "key", "member of the section, or .", "", parseKey)
	if t.Key == "" {
		t.Key = part
	}
	t.ShadowEvery = m.Duration("shadow_every", every)
	if !telemetry {
		return t
	}
	if sub, ok := m.Optional("telemetry"); ok {
		t.Telemetry = &drivers.TelemetryConfig{
			Topic:     string(tree.Get(sub, "topic", "topic", tree.Required, localTopic)),
			Every:     sub.Duration("every", ""),
			Aggregate: aggregates(sub),
		}
		sub.Done()
	}
	return t
}

// keyForm is a member of a shadow's section.
var keyForm = regexp.MustCompile(`^[^.\x00-\x1f/]{1,64}$`)

func parseKey(s string) (string, error) {
	if s != "." && !keyForm.MatchString(s) {
		return "", fmt.Errorf("%q: want a member of reported without dots, or . for the section itself", s)
	}
	return s, nil
}

// localTopic is a topic name that belongs to users.
func localTopic(s string) (topic.Name, error) {
	name, err := topic.ParseName(s)
	if err == nil && topic.IsReserved(s) {
		return "", fmt.Errorf("topic %q: topics that begin with $ belong to the gateway", s)
	}
	return name, err
}

func aggregates(m *tree.Map) []string {
	words := []string{"mean", "min", "max", "count"}
	list := m.Texts("aggregate", "list of mean, min, max, count")
	for i, w := range list {
		oneOf(m, fmt.Sprintf("aggregate[%d]", i), w, words)
	}
	return list
}

// oneOf reports a word that is not in the list.
func oneOf(m *tree.Map, path, word string, words []string) {
	for _, w := range words {
		if w == word {
			return
		}
	}
	hint := ""
	if near, ok := spelling.Nearest(word, words); ok {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	m.Fail(path, fmt.Sprintf("%q is not one of %s", word, strings.Join(words, ", ")), hint)
}

func (l *loader) input(m *tree.Map) {
	defer m.Done()
	in := drivers.InputConfig{Name: name(m), Pin: pin(m, "pin"), Encoder: encoder(m)}
	in.Pull = drivers.Pull(m.Word("pull", "none", "none", "up", "down"))
	if in.Pull == "none" {
		in.Pull = drivers.PullNone
	}
	in.Active = m.Word("active", "high", "high", "low")
	in.Edge = m.Word("edge", "", "rising", "falling", "both")
	if in.Edge == "" {
		in.Edge = map[string]string{"high": "rising", "low": "falling"}[in.Active]
	}
	in.Debounce = m.Duration("debounce", "0s")
	in.Counter = counter(m)
	in.Simulate = l.simulate(m)
	in.Target = l.target(m, in.Name, "0s", true)
	onePin(m, "encoder")
	l.sites.inputs = append(l.sites.inputs, site{m, in.Name})
	l.cfg.Inputs = append(l.cfg.Inputs, in)
}

// onePin wants exactly one of pin and its alternative.
func onePin(m *tree.Map, other string) {
	switch {
	case m.Has("pin") && m.Has(other):
		m.Fail(other, "pin and "+other+" together", "remove one of them")
	case !m.Has("pin") && !m.Has(other):
		m.Fail("", "neither pin nor "+other, "like pin: {line: GPIO17}")
	}
}

// pin reads a GPIO line; nil when it is absent.
func pin(m *tree.Map, key string) *drivers.PinConfig {
	sub, ok := m.Optional(key)
	if !ok {
		return nil
	}
	defer sub.Done()
	return &drivers.PinConfig{Chip: sub.Text("chip", ""), Line: sub.Text("line", tree.Required)}
}

func encoder(m *tree.Map) *drivers.EncoderConfig {
	sub, ok := m.Optional("encoder")
	if !ok {
		return nil
	}
	defer sub.Done()
	e := &drivers.EncoderConfig{StepsPerDetent: int(sub.Integer("steps_per_detent", "4", 1, 64))}
	for key, to := range map[string]*drivers.PinConfig{"a": &e.A, "b": &e.B} {
		p := pin(sub, key)
		if p == nil {
			sub.Fail("", fmt.Sprintf("key %q is missing", key), "an encoder has two lines, a and b")
			continue
		}
		*to = *p
	}
	e.Min, e.Max = whole(sub, "min"), whole(sub, "max")
	if e.Min != nil && e.Max != nil && *e.Min >= *e.Max {
		sub.Fail("max", "max is not above min", "")
	}
	return e
}

// whole reads an optional whole number; nil is none.
func whole(m *tree.Map, key string) *int {
	n := int(m.Integer(key, "", -1<<31, 1<<31-1))
	if !m.Has(key) {
		return nil
	}
	return &n
}

func counter(m *tree.Map) *drivers.CounterConfig {
	sub, ok := m.Optional("counter")
	if !ok {
		return nil
	}
	defer sub.Done()
	c := &drivers.CounterConfig{
		PerUnit: tree.Get(sub, "per_unit", "number", "1", value.ParseNumber),
		Unit:    sub.Text("unit", ""), Rate: sub.Text("rate", ""),
		Idle: sub.Duration("idle", "10s"), Persist: sub.Duration("persist", "60s"), MinPulse: sub.Duration("min_pulse", "0s"),
	}
	if c.PerUnit <= 0 {
		sub.Fail("per_unit", "want more than 0 pulses per unit", "")
	}
	for _, key := range []string{"unit", "rate"} {
		unit := map[string]string{"unit": c.Unit, "rate": c.Rate}[key]
		if unit != "" && len(drivers.QuantityOf(drivers.Unit(unit))) == 0 {
			sub.Fail(key, fmt.Sprintf("unit %q is unknown", unit), "")
		}
	}
	if c.Persist != 0 && c.Persist < time.Second {
		sub.Fail("persist", fmt.Sprintf("%v is too often: each is a write to flash", c.Persist), "at least 1s")
	}
	return c
}

func (l *loader) output(m *tree.Map) {
	defer m.Done()
	out := drivers.OutputConfig{Name: name(m), Pin: pin(m, "pin"), PWM: pwm(m)}
	out.Active = m.Word("active", "high", "high", "low")
	out.OnStart = level(m, "on_start", out.PWM != nil, "off", "on", "keep", "restore")
	out.OnStop = level(m, "on_stop", out.PWM != nil, "off", "on", "keep")
	out.OnFault = level(m, "on_fault", out.PWM != nil, "off", "on", "keep")
	if bounds, ok := m.Optional("range"); ok {
		out.Range = &drivers.Range{Min: number(bounds, "min"), Max: number(bounds, "max")}
		bounds.Done()
	}
	out.Slew = tree.Get(m, "slew", "change per second, like 20/s", "0", value.ParsePerSecond)
	if sub, ok := m.Optional("on_loss"); ok {
		out.OnLoss = &drivers.LossConfig{After: sub.Duration("after", tree.Required), State: sub.Word("state", "off", "off", "on")}
		sub.Done()
	}
	out.MinOn, out.MinOff, out.MaxOn = m.Duration("min_on", "0s"), m.Duration("min_off", "0s"), m.Duration("max_on", "0s")
	out.MinOnHard, out.ApplyOld = m.Bool("min_on_hard", "off"), m.Bool("apply_old", "off")
	if sub, ok := m.Optional("interlock"); ok {
		out.Interlock = &drivers.InterlockConfig{Group: formed(sub, "group", tree.Required, nameForm, "1 to 64 characters of A-Z a-z 0-9 _ -"), Wait: sub.Duration("wait", "0s")}
		sub.Done()
	}
	out.Require = m.Texts("require", "list of guards")
	if sub, ok := m.Optional("confirm"); ok {
		out.Confirm = &drivers.ConfirmConfig{Input: sub.Text("input", tree.Required), Within: sub.Duration("within", "3s")}
		sub.Done()
	}
	out.Target = l.target(m, out.Name, "0s", false)
	onePin(m, "pwm")
	if out.MaxOn != 0 && out.MinOn > out.MaxOn {
		m.Fail("max_on", fmt.Sprintf("%v is less than min_on %v", out.MaxOn, out.MinOn), "")
	}
	l.sites.outputs = append(l.sites.outputs, site{m, out.Name})
	l.cfg.Outputs = append(l.cfg.Outputs, out)
}

// level reads a word, or of a PWM also a level.
func level(m *tree.Map, key string, levels bool, words ...string) string {
	if !levels {
		return m.Word(key, words[0], words...)
	}
	return tree.Get(m, key, "level or "+strings.Join(words, ", "), words[0], value.LevelOr(words))
}

func pwm(m *tree.Map) *drivers.PWMConfig {
	sub, ok := m.Optional("pwm")
	if !ok {
		return nil
	}
	defer sub.Done()
	return &drivers.PWMConfig{
		Chip: sub.Text("chip", ""), Channel: int(sub.Integer("channel", "0", 0, 255)),
		Frequency: tree.Get(sub, "frequency", "frequency", "25kHz", value.ParseHertz),
	}
}
