// Package aggregate computes the functions of rule SQL over the messages of a
// window (rules.md section 11): counts, sums, extremes, first, last, lists.
//
// A Sum takes values one by one and holds O(1) memory, except Collect, which
// keeps up to 10 000 values. It encodes to JSON text for a restart. Pure; a
// Sum belongs to one goroutine.
package aggregate

import (
	"math"

	"github.com/tidehold/tidehold/gateway/iotsql/library"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Kind is an aggregate function.
type Kind uint8

// The aggregates: count(*), count(x), sum, avg, min, max, stddev, first, last
// and collect.
const (
	All Kind = iota
	Count
	Total
	Average
	Least
	Greatest
	Deviation
	First
	Last
	Collect
)

// collectMax is the number of values that collect keeps.
const collectMax = 10_000

// Sum is the running state of one aggregate over one window.
type Sum struct {
	n       int64 // messages, or values that count
	total   value.Num
	squares value.Num
	broken  bool // a total left the range of numbers
	kept    value.Value
	list    []value.Value
}

// Add takes in the argument's value for one message.
func (s *Sum) Add(kind Kind, v value.Value) {
	switch {
	case kind == All, kind == Count && v.Kind() > value.Null:
		s.n++
		return
	case kind == Count:
		return
	}
	if kind >= First {
		s.keep(kind, v)
		return
	}
	x, ok := v.Number()
	if !ok {
		return
	}
	s.n++
	switch kind {
	case Least, Greatest:
		best, _ := s.kept.Number()
		if order := value.Cmp(x, best); s.n == 1 || kind == Least && order < 0 || kind == Greatest && order > 0 {
			s.kept = x.Value()
		}
	default:
		s.accumulate(x)
	}
}

func (s *Sum) keep(kind Kind, v value.Value) {
	if v.IsUndefined() {
		return
	}
	s.n++
	switch {
	case kind == Collect:
		if len(s.list) < collectMax {
			s.list = append(s.list, v)
		}
	case kind == Last || s.n == 1:
		s.kept = v
	}
}

func (s *Sum) accumulate(x value.Num) {
	total, okTotal := value.Add(s.total, x)
	square, okSquare := value.Mul(x, x)
	squares, okSquares := value.Add(s.squares, square)
	s.total, s.squares = total, squares
	s.broken = s.broken || !okTotal || !okSquare || !okSquares
}

// Result is the aggregate's value.
func (s *Sum) Result(kind Kind) value.Value {
	switch {
	case kind <= Count:
		return value.Integer(s.n)
	case kind == Collect:
		return value.List(append([]value.Value{}, s.list...))
	case kind >= Least && kind != Deviation:
		return s.kept
	case s.n == 0 || s.broken:
		return value.Value{}
	case kind == Total:
		return s.total.Value()
	}
	n := value.IntNum(s.n)
	mean, ok := value.Quo(s.total.AsDecimal(), n)
	if kind == Average && ok {
		return mean.Value()
	}
	return s.stddev(mean, n, ok)
}

// stddev is the root of the mean of squares less the square of the mean.
func (s *Sum) stddev(mean, n value.Num, ok bool) value.Value {
	squares, okSquares := value.Quo(s.squares.AsDecimal(), n)
	square, okSquare := value.Mul(mean, mean)
	variance, okVariance := value.Sub(squares, square)
	if !ok || !okSquares || !okSquare || !okVariance {
		return value.Value{}
	}
	return library.FromFloat(math.Sqrt(max(0, variance.Float())))
}
