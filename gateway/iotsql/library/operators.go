package library

import (
	"strings"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Unaries are the operators of one operand, by their names in the syntax tree.
var Unaries = map[string]func(value.Value) value.Value{
	"NOT": func(v value.Value) value.Value {
		is, ok := v.Bool()
		if !ok {
			return value.Value{}
		}
		return value.Bool(!is)
	},
	"-": func(v value.Value) value.Value {
		n, ok := v.Number()
		if !ok {
			return value.Value{}
		}
		return n.Neg().Value()
	},
	"+": func(v value.Value) value.Value {
		n, ok := v.Number()
		if !ok {
			return value.Value{}
		}
		return n.Value()
	},
}

// Binaries are the operators of two operands, except AND and OR.
var Binaries = map[string]func(a, b value.Value) value.Value{
	"=":  func(a, b value.Value) value.Value { return equal(a, b, true) },
	"<>": func(a, b value.Value) value.Value { return equal(a, b, false) },
	"<":  func(a, b value.Value) value.Value { return Compare("<", a, b) },
	"<=": func(a, b value.Value) value.Value { return Compare("<=", a, b) },
	">":  func(a, b value.Value) value.Value { return Compare(">", a, b) },
	">=": func(a, b value.Value) value.Value { return Compare(">=", a, b) },
	"+":  plus,
	"-":  func(a, b value.Value) value.Value { return arithmetic(a, b, value.Sub) },
	"*":  func(a, b value.Value) value.Value { return arithmetic(a, b, value.Mul) },
	"/":  func(a, b value.Value) value.Value { return arithmetic(a, b, value.Quo) },
	"%":  remainder,
	"IN": contains,
	"LIKE": func(a, b value.Value) value.Value {
		text, okA := a.AsText()
		pattern, okB := b.AsText()
		if !okA || !okB {
			return value.Value{}
		}
		return value.Bool(Like(text, pattern))
	},
}

func remainder(a, b value.Value) value.Value { return arithmetic(a, b, value.Rem) }

func equal(a, b value.Value, want bool) value.Value {
	if a.IsUndefined() || b.IsUndefined() {
		return value.Value{}
	}
	return value.Bool(value.Equal(a, b) == want)
}

// Compare applies <, <=, > or >= to what converts to numbers.
func Compare(op string, a, b value.Value) value.Value {
	x, okX := a.Number()
	y, okY := b.Number()
	if !okX || !okY {
		return value.Value{}
	}
	order := value.Cmp(x, y)
	switch op {
	case "<":
		return value.Bool(order < 0)
	case "<=":
		return value.Bool(order <= 0)
	case ">":
		return value.Bool(order > 0)
	}
	return value.Bool(order >= 0)
}

func arithmetic(a, b value.Value, op func(a, b value.Num) (value.Num, bool)) value.Value {
	x, okX := a.Number()
	y, okY := b.Number()
	if !okX || !okY {
		return value.Value{}
	}
	n, ok := op(x, y)
	if !ok {
		return value.Value{}
	}
	return n.Value()
}

// plus adds numbers; with a String on either side it joins texts.
func plus(a, b value.Value) value.Value {
	if a.Kind() == value.String || b.Kind() == value.String {
		x, okX := a.AsText()
		y, okY := b.AsText()
		if !okX || !okY || len(x)+len(y) > textBytesLimit {
			return value.Value{}
		}
		return value.Text(x + y)
	}
	return arithmetic(a, b, value.Add)
}

func contains(a, list value.Value) value.Value {
	if a.IsUndefined() || list.Kind() != value.Array {
		return value.Value{}
	}
	for _, item := range list.Items() {
		if value.Equal(a, item) {
			return value.Bool(true)
		}
	}
	return value.Bool(false)
}

// ElementAt is get(of, index): an element, a character or a member.
func ElementAt(of, index value.Value) value.Value {
	switch of.Kind() {
	case value.Object:
		if index.Kind() != value.String {
			return value.Value{}
		}
		return of.Get(index.Str())
	case value.Array, value.String:
		i, ok := index.Index()
		if !ok || i < 0 {
			return value.Value{}
		}
		if of.Kind() == value.Array {
			return of.At(int(min(i, int64(of.Len()))))
		}
		return character(of.Str(), i)
	}
	return value.Value{}
}

func character(s string, i int64) value.Value {
	for _, r := range s {
		if i == 0 {
			return value.Text(string(r))
		}
		i--
	}
	return value.Value{}
}

// Like matches text against a pattern in which % is any run and _ one
// character. It goes back to the last % only, so it needs no more than
// len(text) × len(pattern) steps.
func Like(text, pattern string) bool {
	backText, backPattern := "", ""
	backing := false
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		p, width := utf8.DecodeRuneInString(pattern)
		switch {
		case strings.HasPrefix(pattern, "%"):
			pattern = pattern[1:]
			backText, backPattern, backing = text, pattern, true
		case pattern != "" && (p == '_' || p == r):
			text, pattern = text[size:], pattern[width:]
		case backing:
			_, size = utf8.DecodeRuneInString(backText)
			backText = backText[size:]
			text, pattern = backText, backPattern
		default:
			return false
		}
	}
	return strings.Trim(pattern, "%") == ""
}

// Casts convert to each type of CAST (rules.md section 3).
var Casts = map[string]func(v value.Value, modern bool) value.Value{
	"string": castText, "nvarchar": castText, "text": castText, "ntext": castText, "varchar": castText,
	"int": castInt, "integer": castInt,
	"decimal": castDecimal,
	"double": func(v value.Value, _ bool) value.Value {
		n, ok := castNumber(v)
		if !ok {
			return value.Value{}
		}
		return n.AsDecimal().Value()
	},
	"bool": castBool, "boolean": castBool,
}

func castText(v value.Value, _ bool) value.Value {
	s, ok := v.AsText()
	if !ok {
		return value.Value{}
	}
	return value.Text(s)
}

// castNumber is the standard conversion plus Boolean to 1 and 0.
func castNumber(v value.Value) (value.Num, bool) {
	if v.Kind() == value.Boolean {
		if v.IsTrue() {
			return value.IntNum(1), true
		}
		return value.IntNum(0), true
	}
	return v.Number()
}

func castInt(v value.Value, _ bool) value.Value {
	n, ok := castNumber(v)
	if !ok {
		return value.Value{}
	}
	return n.Floor().Value()
}

func castDecimal(v value.Value, modern bool) value.Value {
	n, ok := castNumber(v)
	switch {
	case !ok:
		return value.Value{}
	case v.Kind() == value.Decimal:
		return v
	case modern:
		n = n.Whole()
	}
	return n.Value()
}

func castBool(v value.Value, _ bool) value.Value {
	if n, ok := v.Num(); ok {
		return value.Bool(n.Sign() != 0)
	}
	is, ok := v.Bool()
	if !ok {
		return value.Value{}
	}
	return value.Bool(is)
}
