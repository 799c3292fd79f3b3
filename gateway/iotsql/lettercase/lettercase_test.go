package lettercase

import (
	"testing"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// TestCases_EveryLetterIsAsTheJudgeHasIt compares each code point with x/text.
func TestCases_EveryLetterIsAsTheJudgeHasIt(t *testing.T) {
	upper, lower := cases.Upper(language.Und), cases.Lower(language.Und)
	for r := rune(0); r < 0x110000; r++ {
		if r >= 0xd800 && r < 0xe000 {
			continue // no letters, halves of some
		}
		s := string(r)
		if got, want := Upper(s), upper.String(s); got != want {
			t.Errorf("upper of %U: %q, want %q", r, got, want)
		}
		if got, want := Lower(s), lower.String(s); got != want {
			t.Errorf("lower of %U: %q, want %q", r, got, want)
		}
	}
}

func TestLower_ASigmaAtTheEndOfAWord(t *testing.T) {
	for s, want := range map[string]string{
		"ΟΔΥΣΣΕΥΣ": "οδυσσευς", "ΟΔΟΣ ΟΔΟΣ": "οδος οδος", "Σ": "σ", "ΣΑΣ": "σας", "ΑΣ'Α": "ασ'α", "ΑΣ.": "ας.", "Α\u0301Σ": "α\u0301ς",
		"ΑΣ1": "ας1", "1Σ": "1σ", "İΣ": "i\u0307ς",
	} {
		if got := Lower(s); got != want {
			t.Errorf("lower of %q: %q, want %q", s, got, want)
		}
	}
}

func FuzzCases(f *testing.F) {
	f.Add("Straße ΟΔΟΣ")
	upper, lower := cases.Upper(language.Und), cases.Lower(language.Und)
	f.Fuzz(func(t *testing.T, s string) {
		s = string([]rune(s)) // valid UTF-8, as every text of a rule is
		if got, want := Upper(s), upper.String(s); got != want {
			t.Errorf("upper of %q: %q, want %q", s, got, want)
		}
		if got, want := Lower(s), lower.String(s); got != want {
			t.Errorf("lower of %q: %q, want %q", s, got, want)
		}
	})
}
