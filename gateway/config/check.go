package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/filter"
	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
	"github.com/tidehold/tidehold/gateway/spelling"
)

// site is where an entry of a list stands.
type site struct {
	m    *tree.Map
	name string
}

// bindSite is where an address to listen on stands.
type bindSite struct {
	m     *tree.Map
	key   string
	bind  value.Bind
	owner string
}

// sites are the entries of all lists, for checks across them.
type sites struct {
	listeners, policies, users, buses, sensors, inputs, outputs []site
	things, rules, tables, classes, uplinks                     []site
	roles, actions, functions                                   []site
	binds                                                       []bindSite
}

// checkNames reports names that stand twice in a list. Parts share one space
// of names: guards, topics of health and shadow keys use it.
func (l *loader) checkNames() {
	s := l.sites
	parts := slices.Concat(s.sensors, s.inputs, s.outputs)
	for what, list := range map[string][]site{
		"listener": s.listeners, "policy": s.policies, "user": s.users, "bus": s.buses, "part": parts, "thing": s.things,
		"rule": s.rules, "table": s.tables, "class": s.classes, "uplink": s.uplinks,
		"role": s.roles, "action": s.actions, "function": s.functions,
	} {
		unique(what, list)
	}
}

func unique(what string, list []site) {
	first := make(map[string]*tree.Map)
	for _, one := range list {
		if one.name == "" {
			continue
		}
		if at, taken := first[one.name]; taken {
			pos := at.Pos("name")
			one.m.Fail("name", fmt.Sprintf("%s %q stands twice", what, one.name), fmt.Sprintf("first in %s line %d", pos.File, pos.Line))
			continue
		}
		first[one.name] = one.m
	}
}

// checkBinds reports addresses that cannot both be opened.
func (l *loader) checkBinds() {
	for i, one := range l.sites.binds {
		for _, other := range l.sites.binds[:i] {
			if !one.bind.Clashes(other.bind) {
				continue
			}
			late, early := one, other
			if !one.m.Has(one.key) && other.m.Has(other.key) {
				late, early = other, one
			}
			late.m.Fail(late.key, fmt.Sprintf("address %s is taken by %s (%s)", late.bind, early.owner, early.bind), "take another port, or off")
		}
	}
}

// checkParts checks sensors, inputs and outputs against buses, drivers and each
// other.
func (l *loader) checkParts() {
	for i, s := range l.cfg.Sensors {
		l.checkSensor(l.sites.sensors[i].m, s)
	}
	for i, in := range l.cfg.Inputs {
		if l.opt.CheckInput != nil {
			tell(l.sites.inputs[i].m, l.opt.CheckInput(in))
		}
	}
	for i, out := range l.cfg.Outputs {
		l.checkOutput(l.sites.outputs[i].m, out)
		if l.opt.CheckOutput != nil {
			tell(l.sites.outputs[i].m, l.opt.CheckOutput(out))
		}
	}
	l.checkPins()
	l.checkInterlocks()
	l.checkKeys()
	for i, u := range l.cfg.Uplinks {
		l.checkSubscriptions(l.sites.uplinks[i].m, u)
	}
}

func (l *loader) checkSensor(m *tree.Map, s drivers.SensorConfig) {
	driver, ok := drivers.Driver(nil), false
	if l.opt.Parts != nil {
		driver, ok = l.opt.Parts.Driver(s.Driver)
	}
	bus, known := drivers.BusConfig{}, false
	if s.Bus != "" || l.opt.Parts != nil && (!ok || driver.Describe().Bus != "") {
		bus, known = l.busOf(m, s)
	}
	for name, r := range s.Readings {
		var fault *filter.Error
		if _, err := filter.Parse(r.Filters); errors.As(err, &fault) {
			m.Fail(fmt.Sprintf("%s.filters[%d]", tree.Member("readings", name), fault.Index), err.Error(), "")
		}
	}
	if l.opt.Parts == nil || s.Driver == "" {
		return
	}
	if !ok {
		m.Fail("driver", fmt.Sprintf("unknown driver %q", s.Driver), amongst(s.Driver, l.opt.Parts.Names(), ""))
		return
	}
	own, _ := drivers.DriverFor(s, driver) // its problems are CheckSensor's
	sheet := own.Describe()
	if known && sheet.Bus != "" && bus.Type != busSim && bus.Type != sheet.Bus {
		m.Fail("bus", fmt.Sprintf("bus %q is of type %s; a %s sits on %s", bus.Name, bus.Type, s.Driver, sheet.Bus), "")
	}
	problems := drivers.CheckSensor(s, driver)
	if known && bus.Type == busSim && l.opt.CheckSimulated != nil {
		problems = append(problems, l.opt.CheckSimulated(s, sheet)...)
	}
	tell(m, problems)
}

// tell reports what another package found in an entry.
func tell(m *tree.Map, problems []drivers.Problem) {
	for _, p := range problems {
		m.Fail(p.Path, p.Message, p.Hint)
	}
}

func (l *loader) busOf(m *tree.Map, s drivers.SensorConfig) (drivers.BusConfig, bool) {
	var names []string
	for _, b := range l.cfg.Buses {
		if b.Name == drivers.RootBus(s.Bus) {
			return b, true
		}
		names = append(names, b.Name)
	}
	message := fmt.Sprintf("unknown bus %q", s.Bus)
	if s.Bus == "" {
		message = "the sensor has no bus"
	}
	m.Fail("bus", message, amongst(s.Bus, names, "add it to buses"))
	return drivers.BusConfig{}, false
}

// amongst is the hint for an unknown word of a list: the nearest one, or all.
func amongst(word string, list []string, none string) string {
	if near, found := spelling.Nearest(word, list); found {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(list) == 0 {
		return none
	}
	return "there are " + strings.Join(list, ", ")
}

// guardForm is `PART.CHANNEL > NUMBER`, `INPUT` or `not INPUT`.
var guardForm = regexp.MustCompile(`^(?:not )?([A-Za-z0-9_-]+)(?:\.([^\s<>=!]+)\s*(?:<=|>=|==|!=|<|>|=)\s*-?[0-9.]+)?$`)

func (l *loader) checkOutput(m *tree.Map, out drivers.OutputConfig) {
	for i, guard := range out.Require {
		path := fmt.Sprintf("require[%d]", i)
		parts := guardForm.FindStringSubmatch(strings.TrimSpace(guard))
		switch {
		case parts == nil && l.opt.CheckOutput != nil: // told by the check below
		case parts == nil:
			m.Fail(path, fmt.Sprintf("%q is no guard", guard), `like "cellar.temperature > 2", or the name of an input`)
		case parts[2] != "" && !named(l.sites.sensors, parts[1]) && !named(l.sites.inputs, parts[1]):
			m.Fail(path, fmt.Sprintf("no sensor or input %q", parts[1]), "")
		case parts[2] == "" && !named(l.sites.inputs, parts[1]):
			m.Fail(path, fmt.Sprintf("no input %q", parts[1]), "")
		}
	}
	if c := out.Confirm; c != nil && c.Input != "" && !named(l.sites.inputs, c.Input) {
		m.Fail("confirm.input", fmt.Sprintf("no input %q", c.Input), "")
	}
}

func named(list []site, name string) bool {
	return slices.ContainsFunc(list, func(s site) bool { return s.name == name })
}

// checkPins reports a line that two parts want.
func (l *loader) checkPins() {
	owner := make(map[drivers.PinConfig]string)
	claim := func(m *tree.Map, part, path string, p *drivers.PinConfig) {
		if p == nil || p.Line == "" {
			return
		}
		if first, taken := owner[*p]; taken {
			m.Fail(path, fmt.Sprintf("line %s belongs to %q already", p, first), "")
			return
		}
		owner[*p] = part
	}
	for i, in := range l.cfg.Inputs {
		m := l.sites.inputs[i].m
		claim(m, in.Name, "pin", in.Pin)
		if in.Encoder != nil {
			claim(m, in.Name, "encoder.a", &in.Encoder.A)
			claim(m, in.Name, "encoder.b", &in.Encoder.B)
		}
	}
	for i, out := range l.cfg.Outputs {
		claim(l.sites.outputs[i].m, out.Name, "pin", out.Pin)
	}
}

// checkInterlocks warns of a group of one: most likely a slip of the pen.
func (l *loader) checkInterlocks() {
	size := make(map[string]int)
	var groups []string
	for _, out := range l.cfg.Outputs {
		if out.Interlock != nil {
			size[out.Interlock.Group]++
			groups = append(groups, out.Interlock.Group)
		}
	}
	for i, out := range l.cfg.Outputs {
		if out.Interlock == nil || out.Interlock.Group == "" || size[out.Interlock.Group] > 1 {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g == out.Interlock.Group })
		hint := "a group holds at least two outputs"
		if near, ok := spelling.Nearest(out.Interlock.Group, others); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		l.sites.outputs[i].m.Warn("interlock.group", fmt.Sprintf("output %q is alone in group %q", out.Name, out.Interlock.Group), hint)
	}
}

// targets are those of all parts, in the order sensors, inputs, outputs.
func (l *loader) targets() []drivers.Target {
	var all []drivers.Target
	for _, s := range l.cfg.Sensors {
		all = append(all, s.Target)
	}
	for _, in := range l.cfg.Inputs {
		all = append(all, in.Target)
	}
	for _, out := range l.cfg.Outputs {
		all = append(all, out.Target)
	}
	return all
}

// checkKeys reports two parts that write under the same member of a shadow.
func (l *loader) checkKeys() {
	type place struct{ thing, shadow, key string }
	owner := make(map[place]string)
	parts := slices.Concat(l.sites.sensors, l.sites.inputs, l.sites.outputs)
	for i, t := range l.targets() {
		at := place{string(t.Thing), string(t.Shadow), t.Key}
		if t.Key == "." && i < len(l.sites.sensors) {
			continue // readings of sensors have names of their own
		}
		if first, taken := owner[at]; taken && first != parts[i].name {
			parts[i].m.Fail("key", fmt.Sprintf("key %q of thing %q is written by %q already", t.Key, t.Thing, first), "")
			continue
		}
		owner[at] = parts[i].name
	}
}
