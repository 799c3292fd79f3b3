package sim

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/shadowsync"
)

// seeds is how many seeds a run takes: half the CI's share under -short.
func seeds(ci, long int) uint64 {
	n := gwtest.Rounds(ci, long)
	if testing.Short() {
		n /= 2
	}
	return uint64(n)
}

// each runs the seeds on all processors and hands over what they showed, one at
// a time and in no order, until take has seen enough.
func each(n uint64, run func(seed uint64) Result, take func(Result) bool) {
	var next atomic.Uint64
	var one sync.Mutex
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= n {
					return
				}
				r := run(seed)
				one.Lock()
				more := take(r)
				one.Unlock()
				if !more {
					next.Store(n)
				}
			}
		})
	}
	workers.Wait()
}

func ordinary(seed uint64) Result { return Run(FromSeed(seed)) }

func report(t *testing.T, r Result) {
	t.Helper()
	last := r.Last
	if len(last) > lastEvents {
		last = last[len(last)-lastEvents:]
	}
	t.Errorf("%s\n%s\nlast %d events:\n%s", r.Options, strings.Join(r.Violations, "\n"), len(last), strings.Join(last, "\n"))
	if r.Options.String() == FromSeed(r.Options.Seed).String() {
		t.Logf("run it alone: TIDEHOLD_SIM_SEED=%d go test ./shadowsync/sim -run OneSeed", r.Options.Seed)
	}
}

// TestSim_EverySeedKeepsTheInvariants checks I1 (both sides agree and rest), I2
// (nothing older wins), I3 (nothing vanishes unreported), I5 (versions rise)
// and I6 (no ping-pong) where the outcome of every push can be learned: from
// repeated answers or from markers.
func TestSim_EverySeedKeepsTheInvariants(t *testing.T) {
	var sum Result
	strict := 0 // runs in which every outcome was learned
	n := seeds(2000, 100_000)
	each(n, ordinary, func(r Result) bool {
		if len(r.Violations) > 0 {
			report(t, r)
		}
		sum.Events, sum.Edits, sum.Writes = sum.Events+r.Events, sum.Edits+r.Edits, sum.Writes+r.Writes
		sum.Races, sum.Conflicts, sum.Ambiguous = sum.Races+r.Races, sum.Conflicts+r.Conflicts, sum.Ambiguous+min(r.Ambiguous, 1)
		sum.Tolerated, sum.Amnesia = sum.Tolerated+min(r.Tolerated, 1), sum.Amnesia+min(r.Amnesia, 1)
		if r.Options.Unique && !r.Reset {
			strict++
		}
		return !t.Failed()
	})
	t.Logf("%d seeds: %d events, %d edits, %d writes by sync, %d races, %d conflicts", n, sum.Events, sum.Edits, sum.Writes, sum.Races, sum.Conflicts)
	t.Logf("I2 and I3 held in %d runs; %d runs had a push that neither an answer nor a marker told of, %d let an older value win", strict, sum.Ambiguous, sum.Tolerated)
	t.Logf("an older value came back in %d runs after upstream had lost everything and grown past the last common version", sum.Amnesia)
	if sum.Tolerated > 0 {
		t.Errorf("an older value won in %d runs", sum.Tolerated)
	}
	if strict < int(n)/2 && !t.Failed() {
		t.Errorf("only %d of %d runs prove I2", strict, n)
	}
	if sum.Conflicts == 0 || sum.Races == 0 {
		t.Error("the schedules met no conflict or no race: they prove nothing")
	}
}

// TestSim_OneSeed runs the seed in TIDEHOLD_SIM_SEED, without it the first.
func TestSim_OneSeed(t *testing.T) {
	text := os.Getenv("TIDEHOLD_SIM_SEED")
	if text == "" {
		text = "1"
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	r := Run(FromSeed(seed))
	t.Logf("%s: %d events", r.Options, r.Events)
	if len(r.Violations) > 0 {
		report(t, r)
	}
}

func TestSim_TheSameSeedReplaysIdentically(t *testing.T) {
	each(seeds(100, 2000), ordinary, func(a Result) bool {
		b := Run(a.Options)
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("%s: %d events hash %x, then %d events hash %x", a.Options, a.Events, a.Hash, b.Events, b.Hash)
		}
		return !t.Failed()
	})
}

// TestSim_SeedsThatFailedOnce keeps the seeds that found something since the
// schedules are what they are; what was found before is in step_test.go.
func TestSim_SeedsThatFailedOnce(t *testing.T) {
	for _, seed := range []uint64{
		11, 42, 100, // a shadow made anew kept what had been deleted with the old one
		31742,               // the refusal of a double, and the marker gone: nobody can know
		10145, 16984, 34841, // markers removed with a section, and deletes, whose outcome had to be assumed
		64184, // the ledger took an object that came back for an old one
	} {
		if r := Run(FromSeed(seed)); len(r.Violations) > 0 {
			report(t, r)
		}
	}
	o := FromSeed(4294967421) // a new shadow that met another was taken for adopted
	o.Policy.Direction, o.Policy.OnDelete = shadowsync.Up, shadowsync.UpdateWins
	o.Policy.Desired, o.Policy.Reported = shadowsync.CloudWins, shadowsync.LocalWins
	o.Unique, o.Gateways, o.Resets = false, 1, false
	if r := Run(o); len(r.Violations) > 0 {
		report(t, r)
	}
}

// TestSim_EvidenceAloneIsSeldomWrong measures rule 4 of shadow-sync.md 2.4: an
// upstream that repeats no answers, and no marker. There an older value can win
// under localWins and latest, where nobody can know better (DESIGN.md, "What
// nobody can know"). Agreement (I1) and rest (I6) hold all the same.
func TestSim_EvidenceAloneIsSeldomWrong(t *testing.T) {
	older, n := 0, seeds(500, 20_000)
	each(n, byEvidence, func(r Result) bool {
		wrong := r.Tolerated > 0
		for _, v := range r.Violations {
			if !strings.HasPrefix(v, "I2") && !strings.HasPrefix(v, "I3") {
				report(t, r)
			}
			wrong = wrong || strings.HasPrefix(v, "I2")
		}
		if wrong {
			older++
		}
		return !t.Failed()
	})
	t.Logf("%d of %d runs let an older value win", older, n)
	if older > int(n)/200 {
		t.Errorf("%d of %d runs let an older value win; more than 0.5 %%", older, n)
	}
}

// byEvidence is a run against an upstream that repeats no answers and keeps no
// marker.
func byEvidence(seed uint64) Result {
	o := FromSeed(seed)
	o.Policy.Answers, o.Policy.Marker, o.Unique = false, false, true
	return Run(o)
}

// TestSim_UnderCloudWinsNoOlderValueWinsEvenWithoutEvidence: where nothing tells
// what became of a push the policy decides, and under cloudWins the local value
// yields: a place without a value may win over a newer one, an older value never.
func TestSim_UnderCloudWinsNoOlderValueWinsEvenWithoutEvidence(t *testing.T) {
	assumed, older, n := 0, 0, seeds(500, 20_000)
	cloudWins := func(seed uint64) Result {
		o := FromSeed(seed)
		o.Policy.Answers, o.Policy.Marker, o.Unique, o.Resets = false, false, true, false
		o.Policy.Desired, o.Policy.Reported = shadowsync.CloudWins, shadowsync.CloudWins
		return Run(o)
	}
	each(n, cloudWins, func(r Result) bool {
		if len(r.Violations) > 0 {
			report(t, r)
		}
		older += min(r.Tolerated, 1)
		assumed += min(r.Ambiguous, 1)
		return !t.Failed()
	})
	t.Logf("%d runs, %d with an outcome that had to be assumed, %d let an older value win", n, assumed, older)
	if older > 0 {
		t.Errorf("%d of %d runs let an older value win", older, n)
	}
	if assumed == 0 {
		t.Error("no outcome had to be assumed: the schedules prove nothing")
	}
}

// TestSim_EveryPolicyAndDirectionAgrees goes through all policies; one-way
// syncs lose values by design, so only agreement and rest count there.
func TestSim_EveryPolicyAndDirectionAgrees(t *testing.T) {
	const policies = 3 * 9 * 2
	run := func(n uint64) Result {
		o := FromSeed(1<<32 + n)
		which := int(n % policies)
		o.Policy.Direction, o.Policy.OnDelete = shadowsync.Direction(which/18), shadowsync.OnDelete(which/9%2)
		o.Policy.Desired, o.Policy.Reported = shadowsync.Winner(which%3), shadowsync.Winner(which%9/3)
		if o.Policy.Direction != shadowsync.Both {
			o.Unique, o.Gateways, o.Resets = false, 1, false
		}
		return Run(o)
	}
	each(policies*seeds(20, 400), run, func(r Result) bool {
		if len(r.Violations) > 0 {
			report(t, r)
		}
		return !t.Failed()
	})
}

// TestSim_EveryMutantIsCaught breaks merge, base, push record, tombstone, echo
// suppression and the local side on purpose. Each must be noticed, and by the
// checker that is there for it.
func TestSim_EveryMutantIsCaught(t *testing.T) {
	for _, c := range []struct {
		name    string
		m       Mutation
		checker string
	}{
		{"merge: the past is not known", NoBase, "I2"},
		{"merge: another winner than the policy's", WrongWinner, "I3"},
		{"base: the whole document after a push", WholeBase, "I3"},
		{"base: written last", BaseLast, "I2"},
		{"push record: ignored", PushForgotten, "I2"},
		{"push: without version", BlindPush, "I2"},
		{"commit: without version", BlindCommit, "I3"},
		{"tombstone: a deleted shadow never was", NoTombstone, "I1"},
		{"echo: our own document is an edit", EchoApplied, "I2"},
		{"echo: any token is ours", SameTokenForAll, "I2"},
		{"versions: used twice", VersionReused, "I5"},
		{"ping-pong: no common past", NoBase, "I6"},
		{"local requests wait for upstream", LocalWaits, "I7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			runs, found := firstCaught(c.m, c.checker)
			t.Logf("%s after %d runs: %v", c.checker, runs, found)
			if found[c.checker] == 0 {
				t.Errorf("%s noticed nothing", c.checker)
			}
		})
	}
}

// firstCaught runs a mutant until the checker sees it, and counts what all
// checkers saw by then.
func firstCaught(m Mutation, checker string) (runs int, found map[string]int) {
	found = make(map[string]int)
	for seed := range uint64(1000) {
		o := FromSeed(seed)
		o.Unique, o.Mutation = true, m
		for _, v := range Run(o).Violations {
			found[v[:2]]++
		}
		if runs = int(seed) + 1; found[checker] > 0 {
			break
		}
	}
	return runs, found
}
