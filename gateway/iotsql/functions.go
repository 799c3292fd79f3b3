package iotsql

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// nature says what a function's value depends on.
type nature uint8

const (
	pure     nature = iota // on its arguments
	varying                // on the message, the clock or chance
	external               // on what a Lookup says
	secret                 // external, and only in SELECT and templates
)

// many is the greatest argument count of a function without one.
const many = 1 << 20

// function is an entry of the library. A wrong number of arguments gives
// Undefined, as does a wrong type.
type function struct {
	least, most int
	modern      bool // only from 2016-03-23
	nature      nature
	run         func(sc *scope, args []value.Value, prepared any) value.Value
	// prepare makes something of constant arguments once, when the statement
	// is read; nil arguments are not constant.
	prepare func(c *compiler, x *call, constants []*value.Value) (any, error)
}

// call compiles a call of a function of any kind.
func (c *compiler) call(x *call) (compiled, error) {
	if kind, ok := aggregates[x.name]; ok {
		return c.aggregate(x, kind)
	}
	if kind, ok := statefuls[x.name]; ok {
		return c.statefulCall(x, kind)
	}
	f, ok := library[x.name]
	if !ok {
		return compiled{}, c.errorAt(x, x.name, "the name of a function"+suggestion(x.name))
	}
	if err := c.allowed(x, f); err != nil {
		return compiled{}, err
	}
	if x.name == "encode" && len(x.args) == 2 {
		if _, raw := x.args[0].(*star); raw && !c.nested {
			return c.encodePayload(x)
		}
	}
	args, err := c.all(x.args)
	if err != nil {
		return compiled{}, err
	}
	if x.name == "get_or_default" && len(args) == 2 {
		if err := c.plainDefault(x); err != nil {
			return compiled{}, err
		}
	}
	return c.callOf(x, f, args)
}

func (c *compiler) callOf(x *call, f function, args []compiled) (compiled, error) {
	var prepared any
	if f.prepare != nil {
		var err error
		if prepared, err = f.prepare(c, x, constants(args)); err != nil {
			return compiled{}, err
		}
	}
	if len(args) < f.least || len(args) > f.most {
		return constantOf(value.Value{}), nil
	}
	e := func(sc *scope) value.Value {
		base := len(sc.stack)
		for _, arg := range args {
			v := arg.eval(sc)
			sc.stack = append(sc.stack, v)
		}
		v := f.run(sc, sc.stack[base:], prepared)
		clear(sc.stack[base:])
		sc.stack = sc.stack[:base]
		return v
	}
	if f.nature != pure {
		return compiled{e, false}, nil
	}
	return fold(e, args...), nil
}

func constants(args []compiled) []*value.Value {
	list := make([]*value.Value, len(args))
	for i, arg := range args {
		if arg.constant {
			v := arg.eval(nil)
			list[i] = &v
		}
	}
	return list
}

// allowed refuses functions that may not stand where x stands.
func (c *compiler) allowed(x *call, f function) error {
	switch {
	case f.modern && !c.dialect.modern:
		return c.errorAt(x, x.name, fmt.Sprintf("no %s in SQL version %s; use 2016-03-23", x.name, c.dialect.version))
	case f.nature < external:
		return nil
	case c.region == inErrorTemplate:
		return c.errorAt(x, x.name, "no function that looks outside the message in an error action")
	case f.nature == secret && c.region != inSelect && c.region != inTemplate:
		return c.errorAt(x, x.name, x.name+" only in SELECT and in templates of actions")
	}
	c.external++
	if x.name == "get_dynamodb" {
		c.rows++
		if c.rows > 1 {
			return c.errorAt(x, x.name, "get_dynamodb at most once in a statement")
		}
	}
	return nil
}

// plainDefault refuses a default of get_or_default that looks outside. It
// compiles the default once more, for counting alone.
func (c *compiler) plainDefault(x *call) error {
	probe := *c
	probe.aggregates, probe.stateful, probe.warnings = nil, nil, nil
	probe.external, probe.rows = 0, 0
	if _, err := probe.expression(x.args[1]); err != nil {
		return err
	}
	if probe.external > 0 {
		return c.errorAt(x.args[1], x.name, "a default without functions that look outside the message")
	}
	return nil
}

func (c *compiler) encodePayload(x *call) (compiled, error) {
	scheme, err := c.expression(x.args[1])
	return compiled{func(sc *scope) value.Value {
		if scheme.eval(sc).Str() != "base64" {
			return value.Value{}
		}
		return encodeBase64(sc.doc.raw)
	}, false}, err
}

// suggestion proposes the function whose name is nearest to name.
func suggestion(name string) string {
	best, least := "", 3
	for _, candidate := range slices.Sorted(maps.Keys(library)) {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the edit distance of two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// cloned is a copy of text that does not keep the message alive.
func cloned(text string) string { return strings.Clone(text) }

// one, two and any give entries for functions of values alone.
func one(f func(value.Value) value.Value) function {
	return function{least: 1, most: 1, run: func(_ *scope, args []value.Value, _ any) value.Value { return f(args[0]) }}
}

func two(f func(a, b value.Value) value.Value) function {
	return function{least: 2, most: 2, run: func(_ *scope, args []value.Value, _ any) value.Value { return f(args[0], args[1]) }}
}

func several(least, most int, f func([]value.Value) value.Value) function {
	return function{least: least, most: most, run: func(_ *scope, args []value.Value, _ any) value.Value { return f(args) }}
}

// since2016 marks f as unknown to 2015-10-08.
func since2016(f function) function {
	f.modern = true
	return f
}

// number gives an entry for a function of one number.
func number(f func(value.Num) value.Num) function {
	return one(func(v value.Value) value.Value {
		n, ok := v.Number()
		if !ok {
			return value.Value{}
		}
		return f(n).Value()
	})
}

// float gives an entry for a function of one double.
func float(f func(float64) float64) function {
	return one(func(v value.Value) value.Value {
		n, ok := v.Number()
		if !ok {
			return value.Value{}
		}
		return fromFloat(f(n.Float()))
	})
}

func float2(f func(a, b float64) float64) function {
	return two(func(a, b value.Value) value.Value {
		x, okX := a.Number()
		y, okY := b.Number()
		if !okX || !okY {
			return value.Value{}
		}
		return fromFloat(f(x.Float(), y.Float()))
	})
}

func fromFloat(f float64) value.Value {
	n, ok := value.FromFloat(f)
	if !ok {
		return value.Value{}
	}
	return n.Value()
}

// text gives an entry for a function of one text.
func text(f func(string) value.Value) function {
	return one(func(v value.Value) value.Value {
		s, ok := v.AsText()
		if !ok {
			return value.Value{}
		}
		return f(s)
	})
}

func text2(f func(a, b string) value.Value) function {
	return two(func(a, b value.Value) value.Value {
		x, okX := a.AsText()
		y, okY := b.AsText()
		if !okX || !okY {
			return value.Value{}
		}
		return f(x, y)
	})
}

// plain makes a function of texts one that gives a String.
func plain(f func(string) string) func(string) value.Value {
	return func(s string) value.Value { return value.Text(f(s)) }
}
