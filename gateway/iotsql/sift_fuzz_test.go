package iotsql

import "testing"

// FuzzSieve holds a statement with its sieve against the same without: they
// must fire alike, whatever filter and payload.
func FuzzSieve(f *testing.F) {
	for _, filter := range []string{
		"temperature > 30", "device.quality = 'good' AND pressure.hPa <= 1000.5", "zzzz < -1 OR qx.jv <> 3", "a = 'a' AND aa = 1",
		"humidity >= 1e2", "state.on = true OR state.on = null", "temperature - 1 > 3 AND x = 1",
	} {
		for _, payload := range []string{
			`{"temperature":31.5,"humidity":100}`, `{"device":{"quality":"good"},"pressure":{"hPa":1.0005e3}}`,
			`{"xx":"temperature","temperatur":99,"temperature" : "31"}`, `{"aa":1,"a":"a","\u0061":2}`, `{"qx":{"jv":4},"state":{"on":null}}`,
			`[{"temperature":40}]`, `{"temperature":1,"temperature":40}`, `{"zzzz":-1.0,"zzzz ":-2}`, `{"temperature":40`, "",
			`{"t":"temperatur","u":"e\":40","temperature":-0}`, "\ufeff{\"humidity\":100}",
		} {
			f.Add(filter, payload)
		}
	}
	f.Fuzz(func(t *testing.T, filter, payload string) {
		if len(filter) > 200 || len(payload) > 2000 {
			return
		}
		s, err := Parse("SELECT 1 AS x FROM 'a' WHERE "+filter, Version2016)
		if err != nil || s.sieve == nil {
			return
		}
		with, errWith := s.Eval(contextOf("a", payload))
		s.sieve = nil
		without, errWithout := s.Eval(contextOf("a", payload))
		if with.Fired != without.Fired || (errWith == nil) != (errWithout == nil) {
			t.Fatalf("%s on %q: %v, %v with a sieve; %v, %v without", filter, payload, with.Fired, errWith, without.Fired, errWithout)
		}
	})
}
