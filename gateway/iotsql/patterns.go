package iotsql

import (
	"encoding/base64"
	"errors"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iotsql/cache"
	"github.com/tidehold/tidehold/gateway/iotsql/regex"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/timeform"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// prepareRegex compiles a constant pattern. One that is invalid makes the call
// Undefined, which deserves a warning.
func prepareRegex(c *compiler, x *syntax.Call, constants []*value.Value) (any, error) {
	if len(constants) < 2 || constants[1] == nil {
		return nil, nil
	}
	text, ok := constants[1].AsText()
	if !ok {
		return nil, nil
	}
	p, err := regex.Compile(text)
	if err != nil {
		c.warn(x, "%s is always Undefined: %v", x.Name, err)
		return nil, nil
	}
	return p, nil
}

// patternOf gives the pattern of a call, from its site or the cache.
func patternOf(sc *scope, v value.Value, prepared any) (*regex.Pattern, bool) {
	if p, ok := prepared.(*regex.Pattern); ok {
		return p, true
	}
	text, ok := v.AsText()
	if !ok {
		return nil, false
	}
	return sc.ctx.patterns.Get(text, regex.Compile)
}

// failed is Undefined, and counts a match that took too long.
func (sc *scope) failed(err error) value.Value {
	if errors.Is(err, regex.ErrTimeout) {
		sc.ctx.Timeouts++
	}
	return value.Value{}
}

func regexpMatches(sc *scope, args []value.Value, prepared any) value.Value {
	s, ok := args[0].AsText()
	p, okPattern := patternOf(sc, args[1], prepared)
	if !ok || !okPattern {
		return value.Value{}
	}
	is, err := p.Matches(s)
	if err != nil {
		return sc.failed(err)
	}
	return value.Bool(is)
}

func regexpSubstr(sc *scope, args []value.Value, prepared any) value.Value {
	s, ok := args[0].AsText()
	p, okPattern := patternOf(sc, args[1], prepared)
	if !ok || !okPattern {
		return value.Value{}
	}
	first, found, err := p.First(s)
	if err != nil || !found {
		return sc.failed(err)
	}
	return value.Text(first)
}

func regexpReplace(sc *scope, args []value.Value, prepared any) value.Value {
	s, ok := args[0].AsText()
	p, okPattern := patternOf(sc, args[1], prepared)
	with, okWith := args[2].AsText()
	if !ok || !okPattern || !okWith {
		return value.Value{}
	}
	replaced, err := p.Replace(s, with)
	if err != nil {
		return sc.failed(err)
	}
	return value.Text(replaced)
}

// timePattern is what parse_time knows beforehand; parts may be missing.
type timePattern struct {
	joda *timeform.Joda
	zone *timeform.Zone
}

func prepareParseTime(c *compiler, x *syntax.Call, constants []*value.Value) (any, error) {
	var p timePattern
	if text, ok := constantText(constants, 0); ok {
		joda, err := timeform.NewJoda(text)
		if err != nil {
			c.warn(x, "parse_time is always Undefined: %v", err)
		} else {
			p.joda = joda
		}
	}
	if text, ok := constantText(constants, 2); ok {
		zone, err := timeform.ParseZone(text)
		if err != nil {
			c.warn(x, "parse_time is always Undefined: %v", err)
		} else {
			p.zone = &zone
		}
	}
	return p, nil
}

func constantText(constants []*value.Value, i int) (string, bool) {
	if i >= len(constants) || constants[i] == nil {
		return "", false
	}
	return constants[i].AsText()
}

// instantMax bounds milliseconds to years that both pattern forms can write.
const instantMax = 9_000_000_000_000_000

func parseTime(sc *scope, args []value.Value, prepared any) value.Value {
	p, _ := prepared.(timePattern)
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
		joda, okPattern = lookUp(&sc.ctx.formats, args[0], timeform.NewJoda)
	}
	zone, okZone := timeform.UTC(), true
	switch {
	case p.zone != nil:
		zone = *p.zone
	case len(args) == 3:
		zone, okZone = lookUp(&sc.ctx.zones, args[2], timeform.ParseZone)
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

func prepareTimeToEpoch(c *compiler, x *syntax.Call, constants []*value.Value) (any, error) {
	text, ok := constantText(constants, 1)
	if !ok {
		return nil, nil
	}
	r, err := timeform.NewReader(text)
	if err != nil {
		c.warn(x, "time_to_epoch is always Undefined: %v", err)
		return nil, nil
	}
	return r, nil
}

func timeToEpoch(sc *scope, args []value.Value, prepared any) value.Value {
	s, ok := args[0].AsText()
	if !ok {
		return value.Value{}
	}
	r, ok := prepared.(*timeform.Reader)
	if !ok {
		if r, ok = lookUp(&sc.ctx.readers, args[1], timeform.NewReader); !ok {
			return value.Value{}
		}
	}
	ms, err := r.Epoch(s)
	if err != nil {
		return value.Value{}
	}
	return value.Integer(ms)
}

// decode gives the JSON value that base64 text holds, else its text; Null when
// it holds neither. base64.Strict refuses sloppy padding.
func decode(sc *scope, args []value.Value, _ any) value.Value {
	if args[1].Str() != "base64" {
		return value.Value{}
	}
	if args[0].Kind() != value.String {
		return value.NullValue()
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(args[0].Str())
	if err != nil || !utf8.Valid(raw) || hasNewline(args[0].Str()) {
		return value.NullValue()
	}
	if v, ok := value.Parse(string(raw), sc.modern()); ok {
		return v
	}
	return value.Text(string(raw))
}

// hasNewline finds line breaks, which the standard decoder ignores.
func hasNewline(s string) bool {
	for i := range len(s) {
		if s[i] == '\n' || s[i] == '\r' {
			return true
		}
	}
	return false
}

// refuseProto refuses the six-argument form for protobuf (rules.md section 6).
func refuseProto(c *compiler, x *syntax.Call, constants []*value.Value) (any, error) {
	if len(constants) > 1 && constants[1] != nil && constants[1].Str() == "proto" || len(constants) == 6 {
		return nil, c.errorAt(x, x.Name, "decode(x, 'base64'); protobuf decode is not built in")
	}
	return nil, nil
}
