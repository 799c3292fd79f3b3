package value

import (
	"math"
	"math/big"
	"strconv"
)

// digitsMax is the precision of all numbers; exponentMax bounds the exponent
// of the first digit (rules.md section 3).
const (
	digitsMax   = 34
	exponentMax = 999
)

// tens are the powers of ten that fit an int64.
var tens = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// bigTen and bigOne are constants that nobody changes.
var (
	bigOne = big.NewInt(1)
	bigTen = big.NewInt(10)
)

// Num is an exact number: coefficient × 10^exponent. A Num that is no Decimal
// has exponent 0. The zero Num is the Int 0.
type Num struct {
	big     *big.Int // the coefficient when it does not fit small
	small   int64
	exp     int32
	decimal bool
}

// Num is the number v holds; false when v is none or out of range.
func (v Value) Num() (Num, bool) {
	if !v.IsNumber() || v.bad {
		return Num{}, false
	}
	return Num{big: v.big, small: v.small, exp: v.exp, decimal: v.kind == Decimal}, true
}

// IntNum makes an Int.
func IntNum(n int64) Num { return Num{small: n} }

// Value is n as a Value, written in its standard form.
func (n Num) Value() Value {
	kind := Int
	if n.decimal {
		kind = Decimal
	}
	return Value{kind: kind, big: n.big, small: n.small, exp: n.exp}
}

// IsDecimal reports whether n is a Decimal.
func (n Num) IsDecimal() bool { return n.decimal }

// AsDecimal is n as a Decimal, also when it is whole.
func (n Num) AsDecimal() Num {
	n.decimal = true
	return n
}

// Sign is -1, 0 or 1.
func (n Num) Sign() int {
	if n.big != nil {
		return n.big.Sign()
	}
	switch {
	case n.small < 0:
		return -1
	case n.small > 0:
		return 1
	}
	return 0
}

// coefficient is the coefficient as a big number that must not be changed.
func (n Num) coefficient() *big.Int {
	if n.big != nil {
		return n.big
	}
	return big.NewInt(n.small)
}

// digits is the number of decimal digits of the coefficient, 1 for zero.
func (n Num) digits() int {
	if n.big != nil {
		return bigDigits(n.big)
	}
	abs := uint64(n.small)
	if n.small < 0 {
		abs = -abs
	}
	count := 1
	for count < len(tens) && abs >= uint64(tens[count]) {
		count++
	}
	if abs >= 1e19 {
		return 20
	}
	if count == len(tens) && abs >= 1e18 {
		return 19
	}
	return count
}

func bigDigits(b *big.Int) int {
	if b.Sign() == 0 {
		return 1
	}
	// log10(2) bounds the count from below by at most one.
	count := int(float64(b.BitLen()-1)*math.Log10(2)) + 1
	if b.CmpAbs(power10(count)) >= 0 {
		count++
	}
	return count
}

// power10 is 10^n, n ≥ 0.
func power10(n int) *big.Int {
	if n < len(tens) {
		return big.NewInt(tens[n])
	}
	return new(big.Int).Exp(bigTen, big.NewInt(int64(n)), nil)
}

// fit rounds coefficient × 10^exp to the precision and the range of numbers.
// It may change coefficient. False means that it does not fit.
func fit(coefficient *big.Int, exp int, decimal bool) (Num, bool) {
	for over := bigDigits(coefficient) - digitsMax; over > 0; over = bigDigits(coefficient) - digitsMax {
		coefficient = roundOff(coefficient, over)
		exp += over
	}
	return bound(shrink(coefficient, exp, decimal))
}

func shrink(coefficient *big.Int, exp int, decimal bool) Num {
	n := Num{exp: int32(exp), decimal: decimal || exp != 0}
	if coefficient.IsInt64() {
		n.small = coefficient.Int64()
		return n
	}
	n.big = coefficient
	return n
}

// roundOff divides c by 10^drop, half to even.
func roundOff(c *big.Int, drop int) *big.Int {
	unit := power10(drop)
	quotient, rest := new(big.Int).QuoRem(c, unit, new(big.Int))
	rest.Abs(rest).Lsh(rest, 1)
	half := rest.Cmp(unit)
	if half > 0 || half == 0 && quotient.Bit(0) == 1 {
		if c.Sign() < 0 {
			return quotient.Sub(quotient, bigOne)
		}
		return quotient.Add(quotient, bigOne)
	}
	return quotient
}

// bound refuses what is too large and makes zero of what is too small.
func bound(n Num) (Num, bool) {
	if n.exp == 0 {
		return n, true
	}
	if n.Sign() == 0 {
		n.exp = max(min(n.exp, exponentMax), -exponentMax)
		return n, true
	}
	adjusted := int(n.exp) + n.digits() - 1
	if adjusted > exponentMax {
		return Num{}, false
	}
	if adjusted < -exponentMax {
		return Num{exp: -exponentMax, decimal: true}, true
	}
	return n, true
}

// Whole turns a Decimal without fraction into the Int of the same value, when
// that has at most 34 digits; other numbers stay.
func (n Num) Whole() Num {
	if !n.decimal {
		return n
	}
	if n.Sign() == 0 {
		return Num{}
	}
	switch {
	case n.exp == 0:
		n.decimal = false
		return n
	case n.exp > 0:
		if n.digits()+int(n.exp) > digitsMax {
			return n
		}
		return shrink(new(big.Int).Mul(n.coefficient(), power10(int(n.exp))), 0, false)
	}
	if whole, exact := n.integer(truncate); exact {
		return whole
	}
	return n
}

// String is the standard text: plain digits, or scientific notation outside
// the range the General Decimal Arithmetic names for it.
func (n Num) String() string { return string(n.append(nil)) }

func (n Num) append(dst []byte) []byte {
	if n.exp == 0 && n.big == nil {
		return strconv.AppendInt(dst, n.small, 10)
	}
	var room [48]byte
	digits := n.appendDigits(room[:0])
	if n.Sign() < 0 {
		dst = append(dst, '-')
	}
	adjusted := int(n.exp) + len(digits) - 1
	if n.exp <= 0 && adjusted >= -6 {
		return appendPlain(dst, digits, int(-n.exp))
	}
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(append(dst, '.'), digits[1:]...)
	}
	dst = append(dst, 'E')
	if adjusted >= 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(adjusted), 10)
}

func (n Num) appendDigits(dst []byte) []byte {
	if n.big != nil {
		dst = n.big.Append(dst, 10)
	} else {
		dst = strconv.AppendInt(dst, n.small, 10)
	}
	if dst[0] == '-' {
		return dst[1:]
	}
	return dst
}

// appendPlain writes digits with the last scale of them behind the point.
func appendPlain(dst, digits []byte, scale int) []byte {
	if scale == 0 {
		return append(dst, digits...)
	}
	if len(digits) <= scale {
		dst = append(dst, '0', '.')
		for range scale - len(digits) {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	point := len(digits) - scale
	dst = append(dst, digits[:point]...)
	return append(append(dst, '.'), digits[point:]...)
}

// Float is the nearest double.
func (n Num) Float() float64 {
	if n.big == nil && n.exp == 0 {
		return float64(n.small)
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		return f // ±Inf, which no function of ours lets through
	}
	return f
}

// FromFloat is the shortest Decimal that reads back as f; NaN and infinities
// are none.
func FromFloat(f float64) (Num, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Num{}, false
	}
	var room [32]byte
	n, ok := parseNum(string(strconv.AppendFloat(room[:0], f, 'e', -1, 64)))
	if ok && n.exp > 0 {
		whole := n.Whole()
		return whole.AsDecimal(), true
	}
	return n.AsDecimal(), ok
}

// Clamp is the floor of n as an int, held within lo and hi.
func (n Num) Clamp(lo, hi int64) int64 {
	whole := n.Floor()
	if whole.exp > 0 || whole.big != nil {
		if whole.Sign() < 0 {
			return lo
		}
		return hi
	}
	return max(lo, min(hi, whole.small))
}

// Int64 is n when it is a whole number of 64 bits.
func (n Num) Int64() (int64, bool) {
	whole := n.Whole()
	if whole.decimal || whole.big != nil {
		return 0, false
	}
	return whole.small, true
}
