package gateway

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules"
)

// ruleDesk is the rules as people ask about them: httpapi's Rules.
type ruleDesk struct{ engine *rules.Engine }

// RuleTrace gives the last evaluations of a rule, the latest first.
func (d ruleDesk) RuleTrace(name string) (any, error) { return d.engine.Trace(name) }

// trialRequest is what `tidehold rule test` sends. Name picks a stored rule;
// without it Rule is tried. Without a topic a recent real message is taken.
type trialRequest struct {
	Name     string          `json:"ruleName"`
	Rule     json.RawMessage `json:"rule"`
	Topic    string          `json:"topic"`
	Payload  []byte          `json:"payload"` // base64
	ClientID iot.ClientID    `json:"clientId"`
}

// TestRule dry-runs a rule.
func (d ruleDesk) TestRule(ctx context.Context, request []byte) (any, error) {
	var want trialRequest
	if err := json.Unmarshal(request, &want); err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "rule test: %v", err)
	}
	t := rules.Trial{Name: want.Name}
	if want.Name == "" {
		var err error
		if t.Rule, err = rules.ParseRule("", want.Rule); err != nil {
			return nil, err
		}
	}
	if want.Topic != "" {
		t.Message = &iot.Message{Topic: want.Topic, Payload: want.Payload, QoS: 1, Origin: iot.Origin{ClientID: want.ClientID}}
	}
	return d.engine.Test(ctx, t)
}

// Roles are all roles, sorted by name.
func (d ruleDesk) Roles() any { return d.engine.Roles() }

// Role is one role.
func (d ruleDesk) Role(name string) (any, error) { return d.engine.Role(name) }

// PutRole makes a role, or replaces the one there is.
func (d ruleDesk) PutRole(ctx context.Context, name string, document []byte, replace bool) error {
	var err error
	if replace {
		err = d.engine.ReplaceRole(ctx, name, document)
	} else {
		err = d.engine.CreateRole(ctx, name, document)
	}
	if err != nil {
		return fmt.Errorf("put role: %w", err)
	}
	return nil
}

// DeleteRole removes a role that no rule names.
func (d ruleDesk) DeleteRole(ctx context.Context, name string) error {
	return d.engine.DeleteRole(ctx, name)
}
