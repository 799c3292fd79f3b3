package iotsql

import "github.com/tidehold/tidehold/gateway/iotsql/syntax"

// EmitsOnce reports whether the results of s are each about a span of time that
// ends: windows of TUMBLING, HOPPING and SESSION, and FOR. Such a result must
// not come twice with different values, so that whoever performs it first
// stores the State without it. Results of SLIDING, of COUNT and of single
// messages follow a message, and after a crash the next message makes its own.
func (s *Statement) EmitsOnce() bool {
	if s.hold >= 0 {
		return true
	}
	if s.window == nil {
		return false
	}
	switch s.window.kind {
	case syntax.Tumbling, syntax.Hopping, syntax.Session:
		return true
	}
	return false
}
