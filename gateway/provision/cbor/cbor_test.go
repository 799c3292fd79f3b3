package cbor

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"testing"
)

// TestDecode_Vectors are from RFC 8949, appendix A.
func TestDecode_Vectors(t *testing.T) {
	for text, want := range map[string]any{
		"00": int64(0), "17": int64(23), "1818": int64(24), "1903e8": int64(1000), "1bffffffffffffffff": uint64(math.MaxUint64),
		"20": int64(-1), "3903e7": int64(-1000), "f93e00": 1.5, "f90001": 5.960464477539063e-8, "f9c400": -4.0, "fa47c35000": 100000.0,
		"fb3ff199999999999a": 1.1, "f4": false, "f5": true, "f6": nil, "40": []byte{}, "4401020304": []byte{1, 2, 3, 4},
		"60": "", "6449455446": "IETF", "62c3bc": "ü", "80": []any{}, "83010203": []any{int64(1), int64(2), int64(3)},
		"a26161016162820203": map[string]any{"a": int64(1), "b": []any{int64(2), int64(3)}},
		"9f01ff":             []any{int64(1)}, "bf6346756ef563416d7421ff": map[string]any{"Fun": true, "Amt": int64(-2)},
		"c074323031332d30332d32315432303a30343a30305a": "2013-03-21T20:04:00Z",
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", text, got, err, want)
		}
	}
}

func TestDecode_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{"", "ff", "1c", "18", "61", "61ff", "7f6161ff", "a10102", "a2616101616102", "0000", "9f", "f8ff", "3bffffffffffffffff", "9bffffffffffffffff"} {
		data, _ := hex.DecodeString(text)
		if v, err := Decode(data); err == nil {
			t.Errorf("%s: %v; want an error", text, v)
		}
	}
	if _, err := Decode(bytes.Repeat([]byte{0x81}, DepthMax+2)); err == nil {
		t.Error("too deep: want an error")
	}
	if _, err := Encode(struct{}{}); err == nil {
		t.Error("a struct: want an error")
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range []string{"a26161016162820203", "bf6346756ef563416d7421ff", "fb3ff199999999999a", "4401020304", "9f9f9fffffff"} {
		data, _ := hex.DecodeString(text)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Encode(v)
		if err != nil {
			t.Fatalf("%x decodes to %#v, which cannot be written: %v", data, v, err)
		}
		w, err := Decode(again)
		if err != nil {
			t.Fatalf("%x: %v", again, err)
		}
		third, err := Encode(w)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%x, then %x", again, third)
		}
	})
}
