package aggregate

import (
	"encoding/json"
	"testing"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

func parse(t testing.TB, text string) []value.Value {
	t.Helper()
	v, ok := value.Parse(text, true)
	if !ok {
		t.Fatalf("%s is no JSON", text)
	}
	return v.Items()
}

func TestSum_EveryKind(t *testing.T) {
	for _, c := range []struct {
		kind       Kind
		over, want string
	}{
		{All, `[1,null,"x"]`, "3"}, {Count, `[1,null,"x"]`, "2"}, {Total, `[1,"2",null,"x",0.5]`, "3.5"}, {Average, "[1,2]", "1.5"},
		{Least, `[3,"1.5",2]`, "1.5"}, {Greatest, "[1,3,2]", "3"}, {Deviation, "[2,4,4,4,5,5,7,9]", "2"}, {First, `["a",1]`, `"a"`}, {Last, `["a",1]`, "1"},
		{Collect, `[1,null,"x"]`, `[1,null,"x"]`}, {Total, `["x"]`, ""}, {Average, "[]", ""}, {Least, "[]", ""}, {First, "[]", ""}, {Collect, "[]", "[]"}, {All, "[]", "0"},
		{Total, "[9e999,9e999]", ""}, {Average, "[9e999,9e999]", ""}, {Deviation, "[9e999]", ""}, {Total, "[9e600,1]", "9E+600"}, {Greatest, "[-3,-1]", "-1"},
	} {
		var s Sum
		for _, v := range parse(t, c.over) {
			s.Add(c.kind, v)
		}
		// What a restart brings back must go on like the original.
		text, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		var again Sum
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		got, restored := value.AppendJSON(nil, s.Result(c.kind)), value.AppendJSON(nil, again.Result(c.kind))
		want, _ := value.Parse(c.want, true)
		if result, _ := value.Parse(string(got), true); !value.Equal(result, want) && string(got) != c.want {
			t.Errorf("kind %d over %s: got %s, want %s", c.kind, c.over, got, c.want)
		}
		if string(got) != string(restored) {
			t.Errorf("kind %d over %s: %s, after a restart %s", c.kind, c.over, got, restored)
		}
	}
}

func TestSum_CollectKeepsAtMostItsLimit(t *testing.T) {
	var s Sum
	for i := range collectMax + 5 {
		s.Add(Collect, value.Integer(int64(i)))
	}
	if got := s.Result(Collect).Len(); got != collectMax {
		t.Errorf("got %d values, want %d", got, collectMax)
	}
}
