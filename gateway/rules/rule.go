package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
)

// Limits of a rule document (rules.md section 1).
const (
	actionsMax  = 10
	sqlBytesMax = 256 << 10
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

// compiled is a rule ready to run.
type compiled struct {
	name        string
	disabled    bool
	statement   *iotsql.Statement
	actions     []action
	errorAction action
}

// Check reports why a rule would be refused: a malformed name or document,
// SQL that does not parse, an action or a role this gateway does not have.
func Check(r Rule) error {
	_, err := compile(r, builtIn())
	return err
}

func compile(r Rule, roles map[string]role) (*compiled, error) {
	switch {
	case !ruleNameForm.MatchString(r.Name):
		return nil, iot.Errorf(iot.InvalidRequest, "rule %q: a name has 1 to 128 characters of a-z A-Z 0-9 _", r.Name)
	case len(r.SQL) > sqlBytesMax:
		return nil, iot.Errorf(iot.InvalidRequest, "rule %q: the statement has %d bytes; the maximum is %d", r.Name, len(r.SQL), sqlBytesMax)
	case len(r.Actions) > actionsMax:
		return nil, iot.Errorf(iot.InvalidRequest, "rule %q: %d actions; the maximum is %d", r.Name, len(r.Actions), actionsMax)
	}
	statement, err := iotsql.Parse(r.SQL, r.Version)
	if err != nil {
		return nil, fmt.Errorf("rule %q: %w", r.Name, err)
	}
	if schedule, ok := statement.Schedule(); ok {
		return nil, iot.Errorf(iot.InvalidRequest, "rule %q: FROM SCHEDULE %q: rules by schedule are not available in this version", r.Name, schedule)
	}
	c := &compiled{name: r.Name, disabled: r.Disabled, statement: statement}
	for i, document := range r.Actions {
		act, err := compileAction(document, setup{statement: statement, roles: roles, parse: iotsql.ParseTemplate})
		if err != nil {
			return nil, fmt.Errorf("rule %q: actions[%d]: %w", r.Name, i, err)
		}
		c.actions = append(c.actions, act)
	}
	if len(r.ErrorAction) > 0 && !bytes.Equal(r.ErrorAction, []byte("null")) {
		if c.errorAction, err = compileAction(r.ErrorAction, setup{statement: statement, roles: roles, parse: iotsql.ParseErrorTemplate}); err != nil {
			return nil, fmt.Errorf("rule %q: errorAction: %w", r.Name, err)
		}
	}
	return c, nil
}
