package action

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
)

// Surroundings are what a gateway has for its actions, as its configuration
// says.
type Surroundings struct {
	Functions, Outputs, Uplinks []string
	// AWS is set when an uplink is AWS.
	AWS  bool
	Role func(name string) (*role.Role, bool)
}

// Doubt says why a would fail whatever message comes, and what to do; both are
// empty when it may work. What stands in a template is not known here.
func (a *Action) Doubt(s Surroundings) (why, hint string) {
	switch {
	case slices.Contains(distant, a.kind) && !s.AWS:
		return a.kind + " is not available locally, and no uplink is AWS", "add an uplink with the profile aws-iot-core and the same rule there"
	case a.kind == "lambda":
		why, hint = unknown("function", function.NameOf(a.text("functionArn")), s.Functions)
	case a.kind == "edge.device":
		why, hint = unknown("output", a.text("device"), s.Outputs)
	case a.kind == "edge.forward":
		why, hint = a.doubtForward(s)
	}
	if why == "" {
		why, hint = a.doubtRole(s)
	}
	return why, hint
}

func (a *Action) doubtForward(s Surroundings) (why, hint string) {
	switch name := a.text("topic"); {
	case len(s.Uplinks) == 0:
		return "there is no uplink to forward to", "add one to uplinks"
	case strings.HasPrefix(name, "$"):
		return fmt.Sprintf("topic %q: topics that begin with $ never go up", name), ""
	}
	return unknown("uplink", a.uplink, s.Uplinks)
}

func unknown(what, name string, there []string) (why, hint string) {
	if name == "" || slices.Contains(there, name) {
		return "", ""
	}
	hint = "there is none"
	if len(there) > 0 {
		hint = "there are " + strings.Join(there, ", ")
	}
	return fmt.Sprintf("no %s %q", what, name), hint
}

// text is a field without a template; else empty.
func (a *Action) text(name string) string {
	for _, f := range a.fields {
		if f.name == name {
			return f.fixed
		}
	}
	return ""
}

// doubtRole asks the role of an action without templates for what it will need.
func (a *Action) doubtRole(s Surroundings) (why, hint string) {
	texts := make([]string, len(a.fields))
	for i, f := range a.fields {
		if texts[i] = f.fixed; f.fixed == "" {
			return "", ""
		}
	}
	w := &World{Role: s.Role, Clock: clock.Fixed{}}
	// Rooms that are missing in this world are no doubt: what is needed counts.
	plan, _ := a.plan(context.Background(), w, &Call{Payload: []byte("{}")}, texts)
	for _, need := range plan.Needs {
		if err := w.Allow(a.role, need); err != nil {
			return iot.MessageOf(err), "name a role that allows it in roleArn"
		}
	}
	return "", ""
}
