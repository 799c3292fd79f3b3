package iotsql

import (
	"fmt"

	"github.com/tidehold/tidehold/gateway/iotsql/aggregate"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// aggregates names the functions over the messages of a window.
var aggregates = map[string]aggregate.Kind{
	"count": aggregate.Count, "sum": aggregate.Total, "avg": aggregate.Average, "min": aggregate.Least,
	"max": aggregate.Greatest, "stddev": aggregate.Deviation, "first": aggregate.First, "last": aggregate.Last,
	"collect": aggregate.Collect,
}

// bounds names the functions that give a window's own times.
var bounds = map[string]func(*scope) int64{
	"window_start": func(sc *scope) int64 { return sc.start },
	"window_end":   func(sc *scope) int64 { return sc.end },
}

// aggregateSite is one call of an aggregate; arg is nil for count(*).
type aggregateSite struct {
	kind aggregate.Kind
	arg  eval
}

// onlyInWindow refuses x outside SELECT and HAVING of a rule with WINDOW.
func (c *compiler) onlyInWindow(x *syntax.Call) error {
	switch {
	case !c.dialect.Modern:
		return c.errorAt(x, x.Name, fmt.Sprintf("no %s in SQL version %s; use 2016-03-23", x.Name, c.dialect.Version))
	case !c.windowed, c.nested, c.inside, c.region != inSelect && c.region != inHaving:
		return c.errorAt(x, x.Name, x.Name+" only in SELECT and HAVING of a rule with WINDOW")
	}
	return nil
}

func (c *compiler) bound(x *syntax.Call, of func(*scope) int64) (compiled, error) {
	if err := c.onlyInWindow(x); err != nil {
		return compiled{}, err
	}
	if len(x.Args) > 0 {
		return constantOf(value.Value{}), nil
	}
	return compiled{func(sc *scope) value.Value { return value.Integer(of(sc)) }, false}, nil
}

func (c *compiler) aggregate(x *syntax.Call, kind aggregate.Kind) (compiled, error) {
	if err := c.onlyInWindow(x); err != nil {
		return compiled{}, err
	}
	if len(x.Args) != 1 {
		return constantOf(value.Value{}), nil
	}
	site := aggregateSite{kind: kind}
	if _, all := x.Args[0].(*syntax.Star); all && kind == aggregate.Count {
		site.kind = aggregate.All
	} else {
		c.inside = true
		e, err := c.expression(x.Args[0])
		c.inside = false
		if err != nil {
			return compiled{}, err
		}
		site.arg = e.eval
	}
	c.aggregates = append(c.aggregates, site)
	i := len(c.aggregates) - 1
	return compiled{func(sc *scope) value.Value { return sc.sums[i] }, false}, nil
}
