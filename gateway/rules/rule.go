package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/iotsql/schedule"
	"github.com/tidehold/tidehold/gateway/rules/action"
	"github.com/tidehold/tidehold/gateway/rules/role"
)

// Limits of rules (rules.md section 1).
const (
	RulesMax = 1000 // that the API made

	actionsMax     = 10
	sqlBytesMax    = 256 << 10
	descriptionMax = 2048
)

// ruleNameForm is a legal rule name (rules.md section 1).
var ruleNameForm = regexp.MustCompile(`^[a-zA-Z0-9_]{1,128}$`)

// Rule is a rule document: AWS's topicRulePayload with its name.
type Rule struct {
	Name        string            `json:"ruleName"`
	SQL         string            `json:"sql"`
	Version     string            `json:"awsIotSqlVersion,omitempty"`
	Description string            `json:"description,omitempty"`
	Disabled    bool              `json:"ruleDisabled"`
	Actions     []json.RawMessage `json:"actions"`
	ErrorAction json.RawMessage   `json:"errorAction,omitempty"`
}

// ParseRule reads a topicRulePayload, the body of CreateTopicRule and
// ReplaceTopicRule. A body that lacks sql or actions is an InvalidRequest.
func ParseRule(name string, body []byte) (Rule, error) {
	var r Rule
	if err := json.Unmarshal(body, &r); err != nil {
		return Rule{}, iot.Errorf(iot.InvalidRequest, "rule %q: the body is no topicRulePayload: %v", name, err)
	}
	r.Name = name
	switch {
	case r.SQL == "":
		return Rule{}, iot.Errorf(iot.InvalidRequest, "rule %q: sql is missing", name)
	case r.Actions == nil:
		return Rule{}, iot.Errorf(iot.InvalidRequest, "rule %q: actions are missing", name)
	}
	return r, nil
}

// Kinds are the names of the actions a rule may have, sorted.
func Kinds() []string { return action.Kinds() }

// Check reports why a rule would be refused by a gateway that has no roles and
// named actions of its own.
func Check(r Rule) error { return Config{}.Check(r) }

// Check reports why r would be refused: a malformed name or document, SQL that
// does not parse, an action or a role this gateway does not have. SQL and
// templates that do not parse wrap an *iotsql.Error.
func (c Config) Check(r Rule) error {
	roles, err := newRoles(c.Roles)
	if err != nil {
		return err
	}
	_, err = (&compiler{roles: roles, named: c.Actions}).compile(r)
	return err
}

// Doubts says which actions of a rule that Check accepts would fail whatever
// message comes; tell gets each one's place, `actions[0]`.
func (c Config) Doubts(r Rule, outputs, functions, uplinks []string, aws bool, tell func(path, why, hint string)) {
	roles, err := newRoles(c.Roles)
	if err != nil {
		return
	}
	p, err := (&compiler{roles: roles, named: c.Actions}).compile(r)
	if err != nil {
		return
	}
	s := action.Surroundings{Functions: functions, Outputs: outputs, Uplinks: uplinks, AWS: aws, Role: roles.find}
	for i, a := range p.actions {
		if why, hint := a.Doubt(s); why != "" {
			tell(fmt.Sprintf("actions[%d]", i), why, hint)
		}
	}
	if p.errorAction != nil {
		if why, hint := p.errorAction.Doubt(s); why != "" {
			tell("errorAction", why, hint)
		}
	}
}

// compiler makes programs of rules.
type compiler struct {
	roles *roles
	named map[string]json.RawMessage
}

// program is a rule ready to run. Its context belongs to whoever evaluates it:
// the evaluator, or the worker of a slow rule.
type program struct {
	rule        Rule
	statement   *iotsql.Statement
	actions     []*action.Action
	errorAction *action.Action
	implicit    string // role of functions that name none
	slow        bool   // looks outside the message
	traced      bool   // uses traceid()
	schedule    *schedule.Schedule
	warnings    []string
	memory      *memory // nil without one
	context     iotsql.Context
	// emit takes results, emitted counts those of one evaluation, given are
	// those that a slow rule's worker performs itself.
	emit    func(iotsql.Output, error)
	emitted int
	given   []*job
	// broken is why a stored rule cannot run; nothing else is set then.
	broken error
}

// live reports whether the rule takes part.
func (p *program) live() bool { return p.broken == nil && !p.rule.Disabled }

// held reports whether results are stored before they are performed.
func (p *program) held() bool { return p.schedule != nil || p.statement.EmitsOnce() }

func (c *compiler) compile(r Rule) (*program, error) {
	if err := checkDocument(r); err != nil {
		return nil, err
	}
	statement, err := iotsql.Parse(r.SQL, r.Version)
	if err != nil {
		return nil, refused(r.Name, "sql", err)
	}
	p := &program{rule: r, statement: statement, implicit: implicitRole(r)}
	if text, ok := statement.Schedule(); ok {
		s, err := schedule.Parse(text)
		if err != nil {
			return nil, refused(r.Name, "sql", err)
		}
		p.schedule = &s
	}
	for _, w := range statement.Warnings() {
		p.warnings = append(p.warnings, w.Message)
	}
	if err := c.compileActions(p); err != nil {
		return nil, err
	}
	text := everyText(r)
	p.slow, p.traced = containsAny(text, external), containsAny(text, []string{"traceid"})
	if statement.Remembers() || p.schedule != nil {
		p.memory = &memory{state: statement.NewState()}
	}
	return p, nil
}

func checkDocument(r Rule) error {
	switch {
	case !ruleNameForm.MatchString(r.Name):
		return iot.Errorf(iot.InvalidRequest, "rule %q: a name has 1 to 128 characters of a-z A-Z 0-9 _", r.Name)
	case len(r.SQL) > sqlBytesMax:
		return iot.Errorf(iot.InvalidRequest, "rule %q: the statement has %d bytes; the maximum is %d", r.Name, len(r.SQL), sqlBytesMax)
	case len(r.Description) > descriptionMax:
		return iot.Errorf(iot.InvalidRequest, "rule %q: the description has %d bytes; the maximum is %d", r.Name, len(r.Description), descriptionMax)
	case len(r.Actions) > actionsMax:
		return iot.Errorf(iot.InvalidRequest, "rule %q: %d actions; the maximum is %d", r.Name, len(r.Actions), actionsMax)
	}
	return nil
}

func (c *compiler) compileActions(p *program) error {
	setup := action.Setup{Statement: p.statement, Role: c.roles.has, Implicit: p.implicit, Named: c.named}
	for i, document := range p.rule.Actions {
		act, err := action.Compile(document, setup)
		if err != nil {
			return refused(p.rule.Name, fmt.Sprintf("actions[%d]", i), err)
		}
		p.actions = append(p.actions, act)
	}
	if !p.rule.hasErrorAction() {
		return nil
	}
	setup.Error = true
	act, err := action.Compile(p.rule.ErrorAction, setup)
	if err != nil {
		return refused(p.rule.Name, "errorAction", err)
	}
	p.errorAction = act
	return nil
}

func (r Rule) hasErrorAction() bool {
	return len(r.ErrorAction) > 0 && !bytes.Equal(r.ErrorAction, []byte("null"))
}

// refused says which part of which rule was refused. What the SQL compiler
// says stays in the chain: it has a name of its own on the wire.
func refused(rule, part string, err error) error {
	code := iot.InvalidRequest
	var parse *iotsql.Error
	switch known := iot.CodeOf(err); {
	case errors.As(err, &parse):
		code = iot.SQLParse
	case known != iot.Internal:
		code = known
	}
	return &refusal{iot.Errorf(code, "rule %q: %s: %v", rule, part, err), err}
}

// refusal tells all in its public sentence, and keeps its cause.
type refusal struct {
	public *iot.Error
	cause  error
}

// Error is the public sentence.
func (r *refusal) Error() string { return r.public.Message }

// Unwrap gives what errors.As may look for.
func (r *refusal) Unwrap() []error { return []error{r.public, r.cause} }

// implicitRole is the role of what names none and has none at AWS: the first
// one that an action of the rule names, else the default.
func implicitRole(r Rule) string {
	for _, document := range append(r.Actions[:len(r.Actions):len(r.Actions)], r.ErrorAction) {
		if name := action.RoleOf(document); name != "" {
			return name
		}
	}
	return role.Default
}

// external are the functions that look outside the message.
var external = []string{"get_thing_shadow", "get_registry_data", "aws_lambda", "get_secret", "get_dynamodb"}

// everyText is all text of a rule that may hold calls of functions.
func everyText(r Rule) string {
	text := r.SQL
	for _, document := range append(r.Actions[:len(r.Actions):len(r.Actions)], r.ErrorAction) {
		var v any
		if json.Unmarshal(document, &v) == nil { // undoes escapes
			text += " " + fmt.Sprint(v)
		}
	}
	return strings.ToLower(text)
}

// containsAny may be true for a word in a string: that costs time alone.
func containsAny(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
