package tree

import (
	"cmp"
	"fmt"
	"slices"
)

// The severities of a Problem.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// problemsMax bounds what one Load reports.
const problemsMax = 1000

// Problem is something wrong at one place. Line and Column count from 1.
type Problem struct {
	Severity string `json:"severity"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	// Key is the dotted path; entries of lists stand in brackets, by their name
	// when they have one: `uplinks[cloud].telemetry[0].from`.
	Key     string `json:"key"`
	Message string `json:"message"`
	// Hint says what to do; it may be empty.
	Hint string `json:"hint"`
}

// String is FILE:LINE:COLUMN: SEVERITY: KEY: MESSAGE (HINT).
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: %s: ", p.File, p.Line, p.Column, p.Severity)
	if p.Key != "" {
		s += p.Key + ": "
	}
	s += p.Message
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// Sort orders problems by file and place; the order of files is that of rank.
func Sort(problems []Problem, rank func(file string) int) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank(a.File), rank(b.File)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
		)
	})
}

// Report collects problems, each place and message once.
type Report struct {
	problems []Problem
	seen     map[Problem]bool
}

// Add notes a problem; beyond problemsMax it is dropped.
func (r *Report) Add(p Problem) {
	if len(r.problems) >= problemsMax || r.seen[p] {
		return
	}
	if r.seen == nil {
		r.seen = make(map[Problem]bool)
	}
	r.seen[p] = true
	r.problems = append(r.problems, p)
	if len(r.problems) == problemsMax {
		r.problems = append(r.problems, Problem{Severity: SeverityError, File: p.File, Line: p.Line, Column: p.Column,
			Message: fmt.Sprintf("more than %d problems: the rest is not listed", problemsMax)})
	}
}

// fail notes an error at a place.
func (r *Report) fail(at Pos, key, message, hint string) {
	r.Add(Problem{SeverityError, at.File, at.Line, at.Column, key, message, hint})
}

// Problems gives what was noted, in the order of the notes.
func (r *Report) Problems() []Problem { return r.problems }
