package value

import (
	"cmp"
	"math"
	"math/big"
	"math/bits"
)

// The operations below are exact, rounded once to 34 digits; false means that
// there is no result in range.

// Neg is -n.
func (n Num) Neg() Num {
	switch {
	case n.big != nil:
		return shrink(new(big.Int).Neg(n.big), int(n.exp), n.decimal)
	case n.small == math.MinInt64:
		return shrink(new(big.Int).Neg(big.NewInt(n.small)), int(n.exp), n.decimal)
	}
	n.small = -n.small
	return n
}

// Abs is |n|.
func (n Num) Abs() Num {
	if n.Sign() < 0 {
		return n.Neg()
	}
	return n
}

// scaled is the coefficient of n at the lower exponent exp, if it fits.
func (n Num) scaled(exp int32) (int64, bool) {
	if n.big != nil {
		return 0, false
	}
	drop := n.exp - exp
	if drop == 0 {
		return n.small, true
	}
	if int(drop) >= len(tens) {
		return 0, n.small == 0
	}
	return mul64(n.small, tens[drop])
}

func mul64(a, b int64) (int64, bool) {
	if a == math.MinInt64 || b == math.MinInt64 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(max(a, -a)), uint64(max(b, -b)))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	if (a < 0) != (b < 0) {
		return -int64(lo), true
	}
	return int64(lo), true
}

func (n Num) bigScaled(exp int32) *big.Int {
	if n.exp == exp {
		return n.coefficient()
	}
	return new(big.Int).Mul(n.coefficient(), power10(int(n.exp-exp)))
}

// Add is a + b.
func Add(a, b Num) (Num, bool) {
	exp, decimal := min(a.exp, b.exp), a.decimal || b.decimal
	x, okX := a.scaled(exp)
	y, okY := b.scaled(exp)
	if sum := x + y; okX && okY && (x^sum)&(y^sum) >= 0 {
		return bound(Num{small: sum, exp: exp, decimal: decimal})
	}
	return fit(new(big.Int).Add(a.bigScaled(exp), b.bigScaled(exp)), int(exp), decimal)
}

// Sub is a - b.
func Sub(a, b Num) (Num, bool) { return Add(a, b.Neg()) }

// Mul is a × b.
func Mul(a, b Num) (Num, bool) {
	exp, decimal := a.exp+b.exp, a.decimal || b.decimal
	if a.big == nil && b.big == nil {
		if product, ok := mul64(a.small, b.small); ok {
			return bound(Num{small: product, exp: exp, decimal: decimal})
		}
	}
	return fit(new(big.Int).Mul(a.coefficient(), b.coefficient()), int(exp), decimal)
}

// Quo is a ÷ b: of two Ints the Int truncated toward zero, otherwise a Decimal.
// There is none for b = 0.
func Quo(a, b Num) (Num, bool) {
	if b.Sign() == 0 {
		return Num{}, false
	}
	if !a.decimal && !b.decimal {
		if a.big == nil && b.big == nil && b.small != -1 {
			return Num{small: a.small / b.small}, true
		}
		return fit(new(big.Int).Quo(a.coefficient(), b.coefficient()), 0, false)
	}
	return divide(a, b)
}

// divide works with enough digits for one rounding; what remains beyond them
// is kept as a last digit 1. An exact result loses trailing zeros down to the
// exponent that the operands suggest (General Decimal Arithmetic).
func divide(a, b Num) (Num, bool) {
	ideal := int(a.exp) - int(b.exp)
	if a.Sign() == 0 {
		return bound(Num{exp: int32(ideal), decimal: true})
	}
	if n, ok := divideSmall(a, b, ideal); ok {
		return n, true
	}
	shift := max(0, digitsMax+2+b.digits()-a.digits())
	quotient, rest := new(big.Int).QuoRem(
		new(big.Int).Mul(a.coefficient(), power10(shift)), b.coefficient(), new(big.Int))
	exp := ideal - shift
	if rest.Sign() != 0 {
		sign := int64(a.Sign() * b.Sign())
		quotient.Mul(quotient, bigTen).Add(quotient, big.NewInt(sign))
		return fit(quotient, exp-1, true)
	}
	for digit := new(big.Int); exp < ideal; exp++ {
		next, last := new(big.Int).QuoRem(quotient, bigTen, digit)
		if last.Sign() != 0 {
			break
		}
		quotient = next
	}
	return fit(quotient, exp, true)
}

// divideSmall finds quotients that need no more than a few further digits.
func divideSmall(a, b Num, ideal int) (Num, bool) {
	if a.big != nil || b.big != nil || b.small == -1 {
		return Num{}, false
	}
	x, exp := a.small, ideal
	for range 8 {
		if x%b.small == 0 {
			return bound(Num{small: x / b.small, exp: int32(exp), decimal: true})
		}
		if x > math.MaxInt64/10 || x < math.MinInt64/10 {
			break
		}
		x, exp = x*10, exp-1
	}
	return Num{}, false
}

// Rem is what a ÷ b, truncated to a whole number, leaves; it has a's sign.
// There is none for b = 0.
func Rem(a, b Num) (Num, bool) {
	if b.Sign() == 0 {
		return Num{}, false
	}
	exp, decimal := min(a.exp, b.exp), a.decimal || b.decimal
	x, okX := a.scaled(exp)
	y, okY := b.scaled(exp)
	switch {
	case okX && okY && y == -1:
		return bound(Num{exp: exp, decimal: decimal})
	case okX && okY:
		return bound(Num{small: x % y, exp: exp, decimal: decimal})
	}
	return fit(new(big.Int).Rem(a.bigScaled(exp), b.bigScaled(exp)), int(exp), decimal)
}

// Cmp is -1, 0 or 1 as a is below, at or above b. It is exact.
func Cmp(a, b Num) int {
	if order := cmp.Compare(a.Sign(), b.Sign()); order != 0 || a.Sign() == 0 {
		return order
	}
	exp := min(a.exp, b.exp)
	x, okX := a.scaled(exp)
	y, okY := b.scaled(exp)
	if okX && okY {
		return cmp.Compare(x, y)
	}
	if order := cmp.Compare(int(a.exp)+a.digits(), int(b.exp)+b.digits()); order != 0 {
		return order * a.Sign()
	}
	return a.bigScaled(exp).Cmp(b.bigScaled(exp))
}

// rounding says which whole number stands for a fraction.
type rounding int

const (
	truncate rounding = iota
	floor
	ceiling
	halfAway
)

// Floor is the greatest whole number not above n.
func (n Num) Floor() Num { whole, _ := n.integer(floor); return whole }

// Ceil is the least whole number not below n.
func (n Num) Ceil() Num { whole, _ := n.integer(ceiling); return whole }

// Round is the nearest whole number, halves away from zero.
func (n Num) Round() Num { whole, _ := n.integer(halfAway); return whole }

// Truncate is n without its fraction.
func (n Num) Truncate() Num { whole, _ := n.integer(truncate); return whole }

// integer makes n whole and reports whether that changed nothing. A whole
// number of more than 34 digits stays a Decimal.
func (n Num) integer(mode rounding) (Num, bool) {
	if n.exp >= 0 {
		if n.decimal {
			return n.Whole(), true
		}
		return n, true
	}
	if n.big == nil && int(-n.exp) < len(tens) {
		unit := tens[-n.exp]
		quotient, rest := n.small/unit, n.small%unit
		return IntNum(quotient + carry(mode, n.Sign(), rest != 0, halfOf(rest, unit))), rest == 0
	}
	unit := power10(int(-n.exp))
	quotient, rest := new(big.Int).QuoRem(n.coefficient(), unit, new(big.Int))
	twice := new(big.Int).Abs(rest)
	half := twice.Lsh(twice, 1).Cmp(unit) >= 0
	up := carry(mode, n.Sign(), rest.Sign() != 0, half)
	return shrink(quotient.Add(quotient, big.NewInt(up)), 0, false), rest.Sign() == 0
}

func halfOf(rest, unit int64) bool { return max(rest, -rest) >= unit-max(rest, -rest) }

// carry is what must be added to the truncated number.
func carry(mode rounding, sign int, fraction, half bool) int64 {
	switch {
	case !fraction:
		return 0
	case mode == floor && sign < 0:
		return -1
	case mode == ceiling && sign > 0:
		return 1
	case mode == halfAway && half:
		return int64(sign)
	}
	return 0
}

// Cut is n cut toward zero to places digits behind the point, trailing zeros
// stripped; what is whole then is an Int.
func (n Num) Cut(places int) Num {
	if !n.decimal {
		return n
	}
	if int(-n.exp) > places {
		shifted := n
		shifted.exp += int32(places)
		whole := shifted.Truncate()
		n = Num{big: whole.big, small: whole.small, exp: whole.exp - int32(places), decimal: true}
	}
	return n.strip().Whole()
}

func (n Num) strip() Num {
	if n.Sign() == 0 {
		return Num{}
	}
	c, digit := n.coefficient(), new(big.Int)
	for n.exp < 0 {
		next, last := new(big.Int).QuoRem(c, bigTen, digit)
		if last.Sign() != 0 {
			break
		}
		c = next
		n.exp++
	}
	return shrink(c, int(n.exp), true)
}

// Bits applies op to the floors of a and b in two's complement of unlimited
// width. A floor of more than 34 digits has none.
func Bits(op func(z, x, y *big.Int) *big.Int, a, b Num) (Num, bool) {
	x, y := a.Floor(), b.Floor()
	if x.decimal || y.decimal {
		return Num{}, false
	}
	return fit(op(new(big.Int), x.coefficient(), y.coefficient()), 0, false)
}
