package rules

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/action"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/rules/table"
)

// How long functions that look outside the message may take.
const (
	lambdaWait = 2 * time.Second // rules.md section 8
	lookupWait = time.Second
)

// outside answers the functions of one rule that look outside the message,
// when the role they go by allows it.
type outside struct {
	engine *Engine
	p      *program
}

func (e *Engine) lookups(p *program) iotsql.Lookups {
	if !p.slow {
		return iotsql.Lookups{}
	}
	o := outside{e, p}
	return iotsql.Lookups{Shadow: o.shadow, Registry: o.registry, Lambda: o.lambda, Secret: o.secret, Row: o.row}
}

// ask runs one function within its time; a failure is counted and logged, and
// the function is Undefined.
func (o outside) ask(name string, wait time.Duration, arn string, need role.Need, f func(context.Context) ([]byte, error)) ([]byte, bool) {
	by := o.p.implicit
	if arn != "" {
		by = role.NameOf(arn)
	}
	err := o.engine.world.Allow(by, need)
	var answer []byte
	if err == nil {
		ctx, cancel := context.WithTimeout(o.engine.live(), wait)
		defer cancel()
		answer, err = f(ctx)
	}
	if err == nil {
		return answer, true
	}
	o.engine.figures.lookupFailed.Inc(o.p.rule.Name, name)
	if iot.CodeOf(err) != iot.NotFound { // what is not there is Undefined, and no failure
		if r := o.engine.table.Load().byName[o.p.rule.Name]; r != nil {
			r.complain("rule function failed", "function", name, "err", err)
		}
	}
	return nil, false
}

// live is the context of Run.
func (e *Engine) live() context.Context {
	e.life.RLock()
	defer e.life.RUnlock()
	if e.context == nil {
		return context.Background()
	}
	return e.context
}

func (o outside) shadow(thing, shadow, arn string) ([]byte, bool) {
	key, err := action.ParseShadow(thing, shadow)
	if err != nil || o.engine.deps.Shadows == nil {
		return nil, false
	}
	need := role.Need{Action: "iot:GetThingShadow", Resource: action.ShadowResource(key)}
	return o.ask("get_thing_shadow", lookupWait, arn, need, func(ctx context.Context) ([]byte, error) {
		return o.engine.deps.Shadows.Get(ctx, key, "")
	})
}

func (o outside) registry(api, thing, arn string) ([]byte, bool) {
	name, err := iot.ParseThingName(thing)
	if err != nil || o.engine.deps.Registry == nil {
		return nil, false
	}
	need := role.Need{Action: "iot:" + api, Resource: "thing/" + thing}
	return o.ask("get_registry_data", lookupWait, arn, need, func(ctx context.Context) ([]byte, error) {
		return o.engine.deps.Registry.Describe(ctx, api, name)
	})
}

func (o outside) lambda(arn string, event []byte) ([]byte, bool) {
	if o.engine.deps.Functions == nil {
		return nil, false
	}
	m := &o.p.context.Message
	return o.ask("aws_lambda", lambdaWait, "", action.InvokeNeed(arn), func(ctx context.Context) ([]byte, error) {
		return o.engine.deps.Functions.Invoke(ctx, function.Call{Function: arn, Event: event,
			Rule: o.p.rule.Name, Topic: m.Topic, TraceID: m.Origin.TraceID, ClientID: string(m.Origin.ClientID)})
	})
}

func (o outside) secret(id, form, arn string) (string, bool) {
	if o.engine.secrets == nil {
		return "", false
	}
	need := role.Need{Action: "secretsmanager:GetSecretValue", Resource: "secret/" + id}
	value, ok := o.ask("get_secret", lookupWait, arn, need, func(context.Context) ([]byte, error) { return o.engine.secrets.Secret(id) })
	return secretText(value, form), ok
}

// secretText is a secret in the form that get_secret asks for. A text is told
// without the line feed that editors put at the end of a file.
func secretText(value []byte, form string) string {
	if form == "SecretBinary" {
		return base64.StdEncoding.EncodeToString(value)
	}
	return strings.TrimSuffix(string(value), "\n")
}

func (o outside) row(name, key, keyValue, sort, sortValue, arn string) ([]byte, bool) {
	if o.engine.world.Tables == nil || table.CheckName(name) != nil {
		return nil, false
	}
	keys := []table.Key{{Column: key, Value: keyValue}}
	if sort != "" {
		keys = append(keys, table.Key{Column: sort, Value: sortValue})
	}
	need := role.Need{Action: "dynamodb:GetItem", Resource: "table/" + name}
	return o.ask("get_dynamodb", lookupWait, arn, need, func(ctx context.Context) ([]byte, error) {
		row, found, err := o.engine.world.Tables.Row(ctx, name, keys)
		if err == nil && !found {
			err = iot.Errorf(iot.NotFound, "table %q has no such row", name)
		}
		return row, err
	})
}
