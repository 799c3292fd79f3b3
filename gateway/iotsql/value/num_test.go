package value

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
)

func num(t testing.TB, s string) Num {
	t.Helper()
	n, ok := parseNum(s)
	if !ok {
		t.Fatalf("parseNum(%q) is out of range", s)
	}
	return n
}

func TestNum_TextIsScientificOnlyWhereTheDecimalRuleSaysSo(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "10": "10", "1.50": "1.50", "-2.50": "-2.50", "1e3": "1E+3", "1E-6": "0.000001",
		"0.00000015": "1.5E-7", "1.5e-7": "1.5E-7", "123456789012345678901234567890": "123456789012345678901234567890",
		"1234567890123456789012345678901234567": "1.234567890123456789012345678901235E+36",
		"0.1000":                                "0.1000", "12.5e2": "1.25E+3", "1e999": "1E+999", "1e-999": "1E-999", "0.0": "0.0",
		"9223372036854775808": "9223372036854775808", "-9223372036854775808": "-9223372036854775808",
		strings.Repeat("9", 35):                    "1.000000000000000000000000000000000E+35",
		"0." + strings.Repeat("0", 40) + "5":       "5E-41",
		"1" + strings.Repeat("0", 33) + "5":        "1.000000000000000000000000000000000E+34",
		"1" + strings.Repeat("0", 33) + "50000001": "1.000000000000000000000000000000001E+41",
	} {
		if got := num(t, in).String(); got != want {
			t.Errorf("%s reads as %s, want %s", in, got, want)
		}
	}
}

func TestNum_OutOfRangeHasNoNumber(t *testing.T) {
	for _, s := range []string{"1e1000", "-1e1000", "9e99999999999999999999", strings.Repeat("9", 1001)} {
		if n, ok := parseNum(s); ok {
			t.Errorf("%.20s… reads as %s, want nothing", s, n)
		}
	}
	for _, s := range []string{"1e-1000", "1e-99999999999999999999", "0e5000"} {
		if n := num(t, s); n.Sign() != 0 {
			t.Errorf("%s reads as %s, want zero", s, n)
		}
	}
	big := num(t, "9e999")
	if n, ok := Add(big, big); ok {
		t.Errorf("9e999 + 9e999 = %s, want nothing", n)
	}
	if n, ok := Mul(big, big); ok {
		t.Errorf("9e999 * 9e999 = %s, want nothing", n)
	}
}

func TestNumber_WholeNumbersAreIntsOnlyWhenAsked(t *testing.T) {
	for _, c := range []struct {
		text  string
		whole bool
		kind  Kind
		want  string
	}{
		{"10.0", true, Int, "10"}, {"10.0", false, Decimal, "10.0"}, {"1e2", true, Int, "100"}, {"1e2", false, Decimal, "1E+2"},
		{"1e33", true, Int, "1" + strings.Repeat("0", 33)}, {"1e34", true, Decimal, "1E+34"}, {"0.0", true, Int, "0"},
		{"1.5", true, Decimal, "1.5"}, {"-7", false, Int, "-7"}, {"120e-1", true, Int, "12"},
	} {
		v := Number(c.text, c.whole, false)
		if v.Kind() != c.kind || textOf(v) != c.want {
			t.Errorf("Number(%s, %v) is %v %s, want %v %s", c.text, c.whole, v.Kind(), textOf(v), c.kind, c.want)
		}
	}
}

// TestNum_ArithmeticAgreesWithAnotherLibrary draws operands of all sizes and
// compares with apd at the same precision; apd's exponents are not asked, only
// its values.
func TestNum_ArithmeticAgreesWithAnotherLibrary(t *testing.T) {
	ctx := apd.Context{Precision: digitsMax, MaxExponent: 5000, MinExponent: -5000, Rounding: apd.RoundHalfEven}
	r := rand.New(rand.NewPCG(1, 2))
	ops := map[string]struct {
		ours   func(a, b Num) (Num, bool)
		theirs func(d, x, y *apd.Decimal) (apd.Condition, error)
	}{
		"+": {Add, ctx.Add}, "-": {Sub, ctx.Sub}, "*": {Mul, ctx.Mul}, "/": {Quo, ctx.Quo},
	}
	for range 20_000 {
		a, b := drawNumber(r), drawNumber(r)
		for name, op := range ops {
			x, y := num(t, a).AsDecimal(), num(t, b)
			got, ok := op.ours(x, y)
			var want apd.Decimal
			if _, err := op.theirs(&want, apdOf(t, x), apdOf(t, y)); err != nil && name != "/" {
				t.Fatal(err)
			}
			if name == "/" && y.Sign() == 0 {
				if ok {
					t.Errorf("%s / %s = %s, want nothing", a, b, got)
				}
				continue
			}
			if !ok || apdOf(t, got).Cmp(&want) != 0 {
				t.Errorf("%s %s %s = %s (%v), want %s", a, name, b, got, ok, &want)
			}
		}
		x, y := num(t, a), num(t, b)
		if got, want := Cmp(x, y), apdOf(t, x).Cmp(apdOf(t, y)); got != want {
			t.Errorf("Cmp(%s, %s) = %d, want %d", a, b, got, want)
		}
	}
}

func apdOf(t testing.TB, n Num) *apd.Decimal {
	t.Helper()
	d, _, err := apd.NewFromString(n.String())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// drawNumber favours the borders between the small and the large form.
func drawNumber(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(2) == 0 {
		b.WriteByte('-')
	}
	digits := []int{1, 2, 9, 10, 17, 18, 19, 20, 33, 34}[r.IntN(10)]
	for i := range digits {
		d := byte('0' + r.IntN(10))
		if i == 0 && d == '0' {
			d = '9'
		}
		if r.IntN(3) == 0 {
			d = []byte("059")[r.IntN(3)]
		}
		b.WriteByte(d)
	}
	if r.IntN(2) == 0 {
		b.WriteString([]string{".5", ".05", ".999999", ".0", "e3", "e-20", "e40", "e-40"}[r.IntN(8)])
	}
	return b.String()
}

func TestNum_RemainderAndRoundingAreExact(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		a, b := num(t, drawNumber(r)), num(t, drawNumber(r))
		if b.Sign() == 0 {
			continue
		}
		x, y := ratOf(a), ratOf(b)
		quotient := new(big.Rat).Quo(x, y)
		whole := new(big.Int).Quo(quotient.Num(), quotient.Denom())
		want := new(big.Rat).Sub(x, new(big.Rat).Mul(y, new(big.Rat).SetInt(whole)))
		got, ok := Rem(a, b)
		if !ok || closeTo(ratOf(got), want) == false {
			t.Errorf("%s %% %s = %s, want %s", a, b, got, want.FloatString(40))
		}
		floor := new(big.Int).Div(x.Num(), x.Denom()) // Euclidean: floor for positive denominators
		if got := ratOf(a.Floor()); closeTo(got, new(big.Rat).SetInt(floor)) == false {
			t.Errorf("Floor(%s) = %s, want %s", a, a.Floor(), floor)
		}
		if got, want := a.Neg().Floor().Neg(), a.Ceil(); Cmp(got, want) != 0 {
			t.Errorf("-floor(-%s) = %s, ceil %s", a, got, want)
		}
	}
}

func ratOf(n Num) *big.Rat { r, _ := new(big.Rat).SetString(n.String()); return r }

// closeTo allows for one rounding to 34 digits.
func closeTo(got, want *big.Rat) bool {
	if got.Cmp(want) == 0 {
		return true
	}
	difference := new(big.Rat).Abs(new(big.Rat).Sub(got, want))
	limit := new(big.Rat).Abs(want)
	limit.Mul(limit, new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(33), nil)))
	return difference.Cmp(limit) <= 0
}

func TestNum_BordersOfTheSmallForm(t *testing.T) {
	least := IntNum(math.MinInt64)
	if got := least.Neg().String(); got != "9223372036854775808" {
		t.Errorf("-(-2^63) = %s", got)
	}
	if n, ok := Quo(least, IntNum(-1)); !ok || n.String() != "9223372036854775808" {
		t.Errorf("-2^63 / -1 = %s, %v", n, ok)
	}
	if n, ok := Rem(least, IntNum(-1)); !ok || n.Sign() != 0 {
		t.Errorf("-2^63 %% -1 = %s, %v", n, ok)
	}
	if n, ok := Mul(least, least); !ok || n.String() != "8.507059173023461586584365185794205E+37" {
		t.Errorf("2^126 = %s, %v", n, ok)
	}
	if n, ok := Add(IntNum(math.MaxInt64), IntNum(1)); !ok || n.String() != "9223372036854775808" {
		t.Errorf("2^63 = %s, %v", n, ok)
	}
	if got := least.Clamp(-5, 5); got != -5 {
		t.Errorf("Clamp = %d", got)
	}
	if got := num(t, "-2.411E247").Clamp(0, 5); got != 0 {
		t.Errorf("Clamp = %d", got)
	}
	for _, n := range []Num{IntNum(0), IntNum(9), IntNum(10), IntNum(999999999999999999), IntNum(1000000000000000000), IntNum(math.MaxInt64), least} {
		if got, want := n.digits(), len(strings.TrimPrefix(n.String(), "-")); got != want {
			t.Errorf("digits(%s) = %d, want %d", n, got, want)
		}
	}
}

func TestFromFloat_IsTheShortestDecimal(t *testing.T) {
	for f, want := range map[float64]string{0.1: "0.1", 32: "32", 1e22: "10000000000000000000000", 1.5e-7: "1.5E-7", math.Pi: "3.141592653589793", 1e300: "1E+300"} {
		n, ok := FromFloat(f)
		if !ok || n.String() != want || !n.IsDecimal() {
			t.Errorf("FromFloat(%g) = %s, want the Decimal %s", f, n, want)
		}
		if n.Float() != f {
			t.Errorf("%s reads back as %g, want %g", n, n.Float(), f)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if n, ok := FromFloat(f); ok {
			t.Errorf("FromFloat(%g) = %s, want nothing", f, n)
		}
	}
}

func TestNum_SmallNumbersDoNotAllocate(t *testing.T) {
	a, b := num(t, "20.25"), num(t, "1.5")
	if n := testing.AllocsPerRun(100, func() {
		sum, _ := Add(a, b)
		product, _ := Mul(sum, b)
		quotient, _ := Quo(product, IntNum(4))
		if Cmp(quotient, a) > 0 || quotient.Floor().Sign() < 0 {
			t.Error("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "-1.50e-3", "123456789012345678901234567890123456789", "1e999", "9e-1020"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !isDecimalText(s) || len(s) > 5000 {
			return
		}
		n, ok := parseNum(s)
		if !ok {
			return
		}
		if n.digits() > digitsMax {
			t.Errorf("%s reads as %s, which has more than %d digits", s, n, digitsMax)
		}
		again, ok := parseNum(n.String())
		if !ok || Cmp(n, again) != 0 || again.String() != n.String() {
			t.Errorf("%s reads as %s, which reads as %s", s, n, again)
		}
		if want := n.Whole(); Cmp(n, want) != 0 {
			t.Errorf("Whole(%s) = %s", n, want)
		}
	})
}

func textOf(v Value) string { s, _ := v.AsText(); return s }
