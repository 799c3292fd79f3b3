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
