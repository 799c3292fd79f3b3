package library

import (
	"math"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iotsql/lettercase"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Functions are the functions of rules.md section 6 that depend on nothing but
// their arguments and need no preparation.
var Functions = map[string]Function{
	"abs":       number(value.Num.Abs),
	"ceil":      number(value.Num.Ceil),
	"floor":     number(value.Num.Floor),
	"round":     number(value.Num.Round),
	"sign":      number(func(n value.Num) value.Num { return value.IntNum(int64(n.Sign())) }),
	"trunc":     two(trunc),
	"mod":       two(remainder),
	"remainder": two(remainder),
	"sqrt":      float(math.Sqrt),
	"exp":       float(math.Exp),
	"ln":        float(math.Log),
	"log":       float(math.Log10),
	"sin":       float(math.Sin),
	"cos":       float(math.Cos),
	"tan":       float(math.Tan),
	"asin":      float(math.Asin),
	"acos":      float(math.Acos),
	"atan":      float(math.Atan),
	"sinh":      float(math.Sinh),
	"cosh":      float(math.Cosh),
	"tanh":      float(math.Tanh),
	"power":     float2(math.Pow),
	"atan2":     float2(math.Atan2),
	"bitand":    bitwise((*big.Int).And),
	"bitor":     bitwise((*big.Int).Or),
	"bitxor":    bitwise((*big.Int).Xor),
	"bitnot":    one(bitnot),
	"nanvl":     two(orDefault),

	"chr":        one(chr),
	"concat":     several(0, Many, concat),
	"startswith": text2(func(a, b string) value.Value { return value.Bool(strings.HasPrefix(a, b)) }),
	"endswith":   text2(func(a, b string) value.Value { return value.Bool(strings.HasSuffix(a, b)) }),
	"indexof":    since2016(text2(indexOf)),
	"length":     since2016(text(func(s string) value.Value { return value.Integer(int64(utf8.RuneCountInString(s))) })),
	"numbytes":   since2016(text(func(s string) value.Value { return value.Integer(int64(len(s))) })),
	"lower":      text(plain(lettercase.Lower)),
	"upper":      text(plain(lettercase.Upper)),
	"lpad":       two(func(s, n value.Value) value.Value { return pad(s, n, true) }),
	"rpad":       two(func(s, n value.Value) value.Value { return pad(s, n, false) }),
	"ltrim":      text(plain(func(s string) string { return strings.TrimLeft(s, " \t") })),
	"rtrim":      text(plain(func(s string) string { return strings.TrimRight(s, " \t") })),
	"trim":       text(plain(func(s string) string { return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' }) })),
	"replace":    several(3, 3, replace),
	"substring":  several(2, 3, substring),

	"md2":    text(plain(md2Hex)),
	"md5":    text(plain(md5Hex)),
	"sha1":   text(plain(sha1Hex)),
	"sha224": text(plain(sha224Hex)),
	"sha256": text(plain(sha256Hex)),
	"sha384": text(plain(sha384Hex)),
	"sha512": text(plain(sha512Hex)),
	"encode": since2016(two(encode)),

	"get":            two(ElementAt),
	"isnull":         one(func(v value.Value) value.Value { return value.Bool(v.Kind() == value.Null) }),
	"isundefined":    since2016(one(func(v value.Value) value.Value { return value.Bool(v.IsUndefined()) })),
	"get_or_default": since2016(two(orDefault)),
	"transform":      since2016(several(3, 3, transform)),
}

func trunc(v, places value.Value) value.Value {
	n, ok := v.Number()
	p, okPlaces := places.Num()
	if !ok || !okPlaces {
		return value.Value{}
	}
	return n.Cut(int(p.Clamp(0, 34))).Value()
}

func bitwise(op func(z, x, y *big.Int) *big.Int) Function {
	return two(func(a, b value.Value) value.Value {
		return arithmetic(a, b, func(x, y value.Num) (value.Num, bool) { return value.Bits(op, x, y) })
	})
}

func bitnot(v value.Value) value.Value {
	not := func(z, x, _ *big.Int) *big.Int { return z.Not(x) }
	return arithmetic(v, v, func(x, y value.Num) (value.Num, bool) { return value.Bits(not, x, y) })
}

// orDefault is a unless that is Null or Undefined.
func orDefault(a, b value.Value) value.Value {
	if a.Kind() <= value.Null {
		return b
	}
	return a
}

func chr(v value.Value) value.Value {
	n, ok := v.Number()
	if !ok {
		return value.Value{}
	}
	code := n.Clamp(-1, 128)
	if code < 0 || code > 127 {
		return value.Value{}
	}
	return value.Text(string(rune(code)))
}

func concat(args []value.Value) value.Value {
	if len(args) == 0 {
		return value.Value{}
	}
	if len(args) == 1 {
		return args[0]
	}
	texts, arrays := 0, 0
	for _, v := range args {
		switch v.Kind() {
		case value.String:
			texts++
		case value.Array:
			arrays++
		case value.Undefined:
			return v
		}
	}
	switch {
	case arrays > 0:
		return concatArrays(args)
	case texts == 0:
		return value.Value{}
	}
	return concatTexts(args)
}

func concatArrays(args []value.Value) value.Value {
	var items []value.Value
	for _, v := range args {
		if len(items)+v.Len() > itemsLimit {
			return value.Value{}
		}
		if v.Kind() == value.Array {
			items = append(items, v.Items()...)
			continue
		}
		items = append(items, v)
	}
	return value.List(items)
}

func concatTexts(args []value.Value) value.Value {
	var b strings.Builder
	for _, v := range args {
		s, ok := v.AsText()
		if !ok || b.Len()+len(s) > textBytesLimit {
			return value.Value{}
		}
		b.WriteString(s)
	}
	return value.Text(b.String())
}

func indexOf(s, part string) value.Value {
	i := strings.Index(s, part)
	if i > 0 {
		i = utf8.RuneCountInString(s[:i])
	}
	return value.Integer(int64(i))
}

// padMax is the greatest number of spaces that lpad and rpad add.
const padMax = 1000

func pad(v, count value.Value, left bool) value.Value {
	s, okText := v.AsText()
	n, ok := count.Number()
	if !okText || !ok {
		return value.Value{}
	}
	spaces := strings.Repeat(" ", int(n.Clamp(0, padMax)))
	if left {
		return value.Text(spaces + s)
	}
	return value.Text(s + spaces)
}

// textBytesLimit and itemsLimit bound texts and arrays that grow from a
// message; beyond them the result is Undefined.
const (
	textBytesLimit = 1 << 20
	itemsLimit     = 100_000
)

func replace(args []value.Value) value.Value {
	s, ok := args[0].AsText()
	search, okSearch := args[1].AsText()
	with, okWith := args[2].AsText()
	if !ok || !okSearch || !okWith {
		return value.Value{}
	}
	if search == "" {
		return value.Text(s)
	}
	if grown := strings.Count(s, search)*(len(with)-len(search)) + len(s); grown > textBytesLimit && grown > len(s) {
		return value.Value{}
	}
	return value.Text(strings.ReplaceAll(s, search, with))
}

func substring(args []value.Value) value.Value {
	s, ok := args[0].AsText()
	from, okFrom := args[1].Number()
	if !ok || !okFrom {
		return value.Value{}
	}
	length := int64(utf8.RuneCountInString(s))
	start, end := from.Clamp(0, length), length
	if len(args) == 3 {
		to, okTo := args[2].Number()
		if !okTo {
			return value.Value{}
		}
		end = to.Clamp(0, length)
	}
	if start >= end {
		return value.Text("")
	}
	i := byteOf(s, start)
	return value.Text(s[i : i+byteOf(s[i:], end-start)])
}

// byteOf is where the n-th code point of s begins.
func byteOf(s string, n int64) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// enrichedBytesMax is AWS's limit for the result of transform.
const enrichedBytesMax = 128 << 10

func transform(args []value.Value) value.Value {
	object, list := args[1], args[2]
	if args[0].Str() != "enrichArray" || object.Kind() != value.Object || list.Kind() != value.Array {
		return value.Value{}
	}
	items := make([]value.Value, 0, list.Len())
	size := 2
	for _, item := range list.Items() {
		if item.Kind() != value.Object {
			return value.Value{}
		}
		b := value.NewBuilder(item.Len() + object.Len())
		b.SetAll(item)
		b.SetAll(object)
		items = append(items, b.Value())
		if size += len(value.AppendJSON(nil, items[len(items)-1])) + 1; size > enrichedBytesMax {
			return value.Value{}
		}
	}
	return value.List(items)
}
