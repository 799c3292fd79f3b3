package iotsql

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// texts converts args to texts and takes a role, an argument that begins with
// `arn:`, off their end. first is the first argument that may be the role.
func texts(args []value.Value, first int) (list []string, role string, ok bool) {
	for _, v := range args {
		s, is := v.AsText()
		if !is {
			return nil, "", false
		}
		list = append(list, s)
	}
	if last := len(list) - 1; last >= first && strings.HasPrefix(list[last], "arn:") {
		return list[:last], list[last], true
	}
	return list, "", true
}

func (sc *scope) parsed(document []byte, ok bool) value.Value {
	if !ok {
		return value.Value{}
	}
	v, _ := value.Parse(string(document), sc.modern())
	return v
}

func thingShadow(sc *scope, args []value.Value, _ any) value.Value {
	list, role, ok := texts(args, 1)
	if !ok || len(list) > 2 || sc.ctx.Lookups.Shadow == nil {
		return value.Value{}
	}
	shadow := ""
	if len(list) == 2 {
		shadow = list[1]
	}
	return sc.parsed(sc.ctx.Lookups.Shadow(list[0], shadow, role))
}

// literalAPI demands that the API of get_registry_data is a literal.
func literalAPI(c *compiler, x *syntax.Call, constants []*value.Value) (any, error) {
	if len(constants) == 0 {
		return nil, nil
	}
	if constants[0] != nil {
		if api, _ := constants[0].AsText(); api == "DescribeThing" || api == "ListThingGroupsForThing" {
			return nil, nil
		}
	}
	return nil, c.errorAt(x.Args[0], x.Name, "the literal 'DescribeThing' or 'ListThingGroupsForThing'")
}

func registryRecord(sc *scope, args []value.Value, _ any) value.Value {
	list, role, ok := texts(args, 2)
	if !ok || len(list) != 2 || sc.ctx.Lookups.Registry == nil {
		return value.Value{}
	}
	return sc.parsed(sc.ctx.Lookups.Registry(list[0], list[1], role))
}

func lambda(sc *scope, args []value.Value, _ any) value.Value {
	arn, ok := args[0].AsText()
	if !ok || args[1].IsUndefined() || sc.ctx.Lookups.Lambda == nil {
		return value.Value{}
	}
	return sc.parsed(sc.ctx.Lookups.Lambda(arn, value.AppendJSON(nil, args[1])))
}

func getSecret(sc *scope, args []value.Value, _ any) value.Value {
	list, role, ok := texts(args, 2)
	if !ok || len(list) > 3 || sc.ctx.Lookups.Secret == nil || list[1] != "SecretString" && list[1] != "SecretBinary" {
		return value.Value{}
	}
	secret, ok := sc.ctx.Lookups.Secret(list[0], list[1], role)
	switch {
	case !ok:
		return value.Value{}
	case len(list) == 3:
		v, _ := value.Parse(secret, sc.modern())
		return v.Get(list[2])
	}
	return value.Text(secret)
}

func getRow(sc *scope, args []value.Value, _ any) value.Value {
	list, role, ok := texts(args, 3)
	if !ok || len(list) != 3 && len(list) != 5 || sc.ctx.Lookups.Row == nil {
		return value.Value{}
	}
	sort, sortValue := "", ""
	if len(list) == 5 {
		sort, sortValue = list[3], list[4]
	}
	return sc.parsed(sc.ctx.Lookups.Row(list[0], list[1], list[2], sort, sortValue, role))
}

func noPrediction(*scope, []value.Value, any) value.Value { return value.Value{} }

func warnPrediction(c *compiler, x *syntax.Call, _ []*value.Value) (any, error) {
	c.warn(x, "machinelearning_predict is always Undefined: the gateway has no models")
	return nil, nil
}
