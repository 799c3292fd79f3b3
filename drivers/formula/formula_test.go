package formula

import (
	"math"
	"strings"
	"testing"
)

func TestEval_GivesWhatArithmeticGives(t *testing.T) {
	values := map[string]float64{"x": 26214, "temperature": 25, "a_1": -3}
	for text, want := range map[string]float64{
		"-45 + 175 * x / 65535": -45 + 175*26214.0/65535, "100 * x / 65535": 100 * 26214.0 / 65535,
		"x": 26214, "2+3*4": 14, "(2+3)*4": 20, "10-4-3": 3, "100/10/5": 2, "7 % 4": 3, "-2^2": -4, "2^3^2": 512, "2^-1": 0.5, "--3": 3, "+4": 4,
		"0x1F + 1": 32, "1e-3": 0.001, ".5": 0.5, "1.5E2": 150, "010": 10,
		"abs(a_1)": 3, "min(1, 2)": 1, "max(1, 2)": 2, "clamp(x, 0, 100)": 100, "pow(2, 10)": 1024, "sqrt(16)": 4, "ln(exp(2))": 2, "log10(1000)": 3,
		"floor(2.7)": 2, "ceil(2.1)": 3, "round(2.5)": 3, "sin(0)": 0, "cos(0)": 1, "atan2(0, 1)": 0,
		"1 < 2": 1, "2 <= 1": 0, "1 + 1 == 2": 1, "1 != 1": 0, "3 > 2": 1, "3 >= 4": 0, "if(temperature > 20, 1, 2)": 1, "if(x == 0, 1, 2)": 2,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Eval(func(n string) float64 { return values[n] }); math.Abs(got-want) > 1e-12*max(1, math.Abs(want)) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

func TestParse_RefusesWhatIsNoFormulaAndSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"": "at 1", "1 +": "at 4", "(1": "at 3", "1)": "at 2", "2 3": "at 3", "beauty(1)": "known function", "min(1)": "want ,", "min(1,2,3)": "want )",
		"1..2": "a number", "0x": "a number", "x = 1": "an operator", "#": "at 1", "1e999": "a number",
		strings.Repeat("(", 60) + "1": "at most 50", strings.Repeat("-", 60) + "1": "at most 50", strings.Repeat("1", 1001): "at most 1000",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %q in it", text, err, want)
		}
	}
}

func TestNames_AreTheVariablesOnce(t *testing.T) {
	f, err := Parse("b + a * sqrt(b) + if(c, 1, 2)")
	if err != nil || strings.Join(f.Names(), " ") != "a b c" {
		t.Errorf("got %q, %v", f.Names(), err)
	}
}

func FuzzParse_AnyTextIsAFormulaOrAnError(f *testing.F) {
	for _, s := range []string{"-45 + 175 * x / 65535", "if(a<b,1,2)^2", "0x1f%3", "((", "1e-", "min(,)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := Parse(text); err == nil {
			p.Eval(func(string) float64 { return 1 })
		}
	})
}
