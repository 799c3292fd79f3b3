package doc

import (
	"math/big"
	"strings"
)

// decimal is a number taken apart: 0.DIGITS times ten to the exponent. Digits
// have neither leading nor trailing zeros; zero has none at all.
type decimal struct {
	negative bool
	digits   string
	exponent int64
	// far is the exponent when it does not fit: nobody computes with it, but
	// two numbers still compare exactly.
	far *big.Int
}

// exponentDigitsMax is how many digits of an exponent surely fit in an int64
// together with the shift by the length of a literal.
const exponentDigitsMax = 17

// equalNumbers compares two JSON number literals by value, without rounding
// and in time that grows with their length, not with their exponents.
func equalNumbers(a, b string) bool {
	if a == b {
		return true
	}
	if isInteger(a) && isInteger(b) {
		return strings.TrimPrefix(a, "-") == "0" && strings.TrimPrefix(b, "-") == "0"
	}
	x, y := takeApart(a), takeApart(b)
	if x.digits != y.digits {
		return false
	}
	if x.digits == "" {
		return true
	}
	return x.negative == y.negative && sameExponent(x, y)
}

func sameExponent(x, y decimal) bool {
	if x.far == nil && y.far == nil {
		return x.exponent == y.exponent
	}
	return x.wide().Cmp(y.wide()) == 0
}

func (d decimal) wide() *big.Int {
	if d.far != nil {
		return d.far
	}
	return big.NewInt(d.exponent)
}

// isInteger reports whether a literal has neither fraction nor exponent; such
// literals have one form for each value but zero.
func isInteger(s string) bool { return !strings.ContainsAny(s, ".eE") }

func takeApart(s string) decimal {
	var d decimal
	s, d.negative = strings.CutPrefix(s, "-")
	mantissa, exponent, hasExponent := s, "", false
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent, hasExponent = s[:i], s[i+1:], true
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	whole = strings.TrimLeft(whole, "0")
	shift := int64(len(whole))
	if whole == "" {
		kept := strings.TrimLeft(fraction, "0")
		shift = -int64(len(fraction) - len(kept))
		fraction = kept
	}
	d.digits = strings.TrimRight(whole+fraction, "0")
	if d.digits == "" {
		return decimal{}
	}
	d.exponent = shift
	if hasExponent {
		d.raise(exponent)
	}
	return d
}

// raise adds the exponent's text to d.
func (d *decimal) raise(text string) {
	negative := text[0] == '-'
	text = strings.TrimLeft(strings.TrimLeft(text, "+-"), "0")
	if len(text) > exponentDigitsMax {
		d.far, _ = new(big.Int).SetString(text, 10)
		if negative {
			d.far.Neg(d.far)
		}
		d.far.Add(d.far, big.NewInt(d.exponent))
		return
	}
	n := int64(0)
	for _, c := range []byte(text) {
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	d.exponent += n
}
