package binding

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/iot"
)

// FL-011: the end of a wish stands beside it; it belongs to the wish that came
// with it or before it, never to a later one, and a new end makes a new wish.
func TestFL_011_AWishCarriesItsEnd(t *testing.T) {
	start := time.Unix(50, 0)
	key := iot.ShadowKey{Thing: "yard"}
	for name, c := range map[string]struct {
		delta   string
		until   int64
		invalid bool
	}{
		"with an end":               {`{"version":2,"state":{"valve":{"on":true,"expires":900}},"metadata":{"valve":{"on":{"timestamp":100},"expires":{"timestamp":100}}}}`, 900, false},
		"with the end of another":   {`{"version":2,"state":{"valve":{"on":true,"expires":900}},"metadata":{"valve":{"on":{"timestamp":101},"expires":{"timestamp":100}}}}`, 0, false},
		"with an end that is later": {`{"version":2,"state":{"valve":{"on":true,"expires":950}},"metadata":{"valve":{"on":{"timestamp":100},"expires":{"timestamp":102}}}}`, 950, false},
		"without":                   {`{"version":2,"state":{"valve":{"on":true}},"metadata":{"valve":{"on":{"timestamp":100}}}}`, 0, false},
		"with nonsense":             {`{"version":2,"state":{"valve":{"on":true,"expires":"soon"}},"metadata":{"valve":{"on":{"timestamp":100},"expires":{"timestamp":100}}}}`, 0, true},
	} {
		table, err := NewTable([]Part{{Name: "valve", Kind: Output, Target: drivers.Target{Thing: "yard", Key: "valve"}}}, start)
		if err != nil {
			t.Fatal(err)
		}
		wishes := table.Delta(key, []byte(c.delta))
		if len(wishes) != 1 || wishes[0].Invalid != c.invalid {
			t.Errorf("%s: wishes %+v", name, wishes)
			continue
		}
		if until := wishes[0].Expires; c.until == 0 && !until.IsZero() || c.until > 0 && until.Unix() != c.until {
			t.Errorf("%s: ends at %v, want %d", name, until, c.until)
		}
	}
	table, _ := NewTable([]Part{{Name: "valve", Kind: Output, Target: drivers.Target{Thing: "yard", Key: "valve"}}}, start)
	for _, want := range []struct {
		delta  string
		wishes int
	}{
		{`{"version":2,"state":{"valve":{"on":true,"expires":900}},"metadata":{"valve":{"on":{"timestamp":100},"expires":{"timestamp":100}}}}`, 1},
		{`{"version":3,"state":{"valve":{"on":true,"expires":900}},"metadata":{"valve":{"on":{"timestamp":100},"expires":{"timestamp":100}}}}`, 0},
		{`{"version":4,"state":{"valve":{"on":true,"expires":990}},"metadata":{"valve":{"on":{"timestamp":100},"expires":{"timestamp":104}}}}`, 1},
	} {
		if got := table.Delta(key, []byte(want.delta)); len(got) != want.wishes {
			t.Errorf("%s: %d wishes, want %d", want.delta, len(got), want.wishes)
		}
	}
	if w, ok := table.Command("yard", "valve", []byte(`{"on":true,"expires":900}`)); !ok || w.Expires.Unix() != 900 {
		t.Errorf("command: %+v", w)
	}
}

// printed shows wishes that have no end; one that has shows that, too.
func printed(wishes []drivers.Wish) string {
	var all []string
	for _, w := range wishes {
		text := fmt.Sprintf("{%s %v %s %v %v}", w.Part, w.On, w.Cause, w.Old, w.Invalid)
		if !w.Expires.IsZero() {
			text += " until " + w.Expires.String()
		}
		all = append(all, text)
	}
	return fmt.Sprint(all)
}
