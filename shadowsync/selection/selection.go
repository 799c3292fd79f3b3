// Package selection tells which shadows an uplink syncs, and by which policy:
// patterns of things and names, and overrides (contract section 5,
// `uplinks[].shadows`). It is pure.
package selection

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/shadowsync"
)

// classicName is how patterns name the classic shadow.
const classicName = "~"

// Set says which shadows are synced, and how.
type Set struct {
	// Things and Names are patterns with `*`; `~` is the classic shadow, which
	// `*` includes. Empty means all.
	Things, Names []string
	Policy        shadowsync.Policy
	// Overrides: the first that fits replaces the values it gives.
	Overrides []Override
	// Writable gives the keys of desired that upstream may set of a thing; nil,
	// of the function or its answer, means all.
	Writable func(iot.ThingName) []string
}

// Override replaces values of the policy for some shadows; nil keeps a value.
type Override struct {
	Things, Names     []string
	Direction         *shadowsync.Direction
	Desired, Reported *shadowsync.Winner
	OnDelete          *shadowsync.OnDelete
	MinInterval       *time.Duration
}

// For is the policy of a shadow, and whether it is synced at all.
func (s Set) For(key iot.ShadowKey) (shadowsync.Policy, bool) {
	if !fits(s.Things, s.Names, key) {
		return shadowsync.Policy{}, false
	}
	p := s.Policy
	if s.Writable != nil {
		p.Writable = s.Writable(key.Thing)
	}
	for _, o := range s.Overrides {
		if fits(o.Things, o.Names, key) {
			return o.apply(p), true
		}
	}
	return p, true
}

func (o Override) apply(p shadowsync.Policy) shadowsync.Policy {
	replace(&p.Direction, o.Direction)
	replace(&p.Desired, o.Desired)
	replace(&p.Reported, o.Reported)
	replace(&p.OnDelete, o.OnDelete)
	replace(&p.MinInterval, o.MinInterval)
	return p
}

func replace[T any](value *T, by *T) {
	if by != nil {
		*value = *by
	}
}

// Exact gives the shadows that are named without `*`: they are synced although
// nobody here has heard of them.
func (s Set) Exact() []iot.ShadowKey {
	var keys []iot.ShadowKey
	for _, thing := range s.Things {
		for _, name := range s.Names {
			if strings.Contains(thing+name, "*") {
				continue
			}
			key := iot.ShadowKey{Thing: iot.ThingName(thing)}
			if name != classicName {
				key.Shadow = iot.ShadowName(name)
			}
			keys = append(keys, key)
		}
	}
	return keys
}

// Check finds what can never fit.
func (s Set) Check() error {
	for _, pattern := range append(append([]string{}, s.Things...), s.Names...) {
		if pattern == "" {
			return fmt.Errorf("shadow sync: an empty pattern fits nothing; want a name or `*`")
		}
	}
	return nil
}

func fits(things, names []string, key iot.ShadowKey) bool {
	name := string(key.Shadow)
	if key.Shadow == iot.Classic {
		name = classicName
	}
	return anyFits(things, string(key.Thing)) && anyFits(names, name)
}

func anyFits(patterns []string, name string) bool {
	for _, p := range patterns {
		if fit(p, name) {
			return true
		}
	}
	return len(patterns) == 0
}

// fit matches a pattern in which `*` stands for any text.
func fit(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name = name[at+len(part):]
	}
	return true
}
