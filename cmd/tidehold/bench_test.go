package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/tidehold/tidehold/cmd/tidehold/ctl"
)

// benchOutput runs `tidehold bench` in this process.
func benchOutput(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(append([]string{"bench"}, args...))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestBench_WritesOneJSONLineForEachCell(t *testing.T) {
	out, err := benchOutput(t, "store", "--rounds", "1", "--duration", "20ms", "--only", "batch100$", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(bytes.NewReader([]byte(out)))
	n := 0
	for ; lines.More(); n++ {
		var cell struct {
			Scenario, Cell string
			Subject        map[string]float64
		}
		if err := lines.Decode(&cell); err != nil || cell.Scenario != "store" || cell.Subject["rate"] <= 0 {
			t.Fatalf("%+v, %v in %s", cell, err, out)
		}
	}
	if n != 4 {
		t.Errorf("%d cells, want 4: %s", n, out)
	}
}

func TestBench_WrongUseIsAUsageError(t *testing.T) {
	for _, args := range [][]string{{}, {"brocker"}, {"store", "--only", "("}, {"store", "-o", "name"}, {"store", "--rounds", "x"}} {
		if _, err := benchOutput(t, args...); ctl.ExitCode(err) != ctl.ExitUsage {
			t.Errorf("%v: %v", args, err)
		}
	}
}
