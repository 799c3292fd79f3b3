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
		s.accumulate(kind, x)
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

func (s *Sum) accumulate(kind Kind, x value.Num) {
	total, ok := value.Add(s.total, x)
	s.total, s.broken = total, s.broken || !ok
	if kind != Deviation {
		return
	}
	square, okSquare := value.Mul(x, x)
	squares, okSquares := value.Add(s.squares, square)
	s.squares, s.broken = squares, s.broken || !okSquare || !okSquares
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
	mean, ok := value.Quo(s.total.AsDecimal(), value.IntNum(s.n))
	switch {
	case !ok:
		return value.Value{}
	case kind == Average:
		return mean.Value()
	}
	return s.deviation(mean)
}

// deviation is the root of the mean of squares less the square of the mean.
func (s *Sum) deviation(mean value.Num) value.Value {
	squares, okSquares := value.Quo(s.squares.AsDecimal(), value.IntNum(s.n))
	square, okSquare := value.Mul(mean, mean)
	variance, ok := value.Sub(squares, square)
	if !okSquares || !okSquare || !ok {
		return value.Value{}
	}
	return library.FromFloat(math.Sqrt(max(0, variance.Float())))
}
