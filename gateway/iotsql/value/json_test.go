package value

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValid_IsStrictJSON(t *testing.T) {
	for _, s := range []string{
		"0", "-0.5e+10", " [ ] ", `{"a":{}}`, `"\u00e9\n"`, "\t\r\nnull\n", `[1,2,{"a":[true,false,null]}]`, `"\ud800"`,
		strings.Repeat("[", DepthMax) + strings.Repeat("]", DepthMax),
	} {
		if !Valid(s) {
			t.Errorf("%.40q is JSON", s)
		}
	}
	for _, s := range []string{
		"", " ", "01", "-", "1.", ".5", "1e", "+1", "NaN", "Infinity", "tru", "nulll", `"a`, `"\x"`, `"\u12g4"`, "\"\n\"",
		"[1,]", "[1 2]", "{", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, "[", "]", "1 2", "\"\xff\"", "\u00a01", "'a'",
		strings.Repeat("[", DepthMax+1) + strings.Repeat("]", DepthMax+1), "-01", "00", `{"a":1}x`,
	} {
		if Valid(s) {
			t.Errorf("%.40q is not JSON", s)
		}
	}
}

func TestAppendJSON_WritesUntouchedNumbersAsTheyCame(t *testing.T) {
	in := ` { "b" : 1.0, "a":[1e2,-0.0,12345678901234567890123456789012345678901234567890, 1e5000], "s":"\u00e9\u0001\"\\\/" } `
	v, ok := Parse(in, true)
	want := `{"b":1.0,"a":[1e2,-0.0,12345678901234567890123456789012345678901234567890,1e5000],"s":"é\u0001\"\\/"}`
	if got := string(AppendJSON(nil, v)); !ok || got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParse_TheLastOfRepeatedKeysWinsAndKeepsThePlace(t *testing.T) {
	v, _ := Parse(`{"a":1,"b":2,"a":3}`, true)
	if got := string(AppendJSON(nil, v)); got != `{"a":3,"b":2}` {
		t.Errorf("got %s", got)
	}
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, `"k%d":%d,`, i%50, i)
	}
	v, _ = Parse("{"+b.String()+`"z":0}`, true)
	if v.Len() != 51 || textOf(v.Get("k7")) != "57" || v.Key(50) != "z" || !v.Get("nope").IsUndefined() {
		t.Errorf("got %d members, k7 = %s", v.Len(), textOf(v.Get("k7")))
	}
}

func TestFind_AgreesWithParse(t *testing.T) {
	text := `{"a":{"b":[1],"c\u0064":{"e":"x\ty"}},"n":null,"a2":1,"n":{"x":7},"k":"}"}`
	tree, _ := Parse(text, true)
	var x Index
	if !x.Scan(text) {
		t.Fatal("refused")
	}
	for _, path := range [][]string{{}, {"a"}, {"a", "b"}, {"a", "cd", "e"}, {"n", "x"}, {"n"}, {"nope"}, {"a2", "x"}, {"k"}, {"a", "nope"}} {
		want := tree
		for _, key := range path {
			want = want.Get(key)
		}
		got := x.Find(path, true)
		if got.Kind() != want.Kind() || string(AppendJSON(nil, got)) != string(AppendJSON(nil, want)) {
			t.Errorf("Find %v = %s, want %s", path, AppendJSON(nil, got), AppendJSON(nil, want))
		}
	}
}

func TestFind_DoesNotAllocateForScalars(t *testing.T) {
	text := `{"id":"sensor-7","state":{"reported":{"t":21.5}},"on":true}`
	path := []string{"state", "reported", "t"}
	var x Index
	if n := testing.AllocsPerRun(100, func() {
		if !x.Scan(text) || !x.Find(path, true).IsNumber() {
			t.Error("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEqual_ComparesByValue(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1", "1.00", true}, {"[1.0,{}]", "[1,{}]", true}, {`{"a":1,"b":[2]}`, `{"b":[2.0],"a":1}`, true},
		{`{"a":1}`, `{"a":1,"b":1}`, false}, {`{"a":1,"b":1}`, `{"a":1,"c":1}`, false}, {"1", `"1"`, false}, {"null", "null", true},
		{"1e5000", "1e5000", true}, {"1e5000", "1", false}, {"true", "false", false}, {"[1]", `{"a":1}`, false},
	} {
		a, _ := Parse(c.a, true)
		b, _ := Parse(c.b, true)
		if got := Equal(a, b); got != c.want {
			t.Errorf("%s = %s is %v, want %v", c.a, c.b, got, c.want)
		}
	}
	if Equal(Value{}, Value{}) {
		t.Error("Undefined equals nothing")
	}
}

func TestMarshalText_KeepsTypeAndText(t *testing.T) {
	n, _ := parseNum("3.0")
	for _, v := range []Value{
		{}, NullValue(), Bool(true), Text("s"), Text(""), Integer(-5), n.Value(), Number("10.0", true, true),
		Number("1e5000", true, true), List([]Value{Integer(1), Text("x")}),
	} {
		text, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Value
		if err := got.UnmarshalText(text); err != nil || got.Kind() != v.Kind() || string(AppendJSON(nil, got)) != string(AppendJSON(nil, v)) {
			t.Errorf("%s: got %v %s, want %v %s (%v)", text, got.Kind(), AppendJSON(nil, got), v.Kind(), AppendJSON(nil, v), err)
		}
	}
	for _, bad := range []string{"", "x", "i", "iabc", "j{", `i"1"`} {
		if err := new(Value).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

// FuzzParse compares with encoding/json and reads its own output again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.50,"x"],"b":null}`, `"\ud83d\ude00"`, "[[[]]]", `{"a":1,"a":2}`, " 1e-7 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := json.Valid([]byte(s)) && utf8.ValidString(s)
		v, ok := Parse(s, true)
		if ok != want && depth(s) <= DepthMax {
			t.Fatalf("Parse(%q) is %v, want %v", s, ok, want)
		}
		var x Index
		if x.Scan(s) != ok {
			t.Fatalf("Scan(%q) is %v", s, !ok)
		}
		if !ok {
			return
		}
		text := AppendJSON(nil, v)
		again, ok := Parse(string(text), true)
		if !ok || string(AppendJSON(nil, again)) != string(text) {
			t.Fatalf("%q is written as %q, which is read as %q (%v)", s, text, AppendJSON(nil, again), ok)
		}
		for i := 0; v.Kind() == Object && i < v.Len(); i++ {
			if got := x.Find([]string{v.Key(i)}, true); string(AppendJSON(nil, got)) != string(AppendJSON(nil, v.At(i))) {
				t.Fatalf("Find %q in %q = %s", v.Key(i), s, AppendJSON(nil, got))
			}
		}
	})
}

// depth is an upper bound of the nesting of s.
func depth(s string) int { return strings.Count(s, "[") + strings.Count(s, "{") }
