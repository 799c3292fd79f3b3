package value

import (
	"math/big"
	"strconv"
)

// Number reads the text of a JSON number or an SQL literal, which the caller
// has checked for its form. With whole, a number without fraction is an Int
// however it is written (2016-03-23). keep makes the Value write the text as
// it came. A number out of range is Undefined, or with keep one that has
// nothing but its text.
func Number(text string, whole, keep bool) Value {
	n, ok := parseNum(text)
	if !ok {
		if !keep {
			return Value{}
		}
		return Value{kind: Decimal, bad: true, text: text}
	}
	if whole {
		n = n.Whole()
	}
	v := n.Value()
	if keep {
		v.text = text
	}
	return v
}

// parseDecimalText reads s by rules.md section 3: -?digits[.digits][e[-]digits], ASCII
// digits, nothing trimmed. The result is a Decimal.
func parseDecimalText(s string) (Num, bool) {
	if !isDecimalText(s) {
		return Num{}, false
	}
	n, ok := parseNum(s)
	return n.AsDecimal(), ok
}

func isDecimalText(s string) bool {
	i := 0
	if i < len(s) && s[i] == '-' {
		i++
	}
	next := skipDigits(s, i)
	if next == i {
		return false
	}
	i = next
	if i < len(s) && s[i] == '.' {
		if next = skipDigits(s, i+1); next == i+1 {
			return false
		}
		i = next
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && s[i] == '-' {
			i++
		}
		if next = skipDigits(s, i); next == i {
			return false
		}
		i = next
	}
	return i == len(s)
}

func skipDigits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// parseNum reads a number whose form is right. It keeps 34 digits and what is
// needed to round them, however long the text is.
func parseNum(s string) (Num, bool) {
	i, negative := 0, false
	if s[0] == '-' {
		i, negative = 1, true
	}
	if n, ok := parseSmall(s[i:], negative); ok {
		return n, true
	}
	var room [digitsMax + 2]byte
	kept, exp, rest, decimal := room[:0], 0, false, false
	point := false
	for ; i < len(s) && s[i] != 'e' && s[i] != 'E'; i++ {
		if s[i] == '.' {
			point, decimal = true, true
			continue
		}
		switch {
		case len(kept) == 0 && s[i] == '0': // leading zeros do not count
			if point {
				exp--
			}
			continue
		case len(kept) < digitsMax+1:
			kept = append(kept, s[i])
			if point {
				exp--
			}
		default:
			rest = rest || s[i] != '0'
			if !point {
				exp++
			}
		}
	}
	if i < len(s) {
		decimal = true
		exp += exponent(s[i+1:])
	}
	if len(kept) == 0 {
		return bound(Num{exp: int32(exp), decimal: decimal})
	}
	if rest { // a digit beyond the half decides the rounding
		kept = append(kept, '1')
		exp--
	}
	coefficient, _ := new(big.Int).SetString(string(kept), 10)
	if negative {
		coefficient.Neg(coefficient)
	}
	return fit(coefficient, exp, decimal)
}

// Plain reads a number of up to 18 digits without an exponent, false for every
// other text. Whoever needs to know whether JSON allows the form asks Parse.
func Plain(s string) (Num, bool) {
	digits := s
	if s != "" && s[0] == '-' {
		digits = s[1:]
	}
	if digits == "" || digits[0] < '0' || digits[0] > '9' {
		return Num{}, false
	}
	return parseSmall(digits, len(digits) < len(s))
}

// parseSmall reads up to 18 digits with an optional point.
func parseSmall(s string, negative bool) (Num, bool) {
	if len(s) > 19 {
		return Num{}, false
	}
	n, point := Num{}, -1
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			if i == 18 && point < 0 {
				return Num{}, false
			}
			n.small = n.small*10 + int64(c-'0')
		case c == '.' && point < 0:
			point = i
		default:
			return Num{}, false
		}
	}
	if point >= 0 {
		n.decimal = true
		n.exp = int32(point + 1 - len(s))
	}
	if negative {
		n.small = -n.small
	}
	return n, true
}

// exponent reads [+-]digits, held within what can matter.
func exponent(s string) int {
	const far = 1 << 29
	n, err := strconv.Atoi(s)
	if err != nil && s[0] == '-' {
		return -far
	}
	if err != nil {
		return far
	}
	return max(-far, min(far, n))
}
