package config

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/config/tree"
)

var (
	roleForm     = regexp.MustCompile(`^[a-zA-Z0-9_+=,.@-]{1,64}$`)
	functionForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
)

// role reads what actions may do: a document as of a policy.
func (l *loader) role(m *tree.Map) {
	defer m.Done()
	r := Role{Name: formed(m, "name", tree.Required, roleForm, "1 to 64 characters of A-Z a-z 0-9 _ + = , . @ -")}
	r.Document = l.document(m, func(document string) ([]string, error) {
		if l.opt.CheckRole == nil || r.Name == "" {
			return nil, nil
		}
		return nil, l.opt.CheckRole(Role{r.Name, document})
	})
	l.sites.roles = append(l.sites.roles, site{m, r.Name})
	l.cfg.Roles = append(l.cfg.Roles, r)
}

// namedAction reads an action that rules reach through a lambda ARN.
func (l *loader) namedAction(m *tree.Map) {
	defer m.Done()
	a := NamedAction{Name: formed(m, "name", tree.Required, functionForm, "1 to 64 characters of A-Z a-z 0-9 _ -"), Action: m.JSON("action", "an action", tree.Required)}
	if a.Action != nil {
		l.checkAction(m, "action", a.Action)
	}
	l.sites.actions = append(l.sites.actions, site{m, a.Name})
	l.cfg.Actions = append(l.cfg.Actions, a)
}

// function reads a local function; every default but the name's is the
// function room's own.
func (l *loader) function(m *tree.Map) {
	defer m.Done()
	f := Function{
		Name: formed(m, "name", tree.Required, functionForm, "1 to 64 characters of A-Z a-z 0-9 _ -"), Command: m.Texts("command", "program and its arguments"), Dir: l.path(m.Text("dir", "")),
		Env: m.TextMap("env"), URL: m.Text("url", ""), Instances: int(m.Integer("instances", "1", 1, 16)), Memory: m.Size("memory", "128MiB", 1<<20, 4<<30),
		Timeout: m.Duration("timeout", "60s"), Idle: m.Duration("idle", "5m"), Once: m.Bool("once", "false"), Envelope: m.Bool("envelope", "false"),
	}
	if len(f.Command) > 0 && strings.ContainsRune(f.Command[0], filepath.Separator) {
		f.Command[0] = l.path(f.Command[0])
	}
	if l.opt.CheckFunction != nil && f.Name != "" {
		if err := l.opt.CheckFunction(f); err != nil {
			m.Fail("", err.Error(), "")
		}
	}
	l.sites.functions = append(l.sites.functions, site{m, f.Name})
	l.cfg.Functions = append(l.cfg.Functions, f)
}

// checkWhole asks the rules room about a rule, in the light of all roles,
// functions, outputs and uplinks of the file.
func (l *loader) checkWhole(m *tree.Map, r Rule) {
	doubts, err := l.opt.CheckRule(l.cfg, r)
	if err != nil {
		m.Fail("", err.Error(), "")
	}
	for _, doubt := range doubts {
		m.Warn(doubt.Path, doubt.Message, doubt.Hint)
	}
}

// Doubt is a warning about a rule that is well formed; Path is that of the
// action, like `actions[0]`.
type Doubt struct{ Path, Message, Hint string }

// Role is an entry of `roles`: what the actions of rules may do (rules.md
// section 8).
type Role struct {
	Name     string // required, 1..64 of [A-Za-z0-9_+=,.@-]
	Document string // required, JSON of IAM's shape
}

// NamedAction is an entry of `actions`: the lambda ARN
// arn:edge:action:<kind>:<name> means it.
type NamedAction struct {
	Name   string          // required
	Action json.RawMessage // required: an object with one member, its kind
}

// Function is an entry of `functions`: a local function, by its command or by
// its URL on loopback.
type Function struct {
	Name    string // required, 1..64 of [A-Za-z0-9_-]
	Command []string
	Dir     string // default /
	Env     map[string]string
	URL     string
	// Instances is how many calls run at once, 1..16; default 1.
	Instances int
	Memory    int64 // bytes of one process; default 128 MiB
	Timeout   time.Duration
	Idle      time.Duration // how long an unused process is kept; default 5m
	// Once starts a process for every call; Envelope adds the call's context.
	Once, Envelope bool
}

// actionPath is the place of the i-th action of a rule.
func actionPath(i int) string { return fmt.Sprintf("actions[%d]", i) }
