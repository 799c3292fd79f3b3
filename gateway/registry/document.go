package registry

import (
	"context"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// Policy is a named policy; its default version is the one that counts.
type Policy struct {
	Name    string
	Default int64
	// Static is set on policies of the configuration.
	Static           bool
	Created, Changed time.Time
	// Seq orders policies by creation.
	Seq  int64
	last int64
}

// PolicyVersion is one document of a policy, byte for byte as it came.
type PolicyVersion struct {
	Policy   Policy
	Version  int64
	Document string
	Created  time.Time
}

func scanPolicy(s store.Scan) (p Policy, err error) {
	var static int
	var created, changed int64
	err = s(&p.Seq, &p.Name, &p.Default, &p.last, &static, &created, &changed)
	p.Static, p.Created, p.Changed = static == 1, ms(created), ms(changed)
	return p, err
}

func scanVersion(s store.Scan) (v PolicyVersion, err error) {
	var created int64
	err = s(&v.Version, &v.Document, &created)
	v.Created = ms(created)
	return v, err
}

func policyOf(tx *store.Tx, name string) (Policy, error) {
	p, found, err := row.One(tx, table.SelectPolicy, scanPolicy, name)
	if err == nil && !found {
		err = missing("policy", name)
	}
	return p, err
}

// checkDocument gives a MalformedPolicy error for what does not parse.
func checkDocument(text string) error {
	if _, err := policy.Parse([]byte(text)); err != nil {
		return &iot.Error{Code: iot.MalformedPolicy, Message: iot.MessageOf(err), Err: err}
	}
	return nil
}

// CreatePolicy makes a policy with version 1: MalformedPolicy, AlreadyExists.
func (r *Registry) CreatePolicy(ctx context.Context, name, document string) (v PolicyVersion, err error) {
	if _, err := policy.ParseName(name); err != nil {
		return v, err
	}
	if err := checkDocument(document); err != nil {
		return v, err
	}
	err = r.write(ctx, Change{PolicyChange, name}, "create policy", func(tx *store.Tx) error {
		if _, err := policyOf(tx, name); err == nil {
			return iot.Errorf(iot.AlreadyExists, "Policy cannot be created - name already exists (name=%s)", name)
		}
		if err := createPolicy(tx, name, document, false, r.nowMS()); err != nil {
			return err
		}
		v, err = versionOf(tx, name, 1)
		return err
	})
	return v, err
}

func createPolicy(tx *store.Tx, name, document string, static bool, nowMS int64) error {
	if err := atMost(tx, PoliciesMax, "policies", table.CountPolicies); err != nil {
		return err
	}
	if _, err := tx.Exec(table.InsertPolicy, name, flag(static), nowMS, nowMS); err != nil {
		return err
	}
	_, err := tx.Exec(table.InsertVersion, name, 1, document, nowMS)
	return err
}

// versionOf finds a version; 0 means the default.
func versionOf(tx *store.Tx, name string, version int64) (PolicyVersion, error) {
	p, err := policyOf(tx, name)
	if err != nil {
		return PolicyVersion{}, err
	}
	if version == 0 {
		version = p.Default
	}
	v, found, err := row.One(tx, table.SelectVersion, scanVersion, name, version)
	if err == nil && !found {
		err = missing("version "+strconv.FormatInt(version, 10)+" of policy", name)
	}
	v.Policy = p
	return v, err
}

// PolicyVersion finds a version of a policy, 0 meaning the default: NotFound.
func (r *Registry) PolicyVersion(ctx context.Context, name string, version int64) (v PolicyVersion, err error) {
	err = r.read(ctx, "find policy", func(tx *store.Tx) error {
		v, err = versionOf(tx, name, version)
		return err
	})
	return v, err
}

// PolicyVersions gives all versions, the newest first: NotFound.
func (r *Registry) PolicyVersions(ctx context.Context, name string) (all []PolicyVersion, err error) {
	err = r.read(ctx, "list policy versions", func(tx *store.Tx) error {
		p, err := policyOf(tx, name)
		if err != nil {
			return err
		}
		all, err = row.All(tx, table.SelectVersions, scanVersion, name)
		for i := range all {
			all[i].Policy = p
		}
		return err
	})
	return all, err
}

// ListPolicies gives a page of policies.
func (r *Registry) ListPolicies(ctx context.Context, q SeqQuery) (all []Policy, err error) {
	text := table.SelectPolicies
	if q.Newest {
		text = table.SelectPoliciesBack
	}
	err = r.read(ctx, "list policies", func(tx *store.Tx) error {
		all, err = row.All(tx, text, scanPolicy, q.from(), q.Limit)
		return err
	})
	return all, err
}

// ownPolicy finds a policy that may be changed.
func ownPolicy(tx *store.Tx, name string) (Policy, error) {
	p, err := policyOf(tx, name)
	if err == nil && p.Static {
		err = fixed("policy", name)
	}
	return p, err
}

// CreatePolicyVersion adds a version: VersionsLimit when there are
// policy.MaxVersions. Its number has never been used before.
func (r *Registry) CreatePolicyVersion(ctx context.Context, name, document string, setDefault bool) (v PolicyVersion, err error) {
	if err := checkDocument(document); err != nil {
		return v, err
	}
	err = r.write(ctx, Change{PolicyChange, name}, "create version of policy", func(tx *store.Tx) error {
		p, err := ownPolicy(tx, name)
		if err != nil {
			return err
		}
		if n, err := row.Number(tx, table.CountVersions, name); err != nil || n >= policy.MaxVersions {
			return either(err, iot.Errorf(iot.VersionsLimit, "The policy %s already has the maximum number of versions (%d); delete one first", name, n))
		}
		next := p.last + 1
		if _, err := tx.Exec(table.InsertVersion, name, next, document, r.nowMS()); err != nil {
			return err
		}
		if setDefault {
			p.Default = next
		}
		if _, err := tx.Exec(table.UpdatePolicy, p.Default, next, 0, r.nowMS(), name); err != nil {
			return err
		}
		v, err = versionOf(tx, name, next)
		return err
	})
	return v, err
}

// SetDefaultVersion makes a version the one that counts: NotFound.
func (r *Registry) SetDefaultVersion(ctx context.Context, name string, version int64) error {
	return r.write(ctx, Change{PolicyChange, name}, "set default version of policy", func(tx *store.Tx) error {
		p, err := ownPolicy(tx, name)
		if err != nil {
			return err
		}
		if _, err := versionOf(tx, name, version); err != nil {
			return err
		}
		_, err = tx.Exec(table.UpdatePolicy, version, p.last, 0, r.nowMS(), name)
		return err
	})
}

// DeletePolicyVersion removes a version; the default one is DeleteConflict.
func (r *Registry) DeletePolicyVersion(ctx context.Context, name string, version int64) error {
	return r.write(ctx, Change{PolicyChange, name}, "delete version of policy", func(tx *store.Tx) error {
		p, err := ownPolicy(tx, name)
		if err != nil {
			return err
		}
		if _, err := versionOf(tx, name, version); err != nil {
			return err
		}
		if version == p.Default {
			return iot.Errorf(iot.DeleteConflict, "Cannot delete the default version of a policy (policy %s, version %d)", name, version)
		}
		_, err = tx.Exec(table.DeleteVersion, name, version)
		return err
	})
}

// DeletePolicy removes a policy: DeleteConflict while it is attached or has more
// than one version.
func (r *Registry) DeletePolicy(ctx context.Context, name string) error {
	return r.write(ctx, Change{PolicyChange, name}, "delete policy", func(tx *store.Tx) error {
		if _, err := ownPolicy(tx, name); err != nil {
			return err
		}
		if n, err := row.Number(tx, table.CountTargets, name); err != nil || n > 0 {
			return either(err, iot.Errorf(iot.DeleteConflict, "The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name))
		}
		if n, err := row.Number(tx, table.CountVersions, name); err != nil || n > 1 {
			return either(err, iot.Errorf(iot.DeleteConflict, "Cannot delete the policy because it has one or more policy versions attached to it (name=%s)", name))
		}
		if err := row.Exec(tx, []string{table.DeletePolicy, table.DeleteVersions}, name); err != nil {
			return err
		}
		_, err := tx.Exec(table.DeleteTags, "policy/"+name)
		return err
	})
}

// loadPolicies makes the records of the configuration's policies, and removes
// those it no longer declares.
func (r *Registry) loadPolicies(tx *store.Tx, declared []Static) error {
	keep := make(map[string]bool)
	for _, d := range declared {
		keep[d.Name] = true
		if err := r.loadPolicy(tx, d); err != nil {
			return err
		}
	}
	old, err := row.All(tx, table.SelectStaticPolicies, scanPolicy)
	if err != nil {
		return err
	}
	for _, p := range old {
		if keep[p.Name] {
			continue
		}
		if err := row.Exec(tx, []string{table.DeletePolicy, table.DeleteVersions}, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// loadPolicy makes or changes one policy of the configuration: a changed
// document is a new version, the only one.
func (r *Registry) loadPolicy(tx *store.Tx, d Static) error {
	v, err := versionOf(tx, d.Name, 0)
	switch {
	case iot.CodeOf(err) == iot.NotFound:
		return createPolicy(tx, d.Name, d.Document, true, r.nowMS())
	case err != nil:
		return err
	case v.Policy.Static && v.Document == d.Document:
		return nil
	}
	next := v.Policy.last + 1
	if _, err := tx.Exec(table.DeleteVersions, d.Name); err != nil {
		return err
	}
	if _, err := tx.Exec(table.InsertVersion, d.Name, next, d.Document, r.nowMS()); err != nil {
		return err
	}
	_, err = tx.Exec(table.UpdatePolicy, next, next, 1, r.nowMS(), d.Name)
	return err
}
