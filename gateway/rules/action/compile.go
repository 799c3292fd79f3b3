package action

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/role"
)

// Setup is what the actions of one rule are compiled with.
type Setup struct {
	Statement *iotsql.Statement
	// Error is set for the error action.
	Error bool
	// Role reports whether a role exists.
	Role func(name string) bool
	// Implicit is the role of kinds whose shape at AWS has none; empty means
	// role.Default.
	Implicit string
	// Named are the action objects of the configuration, by name, to which a
	// lambda ARN `arn:edge:action:<kind>:<name>` refers.
	Named map[string]json.RawMessage
}

// kind is one kind of action.
type kind struct {
	failed string
	class  class
	limit  time.Duration // of one attempt; 0 for what never waits
	build  func(*draft) planner
}

// kinds are the actions this gateway performs, by their key in the document.
var kinds = map[string]kind{
	"republish":        {"RepublishAction", once, 0, republish},
	"dynamoDB":         {"DynamoAction", again, 10 * time.Second, dynamo},
	"dynamoDBv2":       {"DynamoActionV2", again, 10 * time.Second, dynamoV2},
	"timestream":       {"TimestreamAction", again, 10 * time.Second, timestream},
	"lambda":           {"LambdaAction", again, 60 * time.Second, lambda},
	"http":             {"HttpAction", again, 5 * time.Second, webhook},
	"s3":               {"S3Action", again, 10 * time.Second, object},
	"cloudwatchMetric": {"CloudwatchMetricAction", once, 0, metric},
	"cloudwatchLogs":   {"CloudwatchLogsAction", again, 10 * time.Second, logGroup},
	"edge.shadow":      {"EdgeShadowAction", once, 10 * time.Second, shadow},
	"edge.device":      {"EdgeDeviceAction", once, 0, device},
	"edge.forward":     {"EdgeForwardAction", once, 10 * time.Second, forward},
	"edge.file":        {"EdgeFileAction", again, 10 * time.Second, file},
	"edge.sql":         {"EdgeSqlAction", again, 10 * time.Second, statement},
	"edge.log":         {"EdgeLogAction", once, 0, logLine},
}

// distant are the actions that only AWS has: stored and given back as they
// are.
var distant = []string{
	"cloudwatchAlarm", "elasticsearch", "firehose", "iotAnalytics", "iotEvents", "iotSiteWise", "kafka", "kinesis",
	"location", "openSearch", "salesforce", "sns", "sqs", "stepFunctions",
}

// Kinds are the names of all actions a rule may have, sorted.
func Kinds() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(kinds)), distant...)))
}

// Compile reads one action: an object with one member, its kind. Refusals are
// InvalidRequest errors, those of templates wrap an *iotsql.Error.
func Compile(document json.RawMessage, s Setup) (*Action, error) {
	name, fields, err := only(document)
	if err != nil {
		return nil, err
	}
	if inner, is, err := s.redirected(name, fields); is {
		if err != nil {
			return nil, err
		}
		s.Named = nil // a named action names no other
		return Compile(inner, s)
	}
	if slices.Contains(distant, name) {
		return newDistant(name), nil
	}
	k, known := kinds[name]
	if !known {
		return nil, iot.Errorf(iot.InvalidRequest, "action %q is not available here; this gateway has %s", name, strings.Join(Kinds(), ", "))
	}
	d := &draft{Setup: s, raw: fields, action: &Action{kind: name, failed: k.failed, class: k.class, limit: k.limit, role: role.Default}}
	d.action.plan = k.build(d)
	if d.err != nil {
		return nil, fmt.Errorf("%s: %w", name, d.err)
	}
	return d.action, nil
}

func only(document json.RawMessage) (name string, fields json.RawMessage, err error) {
	var one map[string]json.RawMessage
	if err := json.Unmarshal(document, &one); err != nil || len(one) != 1 {
		return "", nil, iot.Errorf(iot.InvalidRequest, "want an object with one key, the action's kind")
	}
	for name, fields = range one {
		if !bytes.HasPrefix(bytes.TrimSpace(fields), []byte("{")) {
			return "", nil, iot.Errorf(iot.InvalidRequest, "%s: want an object with the action's fields", name)
		}
	}
	return name, fields, nil
}

// RoleOf is the role that an action's document names; empty when none.
func RoleOf(document json.RawMessage) string {
	_, fields, err := only(document)
	var f struct {
		RoleARN string `json:"roleArn"`
	}
	if err != nil || json.Unmarshal(fields, &f) != nil {
		return ""
	}
	return role.NameOf(f.RoleARN)
}

// namedPrefix begins the ARN of a lambda action that means a named action.
const namedPrefix = "arn:edge:action:"

// redirected gives the named action that a lambda action means.
func (s Setup) redirected(name string, fields json.RawMessage) (inner json.RawMessage, is bool, err error) {
	var f struct {
		ARN string `json:"functionArn"`
	}
	if name != "lambda" || json.Unmarshal(fields, &f) != nil || !strings.HasPrefix(f.ARN, namedPrefix) {
		return nil, false, nil
	}
	wanted, called, _ := strings.Cut(f.ARN[len(namedPrefix):], ":")
	inner, ok := s.Named[called]
	if !ok {
		return nil, true, iot.Errorf(iot.InvalidRequest, "lambda: functionArn %q: there is no action of this name in the configuration", f.ARN)
	}
	if found, _, err := only(inner); err != nil || found != wanted {
		return nil, true, iot.Errorf(iot.InvalidRequest, "lambda: functionArn %q: the action of this name is of kind %q", f.ARN, found)
	}
	return inner, true, nil
}

// draft is an action that is being compiled. The first error stays; builders
// need not look at it.
type draft struct {
	Setup
	raw    json.RawMessage
	action *Action
	err    error
}

// slot is the place of a field among the filled texts; -1 when it was not
// given.
type slot int

func (s slot) of(texts []string) string {
	if s < 0 {
		return ""
	}
	return texts[s]
}

func (d *draft) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *draft) refuse(format string, args ...any) {
	d.fail(iot.Errorf(iot.InvalidRequest, format, args...))
}

// read decodes the fields strictly: an unknown field is an error.
func (d *draft) read(into any) {
	dec := json.NewDecoder(bytes.NewReader(d.raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		d.refuse("%v", err)
	}
}

// optional compiles a template field; one that is not given stays empty.
func (d *draft) optional(name, text string) slot {
	if text == "" {
		return -1
	}
	parse := iotsql.ParseTemplate
	if d.Error {
		parse = iotsql.ParseErrorTemplate
	}
	t, err := parse(text, d.Statement)
	if err != nil {
		d.fail(&iot.Error{Code: iot.InvalidRequest, Message: name, Err: err})
		return -1
	}
	fixed := text
	if strings.Contains(text, "${") {
		fixed = ""
	}
	d.action.fields = append(d.action.fields, field{name, t, fixed})
	return slot(len(d.action.fields) - 1)
}

// required compiles a template field that must be given.
func (d *draft) required(name, text string) slot {
	if text == "" {
		d.refuse("%s is missing", name)
		return -1
	}
	return d.optional(name, text)
}

// by sets the role of the action: the one that its ARN names, or role.Default.
func (d *draft) by(arn string) {
	name := role.Default
	if arn != "" {
		name = role.NameOf(arn)
	}
	if !d.Role(name) {
		d.refuse("role %q does not exist", name)
	}
	d.action.role = name
}

// byImplicit is by for kinds that have no role at AWS.
func (d *draft) byImplicit(arn string) {
	if arn == "" {
		arn = d.Implicit
	}
	d.by(arn)
}
