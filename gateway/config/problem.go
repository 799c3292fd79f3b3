package config

import (
	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
)

// Problem is something wrong with the file; its JSON members are those of
// contract section 3.
type Problem = tree.Problem

// Secret refers to a secret (SECRET of contract section 5).
type Secret = value.Secret

// Bind is an address to listen on (BIND of contract section 5).
type Bind = value.Bind

// Severities of a Problem.
const (
	SeverityError   = tree.SeverityError
	SeverityWarning = tree.SeverityWarning
)

// Parts is the table of drivers this binary has.
type Parts interface {
	// Driver finds a driver by the word in `driver:`.
	Driver(name string) (drivers.Driver, bool)
	// Names lists the words, sorted.
	Names() []string
}

// HasErrors reports whether a problem keeps the file from being used.
func HasErrors(problems []Problem) bool {
	for _, p := range problems {
		if p.Severity == SeverityError {
			return true
		}
	}
	return false
}
