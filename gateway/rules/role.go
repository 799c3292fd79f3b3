package rules

import (
	"fmt"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
)

// defaultRole is the role of an action that names none, in a configuration file.
const defaultRole = "edge-default"

// grant allows or denies some actions on the resources that begin with a text.
type grant struct {
	deny     bool
	actions  []string
	resource string
}

// role is what an action may do: a deny wins, and what nobody grants is denied
// (rules.md section 8, Role).
type role struct {
	name   string
	grants []grant
}

// builtIn are the roles every gateway has.
func builtIn() map[string]role {
	return map[string]role{defaultRole: {defaultRole, []grant{
		{actions: []string{"iot:Publish", "iot:RetainPublish", "edge:Forward"}, resource: "topic/"},
		{deny: true, actions: []string{"iot:Publish", "iot:RetainPublish", "edge:Forward"}, resource: "topic/$"},
		{actions: []string{"iot:GetThingShadow", "iot:UpdateThingShadow"}, resource: "thing/"},
		{actions: []string{"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:GetItem"}, resource: "table/rule_"},
	}}}
}

// roleOf finds a role by the last path segment of its ARN, whatever the
// account; no ARN is edge-default.
func roleOf(roles map[string]role, arn string) (role, error) {
	name := defaultRole
	if arn != "" {
		name = arn[strings.LastIndexByte(arn, '/')+1:]
	}
	r, ok := roles[name]
	if !ok {
		return role{}, iot.Errorf(iot.InvalidRequest, "role %q does not exist", name)
	}
	return r, nil
}

// allow reports why the role may not do action on resource.
func (r role) allow(action, resource string) error {
	allowed := false
	for _, g := range r.grants {
		for _, a := range g.actions {
			if a != action || !strings.HasPrefix(resource, g.resource) {
				continue
			}
			if g.deny {
				return fmt.Errorf("role %q denies %s on %q", r.name, action, resource)
			}
			allowed = true
		}
	}
	if !allowed {
		return fmt.Errorf("role %q does not allow %s on %q", r.name, action, resource)
	}
	return nil
}
