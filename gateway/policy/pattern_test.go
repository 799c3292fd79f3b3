package policy

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// naive is the plainest matcher there is: exponential, and obviously right.
func naive(p, s []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	switch p[0] {
	case '*':
		return naive(p[1:], s) || len(s) > 0 && naive(p, s[1:])
	case '?':
		return len(s) > 0 && naive(p[1:], s[1:])
	}
	return len(s) > 0 && p[0] == s[0] && naive(p[1:], s[1:])
}

func patternOf(t testing.TB, text string) pattern {
	t.Helper()
	parsed, err := parseTemplate(text, false)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := parsed.pattern(&Connection{}, func(string) {})
	return p
}

func TestPattern_AgreesWithTheNaiveMatcher(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(alphabet string, n int) string {
		runes := []rune(alphabet)
		var b strings.Builder
		for range r.IntN(n) {
			b.WriteRune(runes[r.IntN(len(runes))])
		}
		return b.String()
	}
	hits := 0
	for range 200_000 {
		p, s := draw("ab/ä**?", 9), draw("ab/ä", 12)
		want := naive([]rune(p), []rune(s))
		if got := patternOf(t, p).match(s); got != want {
			t.Fatalf("pattern %q, text %q: got %v, want %v", p, s, got, want)
		}
		if want {
			hits++
		}
	}
	if hits < 1000 {
		t.Errorf("only %d of the pairs match: the test says little", hits)
	}
}

// thirtyStars is the pattern of security.md 1.2, 4, and a text that it does not
// match: with backtracking there are more ways to try than would ever end.
func thirtyStars(t testing.TB) (pattern, string) {
	return patternOf(t, strings.Repeat("*a", 30)+"b"), strings.Repeat("a", 200)
}

func TestPattern_ManyStarsComeToAnEnd(t *testing.T) {
	if p, text := thirtyStars(t); p.match(text) {
		t.Error("matched")
	}
}

// BenchmarkPattern_ThirtyStars: at most 5 ms (security.md 1.2, 4).
func BenchmarkPattern_ThirtyStars(b *testing.B) {
	p, text := thirtyStars(b)
	for b.Loop() {
		p.match(text)
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*", "")
	f.Add("**?ä", "xä")
	f.Fuzz(func(t *testing.T, p, s string) {
		if len(p) > 12 || len(s) > 24 || !utf8.ValidString(p) || !utf8.ValidString(s) {
			return
		}
		if got, want := patternOf(t, p).match(s), naive([]rune(p), []rune(s)); got != want {
			t.Errorf("pattern %q, text %q: got %v, want %v", p, s, got, want)
		}
	})
}

// FuzzParse: no document makes the parser, the compiler, the evaluator or the
// lint panic, and a document with a Deny of everything never allows.
func FuzzParse(f *testing.F) {
	var file vectorFile
	readVectors(f, "policy-vectors.json", &file)
	for _, v := range file.Vectors {
		for _, p := range v.Policies {
			f.Add(string(p.Document), "topic/a", "c1")
		}
	}
	f.Add(statementOf(`"Effect":"Allow","Action":"*","Resource":"arn:aws:iot:*:*:topic/${iot:Certificate.Subject.CommonName.9}${*}"`), "topic/*", "+")
	deny, err := Parse([]byte(statementOf(`"Effect":"Deny","Action":"*","Resource":"*"`)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, resource, client string) {
		d, err := Parse([]byte(text))
		if err != nil {
			return
		}
		conn := Connection{ClientID: client, SourceIP: client, ConnectAttributes: []string{client}, LastWillTopic: resource,
			Subject: map[string][]string{"CommonName": {client}}, Thing: &Thing{Name: client, Attached: true, Attributes: map[string]string{client: resource}}}
		d.Lint()
		both := Compile([]Named{{Document: d}, {Document: deny}}, conn, home)
		for _, action := range []string{"iot:Connect", "iot:Publish", client} {
			r := Request{Action: action, Resource: resource, Now: time.Unix(1e9, 0)}
			d.Evaluate(r, conn, home)
			if got := both.Evaluate(r); got.Allowed || !got.Explicit {
				t.Errorf("%s: %+v in spite of a Deny of everything", text, got)
			}
		}
	})
}
