package doc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// random documents for the property tests.
type dice struct{ *rand.Rand }

func (d dice) value(depth int, nulls bool) any {
	switch n := d.IntN(9); {
	case n < 3 && depth > 0:
		m := map[string]any{}
		for range d.IntN(4) {
			m[string(rune('a'+d.IntN(4)))] = d.value(depth-1, nulls)
		}
		return m
	case n == 3 && depth > 0:
		return []any{json.Number(fmt.Sprint(d.IntN(3))), "x"}
	case n == 4 && nulls:
		return nil
	case n == 5:
		return "s"
	case n == 6:
		return d.IntN(2) == 0
	}
	return json.Number(fmt.Sprint(d.IntN(3)))
}

func (d dice) section(nulls bool) map[string]any {
	m := map[string]any{}
	for range d.IntN(4) {
		m[string(rune('a'+d.IntN(4)))] = d.value(3, nulls)
	}
	return m
}

// modelMerge is shadow.md section 3 on maps, written as it is read.
func modelMerge(s, p map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range s {
		out[k] = v
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
			continue
		}
		sub, isMap := v.(map[string]any)
		old, wasMap := out[k].(map[string]any)
		switch {
		case isMap && wasMap:
			out[k] = modelMerge(old, sub)
		case isMap:
			if kept, ok := modelStrip(sub); ok {
				out[k] = kept
			} else {
				delete(out, k)
			}
		default:
			out[k] = v
		}
	}
	return out
}

func modelStrip(m map[string]any) (map[string]any, bool) {
	out := map[string]any{}
	for k, v := range m {
		if sub, isMap := v.(map[string]any); isMap {
			if kept, ok := modelStrip(sub); ok {
				out[k] = kept
			}
		} else if v != nil {
			out[k] = v
		}
	}
	return out, len(out) > 0 || len(m) == 0
}

func fromAny(t testing.TB, x any) Value {
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseValue(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestApply_AgreesWithTheModelAndStorageRoundTrips(t *testing.T) {
	for seed := range uint64(3000) {
		d := dice{rand.New(rand.NewPCG(seed, 1))}
		var cur *Shadow
		model := map[string]any{}
		for step := range 6 {
			patch := d.section(true)
			model = modelMerge(model, patch)
			next, err := Next(cur, Request{Reported: fromAny(t, patch)}, Limits{}, at(int64(step)))
			if err != nil {
				t.Fatal(err)
			}
			want := fromAny(t, model)
			if got := next.Reported.State(); !got.Equal(want) && (got.Exists() || want.Len() > 0) {
				t.Fatalf("seed %d step %d: patch %v gave %s, want %s", seed, step, patch, got, want)
			}
			cur = reload(t, next)
		}
	}
}

// reload checks that the storage form of s is s, and gives it back.
func reload(t testing.TB, s *Shadow) *Shadow {
	t.Helper()
	stored := s.Append(nil)
	back, err := Decode(stored)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if again := back.Append(nil); !bytes.Equal(stored, again) {
		t.Fatalf("storage form changed:\n%x\n%x", stored, again)
	}
	key := iot.ShadowKey{Thing: "t"}
	a, _ := Get(s, key, "", noon)
	b, _ := Get(back, key, "", noon)
	if !bytes.Equal(a, b) {
		t.Fatalf("reloaded document differs:\n%s\n%s", a, b)
	}
	return back
}

func TestDiff_AppliedGivesTheOtherDocument(t *testing.T) {
	for seed := range uint64(5000) {
		d := dice{rand.New(rand.NewPCG(seed, 2))}
		u, _ := Next(nil, Request{Desired: fromAny(t, d.section(true))}, Limits{}, noon)
		m, _ := Next(nil, Request{Desired: fromAny(t, d.section(true))}, Limits{}, noon)
		patch := Diff(u.Desired.State(), m.Desired.State())
		got, err := Next(u, Request{Desired: patch}, Limits{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := got.Desired.State().Canonical(), m.Desired.State().Canonical(); !a.Equal(b) {
			t.Fatalf("seed %d: %s with %s gave %s, want %s", seed, u.Desired.State(), patch, a, b)
		}
		if again := Diff(got.Desired.State(), m.Desired.State()); again.Exists() {
			t.Fatalf("seed %d: still differs by %s", seed, again)
		}
	}
}

func TestDecode_TombstoneAndDamage(t *testing.T) {
	cur := play(t, `{"state":{"desired":{"a":{"b":[1,{"c":"x"}],"t":true,"f":false}},"reported":{"z":-1.5e3}}}`, `{"state":{"desired":{"q":1}}}`).Next
	tomb, _, _ := Delete(cur, iot.ShadowKey{Thing: "t"}, "", at(9))
	if back := reload(t, tomb); !back.Deleted || back.Version != 3 || back.Time != at(9).Unix() {
		t.Errorf("tombstone read back as %+v", back)
	}
	stored := cur.Append(nil)
	for n := range stored {
		if _, err := Decode(stored[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: want an error", n, len(stored))
		}
	}
	if _, err := Decode(append(stored, 0)); err == nil {
		t.Error("trailing byte: want an error")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5e-3,"x\u00e4\ud83d\ude00",true,null]}`, `{"a":1,"a":2}`, `"\ud800"`, `[[[[]]]]`, ` 1 `, `{"a":{}}x`, "-", "1.", `"\x"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := ParseValue(text)
		if iot.CodeOf(err) == iot.UnsupportedMedia {
			return
		}
		if err != nil {
			if iot.MessageOf(err) == "Invalid JSON" && json.Valid(text) {
				t.Fatalf("%q is JSON", text)
			}
			return
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var std any
		if err := dec.Decode(&std); err != nil || !json.Valid(text) {
			t.Fatalf("%q is no JSON: %v", text, err)
		}
		if again := fromAny(t, std); !again.Equal(v) {
			t.Fatalf("%q: got %s, want %s", text, v, again)
		}
		if out := v.Append(nil); len(out) != v.Size() {
			t.Fatalf("%q: size %d, written %d", text, v.Size(), len(out))
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"state":{"desired":{"a":[1,{"b":2}]},"reported":{"c":null}},"version":0,"clientToken":"t"}`), []byte(`{"state":null}`))
	f.Add([]byte(`{"state":{"desired":{"a":{"b":{}}}}}`), []byte(`{"state":{"desired":{"a":{"b":null}}}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var cur *Shadow
		for _, payload := range [][]byte{first, second} {
			ParseToken(payload)
			r, err := ParseRequest(payload, DefaultLimits())
			if err != nil {
				Rejected(err, r.Token)
				continue
			}
			r.Version = nil
			res, err := Apply(cur, r, DefaultLimits(), noon)
			if err != nil {
				continue
			}
			for _, body := range [][]byte{res.Accepted, res.Delta, res.Documents} {
				if body != nil && !json.Valid(body) {
					t.Fatalf("no JSON: %s", body)
				}
			}
			cur = reload(t, res.Next)
			if d := cur.Delta(); d.Exists() && cur.Desired.State().Canonical().Equal(cur.Reported.State().Canonical()) && d.Canonical().Exists() {
				t.Fatalf("equal sections, delta %s", d)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(play(f, `{"state":{"desired":{"a":{"b":[1,{"c":"x"}],"t":true}},"reported":{"z":-1.5e3}}}`).Next.Append(nil))
	f.Fuzz(func(t *testing.T, stored []byte) {
		s, err := Decode(stored)
		if err != nil {
			return
		}
		if s.Live() {
			body, _ := Get(s, iot.ShadowKey{Thing: "t"}, "", noon)
			if !json.Valid(body) {
				t.Fatalf("no JSON: %s", body)
			}
		}
		if _, err := Decode(s.Append(nil)); err != nil {
			t.Fatalf("what was read does not read back: %v", err)
		}
	})
}

// kilobyte is a document of about 1 KiB in 50 leaves.
func kilobyte() string {
	var b strings.Builder
	b.WriteString(`{"state":{"reported":{`)
	for i := range 50 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"reading%02d":%d.25`, i, i*37)
	}
	b.WriteString(`}}}`)
	return b.String()
}

func BenchmarkApply_OneLeafOfAKilobyte(b *testing.B) {
	cur := play(b, kilobyte(), `{"state":{"desired":{"reading07":1}}}`).Next
	payload := []byte(`{"state":{"reported":{"reading07":21.5}},"clientToken":"abc"}`)
	b.ReportAllocs()
	for b.Loop() {
		r, _ := ParseRequest(payload, DefaultLimits())
		if _, err := Apply(cur, r, DefaultLimits(), noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply_WholeKilobyte(b *testing.B) {
	cur := play(b, kilobyte()).Next
	payload := []byte(kilobyte())
	b.ReportAllocs()
	for b.Loop() {
		r, _ := ParseRequest(payload, DefaultLimits())
		if _, err := Apply(cur, r, DefaultLimits(), noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStorage_Kilobyte(b *testing.B) {
	cur := play(b, kilobyte()).Next
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		buf := []byte(nil)
		for b.Loop() {
			buf = cur.Append(buf[:0])
		}
		b.ReportMetric(float64(len(buf)), "bytes")
	})
	b.Run("decode", func(b *testing.B) {
		stored := cur.Append(nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode(stored); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func ExampleApply() {
	r, _ := ParseRequest([]byte(`{"state":{"desired":{"led":"on"},"reported":{"led":"off"}}}`), DefaultLimits())
	res, _ := Apply(nil, r, DefaultLimits(), time.Unix(1700000000, 0))
	fmt.Println(string(res.Delta))
	// Output: {"version":1,"timestamp":1700000000,"state":{"led":"on"},"metadata":{"led":{"timestamp":1700000000}}}
}
