package sim

import (
	"strings"
	"testing"
)

func TestSim_Smoke(t *testing.T) {
	bad := 0
	kinds := map[string]int{}
	for seed := range uint64(2000) {
		r := Run(FromSeed(seed))
		if len(r.Violations) > 0 {
			bad++
			kinds[r.Violations[0][:3]]++
			if r.Options.Gateways==1 {kinds[r.Violations[0][:3]+"1gw"]++}
			if r.Options.Policy.Answers {kinds[r.Violations[0][:3]+"ans"]++}
			if r.Options.Resets {kinds[r.Violations[0][:3]+"reset"]++}
			if bad <= 1 {
				t.Errorf("%s\n%s\nlast events:\n%s", r.Options, strings.Join(r.Violations, "\n"), strings.Join(r.Last, "\n"))
			}
		}
	}
	t.Logf("bad %d %v", bad, kinds)
}
