package iotsql

import (
	"fmt"

	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// statefulKind is a function with a memory (rules.md section 11).
type statefulKind uint8

const (
	prevOf statefulKind = iota
	latchOf
	elapsedOf
	rateOf
	changedSince // this and every advance only when the rule fires
	everySince
)

var statefuls = map[string]statefulKind{
	"prev": prevOf, "latch": latchOf, "elapsed": elapsedOf, "rate": rateOf, "changed": changedSince, "every": everySince,
}

// arity is the least and greatest number of arguments.
var arity = map[statefulKind][2]int{
	prevOf: {1, 3}, latchOf: {2, 2}, elapsedOf: {0, 0}, rateOf: {1, 1}, changedSince: {1, 2}, everySince: {1, 1},
}

// statefulSite is one call of a function with a memory.
type statefulSite struct {
	kind statefulKind
	args []compiled
}

// cell is what one call site remembers for one group.
type cell struct {
	values  []value.Value // of prev, the newest last; of others the one value
	at      int64         // when, by the steady clock
	known   bool
	latched bool
	pending value.Value // what changed stores, should the rule fire
}

func (c *compiler) statefulCall(x *syntax.Call, kind statefulKind) (compiled, error) {
	if err := c.statefulAllowed(x, kind); err != nil {
		return compiled{}, err
	}
	args, err := c.all(x.Args)
	if err != nil {
		return compiled{}, err
	}
	if n := arity[kind]; len(args) < n[0] || len(args) > n[1] {
		return constantOf(value.Value{}), nil
	}
	c.remembering = true
	c.stateful = append(c.stateful, statefulSite{kind, args})
	i := len(c.stateful) - 1
	return compiled{func(sc *scope) value.Value { return sc.seen[i] }, false}, nil
}

func (c *compiler) statefulAllowed(x *syntax.Call, kind statefulKind) error {
	onFire := kind >= changedSince
	switch {
	case !c.dialect.Modern:
		return c.errorAt(x, x.Name, fmt.Sprintf("no %s in SQL version %s; use 2016-03-23", x.Name, c.dialect.Version))
	case c.nested, c.inside, c.region >= inEventTime, c.region == inGroup:
		return c.errorAt(x, x.Name, x.Name+" only in SET, WHERE, SELECT or HAVING of the rule itself")
	case c.windowed && onFire && c.region != inHaving:
		return c.errorAt(x, x.Name, x.Name+" of a rule with WINDOW only in HAVING")
	case c.windowed && !onFire && c.region != inSet && c.region != inWhere:
		return c.errorAt(x, x.Name, x.Name+" of a rule with WINDOW only in SET and WHERE")
	}
	return nil
}

// remember evaluates the call sites from first up to end for g, in the order
// of the text (inner calls come before outer ones).
func (st *State) remember(sc *scope, g *group, first, end int) {
	for i := first; i < end; i++ {
		site := &st.of.stateful[i]
		sc.seen[i] = site.next(sc, g, &g.cells[i], st.now.up)
	}
}

// next is the value of the call now; message-relative functions advance.
func (s *statefulSite) next(sc *scope, g *group, c *cell, now int64) value.Value {
	switch s.kind {
	case prevOf:
		return s.prev(sc, c)
	case latchOf:
		return s.latch(sc, c)
	case elapsedOf:
		if !g.heard {
			return value.Value{}
		}
		return value.Integer(now - g.heardAt)
	case rateOf:
		return s.rate(sc, c, now)
	case changedSince:
		return s.changed(sc, c)
	}
	d, ok := s.args[0].eval(sc).Number()
	return value.Bool(!g.fired || ok && now-g.firedAt >= d.Clamp(0, 1<<50))
}

// prevMax is the farthest that prev looks back.
const prevMax = 1000

func (s *statefulSite) prev(sc *scope, c *cell) value.Value {
	back := int64(1)
	if len(s.args) > 1 {
		n, ok := s.args[1].eval(sc).Number()
		if !ok {
			return value.Value{}
		}
		back = n.Clamp(0, prevMax)
	}
	x := s.args[0].eval(sc)
	result := value.Value{}
	switch at := len(c.values) - int(back); {
	case back == 0:
		result = x
	case at >= 0:
		result = c.values[at]
	case len(s.args) > 2:
		result = s.args[2].eval(sc)
	}
	if !x.IsUndefined() {
		if len(c.values) >= max(1, int(back)) {
			c.values = append(c.values[:0], c.values[len(c.values)-max(1, int(back))+1:]...)
		}
		c.values = append(c.values, x)
	}
	return result
}

func (s *statefulSite) latch(sc *scope, c *cell) value.Value {
	set, _ := s.args[0].eval(sc).Bool()
	reset, _ := s.args[1].eval(sc).Bool()
	switch {
	case reset:
		c.latched = false
	case set:
		c.latched = true
	}
	return value.Bool(c.latched)
}

func (s *statefulSite) rate(sc *scope, c *cell, now int64) value.Value {
	x, ok := s.args[0].eval(sc).Number()
	if !ok {
		return value.Value{}
	}
	result := value.Value{}
	if c.known && now > c.at {
		last, _ := c.values[0].Number()
		change, okChange := value.Sub(x, last)
		perSecond, okScale := value.Mul(change.AsDecimal(), value.IntNum(1000))
		if rate, okRate := value.Quo(perSecond, value.IntNum(now-c.at)); okChange && okScale && okRate {
			result = rate.Value()
		}
	}
	c.values, c.at, c.known = append(c.values[:0], x.Value()), now, true
	return result
}

func (s *statefulSite) changed(sc *scope, c *cell) value.Value {
	x := s.args[0].eval(sc)
	c.pending = x
	if x.IsUndefined() || !c.known {
		return value.Bool(!x.IsUndefined())
	}
	stored := c.values[0]
	if len(s.args) == 1 {
		return value.Bool(!value.Equal(x, stored))
	}
	a, okA := x.Number()
	b, okB := stored.Number()
	delta, okDelta := s.args[1].eval(sc).Number()
	if !okA || !okB || !okDelta {
		return value.Bool(!value.Equal(x, stored))
	}
	difference, ok := value.Sub(a, b)
	return value.Bool(!ok || value.Cmp(difference.Abs(), delta) >= 0)
}

// fire advances the fire-relative functions from first up to end.
func (st *State) fire(g *group, first, end int) {
	g.fired, g.firedAt = true, st.now.up
	for i := first; i < end; i++ {
		c := &g.cells[i]
		if st.of.stateful[i].kind == changedSince && !c.pending.IsUndefined() {
			c.values, c.known = append(c.values[:0], c.pending), true
		}
	}
}

// resize gives s with n Undefined values.
func resize(s []value.Value, n int) []value.Value {
	if cap(s) < n {
		return make([]value.Value, n)
	}
	s = s[:n]
	clear(s)
	return s
}
