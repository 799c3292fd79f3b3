package rules

import (
	"sync/atomic"

	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// figures are the engine's metrics.
type figures struct {
	matched, evaluated, errors, dropped, actionFailed *metrics.Counter
	notFound, intakeDropped, saveFailed, lookupFailed *metrics.Counter
	missed, timeouts                                  *metrics.Counter
	groupsDropped, late, windowDropped                *metrics.Counter
	lastMatch, lastError, groups                      *metrics.Gauge
	duration                                          *metrics.Histogram
}

func newFigures(m *metrics.Registry) figures {
	return figures{
		matched:       m.Counter("rule_matches_total", "Results of rules that went to their actions.", "rule"),
		evaluated:     m.Counter("rule_evaluations_total", "Messages that a rule looked at.", "rule"),
		missed:        m.Counter("rule_misses_total", "Messages that a rule looked at and that gave no result.", "rule"),
		lastMatch:     m.Gauge("rule_last_match_timestamp_seconds", "When a rule last gave a result.", "rule"),
		lastError:     m.Gauge("rule_last_error_timestamp_seconds", "When an evaluation or an action last failed.", "rule"),
		errors:        m.Counter("rule_errors_total", "Evaluations that failed.", "rule", "stage"),
		dropped:       m.Counter("rule_dropped_total", "Results and messages dropped from a rule's full queue.", "rule"),
		actionFailed:  m.Counter("rule_action_failures_total", "Actions that failed after their last attempt.", "rule", "action"),
		notFound:      m.Counter("rule_not_found_total", "Basic Ingest messages for an unknown or disabled rule."),
		intakeDropped: m.Counter("rule_intake_dropped_total", "Messages dropped because evaluation could not follow."),
		saveFailed:    m.Counter("rule_checkpoint_failures_total", "Stores of rules' memory that failed."),
		lookupFailed:  m.Counter("rule_lookup_failures_total", "Functions that look outside the message and failed.", "rule", "function"),
		timeouts:      m.Counter("rule_pattern_timeouts_total", "Regular expressions given up after 5 ms; their functions were Undefined.", "rule"),
		groups:        m.Gauge("rule_groups", "Groups that a rule remembers, at most 10000.", "rule"),
		groupsDropped: m.Counter("rule_groups_dropped_total", "Groups forgotten because a rule had too many.", "rule"),
		late:          m.Counter("rule_late_messages_total", "Messages whose windows were closed, or that had no event time.", "rule"),
		windowDropped: m.Counter("rule_window_dropped_total", "Messages that left a full window early.", "rule"),
		duration:      m.Histogram("rule_duration_seconds", "Time the actions of one result took.", []float64{.0001, .001, .01, .1, 1, 5, 30}, "rule"),
	}
}

// tally counts what one rule does; evaluation adds without a lock.
type tally struct {
	evaluated, matched, missed atomic.Uint64
	passed                     atomic.Uint64 // seen in passing: evaluated and missed
	errors, dropped            atomic.Uint64
	lastMatch, lastErrorAt     atomic.Int64 // wall clock, ms
	lastError                  atomic.Pointer[string]
	told, toldMissed           uint64 // that are in the metrics
	toldMemory                 iotsql.Stats
}

func (t *tally) failed(at int64, text string) {
	t.errors.Add(1)
	t.lastErrorAt.Store(at)
	t.lastError.Store(&text)
}

// looked is how many messages the rule looked at, and how many gave nothing.
func (t *tally) looked() (evaluated, missed uint64) {
	passed := t.passed.Load()
	return t.evaluated.Load() + passed, t.missed.Load() + passed
}

// tell brings into the metrics what was counted since the last call; only the
// evaluator calls it.
func (t *tally) tell(f *figures, rule string) {
	n, missed := t.looked()
	if n > t.told {
		f.evaluated.Add(float64(n-t.told), rule)
		f.missed.Add(float64(missed-t.toldMissed), rule)
		t.told, t.toldMissed = n, missed
	}
	if at := t.lastMatch.Load(); at > 0 {
		f.lastMatch.Set(float64(at)/1000, rule)
	}
	if at := t.lastErrorAt.Load(); at > 0 {
		f.lastError.Set(float64(at)/1000, rule)
	}
}

// tellMemory does the same for what a rule's memory gave up.
func (t *tally) tellMemory(f *figures, rule string, now iotsql.Stats) {
	f.groups.Set(float64(now.Groups), rule)
	f.groupsDropped.Add(grown(t.toldMemory.DroppedGroups, now.DroppedGroups), rule)
	f.late.Add(grown(t.toldMemory.Late, now.Late), rule)
	f.windowDropped.Add(grown(t.toldMemory.Dropped, now.Dropped), rule)
	t.toldMemory = now
}

// grown is by how much a count grew; the memory of a replaced rule counts from
// zero again.
func grown(before, now uint64) float64 {
	if now < before {
		return float64(now)
	}
	return float64(now - before)
}
