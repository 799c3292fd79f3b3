// Package pattern runs the functions of rule SQL whose second operand is a
// pattern: regular expressions, parse_time and time_to_epoch (rules.md section 6).
//
// A constant pattern is compiled once, by a Prepare function, when the
// statement is read; one that comes with a message is remembered in Memory, 64
// of each kind. A pattern that is none makes the result Undefined. Pure; a Memory
// belongs to one goroutine.
package pattern

import (
	"errors"

	"github.com/tidehold/tidehold/gateway/iotsql/cache"
	"github.com/tidehold/tidehold/gateway/iotsql/regex"
	"github.com/tidehold/tidehold/gateway/iotsql/timeform"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Memory remembers the patterns that messages brought. The zero one is empty.
type Memory struct {
	// Timeouts counts the regular expressions that were given up after 5 ms,
	// whose functions became Undefined.
	Timeouts uint64

	patterns cache.LRU[*regex.Pattern]
	formats  cache.LRU[*timeform.Joda]
	readers  cache.LRU[*timeform.Reader]
	zones    cache.LRU[timeform.Zone]
}

// Prepared is what constant arguments became; parts that are not constant are
// missing. The zero one says that nothing is constant.
type Prepared struct {
	regex  *regex.Pattern
	joda   *timeform.Joda
	zone   *timeform.Zone
	reader *timeform.Reader
}

// Regex compiles the pattern of a regexp function. constants are the call's
// arguments, nil where not constant. The error is a doubt, not a refusal: the
// call is always Undefined.
func Regex(constants []*value.Value) (p Prepared, doubt error) {
	text, ok := constantText(constants, 1)
	if !ok {
		return p, nil
	}
	p.regex, doubt = regex.Compile(text)
	return p, doubt
}

// ParseTime reads pattern and zone of parse_time, as Regex does.
func ParseTime(constants []*value.Value) (p Prepared, doubt error) {
	if text, ok := constantText(constants, 0); ok {
		p.joda, doubt = timeform.NewJoda(text)
	}
	if text, ok := constantText(constants, 2); ok && doubt == nil {
		zone, err := timeform.ParseZone(text)
		if err != nil {
			return p, err
		}
		p.zone = &zone
	}
	return p, doubt
}

// TimeToEpoch reads the pattern of time_to_epoch, as Regex does.
func TimeToEpoch(constants []*value.Value) (p Prepared, doubt error) {
	text, ok := constantText(constants, 1)
	if !ok {
		return p, nil
	}
	p.reader, doubt = timeform.NewReader(text)
	return p, doubt
}

func constantText(constants []*value.Value, i int) (string, bool) {
	if i >= len(constants) || constants[i] == nil {
		return "", false
	}
	return constants[i].AsText()
}

// regexOf gives the pattern of a call, from its site or the memory.
func (m *Memory) regexOf(v value.Value, p Prepared) (*regex.Pattern, bool) {
	if p.regex != nil {
		return p.regex, true
	}
	return lookUp(&m.patterns, v, regex.Compile)
}

// failed is Undefined, and counts a match that took too long.
func (m *Memory) failed(err error) value.Value {
	if errors.Is(err, regex.ErrTimeout) {
		m.Timeouts++
	}
	return value.Value{}
}

// Matches is regexp_matches(text, pattern).
func (m *Memory) Matches(args []value.Value, prepared Prepared) value.Value {
	s, ok := args[0].AsText()
	p, okPattern := m.regexOf(args[1], prepared)
	if !ok || !okPattern {
		return value.Value{}
	}
	is, err := p.Matches(s)
	if err != nil {
		return m.failed(err)
	}
	return value.Bool(is)
}

// Substr is regexp_substr(text, pattern): the first match.
func (m *Memory) Substr(args []value.Value, prepared Prepared) value.Value {
	s, ok := args[0].AsText()
	p, okPattern := m.regexOf(args[1], prepared)
	if !ok || !okPattern {
		return value.Value{}
	}
	first, found, err := p.First(s)
	if err != nil || !found {
		return m.failed(err)
	}
	return value.Text(first)
}

// Replace is regexp_replace(text, pattern, replacement).
func (m *Memory) Replace(args []value.Value, prepared Prepared) value.Value {
	s, ok := args[0].AsText()
	p, okPattern := m.regexOf(args[1], prepared)
	with, okWith := args[2].AsText()
	if !ok || !okPattern || !okWith {
		return value.Value{}
	}
	replaced, err := p.Replace(s, with)
	if err != nil {
		return m.failed(err)
	}
	return value.Text(replaced)
}

// instantMax bounds milliseconds to years that both pattern forms can write.
const instantMax = 9_000_000_000_000_000

// Time is parse_time(pattern, ms[, zone]).
func (m *Memory) Time(args []value.Value, p Prepared) value.Value {
	ms, ok := args[1].Number()
	if !ok {
		return value.Value{}
	}
	at := ms.Clamp(-instantMax-1, instantMax+1)
	if at < -instantMax || at > instantMax {
		return value.Value{}
	}
	joda, okPattern := p.joda, true
	if joda == nil {
		joda, okPattern = lookUp(&m.formats, args[0], timeform.NewJoda)
	}
	zone, okZone := timeform.UTC(), true
	switch {
	case p.zone != nil:
		zone = *p.zone
	case len(args) == 3:
		zone, okZone = lookUp(&m.zones, args[2], timeform.ParseZone)
	}
	if !okPattern || !okZone {
		return value.Value{}
	}
	return value.Text(joda.Format(at, zone))
}

func lookUp[V any](from *cache.LRU[V], v value.Value, read func(string) (V, error)) (V, bool) {
	text, ok := v.AsText()
	if !ok {
		var none V
		return none, false
	}
	return from.Get(text, read)
}

// Epoch is time_to_epoch(text, pattern).
func (m *Memory) Epoch(args []value.Value, p Prepared) value.Value {
	s, ok := args[0].AsText()
	if !ok {
		return value.Value{}
	}
	r := p.reader
	if r == nil {
		if r, ok = lookUp(&m.readers, args[1], timeform.NewReader); !ok {
			return value.Value{}
		}
	}
	ms, err := r.Epoch(s)
	if err != nil {
		return value.Value{}
	}
	return value.Integer(ms)
}
