package rules

import (
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/trace"
)

// Evaluation is one look of a rule at a message.
type Evaluation = trace.Evaluation

// Trace gives the last evaluations of a rule, the latest first. An unknown rule
// is Unauthorized, as at AWS.
func (e *Engine) Trace(name string) ([]Evaluation, error) {
	r, err := e.rule(name)
	if err != nil {
		return nil, err
	}
	return r.trace.List(), nil
}

// Status is how a rule does. Times are in milliseconds since the Unix epoch, 0
// for never.
type Status struct {
	Name     string `json:"ruleName"`
	Enabled  bool   `json:"enabled"`
	FromFile bool   `json:"fromFile,omitempty"`
	// Evaluated counts messages that the rule looked at, Hits results that went
	// to the actions, Misses messages without a result.
	Evaluated uint64 `json:"evaluated"`
	Hits      uint64 `json:"hits"`
	Misses    uint64 `json:"misses"`
	// Errors counts failed evaluations and failed actions.
	Errors uint64 `json:"errors"`
	// Dropped counts what left a full queue, Waiting is what is in it.
	Dropped     uint64 `json:"dropped"`
	Waiting     int    `json:"waiting"`
	LastMatch   int64  `json:"lastMatch"`
	LastError   string `json:"lastError,omitempty"`
	LastErrorAt int64  `json:"lastErrorAt"`
	// NextRun is when the schedule fires.
	NextRun int64 `json:"nextRun,omitempty"`
	// Memory is what a rule with a memory holds; nil while it is busy, too.
	Memory *iotsql.Stats `json:"memory,omitempty"`
	Broken string        `json:"broken,omitempty"`
}

// Status gives how a rule does; an unknown one is Unauthorized, as at AWS.
func (e *Engine) Status(name string) (Status, error) {
	r, err := e.rule(name)
	if err != nil {
		return Status{}, err
	}
	return r.status(), nil
}

// Page is a rule with how it does.
type Page struct {
	Document
	Status Status `json:"status"`
}

// Book gives all rules and how they do, sorted by name.
func (e *Engine) Book() []Page {
	all := []Page{}
	for _, r := range e.table.Load().sorted {
		all = append(all, Page{r.document(), r.status()})
	}
	return all
}

func (r *runner) status() Status {
	p, t := r.program.Load(), &r.tally
	evaluated, missed := t.looked()
	s := Status{
		Name: r.name, Enabled: p.live(), FromFile: r.fromFile,
		Evaluated: evaluated, Hits: t.matched.Load(), Misses: missed, Errors: t.errors.Load(), Dropped: t.dropped.Load(),
		LastMatch: t.lastMatch.Load(), LastErrorAt: t.lastErrorAt.Load(),
	}
	if text := t.lastError.Load(); text != nil {
		s.LastError = *text
	}
	if p.broken != nil {
		s.Broken = p.broken.Error()
	}
	r.mu.Lock()
	s.Waiting = r.queue.Len() + len(r.results)
	r.mu.Unlock()
	if m := p.memory; m != nil && p.live() && m.mu.TryLock() {
		stats := m.state.Stats()
		s.Memory = &stats
		if p.schedule != nil && !m.next.IsZero() {
			s.NextRun = m.next.UnixMilli()
		}
		m.mu.Unlock()
	}
	return s
}
