package action

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/topic"
)

// qos reads a QoS that JSON gives as a number or, as AWS also takes it, as text.
type qos byte

// UnmarshalJSON accepts 0, 1, "0" and "1".
func (q *qos) UnmarshalJSON(b []byte) error {
	switch string(bytes.Trim(b, `"`)) {
	case "0":
		*q = 0
	case "1":
		*q = 1
	default:
		return fmt.Errorf("qos %s: want 0 or 1", b)
	}
	return nil
}

// dollar gives a topic as meant: `$$x` at the start means `$x`.
func dollar(text string) string {
	if strings.HasPrefix(text, "$$") {
		return text[1:]
	}
	return text
}

// ownTopic checks a topic that a rule publishes to, and names what it needs.
func ownTopic(text string) (role.Need, error) {
	need := role.Need{Action: "iot:Publish", Resource: "topic/" + text}
	if _, err := topic.ParseName(text); err != nil {
		return need, err
	}
	if reserved, is := topic.ParseReserved(text); is && !reserved.ClientMayPublish() {
		return need, iot.Errorf(iot.InvalidRequest, "topic %q is the gateway's own", text)
	}
	return need, nil
}

func republish(d *draft) planner {
	var f struct {
		Topic   string      `json:"topic"`
		QoS     qos         `json:"qos"`
		Retain  bool        `json:"retain"`
		RoleARN string      `json:"roleArn"`
		Headers *headerText `json:"headers"`
	}
	d.read(&f)
	name := d.required("topic", dollar(f.Topic))
	head := d.headers(f.Headers)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		text := name.of(texts)
		plan := Plan{Resource: text}
		need, err := ownTopic(text)
		if err != nil {
			return plan, err
		}
		plan.Needs = []role.Need{need}
		if f.Retain {
			plan.Needs = append(plan.Needs, role.Need{Action: "iot:RetainPublish", Resource: need.Resource})
		}
		m, err := w.born(c, text, byte(f.QoS), c.Payload)
		if err != nil {
			return plan, err
		}
		m.Retain = f.Retain
		if m.Properties, err = head.properties(texts); err != nil {
			return plan, err
		}
		plan.do = func(context.Context) error { w.Publisher.Publish(m); return nil }
		return plan, nil
	}
}

// priorities are the classes of forwarded messages (telemetry.md 8.1).
var priorities = map[string]bool{"": true, "critical": true, "normal": true, "bulk": true}

func forward(d *draft) planner {
	var f struct {
		Topic    string `json:"topic"`
		QoS      *qos   `json:"qos"`
		TTL      uint32 `json:"ttlSeconds"`
		Priority string `json:"priority"`
		Uplink   string `json:"uplink"`
		RoleARN  string `json:"roleArn"`
	}
	d.read(&f)
	name := d.required("topic", f.Topic)
	if !priorities[f.Priority] {
		d.refuse("priority %q: want critical, normal or bulk", f.Priority)
	}
	level := qos(1)
	if f.QoS != nil {
		level = *f.QoS
	}
	d.by(f.RoleARN)
	d.action.uplink = f.Uplink
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		text := name.of(texts)
		plan := Plan{Resource: text, Needs: []role.Need{{Action: "edge:Forward", Resource: "topic/" + text}}}
		if _, err := topic.ParseName(text); err != nil {
			return plan, err
		}
		m, err := w.born(c, text, byte(level), c.Payload)
		if err != nil {
			return plan, err
		}
		if f.TTL > 0 {
			m.Properties = &iot.Properties{MessageExpiry: f.TTL}
		}
		if w.Forwarder == nil {
			return plan, unavailable("an upstream is")
		}
		plan.do = func(ctx context.Context) error { return w.Forwarder.Forward(ctx, f.Uplink, f.Priority, m) }
		return plan, nil
	}
}
