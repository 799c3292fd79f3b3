package doc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tidehold/tidehold/gateway/iot"
)

var noon = time.Unix(1_700_000_000, 0)

func at(n int64) time.Time { return noon.Add(time.Duration(n) * time.Second) }

func parse(t testing.TB, payload string) Request {
	t.Helper()
	r, err := ParseRequest([]byte(payload), DefaultLimits())
	if err != nil {
		t.Fatalf("ParseRequest(%s): %v", payload, err)
	}
	return r
}

// play applies the payloads one second apart and gives the last result.
func play(t testing.TB, payloads ...string) Result {
	t.Helper()
	var res Result
	for i, p := range payloads {
		var err error
		if res, err = Apply(res.Next, parse(t, p), DefaultLimits(), at(int64(i))); err != nil {
			t.Fatalf("Apply(%s): %v", p, err)
		}
	}
	return res
}

func sameJSON(t testing.TB, what string, got []byte, want string) {
	t.Helper()
	g, err := ParseValue(got)
	if err != nil {
		t.Fatalf("%s: %v in %s", what, err, got)
	}
	w, err := ParseValue([]byte(want))
	if err != nil {
		t.Fatalf("%s: %v in %s", what, err, want)
	}
	if !g.Equal(w) {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestParseRequest_RefusesInTheOrderOfSection2(t *testing.T) {
	long := strings.Repeat("x", 65)
	deep := strings.Repeat(`{"n":`, 9) + "1" + strings.Repeat("}", 9)
	veryDeep := strings.Repeat(`[`, 50_000) + strings.Repeat("]", 50_000)
	cases := []struct{ payload, message, token string }{
		{"\xff", "Unsupported documented encoding; supported encoding is UTF-8", ""},
		{"", "Invalid JSON", ""},
		{"[]", "Invalid JSON", ""},
		{`{"state":{}} x`, "Invalid JSON", ""},
		{`{"state":{}}{}`, "Invalid JSON", ""},
		{`{"state":{"desired":{"a":01}}}`, "Invalid JSON", ""},
		{`{"x":` + strings.Repeat(`[`, 50_000) + `}`, "Invalid JSON", ""},
		{`{"clientToken":5,"state":1}`, "Invalid clientToken", ""},
		{`{"clientToken":null,"state":1}`, "Invalid clientToken", ""},
		{`{"clientToken":"` + long + `"}`, "Invalid clientToken", ""},
		{`{"clientToken":"t"}`, "Missing required node: state", "t"},
		{`{"clientToken":"t","state":"on"}`, "State node must be an object", "t"},
		{`{"state":` + veryDeep + `}`, "State node must be an object", ""},
		{`{"state":{"desired":5,"delta":{}}}`, "State contains an invalid node: 'delta'", ""},
		{`{"state":{"desired":5}}`, "Desired node must be an object", ""},
		{`{"state":{"desired":` + veryDeep + `}}`, "Desired node must be an object", ""},
		{`{"state":{"reported":[1]}}`, "Reported node must be an object", ""},
		{`{"state":{"desired":{"a":[null]}},"version":"x"}`, "State contains an invalid node", ""},
		{`{"state":{"desired":{"a":[{"b":null}]}}}`, "State contains an invalid node", ""},
		{`{"state":{"desired":{"a":` + deep[:len(deep)-9][:45] + `[null]` + strings.Repeat("}", 9) + `}}}`, "State contains an invalid node", ""},
		{`{"state":{"desired":` + deep + `},"version":"x"}`, "JSON contains too many levels of nesting; maximum is 8", ""},
		{`{"state":{"desired":{"a":` + veryDeep + `}},"clientToken":"t"}`, "JSON contains too many levels of nesting; maximum is 8", "t"},
		{`{"state":{},"version":"1","clientToken":"t"}`, "Invalid version", "t"},
		{`{"state":{},"version":-1}`, "Invalid version", ""},
		{`{"state":{},"version":1.5}`, "Invalid version", ""},
		{`{"state":{},"version":9223372036854775808}`, "Invalid version", ""},
	}
	for _, c := range cases {
		r, err := ParseRequest([]byte(c.payload), DefaultLimits())
		if err == nil || iot.MessageOf(err) != c.message || r.Token != c.token {
			t.Errorf("ParseRequest(%.60q) = token %q, %v; want token %q, %q", c.payload, r.Token, err, c.token, c.message)
		}
	}
}

func TestParseRequest_TakesWhatIsLegal(t *testing.T) {
	eight := strings.Repeat(`{"n":`, 8) + "1" + strings.Repeat("}", 8)
	for _, payload := range []string{
		`{"state":null}`, `{"state":{}}`, ` { "state" : { "desired" : null } , "version" : null } `,
		`{"state":{"desired":` + eight + `}}`, `{"state":{},"version":0,"clientToken":""}`,
		`{"state":{"desired":5},"state":{}}`, `{"state":{"desired":{"a":[null],"a":1}}}`,
		`{"other":` + strings.Repeat("[", 40_000) + strings.Repeat("]", 40_000) + `,"state":{}}`,
		`{"st\u0061te":{}}`, `{"state":{},"version":9223372036854775807}`,
		`{"other":[{},[],{"a":[{}]},"x",1e5,true,null],"state":{}}`,
	} {
		if _, err := ParseRequest([]byte(payload), DefaultLimits()); err != nil {
			t.Errorf("ParseRequest(%.60q): %v", payload, err)
		}
	}
	if r := parse(t, `{"state":{"desired":{"a":1,"a":2}},"version":7}`); *r.Version != 7 || r.Desired.String() != `{"a":2}` {
		t.Errorf("got %+v", r)
	}
}

func TestParseToken_WhateverIsNoTokenCountsAsNone(t *testing.T) {
	for payload, want := range map[string]string{
		"": "", "x": "", "[]": "", `{"clientToken":"t"}`: "t", `{"clientToken":7}`: "", "\xff": "",
		`{"a":[[[1]]],"clientToken":"\u00e4"}`: "ä", `{"clientToken":"t"} x`: "", `{"clientToken":[[["t"]]]}`: "",
	} {
		if got := ParseToken([]byte(payload)); got != want {
			t.Errorf("ParseToken(%q) = %q, want %q", payload, got, want)
		}
	}
}

func TestApply_MergesBySection3(t *testing.T) {
	cases := []struct {
		name     string
		payloads []string
		want     string // state of the stored document
	}{
		{"null deletes", []string{`{"a":1,"b":2}`, `{"a":null,"zz":null}`}, `{"b":2}`},
		{"nested", []string{`{"c":{"r":1,"g":2}}`, `{"c":{"r":9}}`}, `{"c":{"g":2,"r":9}}`},
		{"array whole", []string{`{"a":[1,2,3]}`, `{"a":[4]}`}, `{"a":[4]}`},
		{"type change", []string{`{"a":1}`, `{"a":{"b":2}}`, `{"a":{"b":{"c":3}}}`}, `{"a":{"b":{"c":3}}}`},
		{"object to scalar", []string{`{"a":{"b":2}}`, `{"a":7}`}, `{"a":7}`},
		{"empty object stored", []string{`{"d":{}}`}, `{"d":{}}`},
		{"empty object into object", []string{`{"d":{"x":1}}`, `{"d":{}}`}, `{"d":{"x":1}}`},
		{"emptied object stays", []string{`{"d":{"x":1}}`, `{"d":{"x":null}}`}, `{"d":{}}`},
		{"new subtree without its nulls", []string{`{"d":{"x":null,"y":1}}`}, `{"d":{"y":1}}`},
		{"subtree of nulls alone", []string{`{"k":0,"d":{"x":null,"e":{"y":null}}}`}, `{"k":0}`},
		{"explicit empty beside null", []string{`{"d":{"x":null,"e":{}}}`}, `{"d":{"e":{}}}`},
		{"scalar replaced by nulls alone", []string{`{"a":1,"b":1}`, `{"a":{"x":null}}`}, `{"b":1}`},
		{"number text survives", []string{`{"a":9007199254740993,"b":1.10,"c":1E400}`}, `{"a":9007199254740993,"b":1.10,"c":1E400}`},
		{"interleaved keys", []string{`{"b":1,"d":1,"f":1}`, `{"a":2,"c":2,"d":null,"e":2,"g":2}`}, `{"a":2,"b":1,"c":2,"e":2,"f":1,"g":2}`},
	}
	for _, c := range cases {
		var cur *Shadow
		for i, p := range c.payloads {
			res, err := Apply(cur, parse(t, `{"state":{"reported":`+p+`}}`), DefaultLimits(), at(int64(i)))
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			cur = res.Next
		}
		if got := cur.Reported.State().String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestApply_AnEmptySectionIsNotThere(t *testing.T) {
	for _, last := range []string{
		`{"state":{"desired":null}}`, `{"state":{"desired":{"a":null}}}`, `{"state":null}`,
	} {
		next := play(t, `{"state":{"desired":{"a":1}}}`, last).Next
		if next.Desired.State().Exists() || next.Version != 2 || !next.Live() {
			t.Errorf("%s: got %+v", last, next)
		}
		body, _ := Get(next, iot.ShadowKey{Thing: "t"}, "", at(9))
		sameJSON(t, last, body, `{"state":{},"metadata":{},"version":2,"timestamp":1700000009}`)
	}
	next := play(t, `{"state":{"desired":{}}}`).Next
	if next.Desired.State().Exists() {
		t.Error("an empty desired must not appear")
	}
}

func TestApply_BodiesAreThoseOfSection6(t *testing.T) {
	res := play(t,
		`{"state":{"reported":{"a":1,"l":[1,{"z":2}]}}}`,
		`{"state":{"desired":{"a":2,"l":[1],"x":null,"e":{}},"reported":{"b":true}},"clientToken":"tok\"1"}`)
	sameJSON(t, "accepted", res.Accepted, `{"state":{"desired":{"a":2,"l":[1],"x":null,"e":{}},"reported":{"b":true}},
		"metadata":{"desired":{"a":{"timestamp":1700000001},"l":[{"timestamp":1700000001}],"x":{"timestamp":1700000001},"e":{}},
		"reported":{"b":{"timestamp":1700000001}}},"version":2,"timestamp":1700000001,"clientToken":"tok\"1"}`)
	sameJSON(t, "delta", res.Delta, `{"version":2,"timestamp":1700000001,"state":{"a":2,"l":[1],"e":{}},
		"metadata":{"a":{"timestamp":1700000001},"l":[{"timestamp":1700000001}],"e":{}},"clientToken":"tok\"1"}`)
	sameJSON(t, "documents", res.Documents, `{"previous":{"state":{"reported":{"a":1,"l":[1,{"z":2}]}},
		"metadata":{"reported":{"a":{"timestamp":1700000000},"l":[{"timestamp":1700000000},{"z":{"timestamp":1700000000}}]}},"version":1},
		"current":{"state":{"desired":{"a":2,"l":[1],"e":{}},"reported":{"a":1,"b":true,"l":[1,{"z":2}]}},
		"metadata":{"desired":{"a":{"timestamp":1700000001},"l":[{"timestamp":1700000001}],"e":{}},
		"reported":{"a":{"timestamp":1700000000},"b":{"timestamp":1700000001},"l":[{"timestamp":1700000000},{"z":{"timestamp":1700000000}}]}},"version":2},
		"timestamp":1700000001,"clientToken":"tok\"1"}`)
	body, _ := Get(res.Next, iot.ShadowKey{Thing: "t"}, "g", at(50))
	sameJSON(t, "get", body, `{"state":{"desired":{"a":2,"l":[1],"e":{}},"reported":{"a":1,"b":true,"l":[1,{"z":2}]},"delta":{"a":2,"l":[1],"e":{}}},
		"metadata":{"desired":{"a":{"timestamp":1700000001},"l":[{"timestamp":1700000001}],"e":{}},
		"reported":{"a":{"timestamp":1700000000},"b":{"timestamp":1700000001},"l":[{"timestamp":1700000000},{"z":{"timestamp":1700000000}}]}},
		"version":2,"timestamp":1700000050,"clientToken":"g"}`)
}

func TestApply_AcceptedMetadataMirrorsTheRequest(t *testing.T) {
	for request, want := range map[string]string{
		`{"state":null}`: `{"state":null,"metadata":{"timestamp":1700000000},"version":1,"timestamp":1700000000}`,
		`{"state":{}}`:   `{"state":{},"metadata":{},"version":1,"timestamp":1700000000}`,
		`{"state":{"desired":null,"reported":{}}}`:  `{"state":{"desired":null,"reported":{}},"metadata":{"desired":{"timestamp":1700000000},"reported":{}},"version":1,"timestamp":1700000000}`,
		`{"state":{"desired":{"a":1}},"version":0}`: `{"state":{"desired":{"a":1}},"metadata":{"desired":{"a":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000}`,
	} {
		sameJSON(t, request, play(t, request).Accepted, want)
	}
}

func TestApply_DeltaFollowsSection5(t *testing.T) {
	cases := []struct{ desired, reported, want string }{
		{`{"a":1}`, `{"a":1.0}`, ""},
		{`{"a":1}`, `{"a":"1"}`, `{"a":1}`},
		{`{"a":100}`, `{"a":1e2}`, ""},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, `{"a":9007199254740993}`},
		{`{"a":[1,2]}`, `{"a":[2,1]}`, `{"a":[1,2]}`},
		{`{"a":[{"x":1,"y":2}]}`, `{"a":[{"y":2.0,"x":1}]}`, ""},
		{`{"l":{"c":{"r":1,"g":2}}}`, `{"l":{"c":{"r":1,"g":0}}}`, `{"l":{"c":{"g":2}}}`},
		{`{"a":{}}`, `{"a":{"b":1}}`, ""},
		{`{"a":{}}`, `{"b":1}`, `{"a":{}}`},
		{`{"a":true}`, `{"a":{"b":1}}`, `{"a":true}`},
		{`{"b":1}`, `{"a":1,"b":1,"c":1}`, ""},
	}
	for _, c := range cases {
		next := play(t, fmt.Sprintf(`{"state":{"desired":%s,"reported":%s}}`, c.desired, c.reported)).Next
		got := ""
		if d := next.Delta(); d.Exists() {
			got = d.String()
		}
		if got != c.want {
			t.Errorf("delta(%s, %s) = %s, want %s", c.desired, c.reported, got, c.want)
		}
	}
	if res := play(t, `{"state":{"reported":{"a":1}}}`); res.Delta != nil {
		t.Errorf("no desired, no delta: got %s", res.Delta)
	}
	if res := play(t, `{"state":{}}`); res.Delta != nil || res.Next.Delta().Exists() {
		t.Errorf("no sections, no delta: got %s", res.Delta)
	}
}

func TestApply_UntouchedLeavesKeepTheirTimestamps(t *testing.T) {
	next := play(t,
		`{"state":{"reported":{"a":1,"b":{"c":1,"d":[1]}}}}`,
		`{"state":{"reported":{"b":{"c":1}}}}`,
		`{"state":{"reported":{"a":2}}}`).Next
	for path, want := range map[string]Stamp{
		"/a":   {noon.Unix() + 2, 3},
		"/b/c": {noon.Unix() + 1, 1}, // named again with the same value: new time, old version
		"/b/d": {noon.Unix(), 1},
	} {
		if got := next.Reported.Stamp(ParsePath(path)...); got != want {
			t.Errorf("stamp of %s = %+v, want %+v", path, got, want)
		}
	}
}

func TestSection_StampOfARemovedLeafIsNotBeforeItsRemoval(t *testing.T) {
	next := play(t,
		`{"state":{"reported":{"a":{"x":1,"y":1},"b":1}}}`,
		`{"state":{"reported":{"a":{"x":null}}}}`,
		`{"state":{"reported":{"b":2}}}`).Next
	if got := next.Reported.Stamp("a", "x").Version; got != 2 {
		t.Errorf("removed leaf: version %d, want 2", got)
	}
	if got := next.Reported.Stamp("never").Version; got != 0 {
		t.Errorf("leaf that never was: version %d, want 0", got)
	}
	cleared := play(t, `{"state":{"reported":{"a":1}}}`, `{"state":null}`, `{"state":{"reported":{"b":1}}}`).Next
	if got := cleared.Reported.Stamp("a").Version; got != 2 {
		t.Errorf("leaf of a cleared section: version %d, want 2", got)
	}
	if got := cleared.Reported.Stamp("b").Version; got != 3 {
		t.Errorf("later leaf: version %d, want 3", got)
	}
}

func TestApply_VersionMustBeTheCurrentOne(t *testing.T) {
	cur := play(t, `{"state":{"desired":{"a":1}}}`, `{"state":{}}`).Next
	for version, ok := range map[int64]bool{0: false, 1: false, 2: true, 3: false} {
		_, err := Apply(cur, Request{Version: &version}, DefaultLimits(), noon)
		if (err == nil) != ok || err != nil && iot.MessageOf(err) != "Version conflict" {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if cur.Version != 2 {
		t.Error("a refused update must not move the version")
	}
}

func TestApply_SizeCountsBothSectionsOfTheResult(t *testing.T) {
	half := func(name string, n int) Request {
		v := ObjectValue(Member{"k", StringValue(strings.Repeat("x", n-len(`{"k":""}`)))})
		if name == "desired" {
			return Request{Desired: v}
		}
		return Request{Reported: v}
	}
	cur, err := Next(nil, half("desired", 4096), DefaultLimits(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if cur, err = Next(cur, half("reported", 4096), DefaultLimits(), noon); err != nil || cur.Size() != 8192 {
		t.Fatalf("exactly the limit must pass: %v", err)
	}
	if _, err = Next(cur, half("reported", 4097), DefaultLimits(), noon); iot.CodeOf(err) != iot.TooLarge {
		t.Errorf("one byte more: %v, want TooLarge", err)
	}
	if _, err = Next(cur, half("reported", 100), DefaultLimits(), noon); err != nil {
		t.Errorf("making room: %v", err)
	}
	if _, err = Next(cur, half("reported", 50_000), Limits{}, noon); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

func TestDelete_TakesAVersionAndNumberingGoesOn(t *testing.T) {
	key := iot.ShadowKey{Thing: "t", Shadow: "s"}
	cur := play(t, `{"state":{"desired":{"a":1}}}`, `{"state":{}}`).Next
	tomb, body, err := Delete(cur, key, "tk", at(5))
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "delete/accepted", body, `{"version":2,"timestamp":1700000005,"clientToken":"tk"}`)
	if tomb.Live() || tomb.Version != 3 || tomb.Time != at(5).Unix() {
		t.Errorf("tombstone %+v", tomb)
	}
	for _, missing := range []*Shadow{nil, tomb} {
		if _, err := Get(missing, key, "", noon); iot.MessageOf(err) != "No shadow exists with name: 't~s'" {
			t.Errorf("get: %v", err)
		}
		if _, _, err := Delete(missing, key, "", noon); iot.CodeOf(err) != iot.NotFound {
			t.Errorf("delete: %v", err)
		}
	}
	res, err := Apply(tomb, Request{Reported: ObjectValue(Member{"b", IntValue(1)})}, DefaultLimits(), at(6))
	if err != nil || res.Next.Version != 4 || bytes.Contains(res.Documents, []byte("previous")) {
		t.Errorf("re-created: %v, %+v, %s", err, res.Next, res.Documents)
	}
	if got := res.Next.Desired.Stamp("a").Version; got != 3 {
		t.Errorf("leaf that the delete removed: version %d, want 3", got)
	}
}

func TestRejected_SaysCodeMessageAndToken(t *testing.T) {
	sameJSON(t, "409", Rejected(fmt.Errorf("shadow: %w", iot.Errorf(iot.Conflict, "Version conflict")), "t"),
		`{"code":409,"message":"Version conflict","clientToken":"t"}`)
	sameJSON(t, "500", Rejected(fmt.Errorf("disk on fire"), ""), `{"code":500,"message":"Internal service failure"}`)
}

func TestEqual_NumbersCompareByValueWithoutRounding(t *testing.T) {
	equal := [][2]string{
		{"0", "-0"}, {"0", "0e99999999999999999999999"}, {"-0.0", "0"}, {"1", "1.0"}, {"1e2", "100"}, {"100", "1E+2"},
		{"0.001", "1e-3"}, {"12.5e1", "125"}, {"1e99999999999999999999999", "10e99999999999999999999998"},
		{"0.1e100000000000000000000", "1e99999999999999999999"}, {"1.50", "1.5"}, {"-2.50e0", "-25e-1"},
	}
	for _, c := range equal {
		if !equalNumbers(c[0], c[1]) || !equalNumbers(c[1], c[0]) {
			t.Errorf("%s and %s are equal", c[0], c[1])
		}
	}
	for _, c := range [][2]string{
		{"1", "2"}, {"1", "-1"}, {"9007199254740993", "9007199254740992"}, {"0.1", "0.10000000000000001"}, {"1e5", "1e6"},
		{"1e99999999999999999999", "1e99999999999999999998"}, {"1e-99999999999999999999", "0"}, {"10", "1"}, {"1.5", "-1.5"},
	} {
		if equalNumbers(c[0], c[1]) || equalNumbers(c[1], c[0]) {
			t.Errorf("%s and %s differ", c[0], c[1])
		}
	}
	a, _ := ParseValue([]byte(`{"x":[0.1]}`))
	b, _ := ParseValue([]byte(`{"x":[0.10000000000000001]}`))
	if a.Equal(b) || !a.EqualFloat(b) {
		t.Error("EqualFloat rounds, Equal does not")
	}
}

func TestValue_FlattenGetWithAndDiff(t *testing.T) {
	v, _ := ParseValue([]byte(`{"a":{"b":1,"c":{}},"d":[1],"e/f":{"~":true}}`))
	flat := v.Flatten()
	if len(flat) != 3 || flat["/a/b"].Text() != "1" || flat["/d"].Kind() != Array || flat["/e~1f/~0"].Text() != "true" {
		t.Errorf("flatten: %v", flat)
	}
	for text := range flat {
		if got := ParsePath(text).String(); got != text {
			t.Errorf("path %q reads back as %q", text, got)
		}
	}
	if v.Get("a", "b").Text() != "1" || v.Get("a", "x", "y").Exists() || v.Get("d", "0").Exists() {
		t.Error("Get")
	}
	patch := Value{}.With(NullValue(), "a", "b").With(IntValue(5), "z").With(StringValue("q"), "a", "c")
	if got := patch.String(); got != `{"a":{"b":null,"c":"q"},"z":5}` {
		t.Errorf("With built %s", got)
	}
	if got := patch.With(Value{}, "a", "b").With(Value{}, "none", "x").String(); got != `{"a":{"c":"q"},"z":5}` {
		t.Errorf("With took away: %s", got)
	}
	if got := v.Canonical().String(); got != `{"a":{"b":1},"d":[1],"e/f":{"~":true}}` {
		t.Errorf("canonical: %s", got)
	}
}

func TestRequest_AppendReadsBack(t *testing.T) {
	version := int64(12)
	for _, r := range []Request{
		{Desired: Value{}.With(NullValue(), "a"), Version: &version, Token: "gw:x:1"},
		{Clear: true}, {}, {Desired: NullValue(), Reported: ObjectValue()},
	} {
		back := parse(t, string(r.Append(nil)))
		if !back.Desired.Equal(r.Desired) || !back.Reported.Equal(r.Reported) || back.Clear != r.Clear || back.Token != r.Token {
			t.Errorf("%s read back as %+v", r.Append(nil), back)
		}
	}
}

func TestApply_KeepsNoPayloadAlive(t *testing.T) {
	r := parse(t, `{"state":{"reported":{"name":"text","n":12,"l":["q"],"o":{"p":"r"}}}}`)
	next, err := Next(nil, r, DefaultLimits(), noon)
	if err != nil {
		t.Fatal(err)
	}
	var compare func(sent, kept Value)
	compare = func(sent, kept Value) {
		if sent.text != "" && sent.kind != Bool && unsafe.StringData(sent.text) == unsafe.StringData(kept.text) {
			t.Errorf("value %q is still the payload's", kept.text)
		}
		for i := range sent.parts {
			if key := sent.parts[i].Key; key != "" && unsafe.StringData(key) == unsafe.StringData(kept.parts[i].Key) {
				t.Errorf("key %q is still the payload's", key)
			}
			compare(sent.parts[i].Value, kept.parts[i].Value)
		}
	}
	compare(r.Reported, next.Reported.State())
}
