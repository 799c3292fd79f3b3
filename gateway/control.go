package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/httpapi/control"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules"
)

// newControl builds AWS's control plane over the registry and the rules.
func (g *Gateway) newControl(r *rooms, k keys) *control.Handler {
	return control.New(control.Config{
		Scope: g.scope(), Endpoint: g.cfg.Gateway.Endpoint, Registry: r.registry, Allow: operatorOr{k}, Rules: ruleBook{r.rules}, Provision: r.provision, Connectivity: r.presence.Of, IDs: g.ids,
	})
}

// operatorOr lets the operator do everything, and asks the policies of others.
type operatorOr struct{ keys keys }

// Allow decides one action on one resource.
func (o operatorOr) Allow(r *http.Request, caller iot.Principal, action, resource string) error {
	if caller.Kind == iot.Local {
		return nil
	}
	return o.keys.Allow(r, caller, action, resource)
}

// ruleBook is the rules as the control plane needs them.
type ruleBook struct{ engine *rules.Engine }

// Rule finds a rule.
func (b ruleBook) Rule(name string) (control.Rule, bool) {
	described, err := b.engine.Get(name)
	if err != nil {
		return control.Rule{}, false
	}
	return b.rule(described.Rule)
}

func (b ruleBook) rule(d rules.Document) (control.Rule, bool) {
	payload, err := json.Marshal(d.Rule)
	if err != nil {
		return control.Rule{}, false
	}
	out := control.Rule{Name: d.Name, Payload: payload, Created: time.UnixMilli(int64(d.CreatedAt * 1000))}
	if statement, err := iotsql.Parse(d.SQL, d.Version); err == nil {
		filter, _ := statement.Filter()
		out.Pattern = string(filter)
	}
	return out, true
}

// Rules are all rules, sorted by name.
func (b ruleBook) Rules() (all []control.Rule) {
	for _, r := range b.engine.Rules() {
		if one, ok := b.Rule(r.Name); ok {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b control.Rule) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// PutRule makes a rule, or replaces the one there is.
func (b ruleBook) PutRule(ctx context.Context, name string, payload json.RawMessage, replace bool) error {
	var r rules.Rule
	if err := json.Unmarshal(payload, &r); err != nil {
		return iot.Errorf(iot.InvalidRequest, "topicRulePayload: %v", err)
	}
	r.Name = name
	if replace {
		return b.engine.Replace(ctx, r)
	}
	return b.engine.Create(ctx, r)
}

// EnableRule enables a rule, or disables it.
func (b ruleBook) EnableRule(ctx context.Context, name string, on bool) error {
	if on {
		return b.engine.Enable(ctx, name)
	}
	return b.engine.Disable(ctx, name)
}

// DeleteRule removes a rule.
func (b ruleBook) DeleteRule(ctx context.Context, name string) error {
	return b.engine.Delete(ctx, name)
}
