package value

import "testing"

func TestLevelOr_TakesItsWordsAndNumbers(t *testing.T) {
	parse := LevelOr([]string{"off", "keep"})
	for s, ok := range map[string]bool{"off": true, "keep": true, "30": true, "0.5": true, "on": false, "": false, "NaN": false, "3x": false} {
		if got, err := parse(s); (err == nil) != ok || ok && got != s {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

func TestParsePerSecond_TheUnitMayBeLeftOut(t *testing.T) {
	for s, want := range map[string]float64{"20/s": 20, "20": 20, "0.5/s": 0.5} {
		if got, err := ParsePerSecond(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	if _, err := ParsePerSecond("20/min"); err == nil {
		t.Error("another unit was taken")
	}
}
