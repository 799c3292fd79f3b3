package regex

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestMatches_JavaPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{`^a{2,}$`, "aaa", true}, {`foo(?=bar)`, "foobar", true}, {`foo(?!bar)`, "foobar", false}, {`(?<=€)\d+`, "€42", true},
		{`(\w)\1`, "hello", true}, {`a++b`, "aaab", true}, {`a++ab`, "aaab", false}, {`(?>a+)ab`, "aaab", false},
		{`(ab)*+c`, "ababc", true}, {`[ab]?+b`, "b", false}, {`\p{Alpha}+`, "123", false}, {`[\p{Alpha}_]+$`, "a_", true},
		{`\P{Digit}`, "12", false}, {`\p{Lu}`, "É", true}, {`\Qa.b\E`, "a.b", true}, {`\Qa.b\E`, "axb", false}, {`a{2000}`, strings.Repeat("a", 2000), true},
		{`[a[bc]]+$`, "abc", true}, {`(?i)ABC`, "xabc", true}, {`x{2}+x`, "xxx", true}, {`(?=\p{Upper})\w`, "A", true}, {`(?=\p{Upper})\w`, "a", false},
		{`^\0141$`, "a", true}, {`^\012$`, "\n", true}, {`^\0777$`, "?7", true}, {`^\e$`, "\x1b", true}, {`^\cI$`, "\t", true}, {`^[\011]$`, "\t", true},
		{`^a\hb$`, "a\u00a0b", true}, {`^a\hb$`, "a\nb", false}, {`^\v$`, "\u2028", true}, {`^\H$`, "x", true}, {`^[\h]$`, "\t", true}, {`^\R$`, "\r\n", true},
		{`^[a-z&&[^aeiou]]+$`, "xyz", true}, {`^[a-z&&[^aeiou]]+$`, "xaz", false}, {`^[a-z&&def]$`, "e", true}, {`^[a-z&&def]$`, "g", false},
		{`^[^a-z&&[^b]]$`, "b", true}, {`^[^a-z&&[^b]]$`, "a", false}, {`^[^a-z&&[^b]]$`, "1", true}, {`^[0-9[^a]]$`, "b", true}, {`^[0-9[^a]]$`, "a", false},
		{`^[a-z&&[b-y]&&[c-x]]++$`, "cx", true}, {`^[a-z&&[b-y]&&[c-x]]+$`, "by", false}, {`^[\w&&[^\d_]]+$`, "ab", true}, {`^[\w&&[^\d_]]+$`, "a1", false},
		{`^[^[a-c][x-z]]$`, "b", false}, {`^[\]&&[^a]]$`, "]", true}, {`^[&]$`, "&", true},
		{`^\p{IsGreek}$`, "α", true}, {`^\p{IsLatin}$`, "α", false}, {`^\p{sc=Greek}$`, "α", true}, {`^\P{IsGreek}$`, "a", true}, {`^\p{IsLu}$`, "É", true},
		{`^\p{gc=Nd}$`, "٣", true}, {`^\p{IsLetter}+$`, "añ", true}, {`^\p{javaDigit}$`, "x", false}, {`^[\p{IsGreek}x]+$`, "αx", true}, {`(?=\p{IsGreek})\p{IsGreek}`, "α", true},
	} {
		p, err := Compile(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got, err := p.Matches(c.text); err != nil || got != c.want {
			t.Errorf("%s in %.20q: got %v, want %v (%v)", c.pattern, c.text, got, c.want, err)
		}
	}
}

func TestCompile_RefusesWhatItWouldMisread(t *testing.T) {
	for _, p := range []string{"(", "[a&&]", "[&&a]", "[a-z&&[^b]", "a**", "[", `\`, "(?<a>x)(?<a>y", strings.Repeat("a", 5000)} {
		if _, err := Compile(p); err == nil {
			t.Errorf("%.30s: want an error", p)
		}
	}
}

func TestFirst_GivesTheLeftmostMatch(t *testing.T) {
	for _, c := range []struct{ pattern, text, want string }{
		{"[0-9]+", "dev-042-7", "042"}, {`(?<=-)\d+`, "dev-042-7", "042"}, {"a|ab", "ab", "a"}, {`(?<=é)x`, "éx", "x"},
	} {
		p, err := Compile(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got, found, err := p.First(c.text); !found || err != nil || got != c.want {
			t.Errorf("%s in %q: got %q, want %q (%v)", c.pattern, c.text, got, c.want, err)
		}
	}
	for _, pattern := range []string{"x", "x(?=y)"} {
		p, _ := Compile(pattern)
		if got, found, err := p.First("abc"); found || err != nil {
			t.Errorf("%s: got %q, %v", pattern, got, err)
		}
	}
}

func TestReplace_FollowsJavasReplacementSyntax(t *testing.T) {
	for _, c := range []struct{ pattern, text, with, want string }{
		{"b", "abc", "$0$0", "abbc"}, {"(b)", "abc", "$1$10", "abb0c"}, {"(?<x>b)", "abc", "[${x}]", "a[b]c"}, {"b", "abc", `\$\\`, `a$\c`},
		{"(x)?b", "abc", "<$1>", "a<>c"}, {"", "ab", "-", "-a-b-"}, {"(?<=a)(b)", "abab€ab", "$1!", "ab!ab!€ab!"}, {`(\w)\1`, "xééaa", "$1", "xééa"}, {`(?=[\d-])[^\w]`, "a-1", "$0$0", "a--1"},
		{`(?=(é))`, "aé", "$1", "aéé"}, {"z", "abc", "$9", "abc"},
	} {
		p, err := Compile(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Replace(c.text, c.with); err != nil || got != c.want {
			t.Errorf("%s in %q by %q: got %q, want %q (%v)", c.pattern, c.text, c.with, got, c.want, err)
		}
	}
	for _, with := range []string{"$", "$3", "${nope}", "${", `\`, "$x"} {
		for _, pattern := range []string{"(a)", "(a)(?=b)"} {
			p, _ := Compile(pattern)
			if got, err := p.Replace("ab", with); err == nil {
				t.Errorf("%q: got %q, want an error", with, got)
			}
		}
	}
}

func TestReplace_DoesNotGrowWithoutBound(t *testing.T) {
	p, _ := Compile("")
	if got, err := p.Replace(strings.Repeat("a", 10_000), strings.Repeat("b", 10_000)); err == nil {
		t.Errorf("got %d bytes, want an error", len(got))
	}
}

func TestMatches_GivesUpInTime(t *testing.T) {
	p, err := Compile(`(?=(a+)+$)(a+)+$`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	text := strings.Repeat("a", 40) + "b"
	if _, err := p.Matches(text); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	if _, _, err := p.First(text); !errors.Is(err, ErrTimeout) {
		t.Errorf("First: got %v, want ErrTimeout", err)
	}
	if _, err := p.Replace(text, ""); !errors.Is(err, ErrTimeout) {
		t.Errorf("Replace: got %v, want ErrTimeout", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v for three matches of at most 5ms", took)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`(a++)*+[\p{Alpha}[x]]\Q.\E`, `(?<n>a){2}+`, `[]`, `\Q`, `\p{`, `a{`} {
		f.Add(s, "aab", "$1")
	}
	f.Fuzz(func(t *testing.T, pattern, text, with string) {
		p, err := Compile(pattern)
		if err != nil || len(text) > 200 {
			return
		}
		_, _ = p.Matches(text)
		_, _, _ = p.First(text)
		_, _ = p.Replace(text, with)
	})
}
