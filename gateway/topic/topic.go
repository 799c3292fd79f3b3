// Package topic knows MQTT topic names, topic filters and the reserved
// `$aws/...` tree. Nobody else takes a topic apart or puts one together.
//
// The package is pure: functions of text, no clock, no lock, no I/O. A Trie is
// not safe for concurrent writers; whoever shares one guards it.
package topic

import (
	"strings"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
)

// maxBytes is the longest topic MQTT can carry (MQTT 3.1.1, 4.7.3).
const maxBytes = 65535

// Name is a topic name: no wildcards.
type Name string

// Filter is a topic filter: `+` is one level, `#` the rest.
type Filter string

// ParseName checks s by MQTT 3.1.1, 4.7: UTF-8, 1..65535 bytes, no NUL, no
// wildcard. A malformed name is an InvalidRequest error.
func ParseName(s string) (Name, error) {
	if err := checkText("topic", s); err != nil {
		return "", err
	}
	if strings.ContainsAny(s, "+#") {
		return "", iot.Errorf(iot.InvalidRequest, "topic %q: a wildcard (+ or #) is for filters only", s)
	}
	return Name(s), nil
}

// ParseFilter checks s by MQTT 3.1.1, 4.7.1: `+` stands alone in its level,
// `#` alone in the last one. A malformed filter is an InvalidRequest error.
func ParseFilter(s string) (Filter, error) {
	if err := checkText("topic filter", s); err != nil {
		return "", err
	}
	levels := strings.Split(s, "/")
	for i, level := range levels {
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return "", iot.Errorf(iot.InvalidRequest, "topic filter %q: a wildcard must stand alone in its level", s)
		}
		if level == "#" && i != len(levels)-1 {
			return "", iot.Errorf(iot.InvalidRequest, "topic filter %q: # must be the last level", s)
		}
	}
	return Filter(s), nil
}

func checkText(what, s string) error {
	switch {
	case s == "":
		return iot.Errorf(iot.InvalidRequest, "%s is empty", what)
	case len(s) > maxBytes:
		return iot.Errorf(iot.InvalidRequest, "%s has %d bytes; the maximum is %d", what, len(s), maxBytes)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return iot.Errorf(iot.InvalidRequest, "%s %q: want UTF-8 without NUL", what, s)
	}
	return nil
}

// Levels is the number of levels of a name or filter; `a/b` has two.
func Levels(s string) int { return strings.Count(s, "/") + 1 }

// Match reports whether f covers name. A leading wildcard never covers a name
// that starts with `$`, and `a/#` covers `a` too (MQTT 3.1.1, 4.7.1-2, 4.7.2-1).
func Match(f Filter, name Name) bool {
	filter, topic := string(f), string(name)
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		fLevel, fRest, fMore := strings.Cut(filter, "/")
		if fLevel == "#" {
			return true
		}
		tLevel, tRest, tMore := strings.Cut(topic, "/")
		if fLevel != "+" && fLevel != tLevel {
			return false
		}
		if !tMore {
			return !fMore || fRest == "#"
		}
		if !fMore {
			return false
		}
		filter, topic = fRest, tRest
	}
}
