package patch

import (
	"encoding/json"
	"testing"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

func parse(t testing.TB, text string) doc.Value {
	t.Helper()
	v, err := doc.ParseValue([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v.Canonical()
}

func TestDiff_AppliedMakesTheOtherDocument(t *testing.T) {
	for _, c := range []struct{ from, to, request string }{
		{`{"desired":{"a":1}}`, `{"desired":{"a":1}}`, `{"state":{}}`},
		{`{"desired":{"a":1}}`, `{"desired":{"a":2},"reported":{"b":1}}`, `{"state":{"desired":{"a":2},"reported":{"b":1}}}`},
		{`{"desired":{"a":{"b":1,"c":2}}}`, `{"desired":{"a":{"b":1}}}`, `{"state":{"desired":{"a":{"c":null}}}}`},
		{`{"desired":{"a":{"b":1}}}`, `{"desired":{"a":7}}`, `{"state":{"desired":{"a":7}}}`},
		{`{"reported":{"a":1,"b":2}}`, `{}`, `{"state":{"reported":{"a":null,"b":null}}}`},
	} {
		changes := Diff(parse(t, c.from), parse(t, c.to))
		if got := Apply(parse(t, c.from), changes); !got.EqualFloat(parse(t, c.to)) {
			t.Errorf("%s to %s: applied gives %s", c.from, c.to, got)
		}
		if got := string(Request(changes).Append(nil)); got != c.request {
			t.Errorf("%s to %s: request %s, want %s", c.from, c.to, got, c.request)
		}
	}
}

// One value that stands as it was, and was not written again, proves that none
// of the changes was made.
func TestUntouched_AValueAsItWasProvesThatNothingCame(t *testing.T) {
	changes := []Change{
		{Path: doc.Path{"desired", "a"}, Old: parse(t, `1`), New: parse(t, `2`), At: 100},
		{Path: doc.Path{"desired", "n"}, New: parse(t, `5`)},
	}
	for _, c := range []struct {
		name, state string
		at          int64
		want        bool
	}{
		{"as it was", `{"desired":{"a":1}}`, 100, true},
		{"the time is not told", `{"desired":{"a":1}}`, 0, true},
		{"written again", `{"desired":{"a":1}}`, 101, false},
		{"another value", `{"desired":{"a":3}}`, 100, false},
		{"removed", `{"desired":{"z":1}}`, 100, false},
	} {
		if got := Untouched(changes, parse(t, c.state), func(doc.Path) int64 { return c.at }); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Where nothing was and nothing is, nobody can tell; anything else was written.
func TestTouched_OnlyAPlaceThatStayedEmptyTellsNothing(t *testing.T) {
	leaf := doc.Path{"desired", "b", "c"}
	fresh, replaced := Change{Path: leaf, New: parse(t, `1`)}, Change{Path: leaf, Old: parse(t, `0`), New: parse(t, `1`)}
	for state, want := range map[string]bool{`{}`: false, `{"desired":{"b":{"d":1}}}`: false, `{"desired":{"b":{"c":9}}}`: true, `{"desired":{"b":7}}`: true} {
		if got := fresh.Touched(parse(t, state), leaf); got != want {
			t.Errorf("%s: %v, want %v", state, got, want)
		}
	}
	if !replaced.Touched(parse(t, `{}`), leaf) {
		t.Error("a value that is gone was not touched")
	}
}

func TestShows_RemovalsCountOnlyAlone(t *testing.T) {
	gone := []Change{{Path: doc.Path{"desired", "a"}, Old: parse(t, `1`)}}
	both := append(gone[:1:1], Change{Path: doc.Path{"desired", "b"}, New: parse(t, `2`)})
	empty, set := parse(t, `{}`), parse(t, `{"desired":{"b":2}}`)
	if !Shows(gone, empty, true) || Shows(gone, empty, false) || Shows(both, empty, true) || !Shows(both, set, false) {
		t.Error("removals alone are shown when they count, values whenever one stands")
	}
}

func FuzzChange(f *testing.F) {
	f.Add([]byte(`{"path":["desired","a"],"new":1,"old":{"b":[2]},"at":5}`))
	f.Add([]byte(`{"path":["elsewhere"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c, again Change
		if json.Unmarshal(text, &c) != nil {
			return
		}
		stored, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := json.Unmarshal(stored, &again); err != nil || again.Path.String() != c.Path.String() || again.At != c.At || !again.New.Equal(c.New) || !again.Old.Equal(c.Old) {
			t.Errorf("%s is stored as %s, read as %+v, %v", text, stored, again, err)
		}
	})
}
