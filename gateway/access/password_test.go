package access

import (
	"crypto/rand"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
)

// collected waits for the garbage collector to make ok true.
func collected(t *testing.T, ok func() bool) {
	t.Helper()
	for range 100 {
		runtime.GC()
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the memory is not given back")
}

// reference is the text form as other programs write it: password "password",
// salt "somesalt", four lanes.
const reference = "$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo"

func TestHash_ReadsWhatOthersWrote(t *testing.T) {
	cheap, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		string(cheap), strings.Replace(string(cheap), "$2a$", "$2y$", 1), strings.Replace(string(cheap), "$2a$", "$2b$", 1),
		HashPassword([]byte("password"), ids.New(rand.Reader)), reference,
	} {
		h, err := ParseHash(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !h.Matches([]byte("password")) {
			t.Errorf("%s: the right password does not match", text)
		}
		if h.Matches([]byte("Password")) || h.Matches(nil) {
			t.Errorf("%s: a wrong password matches", text)
		}
	}
	if (Hash{}).Matches(nil) {
		t.Error("the zero Hash matches")
	}
}

func TestParseHash_RefusesPlainTextAndCostlyParameters(t *testing.T) {
	for _, text := range []string{
		"", "secret", "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
		"$argon2id$v=16$m=65536,t=2,p=4$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
		"$argon2id$v=19$m=9999999,t=2,p=4$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
		"$argon2id$v=19$m=65536,t=99,p=4$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
		"$argon2id$v=19$m=65536,t=2,p=0$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
		"$argon2id$v=19$m=65536,t=2,p=4,x=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
		"$argon2id$v=19$m=65536,t=2,p=4$c2Fs$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
		"$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$c2hvcnQ",
		"$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$!!!",
		"$2b$31$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "$2b$short",
	} {
		if _, err := ParseHash(text); err == nil {
			t.Errorf("%q: want an error", text)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(reference)
	f.Add("$2b$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHash(text)
		if err == nil && h.bcrypt == nil && (h.memory > argonMemoryMax || h.time > argonTimeMax || h.lanes == 0 || len(h.want) < 16) {
			t.Errorf("%q: accepted with %+v", text, h)
		}
	})
}

func TestPasswords_WaitForATurnAndGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(ids.New(rand.Reader))
		for range hashesMax {
			p.turns <- struct{}{}
		}
		start := time.Now()
		if err := p.check("x", Hash{}, false, nil); iot.CodeOf(err) != iot.Throttled {
			t.Errorf("got %v, want Throttled", err)
		}
		if waited := time.Since(start); waited != hashWait {
			t.Errorf("waited %v, want %v", waited, hashWait)
		}
	})
}
