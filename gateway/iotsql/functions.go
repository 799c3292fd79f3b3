package iotsql

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tidehold/tidehold/gateway/iotsql/library"
	"github.com/tidehold/tidehold/gateway/iotsql/pattern"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
	"github.com/tidehold/tidehold/gateway/spelling"
)

// nature says what a function's value depends on.
type nature uint8

const (
	pure     nature = iota // on its arguments
	varying                // on the message, the clock or chance
	external               // on what a Lookup says
	secret                 // external, and only in SELECT and templates
)

// function is a function that needs more than its arguments. A wrong number of
// arguments gives Undefined, as does a wrong type.
type function struct {
	least, most int
	modern      bool // only from 2016-03-23
	nature      nature
	run         func(sc *scope, args []value.Value, prepared any) value.Value
	// prepare makes something of constant arguments once, when the statement
	// is read; nil arguments are not constant.
	prepare func(c *compiler, x *syntax.Call, constants []*value.Value) (any, error)
}

// functions are the functions of rules.md section 6 that look at the message,
// the clock or the house, or prepare their patterns.
var functions = map[string]function{
	"rand":                    {nature: varying, run: random},
	"regexp_matches":          patterned((*pattern.Memory).Matches, pattern.Regex).taking(2, 2),
	"regexp_replace":          patterned((*pattern.Memory).Replace, pattern.Regex).taking(3, 3),
	"regexp_substr":           patterned((*pattern.Memory).Substr, pattern.Regex).taking(2, 2),
	"decode":                  {least: 2, most: 2, modern: true, run: decode, prepare: refuseProto},
	"timestamp":               {nature: varying, run: timestamp},
	"parse_time":              patterned((*pattern.Memory).Time, pattern.ParseTime).taking(2, 3).since2016(),
	"time_to_epoch":           patterned((*pattern.Memory).Epoch, pattern.TimeToEpoch).taking(2, 2).since2016(),
	"topic":                   {most: 1, nature: varying, run: topicOf},
	"clientid":                {nature: varying, run: clientID},
	"principal":               {nature: varying, run: principal},
	"sourceip":                {nature: varying, run: sourceIP},
	"accountid":               {nature: varying, run: accountID},
	"sql_version":             {nature: varying, run: sqlVersion},
	"newuuid":                 {nature: varying, run: newUUID},
	"traceid":                 {nature: varying, run: traceID},
	"get_mqtt_property":       {least: 1, most: 1, modern: true, nature: varying, run: mqttProperty},
	"get_user_properties":     {least: 1, most: 1, modern: true, nature: varying, run: userProperties},
	"get_thing_shadow":        {least: 1, most: 3, modern: true, nature: external, run: thingShadow},
	"get_registry_data":       {least: 2, most: 3, modern: true, nature: external, run: registryRecord, prepare: literalAPI},
	"aws_lambda":              {least: 2, most: 2, nature: external, run: lambda},
	"get_secret":              {least: 2, most: 4, modern: true, nature: secret, run: getSecret},
	"get_dynamodb":            {least: 3, most: 6, modern: true, nature: external, run: getRow},
	"machinelearning_predict": {most: library.Many, nature: external, run: noPrediction, prepare: warnPrediction},
}

// call compiles a call of a function of any kind.
func (c *compiler) call(x *syntax.Call) (compiled, error) {
	if kind, ok := aggregates[x.Name]; ok {
		return c.aggregate(x, kind)
	}
	if kind, ok := statefuls[x.Name]; ok {
		return c.statefulCall(x, kind)
	}
	if of, ok := bounds[x.Name]; ok {
		return c.bound(x, of)
	}
	f, ok := functionOf(x.Name)
	if !ok {
		return compiled{}, c.errorAt(x, x.Name, "the name of a function"+suggestion(x.Name))
	}
	if err := c.allowed(x, f); err != nil {
		return compiled{}, err
	}
	if x.Name == "encode" && len(x.Args) == 2 {
		if _, raw := x.Args[0].(*syntax.Star); raw && !c.nested {
			return c.encodePayload(x)
		}
	}
	args, err := c.all(x.Args)
	if err != nil {
		return compiled{}, err
	}
	if x.Name == "get_or_default" && len(args) == 2 {
		if err := c.plainDefault(x); err != nil {
			return compiled{}, err
		}
	}
	return c.callOf(x, f, args)
}

// functionOf finds a function by its name in lower case.
func functionOf(name string) (function, bool) {
	if f, ok := functions[name]; ok {
		return f, true
	}
	f, ok := library.Functions[name]
	return function{
		least: f.Least, most: f.Most, modern: f.Since2016,
		run: func(_ *scope, args []value.Value, _ any) value.Value { return f.Run(args) },
	}, ok
}

func (c *compiler) callOf(x *syntax.Call, f function, args []compiled) (compiled, error) {
	var prepared any
	if f.prepare != nil {
		var err error
		if prepared, err = f.prepare(c, x, constants(args)); err != nil {
			return compiled{}, err
		}
	}
	if len(args) < f.least || len(args) > f.most {
		return constantOf(value.Value{}), nil
	}
	e := func(sc *scope) value.Value {
		base := len(sc.stack)
		for _, arg := range args {
			v := arg.eval(sc)
			sc.stack = append(sc.stack, v)
		}
		v := f.run(sc, sc.stack[base:], prepared)
		clear(sc.stack[base:])
		sc.stack = sc.stack[:base]
		return v
	}
	if f.nature != pure {
		return compiled{e, false}, nil
	}
	return fold(e, args...), nil
}

func constants(args []compiled) []*value.Value {
	list := make([]*value.Value, len(args))
	for i, arg := range args {
		if arg.constant {
			v := arg.eval(nil)
			list[i] = &v
		}
	}
	return list
}

// allowed refuses functions that may not stand where x stands.
func (c *compiler) allowed(x *syntax.Call, f function) error {
	switch {
	case f.modern && !c.dialect.Modern:
		return c.errorAt(x, x.Name, fmt.Sprintf("no %s in SQL version %s; use 2016-03-23", x.Name, c.dialect.Version))
	case f.nature < external:
		return nil
	case c.region == inErrorTemplate:
		return c.errorAt(x, x.Name, "no function that looks outside the message in an error action")
	case f.nature == secret && c.region != inSelect && c.region != inTemplate:
		return c.errorAt(x, x.Name, x.Name+" only in SELECT and in templates of actions")
	}
	c.external = x
	if x.Name == "get_dynamodb" {
		c.rows++
		if c.rows > 1 {
			return c.errorAt(x, x.Name, "get_dynamodb at most once in a statement")
		}
	}
	return nil
}

// plainDefault refuses a default of get_or_default that looks outside. It
// compiles the default once more, for counting alone.
func (c *compiler) plainDefault(x *syntax.Call) error {
	probe := *c
	probe.aggregates, probe.stateful, probe.warnings = nil, nil, nil
	probe.external, probe.rows = nil, 0
	if _, err := probe.expression(x.Args[1]); err != nil {
		return err
	}
	if probe.external != nil {
		return c.errorAt(probe.external, probe.external.Name, "a default without functions that look outside the message")
	}
	return nil
}

func (c *compiler) encodePayload(x *syntax.Call) (compiled, error) {
	scheme, err := c.expression(x.Args[1])
	return compiled{func(sc *scope) value.Value {
		if scheme.eval(sc).Str() != "base64" {
			return value.Value{}
		}
		return library.EncodeBase64(sc.doc.raw)
	}, false}, err
}

// suggestion proposes the function whose name is nearest to name.
func suggestion(name string) string {
	near, ok := spelling.Nearest(name, append(slices.Sorted(maps.Keys(library.Functions)), slices.Sorted(maps.Keys(functions))...))
	if !ok {
		return ""
	}
	return "; did you mean " + near + "?"
}
