package rules

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/store"
)

// RolesMax is how many roles the API may make.
const RolesMax = 200

// Role is a named permission document of IAM shape (rules.md section 8).
type Role struct {
	Name     string          `json:"roleName"`
	Document json.RawMessage `json:"document"`
	// ReadOnly is set for roles of the configuration and built-in ones.
	ReadOnly bool `json:"readOnly"`
}

// roles are all roles there are; readers see one state of it.
type roles struct {
	all   atomic.Pointer[map[string]*role.Role]
	fixed map[string]bool // built in, or of the configuration
}

// newRoles has the built-in roles; one of the configuration with the same name
// replaces it.
func newRoles(configured []Role) (*roles, error) {
	all := make(map[string]*role.Role)
	rs := &roles{fixed: make(map[string]bool)}
	for _, r := range role.BuiltIn() {
		all[r.Name()], rs.fixed[r.Name()] = r, true
	}
	seen := make(map[string]bool)
	for _, c := range configured {
		r, err := role.Parse(c.Name, c.Document)
		if err != nil {
			return nil, err
		}
		if seen[c.Name] {
			return nil, iot.Errorf(iot.InvalidRequest, "role %q is given twice", c.Name)
		}
		all[c.Name], rs.fixed[c.Name], seen[c.Name] = r, true, true
	}
	rs.all.Store(&all)
	return rs, nil
}

func (rs *roles) find(name string) (*role.Role, bool) {
	r, ok := (*rs.all.Load())[name]
	return r, ok
}

func (rs *roles) has(name string) bool {
	_, ok := rs.find(name)
	return ok
}

// change swaps in a copy that f has changed. The caller holds the engine's
// lock of changes.
func (rs *roles) change(f func(map[string]*role.Role)) {
	next := make(map[string]*role.Role)
	for name, r := range *rs.all.Load() {
		next[name] = r
	}
	f(next)
	rs.all.Store(&next)
}

// Roles are all roles, sorted by name.
func (e *Engine) Roles() []Role {
	var list []Role
	for name, r := range *e.roles.all.Load() {
		list = append(list, Role{name, r.Document(), e.roles.fixed[name]})
	}
	slices.SortFunc(list, func(a, b Role) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Role finds a role; an unknown one is NotFound.
func (e *Engine) Role(name string) (Role, error) {
	r, ok := e.roles.find(name)
	if !ok {
		return Role{}, iot.Errorf(iot.NotFound, "role %q does not exist", name)
	}
	return Role{name, r.Document(), e.roles.fixed[name]}, nil
}

// CreateRole stores a role; it blocks until that is committed. A name that is
// taken is AlreadyExists, a document that cannot be decided MalformedPolicy.
func (e *Engine) CreateRole(ctx context.Context, name string, document []byte) error {
	return e.putRole(ctx, name, document, false)
}

// ReplaceRole gives a role another document, at once for every rule. An unknown
// role is NotFound, one that the API did not make UpdateConflict.
func (e *Engine) ReplaceRole(ctx context.Context, name string, document []byte) error {
	return e.putRole(ctx, name, document, true)
}

func (e *Engine) putRole(ctx context.Context, name string, document []byte, replace bool) error {
	r, err := role.Parse(name, document)
	if err != nil {
		return err
	}
	e.changes.Lock()
	defer e.changes.Unlock()
	if err := e.mayPutRole(name, replace); err != nil {
		return err
	}
	if err := e.write(ctx, "rules put role", func(tx *store.Tx) error {
		_, err := tx.Exec(putRole, name, string(document), e.deps.Clock.Now().UnixMilli())
		return err
	}); err != nil {
		return err
	}
	e.roles.change(func(all map[string]*role.Role) { all[name] = r })
	return nil
}

func (e *Engine) mayPutRole(name string, replace bool) error {
	all := *e.roles.all.Load()
	_, exists := all[name]
	switch {
	case replace && !exists:
		return iot.Errorf(iot.NotFound, "role %q does not exist", name)
	case replace && e.roles.fixed[name]:
		return iot.Errorf(iot.UpdateConflict, "role %q is not one of the API's; change it in the configuration file", name)
	case !replace && exists:
		return iot.Errorf(iot.AlreadyExists, "role %q exists already", name)
	case !replace && len(all)-len(e.roles.fixed) >= RolesMax:
		return iot.Errorf(iot.LimitExceeded, "there are %d roles, the most there may be", RolesMax)
	}
	return nil
}

// DeleteRole removes a role; one that a rule names is DeleteConflict.
func (e *Engine) DeleteRole(ctx context.Context, name string) error {
	e.changes.Lock()
	defer e.changes.Unlock()
	if _, exists := e.roles.find(name); !exists {
		return iot.Errorf(iot.NotFound, "role %q does not exist", name)
	}
	if e.roles.fixed[name] {
		return iot.Errorf(iot.UpdateConflict, "role %q is not one of the API's; change it in the configuration file", name)
	}
	for _, r := range e.table.Load().sorted {
		if r.program.Load().names(name) {
			return iot.Errorf(iot.DeleteConflict, "role %q is used by rule %q", name, r.name)
		}
	}
	if err := e.write(ctx, "rules delete role", func(tx *store.Tx) error {
		_, err := tx.Exec(deleteRole, name)
		return err
	}); err != nil {
		return err
	}
	e.roles.change(func(all map[string]*role.Role) { delete(all, name) })
	return nil
}

// names reports whether the rule acts by a role.
func (p *program) names(name string) bool {
	for _, a := range p.actions {
		if a.Role() == name {
			return true
		}
	}
	return p.implicit == name || p.errorAction != nil && p.errorAction.Role() == name
}
