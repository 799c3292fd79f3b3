package iotsql

import (
	"fmt"
	"math"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// aggregateKind is a function over the messages of a window.
type aggregateKind uint8

const (
	countOf aggregateKind = iota
	sumOf
	avgOf
	minOf
	maxOf
	stddevOf
	firstOf
	lastOf
	collectOf
	windowStart
	windowEnd
)

var aggregates = map[string]aggregateKind{
	"count": countOf, "sum": sumOf, "avg": avgOf, "min": minOf, "max": maxOf, "stddev": stddevOf,
	"first": firstOf, "last": lastOf, "collect": collectOf, "window_start": windowStart, "window_end": windowEnd,
}

// aggregateSite is one call of an aggregate; arg is nil for count(*).
type aggregateSite struct {
	kind aggregateKind
	arg  eval
}

func (c *compiler) aggregate(x *call, kind aggregateKind) (compiled, error) {
	switch {
	case !c.dialect.modern:
		return compiled{}, c.errorAt(x, x.name, fmt.Sprintf("no %s in SQL version %s; use 2016-03-23", x.name, c.dialect.version))
	case !c.windowed, c.nested, c.inside, c.region != inSelect && c.region != inHaving:
		return compiled{}, c.errorAt(x, x.name, x.name+" only in SELECT and HAVING of a rule with WINDOW")
	case kind == windowStart && len(x.args) == 0:
		return compiled{func(sc *scope) value.Value { return value.Integer(sc.start) }, false}, nil
	case kind == windowEnd && len(x.args) == 0:
		return compiled{func(sc *scope) value.Value { return value.Integer(sc.end) }, false}, nil
	case kind >= windowStart, len(x.args) != 1:
		return constantOf(value.Value{}), nil
	}
	site := aggregateSite{kind: kind}
	if _, all := x.args[0].(*star); !all || kind != countOf {
		c.inside = true
		e, err := c.expression(x.args[0])
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

// collectMax is the number of values that collect keeps.
const collectMax = 10_000

// sum is the running state of one aggregate over one window.
type sum struct {
	n       int64 // messages, or values that count
	total   value.Num
	squares value.Num
	broken  bool // a total left the range of numbers
	kept    value.Value
	list    []value.Value
}

// add takes in the argument's value for one message.
func (s *sum) add(site aggregateSite, v value.Value) {
	if site.kind == countOf {
		if site.arg == nil || v.Kind() > value.Null {
			s.n++
		}
		return
	}
	if site.kind >= firstOf {
		s.keep(site.kind, v)
		return
	}
	x, ok := v.Number()
	if !ok {
		return
	}
	s.n++
	switch site.kind {
	case minOf, maxOf:
		best, _ := s.kept.Number()
		if order := value.Cmp(x, best); s.n == 1 || site.kind == minOf && order < 0 || site.kind == maxOf && order > 0 {
			s.kept = x.Value()
		}
	default:
		s.accumulate(x)
	}
}

func (s *sum) keep(kind aggregateKind, v value.Value) {
	if v.IsUndefined() {
		return
	}
	s.n++
	switch {
	case kind == collectOf:
		if len(s.list) < collectMax {
			s.list = append(s.list, v)
		}
	case kind == lastOf || s.n == 1:
		s.kept = v
	}
}

func (s *sum) accumulate(x value.Num) {
	total, okTotal := value.Add(s.total, x)
	square, okSquare := value.Mul(x, x)
	squares, okSquares := value.Add(s.squares, square)
	s.total, s.squares = total, squares
	s.broken = s.broken || !okTotal || !okSquare || !okSquares
}

// result is the aggregate's value.
func (s *sum) result(kind aggregateKind) value.Value {
	switch {
	case kind == countOf:
		return value.Integer(s.n)
	case kind == collectOf:
		return value.List(append([]value.Value{}, s.list...))
	case kind >= minOf && kind != stddevOf:
		return s.kept
	case s.n == 0 || s.broken:
		return value.Value{}
	case kind == sumOf:
		return s.total.Value()
	}
	n := value.IntNum(s.n)
	mean, ok := value.Quo(s.total.AsDecimal(), n)
	if kind == avgOf && ok {
		return mean.Value()
	}
	return s.stddev(mean, n, ok)
}

// stddev is the root of the mean of squares less the square of the mean.
func (s *sum) stddev(mean, n value.Num, ok bool) value.Value {
	squares, okSquares := value.Quo(s.squares.AsDecimal(), n)
	square, okSquare := value.Mul(mean, mean)
	variance, okVariance := value.Sub(squares, square)
	if !ok || !okSquares || !okSquare || !okVariance {
		return value.Value{}
	}
	return fromFloat(math.Sqrt(max(0, variance.Float())))
}
