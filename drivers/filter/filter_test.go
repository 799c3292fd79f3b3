package filter

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// m writes one filter.
func m(name string, arg any) map[string]any { return map[string]any{name: arg} }

func list(values ...any) []any { return values }

func parse(t *testing.T, filters ...any) *Chain {
	t.Helper()
	c, err := Parse(filters)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const none = math.MaxFloat64 // no value left the chain

// run puts a value per second through the chain and gives what passed; none as
// an input is a tick without a sample.
func run(c *Chain, values ...float64) []float64 {
	var out []float64
	for i, v := range values {
		now := time.Duration(i) * time.Second
		r := c.Tick
		if v != none {
			r = func(now time.Duration) Result { return c.Step(now, v) }
		}
		if got := r(now); got.Passed {
			out = append(out, got.Value)
		} else {
			out = append(out, none)
		}
	}
	return out
}

func TestChain_EachFilterDoesWhatItsNameSays(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name    string
		filters []any
		in, out []float64
	}{
		{"empty chain", nil, []float64{1, 2}, []float64{1, 2}},
		{"offset", list(m("offset", -0.4)), []float64{1}, []float64{0.6}},
		{"multiply", list(m("multiply", 2)), []float64{3}, []float64{6}},
		{"order is the written one", list(m("offset", 1), m("multiply", 2)), []float64{3}, []float64{8}},
		{"order the other way", list(m("multiply", 2), m("offset", 1)), []float64{3}, []float64{7}},
		{"calibrate_linear by two points is a line", list(m("calibrate_linear", list(list(0, 1), list(10, 21)))), []float64{0, 5, 10, 20, -5}, []float64{1, 11, 21, 41, -9}},
		{"calibrate_linear by three is piecewise", list(m("calibrate_linear", list(list(0, 0), list(20, 30), list(10, 10)))), []float64{5, 10, 15, 30, -10}, []float64{5, 10, 20, 50, -10}},
		{"calibrate_polynomial by coefficients", list(m("calibrate_polynomial", list(1, 0, 2))), []float64{3}, []float64{19}},
		{"map_range", list(m("map_range", map[string]any{"from": list(0, 1023), "to": list(0, 100)})), []float64{0, 1023, 511.5}, []float64{0, 100, 50}},
		{"clamp", list(m("clamp", map[string]any{"min": 0, "max": 100})), []float64{-1, 50, 101}, []float64{0, 50, 100}},
		{"clamp at one end", list(m("clamp", map[string]any{"min": 0})), []float64{-1, 1e9}, []float64{0, 1e9}},
		{"round", list(m("round", 1)), []float64{1.25, -1.25, 2.04}, []float64{1.3, -1.3, 2}},
		{"median", list(m("median", map[string]any{"window": 3})), []float64{1, 9, 2, 8}, []float64{1, 5, 2, 8}},
		{"median each second", list(m("median", map[string]any{"window": 3, "every": 2})), []float64{1, 9, 2, 8, 3}, []float64{1, none, 2, none, 3}},
		{"moving_average", list(m("moving_average", map[string]any{"window": 2})), []float64{1, 3, 5}, []float64{1, 2, 4}},
		{"exponential", list(m("exponential", map[string]any{"alpha": 0.5})), []float64{0, 4, 4}, []float64{0, 2, 3}},
		{"quantile", list(m("quantile", map[string]any{"window": 5, "quantile": 1})), []float64{1, 5, 2}, []float64{1, 5, 5}},
		{"min", list(m("min", map[string]any{"window": 2})), []float64{3, 1, 2, 5}, []float64{3, 1, 1, 2}},
		{"max", list(m("max", map[string]any{"window": 2})), []float64{3, 1, 2}, []float64{3, 3, 2}},
		{"throttle", list(m("throttle", "3s")), []float64{1, 2, 3, 4, 5}, []float64{1, none, none, 4, none}},
		{"throttle_average", list(m("throttle_average", "3s")), []float64{1, 2, 3, 6, 4}, []float64{none, none, none, 3, none}},
		{"delta", list(m("delta", 0.1)), []float64{22, 22.05, 22.1, 22.2, 22.1}, []float64{22, none, 22.1, 22.2, 22.1}},
		{"delta in percent", list(m("delta", "10%")), []float64{100, 105, 110, 120, 121}, []float64{100, none, 110, none, 121}},
		{"delta of 0 drops repetitions", list(m("delta", 0)), []float64{1, 1, 2}, []float64{1, none, 2}},
		{"heartbeat repeats the last passed value", list(m("delta", 1), m("heartbeat", "2s")), []float64{5, 5.1, 5.2, 7, 7.1, none}, []float64{5, none, 5, 7, none, 7}},
		{"debounce", list(m("debounce", "2s")), []float64{1, 2, 2, 2, 3, 2, none, none, none}, []float64{none, none, none, 2, none, none, none, 2, none}},
		{"skip_initial", list(m("skip_initial", 2)), []float64{1, 2, 3, 4}, []float64{none, none, 3, 4}},
		{"filter_out", list(m("filter_out", 85)), []float64{84, 85, 86}, []float64{84, none, 86}},
		{"filter_out nan", list(m("filter_out", "nan")), []float64{1, nan, 2}, []float64{1, none, 2}},
		{"NaN and infinity never leave", nil, []float64{nan, math.Inf(1), 1}, []float64{none, none, 1}},
		{"overflow never leaves", list(m("multiply", 1e308), m("offset", 0)), []float64{1e10, 1}, []float64{none, 1e308}},
		{"rate", list(m("rate", map[string]any{"per": "min"})), []float64{10, 11, 11, 14}, []float64{none, 60, 0, 180}},
		{"a reset counter is no negative rate", list(m("rate", map[string]any{"per": "1s"})), []float64{10, 12, 3, 5}, []float64{none, 2, none, 2}},
		{"outlier", list(m("outlier", map[string]any{"window": 5, "sigma": 3})), []float64{10, 11, 10, 11, 99, 10}, []float64{10, 11, 10, 11, none, 10}},
		{"a new level is believed in the end", list(m("outlier", map[string]any{"window": 3, "sigma": 3})), []float64{10, 11, 10, 50, 51, 50, 51}, []float64{10, 11, 10, none, none, 50, 51}},
		{"or", list(m("or", list(m("delta", 5), m("throttle", "3s")))), []float64{1, 2, 9, 9, 10}, []float64{1, none, 9, 9, none}},
	} {
		got := run(parse(t, c.filters...), c.in...)
		for i := range got {
			if math.Abs(got[i]-c.out[i]) > 1e-9 {
				t.Errorf("%s: %v gives %v, want %v", c.name, c.in, show(got), show(c.out))
				break
			}
		}
	}
}

func show(values []float64) string {
	var texts []string
	for _, v := range values {
		if v == none {
			texts = append(texts, "-")
		} else {
			texts = append(texts, fmt.Sprint(v))
		}
	}
	return "[" + strings.Join(texts, " ") + "]"
}

func TestChain_AFittedPolynomialGoesThroughItsPoints(t *testing.T) {
	c := parse(t, m("calibrate_polynomial", map[string]any{"degree": 2, "points": list(list(0, 1), list(1, 3), list(2, 9), list(3, 19))}))
	for x := range 4 {
		want := 1 + 2*float64(x)*float64(x)
		if got := c.Step(0, float64(x)).Value; math.Abs(got-want) > 1e-6 {
			t.Errorf("at %d: %v, want %v", x, got, want)
		}
	}
}

func TestReset_EmptiesWindowsButNotWhereKeepSaysSo(t *testing.T) {
	for _, c := range []struct {
		keep bool
		want float64
	}{{false, 3}, {true, 2}} {
		chain := parse(t, m("moving_average", map[string]any{"window": 2, "keep": c.keep}))
		chain.Step(0, 1)
		chain.Reset()
		if got := chain.Step(time.Second, 3).Value; got != c.want {
			t.Errorf("keep %v: got %v, want %v", c.keep, got, c.want)
		}
	}
	chain := parse(t, m("delta", 1), m("heartbeat", "2s"))
	chain.Step(0, 5)
	chain.Reset()
	if r := chain.Tick(time.Minute); r.Passed {
		t.Errorf("a value from before the fault was repeated: %+v", r)
	}
	if r := chain.Step(time.Minute, 5); !r.Passed {
		t.Error("the first value after a fault must pass")
	}
}

func TestChain_LiveIsTheCorrectedSampleAlsoWhenItIsHeldBack(t *testing.T) {
	for _, c := range []struct {
		name    string
		filters []any
		in      []float64
		live    []float64
	}{
		{"corrected before", list(m("offset", 1), m("delta", 10)), []float64{1, 2, 3}, []float64{2, 3, 4}},
		{"corrected after", list(m("delta", 10), m("offset", 1)), []float64{1, 2, 3}, []float64{2, 3, 4}},
		{"smoothed before", list(m("median", map[string]any{"window": 3}), m("throttle", "1h")), []float64{1, 9, 2}, []float64{1, 5, 2}},
		{"what is no signal is not live", list(m("filter_out", 85), m("delta", 1)), []float64{1, 85, 2}, []float64{1, none, 2}},
		{"a repeated value is not live", list(m("throttle", "1h"), m("heartbeat", "1s"), m("offset", 1)), []float64{1, none, none}, []float64{2, none, none}},
		{"nor is it behind a window", list(m("throttle", "1h"), m("heartbeat", "1s"), m("median", map[string]any{"window": 3})), []float64{1, none, none}, []float64{1, none, none}},
	} {
		chain := parse(t, c.filters...)
		var got []float64
		for i, v := range c.in {
			r := chain.Tick(time.Duration(i) * time.Second)
			if v != none {
				r = chain.Step(time.Duration(i)*time.Second, v)
			}
			if r.HasLive {
				got = append(got, r.Live)
			} else {
				got = append(got, none)
			}
		}
		if !slices.Equal(got, c.live) {
			t.Errorf("%s: live %v, want %v", c.name, show(got), show(c.live))
		}
	}
}

func TestParse_FaultsNameTheFilterAndItsPlace(t *testing.T) {
	for _, c := range []struct {
		filters []any
		want    string
	}{
		{list(m("offset", 1), m("ofset", 1)), "filter 2, ofset: unknown filter"},
		{list("offset"), "filter 1: want a map"},
		{list(map[string]any{"offset": 1, "round": 1}), "filter 1: want a map"},
		{list(m("offset", "x")), "filter 1, offset: want a number"},
		{list(m("median", map[string]any{"window": 0})), "median.window: want a whole number"},
		{list(m("median", map[string]any{"window": windowMax + 1})), "median.window"},
		{list(m("median", map[string]any{"window": 3, "size": 1})), "median.size: unknown; known: window, every, keep"},
		{list(m("median", 3)), "median: want a map"},
		{list(m("throttle", 3)), "throttle: want a duration"},
		{list(m("heartbeat", "0s")), "heartbeat: want a duration"},
		{list(m("clamp", map[string]any{"min": 2, "max": 1})), "clamp: want min, max"},
		{list(m("clamp", map[string]any{})), "clamp: want min, max"},
		{list(m("calibrate_linear", list(list(1, 2)))), "at least two"},
		{list(m("calibrate_linear", list(list(1, 2), list(1, 3)))), "stands twice"},
		{list(m("calibrate_polynomial", map[string]any{"degree": 2, "points": list(list(1, 2))})), "needs at least 3 points"},
		{list(m("delta", "x%")), "delta: want a number"},
		{list(m("delta", -1)), "delta: want 0 or more"},
		{list(m("exponential", map[string]any{"alpha": 2})), "exponential.alpha"},
		{list(m("outlier", map[string]any{"window": 3})), "outlier.sigma"},
		{list(m("map_range", map[string]any{"from": list(1, 1), "to": list(0, 1)})), "map_range"},
		{list(m("rate", map[string]any{"per": "week"})), "rate.per"},
		{list(m("or", list(m("delta", "y")))), "or.delta"},
		{list(m("or", list(m("heartbeat", "3s")))), "or.heartbeat"},
		{list(m("or", list())), "or: want a list"},
		{list(m("round", 1.5)), "round: want a whole number"},
		{list(m("median", map[string]any{"window": 3, "keep": 1})), "median.keep: want true or false"},
	} {
		_, err := Parse(c.filters)
		var e *Error
		if err == nil || !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v; want %q", c.filters, err, c.want)
		}
	}
}

// all gives one valid form of every filter.
func all() map[string]any {
	w := func() map[string]any { return map[string]any{"window": 4} }
	return map[string]any{
		"offset": 1, "multiply": 2, "calibrate_linear": list(list(0, 0), list(1, 2)), "calibrate_polynomial": list(0, 1),
		"map_range": map[string]any{"from": list(0, 1), "to": list(0, 2)}, "clamp": map[string]any{"min": -100, "max": 100}, "round": 2,
		"median": w(), "moving_average": w(), "min": w(), "max": w(), "quantile": map[string]any{"window": 4, "quantile": 0.9},
		"exponential": map[string]any{"alpha": 0.3}, "throttle": "2s", "throttle_average": "2s", "delta": 1, "heartbeat": "3s", "debounce": "1s",
		"skip_initial": 1, "outlier": map[string]any{"window": 5, "sigma": 2}, "filter_out": "nan", "rate": map[string]any{"per": "s"},
		"or": list(m("delta", 1), m("throttle", "5s")),
	}
}

func TestNames_EveryFilterOfTheSpecificationIsThere(t *testing.T) {
	forms := all()
	if len(forms) != len(Names()) {
		t.Errorf("%d filters, the test knows %d", len(Names()), len(forms))
	}
	for _, name := range Names() {
		if _, err := Parse(list(m(name, forms[name]))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Property: no chain lets NaN or infinity out, none panics, and the same input
// gives the same output.
func TestChain_RandomChainsAreFiniteAndRepeatable(t *testing.T) {
	names, forms := Names(), all()
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var filters []any
		for range 1 + rnd.IntN(5) {
			name := names[rnd.IntN(len(names))]
			filters = append(filters, m(name, forms[name]))
		}
		a, b := parse(t, filters...), parse(t, filters...)
		now := time.Duration(0)
		for range 200 {
			now += time.Duration(rnd.IntN(2000)) * time.Millisecond
			v := rnd.NormFloat64() * 50
			switch rnd.IntN(20) {
			case 0:
				v = math.NaN()
			case 1:
				v = math.Inf(rnd.IntN(2)*2 - 1)
			case 2:
				v = math.MaxFloat64
			}
			var x, y Result
			switch rnd.IntN(10) {
			case 0:
				x, y = a.Tick(now), b.Tick(now)
			case 1:
				a.Reset()
				b.Reset()
			default:
				x, y = a.Step(now, v), b.Step(now, v)
			}
			if x != y {
				t.Fatalf("seed %d %v: %+v and %+v", seed, filters, x, y)
			}
			if x.Passed && !finite(x.Value) || x.HasLive && !finite(x.Live) {
				t.Fatalf("seed %d %v: %v gives %+v", seed, filters, v, x)
			}
		}
	}
}

// Property: delta never lets two values closer than its step follow each
// other, and throttle never two values within its period.
func TestChain_ThinningKeepsItsDistance(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	d, th := parse(t, m("delta", 2)), parse(t, m("throttle", "10s"))
	last, lastAt := math.Inf(-1), time.Duration(-1<<40)
	for i := range 2000 {
		now, v := time.Duration(i)*time.Second, rnd.Float64()*10
		if r := d.Step(now, v); r.Passed {
			if math.Abs(r.Value-last) < 2 {
				t.Fatalf("%v after %v", r.Value, last)
			}
			last = r.Value
		}
		if th.Step(now, v).Passed {
			if now-lastAt < 10*time.Second {
				t.Fatalf("%v after %v", now, lastAt)
			}
			lastAt = now
		}
	}
}

func FuzzParse_NeverPanics(f *testing.F) {
	f.Add("median", "window", "3s", 3.0)
	f.Add("delta", "", "5%", 0.1)
	f.Fuzz(func(t *testing.T, name, key, text string, number float64) {
		for _, arg := range []any{number, text, list(number, text), map[string]any{key: number}, map[string]any{key: text}, nil} {
			c, err := Parse(list(m(name, arg)))
			if err != nil {
				continue
			}
			for i := range 5 {
				if r := c.Step(time.Duration(i)*time.Second, number); r.Passed && !finite(r.Value) {
					t.Errorf("%s %v: %+v", name, arg, r)
				}
			}
		}
	})
}

func BenchmarkStep_TypicalChain(b *testing.B) {
	c, err := Parse(list(m("offset", -0.4), m("median", map[string]any{"window": 5}), m("delta", 0.1), m("heartbeat", "5m")))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := range b.N {
		c.Step(time.Duration(i)*time.Second, float64(i%100))
	}
}
