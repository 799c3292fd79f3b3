package registermap

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/formula"
)

// compiler collects the faults of one part's options.
type compiler struct {
	problems []drivers.Problem
}

func compile(options map[string]any) (*program, []drivers.Problem) {
	c := &compiler{}
	p := &program{}
	if raw, given := options["identify"]; given {
		k := c.condition("options.identify", c.fields("options.identify", raw, "read", "mask", "equals"))
		p.identify = &k
	}
	p.init = c.steps("options.init", options["init"])
	p.poll = c.steps("options.poll", options["poll"])
	c.bounds(p)
	sizes := map[string]int{}
	for _, s := range p.poll {
		if s.read != nil {
			sizes[s.into] = s.read.n
		}
	}
	p.values = c.values(options["values"], sizes)
	return p, c.problems
}

func (c *compiler) fail(path, format string, args ...any) {
	c.problems = append(c.problems, drivers.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// bounds keeps a program from holding a bus.
func (c *compiler) bounds(p *program) {
	for path, steps := range map[string][]step{"options.init": p.init, "options.poll": p.poll} {
		transactions, waits := cost(steps)
		if transactions > transactionsMax {
			c.fail(path, "up to %d transactions, at most %d", transactions, transactionsMax)
		}
		if waits > waitsMax {
			c.fail(path, "waits up to %v, at most %v", waits, waitsMax)
		}
	}
}

// fields reads a map with known members.
func (c *compiler) fields(path string, raw any, known ...string) map[string]any {
	m, ok := raw.(map[string]any)
	if !ok {
		c.fail(path, "want a map with %s", strings.Join(known, ", "))
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, key) {
			c.fail(path+"."+key, "unknown; known: %s", strings.Join(known, ", "))
		}
	}
	return m
}

// whole reads a whole number within bounds; absent is usual.
func (c *compiler) whole(path string, raw any, usual, low, high int64) int64 {
	if raw == nil {
		return usual
	}
	f, ok := drivers.Numeric(raw)
	if !ok || f != float64(int64(f)) || int64(f) < low || int64(f) > high {
		c.fail(path, "want a whole number from %d to %d, got %v", low, high, raw)
		return low
	}
	return int64(f)
}

// bytes reads a list of bytes, or one.
func (c *compiler) bytes(path string, raw any) (out []byte) {
	list, ok := raw.([]any)
	if !ok {
		list = []any{raw}
	}
	if len(list) == 0 || len(list) > bytesMax {
		c.fail(path, "%d bytes, want 1 to %d", len(list), bytesMax)
		return nil
	}
	for i, item := range list {
		if item == nil {
			c.fail(path, "want a byte")
			continue
		}
		out = append(out, byte(c.whole(fmt.Sprintf("%s[%d]", path, i), item, 0, 0, 255)))
	}
	return out
}

func (c *compiler) duration(path string, raw any) time.Duration {
	d, ok := drivers.ParseDuration(raw)
	if !ok || d <= 0 || d > waitsMax {
		c.fail(path, "want a duration up to %v, got %v", waitsMax, raw)
	}
	return d
}

func (c *compiler) steps(path string, raw any) (steps []step) {
	list, ok := raw.([]any)
	if !ok && raw != nil {
		c.fail(path, "want a list of steps")
	}
	if len(list) > transactionsMax {
		c.fail(path, "%d steps, at most %d", len(list), transactionsMax)
		return nil
	}
	for i, item := range list {
		steps = append(steps, c.step(fmt.Sprintf("%s[%d]", path, i), item))
	}
	return steps
}

func (c *compiler) step(path string, raw any) (s step) {
	m := c.fields(path, raw, "write", "read", "into", "wait", "until")
	verbs := 0
	for key, value := range m {
		at := path + "." + key
		switch key {
		case "write":
			s.write = c.bytes(at, value)
		case "read":
			r := c.read(at, value)
			s.read = &r
		case "wait":
			s.wait = c.duration(at, value)
		case "until":
			k := c.condition(at, c.fields(at, value, "read", "mask", "equals", "timeout"))
			k.timeout = c.duration(at+".timeout", c.member(value, "timeout"))
			s.until = &k
		default:
			continue
		}
		verbs++
	}
	s.into = c.text(path+".into", m["into"], "raw")
	if m["into"] != nil && s.read == nil {
		c.fail(path+".into", "only a read has bytes to keep")
	}
	if m != nil && verbs != 1 {
		c.fail(path, "want one of write, read, wait, until")
	}
	return s
}

func (c *compiler) member(raw any, key string) any {
	m, _ := raw.(map[string]any)
	return m[key]
}

func (c *compiler) text(path string, raw any, usual string) string {
	if raw == nil {
		return usual
	}
	t, ok := raw.(string)
	if !ok || t == "" {
		c.fail(path, "want a text, got %v", raw)
	}
	return t
}

func (c *compiler) read(path string, raw any) (r read) {
	m := c.fields(path, raw, "reg", "len", "crc8")
	if m["reg"] != nil {
		r.reg = c.bytes(path+".reg", m["reg"])
	}
	r.n = int(c.whole(path+".len", m["len"], 1, 1, bytesMax))
	if raw, given := m["crc8"]; given {
		crc := c.fields(path+".crc8", raw, "poly", "init", "every")
		r.crc8 = &checksum{
			poly: byte(c.whole(path+".crc8.poly", crc["poly"], 0x31, 1, 255)), start: byte(c.whole(path+".crc8.init", crc["init"], 0xff, 0, 255)),
			every: int(c.whole(path+".crc8.every", crc["every"], 2, 1, bytesMax)),
		}
		if r.n%(r.crc8.every+1) != 0 {
			c.fail(path+".crc8", "%d bytes are no whole number of %d and a checksum", r.n, r.crc8.every)
		}
	}
	return r
}

// wholeMax is the largest number that a configuration holds exactly.
const wholeMax = 1<<53 - 1

func (c *compiler) condition(path string, m map[string]any) (k condition) {
	if m["read"] == nil || m["equals"] == nil {
		c.fail(path, "want read and equals")
		return k
	}
	k.read = c.read(path+".read", m["read"])
	if k.read.n > 8 {
		c.fail(path+".read.len", "%d bytes cannot be compared, at most 8", k.read.n)
	}
	k.equals = uint64(c.whole(path+".equals", m["equals"], 0, 0, wholeMax))
	k.mask = ^uint64(0)
	if m["mask"] != nil {
		k.mask = uint64(c.whole(path+".mask", m["mask"], 0, 0, wholeMax))
	}
	if k.equals&^k.mask != 0 {
		c.fail(path+".equals", "0x%x has bits outside of the mask and never comes true", k.equals)
	}
	return k
}

// name is the form of a value's name: a formula can use it.
var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// values compiles the map of values and orders them: a map has no order, so
// what a formula uses tells what comes before.
func (c *compiler) values(raw any, sizes map[string]int) (ordered []value) {
	m, ok := raw.(map[string]any)
	if !ok || len(m) == 0 {
		c.fail("options.values", "want a map of values")
		return nil
	}
	waiting := map[string]value{}
	for _, n := range slices.Sorted(maps.Keys(m)) {
		path := "options.values." + n
		if n == "x" || !name.MatchString(n) {
			c.fail(path, "%q is no name for a value", n)
			continue
		}
		waiting[n] = c.value(path, n, m[n], sizes)
		for _, used := range waiting[n].formula.Names() {
			if _, known := m[used]; used != "x" && !known {
				c.fail(path+".formula", "there is no value %q", used)
				return nil
			}
		}
	}
	for len(waiting) > 0 {
		next := ready(waiting)
		if next == "" {
			c.fail("options.values", "%s use each other in a circle", strings.Join(slices.Sorted(maps.Keys(waiting)), ", "))
			return nil
		}
		ordered = append(ordered, waiting[next])
		delete(waiting, next)
	}
	return ordered
}

// ready is the first value, by name, that uses none that still waits.
func ready(waiting map[string]value) string {
	for _, n := range slices.Sorted(maps.Keys(waiting)) {
		if !slices.ContainsFunc(waiting[n].formula.Names(), func(used string) bool { _, open := waiting[used]; return open }) {
			return n
		}
	}
	return ""
}

func (c *compiler) value(path, channel string, raw any, sizes map[string]int) (v value) {
	m := c.fields(path, raw, "from", "type", "at", "bits", "formula", "quantity", "unit", "decimals")
	v.from = c.text(path+".from", m["from"], "raw")
	size, known := sizes[v.from]
	if !known {
		c.fail(path+".from", "no read of poll goes into %q", v.from)
	}
	var ok bool
	if v.form, ok = parseForm(c.text(path+".type", m["type"], "u8")); !ok {
		c.fail(path+".type", "unknown type %v; like u8, s16be, u24le, f32be, bcd", m["type"])
	}
	v.at = int(c.whole(path+".at", m["at"], 0, 0, bytesMax))
	if known && v.at+v.form.size > size {
		c.fail(path+".at", "bytes %d to %d lie outside of the %d that were read", v.at, v.at+v.form.size-1, size)
	}
	if m["bits"] != nil {
		c.bits(path+".bits", m["bits"], &v)
	}
	var err error
	if v.formula, err = formula.Parse(c.text(path+".formula", m["formula"], "x")); err != nil {
		c.fail(path+".formula", "%v", err)
	}
	v.Channel = c.channel(path, channel, m)
	return v
}

func (c *compiler) bits(path string, raw any, v *value) {
	m := c.fields(path, raw, "shift", "width")
	most := int64(8 * v.form.size)
	v.shift = uint(c.whole(path+".shift", m["shift"], 0, 0, most-1))
	v.width = uint(c.whole(path+".width", m["width"], most-int64(v.shift), 1, most-int64(v.shift)))
	if v.form.kind == 'f' {
		c.fail(path, "a float has no bits to take")
	}
}

// channel names quantity and unit; a unit alone tells the quantity.
func (c *compiler) channel(path, channel string, m map[string]any) drivers.Channel {
	ch := drivers.Channel{Name: channel, Quantity: drivers.Count, Decimals: int(c.whole(path+".decimals", m["decimals"], 2, 0, 9)), Class: drivers.Measurement}
	unit, given := m["unit"].(string)
	if m["quantity"] != nil {
		ch.Quantity = drivers.Quantity(c.text(path+".quantity", m["quantity"], ""))
	} else if list := drivers.QuantityOf(drivers.Unit(unit)); unit != "" && len(list) == 1 {
		ch.Quantity = list[0]
	}
	units := drivers.Units(ch.Quantity)
	if len(units) == 0 {
		c.fail(path+".quantity", "unknown quantity %q", ch.Quantity)
		return ch
	}
	ch.Unit = units[0]
	if given {
		ch.Unit = drivers.Unit(unit)
	}
	if _, err := drivers.Convert(ch.Quantity, 0, ch.Unit); err != nil {
		c.fail(path+".unit", "%v", err)
	}
	return ch
}
