package sim

import (
	"sync"
	"testing"

	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/plain"
)

// plainSeed derives the options of a plain run: every policy that is one.
func plainSeed(seed uint64) Options {
	o := FromSeed(seed)
	o.Policy.Answers, o.Policy.Marker, o.Resets = false, false, false
	o.Policy.Desired = shadowsync.Winner(seed % 3)
	return o
}

// figures are the metrics of all runs: to register them takes as long as a run.
var figures = sync.OnceValue(func() *plain.Figures { return plain.NewFigures(metrics.New()) })

func plainly(seed uint64) Result { return RunPlain(plainSeed(seed), figures()) }

// TestSimPlain_EverySeedKeepsTheInvariants runs the Carrier that ships with a
// plain broker: copies agree (I1), nothing older comes back (I2), nothing told
// to be done is lost (I3), a token has one effect (I4), versions and copies only
// rise (I5), a quiet connection sends nothing (I6), local users never wait (I7).
func TestSimPlain_EverySeedKeepsTheInvariants(t *testing.T) {
	var sum Result
	n := seeds(2000, 100_000)
	each(n, plainly, func(r Result) bool {
		if len(r.Violations) > 0 {
			report(t, r)
		}
		sum.Events, sum.Edits, sum.Writes = sum.Events+r.Events, sum.Edits+r.Edits, sum.Writes+r.Writes
		sum.Deletes += r.Deletes
		return !t.Failed()
	})
	t.Logf("%d seeds: %d events, %d edits, %d requests executed, %d of them deletes", n, sum.Events, sum.Edits, sum.Writes, sum.Deletes)
	if sum.Writes == 0 || sum.Deletes == 0 {
		t.Error("no request, or no delete, was executed: the schedules prove nothing")
	}
}

func TestSimPlain_TheSameSeedReplaysIdentically(t *testing.T) {
	each(seeds(100, 2000), plainly, func(a Result) bool {
		b := RunPlain(a.Options, figures())
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("%s: %d events hash %x, then %d events hash %x", a.Options, a.Events, a.Hash, b.Events, b.Hash)
		}
		return !t.Failed()
	})
}

// TestSimPlain_EveryMutantIsCaught breaks the plain mode on purpose: each way
// must be noticed by the checker that is there for it.
func TestSimPlain_EveryMutantIsCaught(t *testing.T) {
	for _, c := range []struct {
		name    string
		m       Mutation
		checker string
	}{
		{"a token has its effect twice", TokenForgotten, "I4"},
		{"an older value comes back with its token", TokenForgotten, "I2"},
		{"an intent slot is executed each time", WantForgotten, "I4"},
		{"an answer before the commit", AnswerFirst, "I3"},
		{"a lost copy is not sent again", CopyOnce, "I1"},
		{"another winner than the policy's", WrongWinner, "I3"},
		{"a delete takes what its app had not seen", DeleteBlind, "I3"},
		{"a version used twice", VersionReused, "I5"},
		{"local requests wait for upstream", LocalWaits, "I7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			found := make(map[string]int)
			runs := 0
			for seed := range uint64(1000) {
				o := plainSeed(seed)
				o.Unique, o.Mutation = true, c.m
				for _, v := range RunPlain(o, figures()).Violations {
					found[v[:2]]++
				}
				if runs++; found[c.checker] > 0 {
					break
				}
			}
			t.Logf("%s after %d runs: %v", c.checker, runs, found)
			if found[c.checker] == 0 {
				t.Errorf("%s noticed nothing", c.checker)
			}
		})
	}
}
