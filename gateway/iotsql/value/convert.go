package value

import "strings"

// Number is v converted to a number: Ints and Decimals themselves, a String of
// the right form as a Decimal; false for everything else.
func (v Value) Number() (Num, bool) {
	if v.kind == String {
		return parseDecimalText(v.text)
	}
	return v.Num()
}

// Index is v converted to an Int by the standard conversion: a Decimal to the
// nearest whole number, a String cut off (rules.md section 3).
func (v Value) Index() (int64, bool) {
	n, ok := v.Number()
	if !ok {
		return 0, false
	}
	if v.kind == String {
		n = n.Truncate()
	}
	return n.Round().Int64()
}

// Bool is v converted to a Boolean: Booleans, and the Strings true and false
// in any case.
func (v Value) Bool() (is, ok bool) {
	switch v.kind {
	case Boolean:
		return v.small != 0, true
	case String:
		if strings.EqualFold(v.text, "true") {
			return true, true
		}
		return false, strings.EqualFold(v.text, "false")
	}
	return false, false
}

// AsText converts v to text by the standard conversion; false for Null and
// Undefined. Arrays and Objects give compact JSON.
func (v Value) AsText() (string, bool) {
	switch v.kind {
	case String:
		return v.text, true
	case Boolean:
		if v.small != 0 {
			return "true", true
		}
		return "false", true
	case Int, Decimal:
		if v.bad {
			return v.text, true
		}
		n, _ := v.Num()
		return n.String(), true
	case Array, Object:
		return string(AppendJSON(nil, v)), true
	}
	return "", false
}

// Equal compares by value: 1 equals 1.0, objects ignore the order of their
// keys, different types are never equal. Undefined equals nothing.
func Equal(a, b Value) bool {
	if a.IsNumber() && b.IsNumber() {
		x, okX := a.Num()
		y, okY := b.Num()
		if okX && okY {
			return Cmp(x, y) == 0
		}
		return okX == okY && a.text == b.text
	}
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case Null:
		return true
	case Boolean:
		return a.small == b.small
	case String:
		return a.text == b.text
	case Array, Object:
		return equalCollections(a, b)
	}
	return false
}

func equalCollections(a, b Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	for i, item := range a.coll.items {
		other := b.At(i)
		if a.kind == Object {
			other = b.Get(a.coll.keys[i])
		}
		if !Equal(item, other) {
			return false
		}
	}
	return true
}
