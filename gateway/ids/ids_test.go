package ids

import (
	"bytes"
	"crypto/rand"
	"regexp"
	"testing"
	"time"
)

func TestSource_FormsAreThoseOfTheSpecifications(t *testing.T) {
	s := New(rand.Reader)
	if id := s.UUID(); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("UUID() = %q", id)
	}
	if tok := s.Token(40); !regexp.MustCompile(`^[a-z2-7]{8}$`).MatchString(tok) {
		t.Errorf("Token(40) = %q", tok)
	}
	for range 100 {
		if j := s.Jitter(time.Second); j < 0 || j >= time.Second {
			t.Fatalf("Jitter(1s) = %v", j)
		}
	}
	if s.Jitter(0) != 0 {
		t.Error("Jitter(0) must be 0")
	}
}

func TestSource_SameReaderSameIdentifiers(t *testing.T) {
	seed := bytes.Repeat([]byte{1, 2, 3, 4}, 16)
	a, b := New(bytes.NewReader(seed)), New(bytes.NewReader(seed))
	if a.UUID() != b.UUID() {
		t.Error("two sources over the same bytes must draw the same UUID")
	}
}
