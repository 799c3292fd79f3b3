package action

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
)

// ShadowResource is the resource of a shadow in a role.
func ShadowResource(key iot.ShadowKey) string {
	if key.Shadow == iot.Classic {
		return "thing/" + string(key.Thing)
	}
	return "thing/" + string(key.Thing) + "/" + string(key.Shadow)
}

// ParseShadow reads the two names of a shadow.
func ParseShadow(thing, shadow string) (key iot.ShadowKey, err error) {
	if key.Thing, err = iot.ParseThingName(thing); err != nil {
		return key, err
	}
	key.Shadow, err = iot.ParseShadowName(shadow)
	return key, err
}

func shadow(d *draft) planner {
	var f struct {
		Thing   string `json:"thingName"`
		Shadow  string `json:"shadowName"`
		Section string `json:"section"`
		RoleARN string `json:"roleArn"`
	}
	d.read(&f)
	if f.Section == "" {
		f.Section = "reported"
	}
	if !slices.Contains([]string{"reported", "desired", "document"}, f.Section) {
		d.refuse("section %q: want reported, desired or document", f.Section)
	}
	thing, named := d.required("thingName", f.Thing), d.optional("shadowName", f.Shadow)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		plan := Plan{Resource: thing.of(texts)}
		key, err := ParseShadow(thing.of(texts), named.of(texts))
		if err != nil {
			return plan, err
		}
		plan.Resource = key.String()
		plan.Needs = []role.Need{{Action: "iot:UpdateThingShadow", Resource: ShadowResource(key)}}
		m, err := w.born(c, "", 1, c.Payload)
		if err != nil {
			return plan, err
		}
		if f.Section != "document" {
			m.Payload = slices.Concat([]byte(`{"state":{"`+f.Section+`":`), c.Payload, []byte(`}}`))
		}
		plan.do = func(ctx context.Context) error {
			_, err := w.Shadows.Update(ctx, key, m.Payload, m.Origin)
			return err
		}
		return plan, nil
	}
}

func device(d *draft) planner {
	var f struct {
		Device  string `json:"device"`
		Command string `json:"command"`
		RoleARN string `json:"roleArn"`
	}
	d.read(&f)
	name, command := d.required("device", f.Device), d.optional("command", f.Command)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		plan := Plan{Resource: name.of(texts), Needs: []role.Need{{Action: "edge:DeviceWrite", Resource: "device/" + name.of(texts)}}}
		if w.Devices == nil {
			return plan, unavailable("a device is")
		}
		plan.do = func(context.Context) error {
			return w.Devices.Drive(name.of(texts), command.of(texts), "rule/"+c.Rule, c.Payload)
		}
		return plan, nil
	}
}

// InvokeNeed is what calling a function needs.
func InvokeNeed(arn string) role.Need {
	return role.Need{Action: "lambda:InvokeFunction", Resource: "function/" + function.NameOf(arn)}
}

func lambda(d *draft) planner {
	var f struct {
		ARN     string `json:"functionArn"`
		RoleARN string `json:"roleArn"` // not at AWS, where the function permits
	}
	d.read(&f)
	arn := d.required("functionArn", f.ARN)
	d.byImplicit(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		text := arn.of(texts)
		plan := Plan{Resource: text, Needs: []role.Need{InvokeNeed(text)}}
		if w.Functions == nil {
			return plan, unavailable("a function is")
		}
		call := function.Call{Function: text, Event: c.Payload, Rule: c.Rule, Topic: c.Message.Topic,
			TraceID: c.Message.Origin.TraceID, ClientID: string(c.Message.Origin.ClientID)}
		plan.do = func(ctx context.Context) error {
			_, err := w.Functions.Invoke(ctx, call)
			return err
		}
		return plan, nil
	}
}

func logLine(d *draft) planner {
	var f struct {
		Level   string `json:"level"`
		Message string `json:"message"`
		RoleARN string `json:"roleArn"`
	}
	d.read(&f)
	level := slog.LevelInfo
	if f.Level != "" && level.UnmarshalText([]byte(f.Level)) != nil {
		d.refuse("level %q: want debug, info, warn or error", f.Level)
	}
	message := d.required("message", f.Message)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		return Plan{Resource: "log", do: func(ctx context.Context) error {
			w.Log.Log(ctx, level, "rule says", "rule", c.Rule, "message", message.of(texts))
			return nil
		}}, nil
	}
}

func metric(d *draft) planner {
	var f struct {
		Namespace string `json:"metricNamespace"`
		Name      string `json:"metricName"`
		Value     string `json:"metricValue"`
		Unit      string `json:"metricUnit"`
		Timestamp string `json:"metricTimestamp"` // a gauge is about now
		RoleARN   string `json:"roleArn"`
	}
	d.read(&f)
	namespace, name := d.required("metricNamespace", f.Namespace), d.required("metricName", f.Name)
	value, unit := d.required("metricValue", f.Value), d.required("metricUnit", f.Unit)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, _ *Call, texts []string) (Plan, error) {
		plan := Plan{Resource: namespace.of(texts) + "/" + name.of(texts), Needs: []role.Need{{Action: "cloudwatch:PutMetricData", Resource: "*"}}}
		v, err := strconv.ParseFloat(value.of(texts), 64)
		if err != nil {
			return plan, iot.Errorf(iot.InvalidRequest, "metricValue %q: want a number", value.of(texts))
		}
		plan.do = func(context.Context) error {
			return w.Gauge.set(namespace.of(texts), name.of(texts), unit.of(texts), v)
		}
		return plan, nil
	}
}

// newDistant makes an action that this gateway cannot perform. The role it
// names is one at AWS and is not looked for here.
func newDistant(name string) *Action {
	failed := strings.ToUpper(name[:1]) + name[1:] + "Action"
	return &Action{kind: name, failed: failed, class: once, limit: 10 * time.Second, role: role.Default, plan: passOn(name)}
}

// passOn hands the message as it came to the rule's namesake at AWS, once for
// all actions of one message.
func passOn(name string) planner {
	return func(_ context.Context, w *World, c *Call, _ []string) (Plan, error) {
		plan := Plan{Resource: name}
		missing := iot.Errorf(iot.InvalidRequest, "%s: not available locally", name)
		if w.Upstream == nil {
			return plan, missing
		}
		plan.do = func(ctx context.Context) error {
			if c.ingested {
				return nil
			}
			taken, err := w.Upstream.Ingest(ctx, c.Rule, c.Message)
			if err == nil && !taken {
				return missing
			}
			c.ingested = err == nil
			return err
		}
		return plan, nil
	}
}
