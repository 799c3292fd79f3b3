package sift

import (
	"testing"

	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
)

func sieve(t testing.TB, where string) *Sieve {
	t.Helper()
	_, q, err := syntax.Parse("SELECT * FROM 'a' WHERE "+where, syntax.Dialect{Version: "2016-03-23", Modern: true})
	if err != nil {
		t.Fatal(err)
	}
	return Of(q.Where, true)
}

func TestRejects_OnlyWhatCannotBeTrue(t *testing.T) {
	for _, c := range []struct {
		where, payload string
		rejects        bool
	}{
		{"t > 5", `{"t":4}`, true},
		{"t > 5", `{"t":6}`, false},
		{"t > 5", `{"t":"6"}`, false}, // a text that is a number
		{"t > 5", `{"t":"x"}`, true},
		{"t > 5", `{"u":6}`, true},
		{"t > 5", `{"o":{"t":6}}`, false}, // elsewhere: the filter decides
		{"t > 5", `{"t":4,"t":6}`, false}, // the last one wins
		{"t > 5", `{"v":"t","t" : 4 }`, true},
		{"t > 5", `{"t":[6]}`, true},
		{"t > 5", `{"t":null}`, true},
		{"t > 5", `{"\u0074":6}`, false}, // escapes are not read here
		{"5 < t", `{"t":4}`, true},
		{"5 < t", `{"t":6}`, false},
		{"a.b.t >= 5", `{"a":{"b":{"t":4.99}}}`, true},
		{"s = 'ok'", `{"s":"bad"}`, true},
		{"s = 'ok'", `{"s":"ok"}`, false},
		{"s = 1", `{"s":"1"}`, true}, // types differ
		{"on = true", `{"on":false}`, true},
		{"on = true", `{"on":true}`, false},
		{"t > 5 AND s = 'ok'", `{"t":6,"s":"bad"}`, true},
		{"t > 5 AND length(s) > 1", `{"t":4}`, true},
		{"length(s) > 1 AND t > 5", `{"t":6}`, false},
		{"t > 5 OR s = 'ok'", `{"t":4,"s":"ok"}`, false},
		{"t > 5 OR s = 'ok'", `{"t":4,"s":"bad"}`, true},
		{"t > 5 OR length(s) > 1", `{"t":4}`, false},
		{"NOT t > 5", `{"t":4}`, false},
		{"t <> 5", `{"t":5}`, false},
		{"t > 5", "", false},
		{"t > 5", `{"t":`, false},
		{"t > 5", `{"t":x}`, false},
		{"t > 5", `{"t":"`, false},
	} {
		if got := sieve(t, c.where).Rejects(c.payload); got != c.rejects {
			t.Errorf("%s on %s: rejects %v", c.where, c.payload, got)
		}
	}
}

func TestRejects_DoesNotAllocate(t *testing.T) {
	s, payload := sieve(t, "t > 24.5 AND s = 'ok'"), `{"id":"sensor-7","t":21.5,"s":"ok"}`
	if n := testing.AllocsPerRun(100, func() {
		if !s.Rejects(payload) {
			t.Error("passes")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
