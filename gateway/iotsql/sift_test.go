package iotsql

import (
	"math/rand/v2"
	"testing"
)

// The sieve must never change what a statement gives.
func TestSieve_NeverRejectsWhatFires(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	var term func(depth int) string
	term = func(depth int) string {
		if depth > 0 && random.IntN(2) == 0 {
			return "(" + term(depth-1) + pick(" AND ", " OR ") + term(depth-1) + ")"
		}
		return pick("a", "b", "a.b", "o.a") + pick(" > ", " < ", " = ", " >= ", " <= ", " <> ") + pick("1", "2.5", "'1'", "'x'", "true", "null")
	}
	var object func(depth int) string
	object = func(depth int) string {
		text := "{"
		for i := range random.IntN(4) {
			if i > 0 {
				text += pick(",", " , ")
			}
			v := pick("1", "2.50", "1e1", "-3", `"1"`, `"x"`, `"a"`, "true", "null", "[1]", `"\u0031"`, "x")
			if depth > 0 && random.IntN(3) == 0 {
				v = object(depth - 1)
			}
			text += pick(`"a"`, `"b"`, `"o"`, `"\u0061"`) + pick(":", " : ") + v
		}
		return text + pick("}", "}", "}", "")
	}
	fired, sifted := 0, 0
	for range 40_000 {
		sql, payload := "SELECT 1 AS x FROM 'a' WHERE "+term(2), object(2)
		s, err := Parse(sql, Version2016)
		if err != nil {
			t.Fatal(err)
		}
		with, err := s.Eval(contextOf("a", payload))
		if err != nil {
			t.Fatal(err)
		}
		if s.sieve.Rejects(payload) {
			sifted++
		}
		s.sieve = nil
		if without, _ := s.Eval(contextOf("a", payload)); with.Fired != without.Fired {
			t.Fatalf("%s on %s: %v with a sieve, %v without", sql, payload, with.Fired, without.Fired)
		}
		if with.Fired {
			fired++
		}
	}
	if fired < 500 || sifted < 5000 {
		t.Errorf("%d fired and %d were sifted: nothing is proven", fired, sifted)
	}
}
