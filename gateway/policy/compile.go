package policy

import (
	"slices"
	"strings"
)

// hot are the actions of the message path; their statements are picked out
// beforehand.
var hot = []string{"iot:Connect", "iot:Publish", "iot:Subscribe", "iot:Receive", "iot:RetainPublish"}

// Compiled is what one connection may do: documents with variables filled in
// and fixed conditions decided. It is immutable and safe to share.
type Compiled struct {
	conn     Connection
	scope    Scope
	rules    ruleSet
	byHot    map[string]ruleSet
	missing  []string
	clientID bool
}

type ruleSet struct{ deny, allow []*rule }

// rule is a compiled statement that can still apply.
type rule struct {
	policy    string
	index     int
	sid       string
	deny      bool
	actions   []pattern
	notAction bool
	all       bool // Resource is `*`
	resources []pattern
	notRes    bool
	checks    []check // that depend on the request
	timed     bool    // one of them on the time
}

// Compile binds the documents to a connection. The order of policies decides
// nothing but which of several allowing statements is named.
func Compile(policies []Named, conn Connection, scope Scope) *Compiled {
	c := &Compiled{conn: conn, scope: scope, byHot: make(map[string]ruleSet, len(hot))}
	for _, p := range policies {
		if p.Group && !c.conn.Associated() {
			continue
		}
		c.clientID = c.clientID || p.Document.UsesClientID()
		for i := range p.Document.statements {
			if r, ok := c.compile(&p.Document.statements[i]); ok {
				r.policy, r.index = p.Name, i
				c.rules.add(r)
			}
		}
	}
	for _, action := range hot {
		c.byHot[action] = c.rules.of(action)
	}
	slices.Sort(c.missing)
	return c
}

// Missing names the variables and condition keys that had no value, sorted: the
// missingContextValues of TestAuthorization.
func (c *Compiled) Missing() []string { return c.missing }

// UsesClientID reports whether a counting document holds ${iot:ClientId}.
func (c *Compiled) UsesClientID() bool { return c.clientID }

// Volatile reports whether any decision may depend on Request.Now: only then
// does the caller need to fill it in.
func (c *Compiled) Volatile() bool {
	timed := func(r *rule) bool { return r.timed }
	return slices.ContainsFunc(c.rules.deny, timed) || slices.ContainsFunc(c.rules.allow, timed)
}

func (c *Compiled) miss(name string) {
	if !slices.Contains(c.missing, name) {
		c.missing = append(c.missing, name)
	}
}

// compile gives the rule of a statement; false when it can never apply to this
// connection.
func (c *Compiled) compile(s *statement) (*rule, bool) {
	r := &rule{sid: s.sid, deny: s.deny, notAction: s.notAction, notRes: s.notRes}
	for _, a := range s.actions {
		p, _ := a.pattern(&c.conn, c.miss)
		r.actions = append(r.actions, p)
	}
	open := false
	for _, t := range s.resources {
		resolved := c.resource(r, t)
		open = open || !resolved
	}
	if !s.notRes && !r.all && len(r.resources) == 0 {
		return nil, false
	}
	// NotResource with an unresolved variable would open everything: an Allow
	// that does not know what it spares does not apply (our decision; a Deny
	// then denies).
	if s.notRes && open && !s.deny {
		return nil, false
	}
	return r, c.conditions(r, s)
}

// resource adds one resource of a statement; false when a variable in it has no
// value. The ARNs of other accounts are left out: they match nothing here.
func (c *Compiled) resource(r *rule, t arnTemplate) bool {
	if t.all {
		r.all = true
		return true
	}
	resolved := true
	note := func(name string) { resolved = false; c.miss(name) }
	if !t.within(&c.conn, c.scope, note) {
		return resolved
	}
	p, ok := t.fields[5].pattern(&c.conn, note)
	if ok {
		r.resources = append(r.resources, p)
	}
	return ok
}

// conditions decides what cannot change any more and keeps the rest; false when
// the statement can never apply.
func (c *Compiled) conditions(r *rule, s *statement) bool {
	for _, cond := range s.conditions {
		k := cond.bind(&c.conn, c.scope, c.miss)
		if cond.dynamic() {
			r.checks = append(r.checks, k)
			r.timed = r.timed || cond.timed()
			continue
		}
		values, known := c.conn.values(cond.key)
		if !known {
			c.miss(cond.key)
		}
		if !k.holds(values, known) {
			return false
		}
	}
	return true
}

func (s *ruleSet) add(r *rule) {
	if r.deny {
		s.deny = append(s.deny, r)
		return
	}
	s.allow = append(s.allow, r)
}

// of picks the rules that name an action.
func (s *ruleSet) of(action string) ruleSet {
	var picked ruleSet
	lower := strings.ToLower(action)
	for _, list := range [][]*rule{s.deny, s.allow} {
		for _, r := range list {
			if r.names(lower) {
				picked.add(r)
			}
		}
	}
	return picked
}

func (r *rule) names(action string) bool {
	for _, a := range r.actions {
		if a.match(action) {
			return !r.notAction
		}
	}
	return r.notAction
}

// covers reports whether the rule is about a resource. A request for `*` is
// covered by `*` alone: ARNs name things that exist.
func (r *rule) covers(resource string) bool {
	if r.all {
		return !r.notRes
	}
	if resource != "*" {
		for _, p := range r.resources {
			if p.match(resource) {
				return !r.notRes
			}
		}
	}
	return r.notRes
}

// Evaluate decides a request: a matching Deny wins, else a matching Allow, else
// the request is denied implicitly (security.md 1.5). It allocates nothing for
// the actions of MQTT unless a condition reads the request.
func (c *Compiled) Evaluate(r Request) Decision {
	set, ok := c.byHot[r.Action]
	if !ok {
		set = c.rules.of(r.Action)
	}
	var d Decision
	if hit := c.first(set.deny, &r, &d); hit != nil {
		return d.by(hit)
	}
	if hit := c.first(set.allow, &r, &d); hit != nil {
		d.Allowed = true
		return d.by(hit)
	}
	return d
}

func (d Decision) by(r *rule) Decision {
	d.Explicit, d.Policy, d.Statement, d.Sid = true, r.policy, r.index, r.sid
	return d
}

func (c *Compiled) first(rules []*rule, r *Request, d *Decision) *rule {
	for _, rule := range rules {
		if !rule.covers(r.Resource) {
			continue
		}
		d.Volatile = d.Volatile || rule.timed
		if len(rule.checks) == 0 || c.hold(rule.checks, r) {
			return rule
		}
	}
	return nil
}

func (c *Compiled) hold(checks []check, r *Request) bool {
	connecting := strings.EqualFold(r.Action, "iot:Connect")
	for i := range checks {
		values, known := r.lookup(checks[i].key, &c.conn, c.scope, connecting)
		if !checks[i].holds(values, known) {
			return false
		}
	}
	return true
}
