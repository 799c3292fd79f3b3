// Package library holds the operators, casts and functions of rule SQL that
// depend on nothing but their operands (rules.md sections 3, 4 and 6).
//
// What does not fit gives Undefined, never an error. Results that can grow
// beyond their operands are bounded (texts 1 MiB, arrays 100 000 elements,
// padding 1000, transform 128 KiB). Pure: nothing blocks, nothing is kept.
package library

import "github.com/tidehold/tidehold/gateway/iotsql/value"

// Many is the greatest argument count of a function without one.
const Many = 1 << 20

// Function is an entry of the library. Called with another number of arguments
// it is Undefined.
type Function struct {
	Least, Most int
	Since2016   bool // unknown to 2015-10-08
	Run         func(args []value.Value) value.Value
}

// one, two and several give entries for functions of values.
func one(f func(value.Value) value.Value) Function {
	return Function{Least: 1, Most: 1, Run: func(args []value.Value) value.Value { return f(args[0]) }}
}

func two(f func(a, b value.Value) value.Value) Function {
	return Function{Least: 2, Most: 2, Run: func(args []value.Value) value.Value { return f(args[0], args[1]) }}
}

func several(least, most int, f func([]value.Value) value.Value) Function {
	return Function{Least: least, Most: most, Run: func(args []value.Value) value.Value { return f(args) }}
}

// since2016 marks f as unknown to 2015-10-08.
func since2016(f Function) Function {
	f.Since2016 = true
	return f
}

// number gives an entry for a function of one number.
func number(f func(value.Num) value.Num) Function {
	return one(func(v value.Value) value.Value {
		n, ok := v.Number()
		if !ok {
			return value.Value{}
		}
		return f(n).Value()
	})
}

// float gives an entry for a function of one double.
func float(f func(float64) float64) Function {
	return one(func(v value.Value) value.Value {
		n, ok := v.Number()
		if !ok {
			return value.Value{}
		}
		return FromFloat(f(n.Float()))
	})
}

func float2(f func(a, b float64) float64) Function {
	return two(func(a, b value.Value) value.Value {
		x, okX := a.Number()
		y, okY := b.Number()
		if !okX || !okY {
			return value.Value{}
		}
		return FromFloat(f(x.Float(), y.Float()))
	})
}

// FromFloat is the shortest Decimal that reads back as f; Undefined for NaN and
// infinities.
func FromFloat(f float64) value.Value {
	n, ok := value.FromFloat(f)
	if !ok {
		return value.Value{}
	}
	return n.Value()
}

// text gives an entry for a function of one text.
func text(f func(string) value.Value) Function {
	return one(func(v value.Value) value.Value {
		s, ok := v.AsText()
		if !ok {
			return value.Value{}
		}
		return f(s)
	})
}

func text2(f func(a, b string) value.Value) Function {
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
