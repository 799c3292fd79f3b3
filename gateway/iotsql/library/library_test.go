package library

import (
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

func TestFunctions_ResultsThatGrowAreBounded(t *testing.T) {
	long := value.Text(strings.Repeat("a", 10_000))
	if v := Functions["replace"].Run([]value.Value{long, value.Text("a"), long}); !v.IsUndefined() {
		t.Errorf("replace gives %d bytes", len(v.Str()))
	}
	if v := Functions["replace"].Run([]value.Value{long, value.Text("a"), value.Text("")}); v.Str() != "" || v.IsUndefined() {
		t.Errorf("a shrinking replace gives %q", v.Str())
	}
	var object value.Builder
	object.Set("k", long)
	items := make([]value.Value, 20)
	for i := range items {
		items[i] = object.Value()
	}
	list := value.List(items)
	if v := Functions["transform"].Run([]value.Value{value.Text("enrichArray"), object.Value(), list}); !v.IsUndefined() {
		t.Error("transform over 128 KiB must be Undefined")
	}
	if v := Functions["transform"].Run([]value.Value{value.Text("enrichArray"), object.Value(), value.List(items[:2])}); v.Len() != 2 {
		t.Errorf("transform gives %d elements", v.Len())
	}
}

func TestConcat_DoublingEndsAtALimit(t *testing.T) {
	text, list := value.Text("ab"), value.List([]value.Value{value.Integer(1), value.Integer(2)})
	joined := text
	for range 40 {
		text = Functions["concat"].Run([]value.Value{text, text})
		list = Functions["concat"].Run([]value.Value{list, list})
		joined = Binaries["+"](joined, joined)
	}
	if !text.IsUndefined() || !list.IsUndefined() || !joined.IsUndefined() {
		t.Errorf("got %d and %d bytes, %d elements", len(text.Str()), len(joined.Str()), list.Len())
	}
}

func TestLike_TakesAtMostQuadraticTime(t *testing.T) {
	text, pattern := strings.Repeat("a", 3000)+"b", strings.Repeat("%a", 300)+"c"
	if Like(text, pattern) {
		t.Error("must not match")
	}
	for _, c := range []struct {
		text, pattern string
		want          bool
	}{
		{"a%b", "a%b", true}, {"", "", true}, {"", "_", false}, {"é", "_", true}, {"ab", "a", false}, {"abcabc", "%abc", true}, {"abcabd", "%abc", false},
		{"x\ny", "x%", true}, {"%", "_", true},
	} {
		if got := Like(c.text, c.pattern); got != c.want {
			t.Errorf("%q LIKE %q is %v, want %v", c.text, c.pattern, got, c.want)
		}
	}
}

func TestHash_MD2OfTheRFC(t *testing.T) {
	for in, want := range map[string]string{
		"a": "32ec01ec4a6dac72c0ab96fb34c0b5d1", "abc": "da853b0d3f88d99b30283a69e6ded6bb",
		"abcdefghijklmnopqrstuvwxyz":    "4e8ddff3650292ab5a4108c3aa47940b",
		strings.Repeat("1234567890", 8): "d5976f79d83d3a0dc9806c3c66f3efd8",
	} {
		if got := md2Hex(in); got != want {
			t.Errorf("md2(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestCasts_EveryTypeOfTheParserIsThere(t *testing.T) {
	for _, kind := range []string{"string", "nvarchar", "text", "ntext", "varchar", "int", "integer", "double", "decimal", "bool", "boolean"} {
		if Casts[kind] == nil {
			t.Errorf("no cast to %s", kind)
		}
	}
	if got := Casts["decimal"](value.Text("10.0"), true); got.Kind() != value.Int {
		t.Errorf("a whole text becomes an Int in 2016-03-23, got %v", got.Kind())
	}
}
