package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/topic"
)

// action is one compiled action.
type action interface {
	// failedName is the action's name in an error document (rules.md section 9).
	failedName() string
	// run performs the action for one message and gives the resource it
	// worked on, also when it failed.
	run(ctx context.Context, e *Engine, in input) (resource string, err error)
}

// setup is what the constructor of an action gets.
type setup struct {
	fields    json.RawMessage
	statement *iotsql.Statement
	roles     map[string]role
	// parse is ParseTemplate, or ParseErrorTemplate for an error action.
	parse func(string, *iotsql.Statement) (*iotsql.Template, error)
}

// kinds are the actions this gateway performs, by their key in the document.
var kinds = map[string]func(setup) (action, error){
	"republish":    newRepublish,
	"dynamoDB":     newDynamo,
	"dynamoDBv2":   newDynamoV2,
	"edge.shadow":  newShadow,
	"edge.forward": newForward,
	"edge.log":     newLog,
}

// Kinds are the names of the actions this gateway performs, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

func compileAction(document json.RawMessage, s setup) (action, error) {
	var one map[string]json.RawMessage
	if err := json.Unmarshal(document, &one); err != nil || len(one) != 1 {
		return nil, iot.Errorf(iot.InvalidRequest, "want an object with one key, the action's kind")
	}
	for kind, fields := range one {
		build := kinds[kind]
		if build == nil {
			return nil, iot.Errorf(iot.InvalidRequest, "action %q is not available here; this gateway has %s", kind, strings.Join(Kinds(), ", "))
		}
		s.fields = fields
		act, err := build(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		return act, nil
	}
	panic("rules: an object with one key has none")
}

// read decodes the fields strictly: an unknown field is an error.
func (s setup) read(into any) error {
	dec := json.NewDecoder(bytes.NewReader(s.fields))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return iot.Errorf(iot.InvalidRequest, "%v", err)
	}
	return nil
}

// template compiles a template field.
func (s setup) template(field, text string) (*iotsql.Template, error) {
	t, err := s.parse(text, s.statement)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return t, nil
}

// required compiles a template field that must not be empty.
func (s setup) required(field, text string) (*iotsql.Template, error) {
	if text == "" {
		return nil, iot.Errorf(iot.InvalidRequest, "%s is missing", field)
	}
	return s.template(field, text)
}

// fill evaluates a template for one message.
func fill(field string, t *iotsql.Template, in input) (string, error) {
	text, err := t.Eval(in.context)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	return text, nil
}

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

type republish struct {
	topic  *iotsql.Template
	qos    qos
	retain bool
	role   role
	head   headers
}

func newRepublish(s setup) (action, error) {
	var f struct {
		Topic   string      `json:"topic"`
		QoS     qos         `json:"qos"`
		Retain  bool        `json:"retain"`
		RoleARN string      `json:"roleArn"`
		Headers *headerText `json:"headers"`
	}
	if err := s.read(&f); err != nil {
		return nil, err
	}
	text := f.Topic
	if strings.HasPrefix(text, "$$") { // $$x means $x (rules.md section 8)
		text = text[1:]
	}
	t, err := s.required("topic", text)
	if err != nil {
		return nil, err
	}
	r, err := roleOf(s.roles, f.RoleARN)
	if err != nil {
		return nil, err
	}
	head, err := s.headers(f.Headers)
	if err != nil {
		return nil, err
	}
	return republish{t, f.QoS, f.Retain, r, head}, nil
}

func (republish) failedName() string { return "RepublishAction" }

func (a republish) run(_ context.Context, e *Engine, in input) (string, error) {
	text, err := fill("topic", a.topic, in)
	if err != nil {
		return "", err
	}
	name, err := topic.ParseName(text)
	if err != nil {
		return text, err
	}
	if err := a.role.allow("iot:Publish", "topic/"+text); err != nil {
		return text, err
	}
	if reserved, is := topic.ParseReserved(text); is && !reserved.ClientMayPublish() {
		return text, fmt.Errorf("topic %q is the gateway's own", text)
	}
	m, err := e.born(in, string(name), byte(a.qos))
	if err != nil {
		return text, err
	}
	if a.retain {
		if err := a.role.allow("iot:RetainPublish", "topic/"+text); err != nil {
			return text, err
		}
		m.Retain = true
	}
	if m.Properties, err = a.head.fill(in); err != nil {
		return text, err
	}
	e.deps.Publisher.Publish(m)
	return text, nil
}

type shadowAction struct {
	thing, shadow *iotsql.Template
	section       string
	role          role
}

func newShadow(s setup) (action, error) {
	var f struct {
		Thing   string `json:"thingName"`
		Shadow  string `json:"shadowName"`
		Section string `json:"section"`
		RoleARN string `json:"roleArn"`
	}
	if err := s.read(&f); err != nil {
		return nil, err
	}
	if f.Section == "" {
		f.Section = "reported"
	}
	if !slices.Contains([]string{"reported", "desired", "document"}, f.Section) {
		return nil, iot.Errorf(iot.InvalidRequest, "section %q: want reported, desired or document", f.Section)
	}
	thing, err := s.required("thingName", f.Thing)
	if err != nil {
		return nil, err
	}
	shadow, err := s.template("shadowName", f.Shadow)
	if err != nil {
		return nil, err
	}
	r, err := roleOf(s.roles, f.RoleARN)
	return shadowAction{thing, shadow, f.Section, r}, err
}

func (shadowAction) failedName() string { return "EdgeShadowAction" }

func (a shadowAction) run(ctx context.Context, e *Engine, in input) (string, error) {
	thing, err := fill("thingName", a.thing, in)
	if err != nil {
		return "", err
	}
	shadow, err := fill("shadowName", a.shadow, in)
	if err != nil {
		return thing, err
	}
	key := iot.ShadowKey{}
	if key.Thing, err = iot.ParseThingName(thing); err != nil {
		return thing, err
	}
	if key.Shadow, err = iot.ParseShadowName(shadow); err != nil {
		return key.String(), err
	}
	if err := a.role.allow("iot:UpdateThingShadow", shadowResource(key)); err != nil {
		return key.String(), err
	}
	born, err := e.born(in, "", 1)
	if err != nil {
		return key.String(), err
	}
	_, err = e.deps.Shadows.Update(ctx, key, a.document(in.result), born.Origin)
	return key.String(), err
}

func (a shadowAction) document(result []byte) []byte {
	if a.section == "document" {
		return result
	}
	return slices.Concat([]byte(`{"state":{"`+a.section+`":`), result, []byte(`}}`))
}

type forward struct {
	topic  *iotsql.Template
	qos    qos
	uplink string
	role   role
}

func newForward(s setup) (action, error) {
	var f struct {
		Topic   string `json:"topic"`
		QoS     *qos   `json:"qos"`
		Uplink  string `json:"uplink"`
		RoleARN string `json:"roleArn"`
	}
	if err := s.read(&f); err != nil {
		return nil, err
	}
	t, err := s.required("topic", f.Topic)
	if err != nil {
		return nil, err
	}
	level := qos(1)
	if f.QoS != nil {
		level = *f.QoS
	}
	r, err := roleOf(s.roles, f.RoleARN)
	return forward{t, level, f.Uplink, r}, err
}

func (forward) failedName() string { return "EdgeForwardAction" }

func (a forward) run(ctx context.Context, e *Engine, in input) (string, error) {
	text, err := fill("topic", a.topic, in)
	if err != nil {
		return "", err
	}
	if err := a.role.allow("edge:Forward", "topic/"+text); err != nil {
		return text, err
	}
	m, err := e.born(in, text, byte(a.qos))
	if err != nil {
		return text, err
	}
	return text, e.deps.Forwarder.Forward(ctx, a.uplink, m)
}

type logLine struct {
	level   slog.Level
	message *iotsql.Template
}

func newLog(s setup) (action, error) {
	var f struct {
		Level   string `json:"level"`
		Message string `json:"message"`
		RoleARN string `json:"roleArn"`
	}
	if err := s.read(&f); err != nil {
		return nil, err
	}
	level := slog.LevelInfo
	if f.Level != "" {
		if err := level.UnmarshalText([]byte(f.Level)); err != nil {
			return nil, iot.Errorf(iot.InvalidRequest, "level %q: want debug, info, warn or error", f.Level)
		}
	}
	t, err := s.required("message", f.Message)
	return logLine{level, t}, err
}

func (logLine) failedName() string { return "EdgeLogAction" }

func (a logLine) run(ctx context.Context, e *Engine, in input) (string, error) {
	text, err := fill("message", a.message, in)
	if err != nil {
		return "", err
	}
	e.deps.Log.Log(ctx, a.level, "rule says", "rule", in.rule, "message", text)
	return "log", nil
}
