package control

import (
	"encoding/json"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

func ruleOperations() []operation {
	return []operation{
		{name: "CreateTopicRule", method: "POST", path: "/rules/{rule}", do: func(c *call) (any, error) { return putRule(c, false) }},
		{name: "ReplaceTopicRule", method: "PATCH", path: "/rules/{rule}", do: func(c *call) (any, error) { return putRule(c, true) }},
		{name: "GetTopicRule", method: "GET", path: "/rules/{rule}", do: getRule},
		{name: "ListTopicRules", method: "GET", path: "/rules", do: listRules},
		{name: "EnableTopicRule", method: "POST", path: "/rules/{rule}/enable", do: func(c *call) (any, error) { return enableRule(c, true) }},
		{name: "DisableTopicRule", method: "POST", path: "/rules/{rule}/disable", do: func(c *call) (any, error) { return enableRule(c, false) }},
		{name: "DeleteTopicRule", method: "DELETE", path: "/rules/{rule}", do: deleteRule},
	}
}

func (c *call) rules() (Rules, error) {
	if c.h.cfg.Rules == nil {
		return nil, iot.Errorf(iot.Unavailable, "rules are declared in this gateway's configuration alone")
	}
	return c.h.cfg.Rules, nil
}

// rule finds a rule; an unknown one is told as AWS does, with 401.
func (c *call) rule() (Rules, Rule, error) {
	all, err := c.rules()
	if err != nil {
		return nil, Rule{}, err
	}
	r, found := all.Rule(c.vars["rule"])
	if !found {
		err = iot.Errorf(iot.Unauthorized, "Access to topic rule '%s' was denied", c.vars["rule"])
	}
	return all, r, err
}

func putRule(c *call, replace bool) (any, error) {
	all, err := c.rules()
	if replace && err == nil {
		all, _, err = c.rule()
	}
	if err != nil {
		return nil, err
	}
	var in struct {
		SQL     string            `json:"sql"`
		Actions []json.RawMessage `json:"actions"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if err := need("sql", in.SQL); err != nil {
		return nil, err
	}
	return nil, all.PutRule(c, c.vars["rule"], c.body, replace)
}

// payload reads the members of a rule that lists and descriptions tell.
type payload struct {
	SQL          string            `json:"sql"`
	Description  string            `json:"description,omitempty"`
	Actions      []json.RawMessage `json:"actions"`
	RuleDisabled bool              `json:"ruleDisabled"`
	Version      string            `json:"awsIotSqlVersion,omitempty"`
	ErrorAction  json.RawMessage   `json:"errorAction,omitempty"`
}

func (r Rule) payload() (p payload, err error) {
	if err = json.Unmarshal(r.Payload, &p); err == nil && p.Version == "" {
		p.Version = "2015-10-08"
	}
	if p.Actions == nil {
		p.Actions = []json.RawMessage{}
	}
	return p, err
}

func getRule(c *call) (any, error) {
	_, r, err := c.rule()
	if err != nil {
		return nil, err
	}
	p, err := r.payload()
	if err != nil {
		return nil, err
	}
	return answer{"ruleArn": c.arn("rule/" + r.Name), "rule": struct {
		RuleName  string  `json:"ruleName"`
		CreatedAt float64 `json:"createdAt"`
		payload
	}{r.Name, seconds(r.Created), p}}, nil
}

func listRules(c *call) (any, error) {
	all, err := c.rules()
	if err != nil {
		return nil, err
	}
	after, size, err := c.pageOf(rulePageMax)
	if err != nil {
		return nil, err
	}
	var chosen []Rule
	for _, r := range all.Rules() {
		if r.Name > after && c.chooses(r) {
			chosen = append(chosen, r)
		}
	}
	chosen, next := cut(chosen[:min(len(chosen), size+1)], size, func(r Rule) string { return r.Name })
	return answer{"rules": each(chosen, func(r Rule) any {
		p, _ := r.payload()
		return answer{
			"ruleArn": c.arn("rule/" + r.Name), "ruleName": r.Name, "topicPattern": r.Pattern,
			"createdAt": seconds(r.Created), "ruleDisabled": p.RuleDisabled,
		}
	}), "nextToken": next}, nil
}

// rulePageMax is the largest page of rules, AWS's.
const rulePageMax = 10_000

// chooses tells whether the query's topic and state fit a rule.
func (c *call) chooses(r Rule) bool {
	p, err := r.payload()
	if err != nil {
		return false
	}
	if text := c.query.Get("ruleDisabled"); text != "" && (text == "true") != p.RuleDisabled {
		return false
	}
	name := c.query.Get("topic")
	return name == "" || topic.Match(topic.Filter(r.Pattern), topic.Name(name)) || slices.Contains([]string{r.Pattern}, name)
}

func enableRule(c *call, on bool) (any, error) {
	all, _, err := c.rule()
	if err != nil {
		return nil, err
	}
	return nil, all.EnableRule(c, c.vars["rule"], on)
}

func deleteRule(c *call) (any, error) {
	all, _, err := c.rule()
	if err != nil {
		return nil, err
	}
	return nil, all.DeleteRule(c, c.vars["rule"])
}
