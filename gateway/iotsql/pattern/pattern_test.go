package pattern

import (
	"testing"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

func texts(list ...string) (args []value.Value, constants []*value.Value) {
	for _, s := range list {
		args = append(args, value.Text(s))
		constants = append(constants, &args[len(args)-1])
	}
	return args, constants
}

// What is constant and what comes with a message must give the same.
func TestMatches_ConstantAndDynamicPatternsAgree(t *testing.T) {
	for _, c := range []struct {
		text, pattern, first string
		is                   bool
	}{{"dev-042", "[0-9]+", "042", true}, {"dev", "[0-9]+", "", false}, {"aab", "a++b", "aab", true}} {
		args, constants := texts(c.text, c.pattern)
		fixed, doubt := Regex(constants)
		if doubt != nil {
			t.Fatal(doubt)
		}
		for _, p := range []Prepared{fixed, {}} {
			var m Memory
			if got := m.Matches(args, p); got.IsTrue() != c.is {
				t.Errorf("%s in %s: got %v", c.pattern, c.text, got.IsTrue())
			}
			if got := m.Substr(args, p); got.Str() != c.first || got.IsUndefined() == c.is {
				t.Errorf("%s in %s: got %q", c.pattern, c.text, got.Str())
			}
		}
	}
}

func TestRegex_ABadConstantIsADoubtAndUndefined(t *testing.T) {
	args, constants := texts("a", "(")
	p, doubt := Regex(constants)
	var m Memory
	if doubt == nil || !m.Matches(args, p).IsUndefined() {
		t.Errorf("doubt %v", doubt)
	}
}

func TestTime_AKnownZoneAndAnUnknownOne(t *testing.T) {
	args := []value.Value{value.Text("HH:mm"), value.Integer(0), value.Text("+05:30")}
	var m Memory
	if got := m.Time(args, Prepared{}).Str(); got != "05:30" {
		t.Errorf("got %q", got)
	}
	args[2] = value.Text("No/Such")
	if !m.Time(args, Prepared{}).IsUndefined() {
		t.Error("an unknown zone is Undefined")
	}
	if got := m.Epoch([]value.Value{value.Text("1970-01-02"), value.Text("yyyy-MM-dd")}, Prepared{}); !value.Equal(got, value.Integer(86_400_000)) {
		t.Errorf("got %s", value.AppendJSON(nil, got))
	}
}
