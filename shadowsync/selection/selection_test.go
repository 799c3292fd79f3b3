package selection

import (
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/shadowsync"
)

func TestSet_PatternsChooseThingsAndNames(t *testing.T) {
	s := Set{Things: []string{"pump-*", "fan"}, Names: []string{"~", "conf*"}}
	for key, want := range map[iot.ShadowKey]bool{
		{Thing: "pump-1"}:                    true,
		{Thing: "pump-"}:                     true,
		{Thing: "pump"}:                      false,
		{Thing: "fan"}:                       true,
		{Thing: "fan", Shadow: "config"}:     true,
		{Thing: "fan", Shadow: "other"}:      false,
		{Thing: "fan2"}:                      false,
		{Thing: "pump-1", Shadow: "my-conf"}: false,
	} {
		if _, got := s.For(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	if _, ok := (Set{}).For(iot.ShadowKey{Thing: "x", Shadow: "y"}); !ok {
		t.Error("no patterns choose everything")
	}
}

func TestFit_StarsStandForAnyText(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"a*b", "ab", true}, {"a*b", "axxb", true}, {"a*b", "a", false}, {"ab*ba", "aba", false},
		{"*x*y*", "axbyc", true}, {"*x*y*", "aybxc", false}, {"a**b", "ab", true}, {"a*", "ba", false},
	} {
		if got := fit(c.pattern, c.name); got != c.want {
			t.Errorf("fit(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestSet_TheFirstOverrideThatFitsReplacesWhatItGives(t *testing.T) {
	up, down := shadowsync.Up, shadowsync.Down
	local := shadowsync.LocalWins
	s := Set{
		Policy: shadowsync.DefaultPolicy(),
		Overrides: []Override{
			{Things: []string{"a"}, Direction: &up},
			{Things: []string{"a", "b"}, Direction: &down, Desired: &local},
		},
		Writable: func(thing iot.ThingName) []string {
			if thing == "b" {
				return []string{"on"}
			}
			return nil
		},
	}
	if p, _ := s.For(iot.ShadowKey{Thing: "a"}); p.Direction != up || p.Desired != shadowsync.CloudWins || p.Writable != nil {
		t.Errorf("a has %+v", p)
	}
	if p, _ := s.For(iot.ShadowKey{Thing: "b"}); p.Direction != down || p.Desired != local || len(p.Writable) != 1 {
		t.Errorf("b has %+v", p)
	}
	if p, _ := s.For(iot.ShadowKey{Thing: "c"}); p.Direction != shadowsync.Both {
		t.Errorf("c has %+v", p)
	}
}

func TestSet_NamesWithoutStarsAreExact(t *testing.T) {
	keys := Set{Things: []string{"a", "b*"}, Names: []string{"~", "x", "*"}}.Exact()
	if len(keys) != 2 || keys[0] != (iot.ShadowKey{Thing: "a"}) || keys[1] != (iot.ShadowKey{Thing: "a", Shadow: "x"}) {
		t.Errorf("got %v", keys)
	}
	if err := (Set{Things: []string{""}}).Check(); err == nil {
		t.Error("an empty pattern is accepted")
	}
}
