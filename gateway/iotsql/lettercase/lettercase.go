// Package lettercase is Unicode's full mapping of case, without a language, as
// Java's String.toUpperCase(Locale.ROOT) and toLowerCase have it: ß becomes SS,
// and a sigma at the end of a word is ς (Unicode 15, SpecialCasing.txt).
//
// golang.org/x/text/cases does the same; it brings 300 KiB of languages that
// nobody asks for here, and stays in the tests as the judge.
package lettercase

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// expansions are the letters whose upper case is more than one letter: what Go's
// mapping of rune by rune leaves out.
const expansions = " \u00df=SS \u0149=\u02bcN \u01f0=J\u030c \u0390=\u0399\u0308\u0301 \u03b0=\u03a5\u0308\u0301 \u0587=\u0535\u0552" +
	" \u1e96=H\u0331 \u1e97=T\u0308 \u1e98=W\u030a \u1e99=Y\u030a \u1e9a=A\u02be \u1f50=\u03a5\u0313" +
	" \u1f52=\u03a5\u0313\u0300 \u1f54=\u03a5\u0313\u0301 \u1f56=\u03a5\u0313\u0342 \u1f80=\u1f08\u0399 \u1f81=\u1f09\u0399 \u1f82=\u1f0a\u0399" +
	" \u1f83=\u1f0b\u0399 \u1f84=\u1f0c\u0399 \u1f85=\u1f0d\u0399 \u1f86=\u1f0e\u0399 \u1f87=\u1f0f\u0399 \u1f88=\u1f08\u0399" +
	" \u1f89=\u1f09\u0399 \u1f8a=\u1f0a\u0399 \u1f8b=\u1f0b\u0399 \u1f8c=\u1f0c\u0399 \u1f8d=\u1f0d\u0399 \u1f8e=\u1f0e\u0399" +
	" \u1f8f=\u1f0f\u0399 \u1f90=\u1f28\u0399 \u1f91=\u1f29\u0399 \u1f92=\u1f2a\u0399 \u1f93=\u1f2b\u0399 \u1f94=\u1f2c\u0399" +
	" \u1f95=\u1f2d\u0399 \u1f96=\u1f2e\u0399 \u1f97=\u1f2f\u0399 \u1f98=\u1f28\u0399 \u1f99=\u1f29\u0399 \u1f9a=\u1f2a\u0399" +
	" \u1f9b=\u1f2b\u0399 \u1f9c=\u1f2c\u0399 \u1f9d=\u1f2d\u0399 \u1f9e=\u1f2e\u0399 \u1f9f=\u1f2f\u0399 \u1fa0=\u1f68\u0399" +
	" \u1fa1=\u1f69\u0399 \u1fa2=\u1f6a\u0399 \u1fa3=\u1f6b\u0399 \u1fa4=\u1f6c\u0399 \u1fa5=\u1f6d\u0399 \u1fa6=\u1f6e\u0399" +
	" \u1fa7=\u1f6f\u0399 \u1fa8=\u1f68\u0399 \u1fa9=\u1f69\u0399 \u1faa=\u1f6a\u0399 \u1fab=\u1f6b\u0399 \u1fac=\u1f6c\u0399" +
	" \u1fad=\u1f6d\u0399 \u1fae=\u1f6e\u0399 \u1faf=\u1f6f\u0399 \u1fb2=\u1fba\u0399 \u1fb3=\u0391\u0399 \u1fb4=\u0386\u0399" +
	" \u1fb6=\u0391\u0342 \u1fb7=\u0391\u0342\u0399 \u1fbc=\u0391\u0399 \u1fc2=\u1fca\u0399 \u1fc3=\u0397\u0399 \u1fc4=\u0389\u0399" +
	" \u1fc6=\u0397\u0342 \u1fc7=\u0397\u0342\u0399 \u1fcc=\u0397\u0399 \u1fd2=\u0399\u0308\u0300 \u1fd3=\u0399\u0308\u0301 \u1fd6=\u0399\u0342" +
	" \u1fd7=\u0399\u0308\u0342 \u1fe2=\u03a5\u0308\u0300 \u1fe3=\u03a5\u0308\u0301 \u1fe4=\u03a1\u0313 \u1fe6=\u03a5\u0342 \u1fe7=\u03a5\u0308\u0342" +
	" \u1ff2=\u1ffa\u0399 \u1ff3=\u03a9\u0399 \u1ff4=\u038f\u0399 \u1ff6=\u03a9\u0342 \u1ff7=\u03a9\u0342\u0399 \u1ffc=\u03a9\u0399" +
	" \ufb00=FF \ufb01=FI \ufb02=FL \ufb03=FFI \ufb04=FFL \ufb05=ST" +
	" \ufb06=ST \ufb13=\u0544\u0546 \ufb14=\u0544\u0535 \ufb15=\u0544\u053b \ufb16=\u054e\u0546 \ufb17=\u0544\u053d" + " "

// Upper gives s in upper case. It allocates nothing when s is that already.
func Upper(s string) string {
	at := strings.IndexFunc(s, func(r rune) bool { return expands(r) && expansion(r) != "" })
	if at < 0 {
		return strings.ToUpper(s)
	}
	var b strings.Builder
	for _, r := range s {
		if more := expansion(r); expands(r) && more != "" {
			b.WriteString(more)
		} else {
			b.WriteRune(unicode.ToUpper(r))
		}
	}
	return b.String()
}

// expands is quick, and true for more than those that expand.
func expands(r rune) bool {
	return r >= 0xdf && (r == 0xdf || r == 0x149 || r == 0x1f0 || r == 0x390 || r == 0x3b0 || r == 0x587 ||
		r >= 0x1e96 && r <= 0x1e9a || r >= 0x1f50 && r <= 0x1ffc || r >= 0xfb00 && r <= 0xfb17)
}

// expansion is empty for a letter that has none.
func expansion(r rune) string {
	_, after, found := strings.Cut(expansions, " "+string(r)+"=")
	if !found {
		return ""
	}
	more, _, _ := strings.Cut(after, " ")
	return more
}

// Lower gives s in lower case. It allocates nothing when s is that already.
func Lower(s string) string {
	if !strings.ContainsAny(s, "\u0130\u03a3") {
		return strings.ToLower(s)
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\u0130': // a capital I with its dot keeps the dot
			b.WriteString("i\u0307")
		case r == '\u03a3' && endsWord(s, i):
			b.WriteRune('\u03c2')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// endsWord says whether the sigma at i is the last letter of a word of more than
// one: Final_Sigma of SpecialCasing.txt.
func endsWord(s string, i int) bool {
	before := strings.TrimRightFunc(s[:i], ignorable)
	last, _ := utf8.DecodeLastRuneInString(before)
	if before == "" || !cased(last) {
		return false
	}
	after := strings.TrimLeftFunc(s[i+len("\u03a3"):], ignorable)
	first, _ := utf8.DecodeRuneInString(after)
	return after == "" || !cased(first)
}

func cased(r rune) bool {
	return unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) || unicode.In(r, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

// ignorable are marks within a word: accents, modifiers, and the punctuation that
// does not end it.
func ignorable(r rune) bool {
	return strings.ContainsRune("'.:^`\u00a8\u00ad\u00af\u00b4\u00b7\u00b8\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a", r) ||
		unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk)
}
