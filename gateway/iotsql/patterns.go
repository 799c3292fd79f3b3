package iotsql

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iotsql/pattern"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// patterned is a function with a pattern: prepare compiles a constant one; a
// bad one makes the call Undefined, which deserves a warning.
func patterned(run func(*pattern.Memory, []value.Value, pattern.Prepared) value.Value, prepare func([]*value.Value) (pattern.Prepared, error)) function {
	return function{
		run: func(sc *scope, args []value.Value, prepared any) value.Value {
			return run(&sc.ctx.patterns, args, prepared.(pattern.Prepared))
		},
		prepare: func(c *compiler, x *syntax.Call, constants []*value.Value) (any, error) {
			p, doubt := prepare(constants)
			if doubt != nil {
				c.warn(x, "%s is always Undefined: %v", x.Name, doubt)
			}
			return p, nil
		},
	}
}

// taking is f with a number of arguments.
func (f function) taking(least, most int) function {
	f.least, f.most = least, most
	return f
}

// since2016 is f unknown to 2015-10-08.
func (f function) since2016() function {
	f.modern = true
	return f
}

// decode gives the JSON value that base64 text holds, else its text; Null when
// it holds neither. base64.Strict refuses sloppy padding, but ignores line breaks.
func decode(sc *scope, args []value.Value, _ any) value.Value {
	if args[1].Str() != "base64" {
		return value.Value{}
	}
	if args[0].Kind() != value.String {
		return value.NullValue()
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(args[0].Str())
	if err != nil || !utf8.Valid(raw) || strings.ContainsAny(args[0].Str(), "\r\n") {
		return value.NullValue()
	}
	if v, ok := value.Parse(string(raw), sc.modern()); ok {
		return v
	}
	return value.Text(string(raw))
}

// refuseProto refuses the six-argument form for protobuf (rules.md section 6).
func refuseProto(c *compiler, x *syntax.Call, constants []*value.Value) (any, error) {
	if len(constants) > 1 && constants[1] != nil && constants[1].Str() == "proto" || len(constants) == 6 {
		return nil, c.errorAt(x, x.Name, "decode(x, 'base64'); protobuf decode is not built in")
	}
	return nil, nil
}
