package registry

import (
	"context"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

const (
	certificatePrefix = "cert/"
	groupPrefix       = "thinggroup/"
)

// CertificateTarget is what policies are attached to for a certificate: the last
// field of its ARN.
func CertificateTarget(id string) string { return certificatePrefix + id }

// GroupTarget is what policies are attached to for a thing group.
func GroupTarget(name string) string { return groupPrefix + name }

// checkTarget finds the certificate or group of a target.
func checkTarget(tx *store.Tx, target string) error {
	if id, is := strings.CutPrefix(target, certificatePrefix); is {
		_, err := certificateOf(tx, id)
		return err
	}
	if name, is := strings.CutPrefix(target, groupPrefix); is {
		_, err := groupOf(tx, name)
		return err
	}
	return iot.Errorf(iot.InvalidRequest, "target %.200q: want the ARN of a certificate or of a thing group", target)
}

// AttachPolicy attaches a policy to a certificate or group; twice is once.
// Beyond 10 policies of a certificate and 2 of a group: LimitExceeded.
func (r *Registry) AttachPolicy(ctx context.Context, name, target string) error {
	return r.write(ctx, Change{AttachmentChange, target}, "attach policy "+name, func(tx *store.Tx) error {
		if err := checkTarget(tx, target); err != nil {
			return err
		}
		return attachPolicy(tx, name, target)
	})
}

func attachPolicy(tx *store.Tx, name, target string) error {
	if _, err := policyOf(tx, name); err != nil {
		return err
	}
	limit := policiesOfPeopleMax
	if strings.HasPrefix(target, groupPrefix) {
		limit = policiesOfGroupMax
	}
	if err := atMost(tx, limit, "policies on "+target, table.CountAttached, target, name); err != nil {
		return err
	}
	_, err := tx.Exec(table.InsertTarget, name, target)
	return err
}

// DetachPolicy takes a policy away from a target; one that is not attached is no
// error.
func (r *Registry) DetachPolicy(ctx context.Context, name, target string) error {
	return r.write(ctx, Change{AttachmentChange, target}, "detach policy "+name, func(tx *store.Tx) error {
		done, err := tx.Exec(table.DeleteTarget, name, target)
		if err != nil || done.RowsAffected > 0 {
			return err
		}
		_, err = policyOf(tx, name)
		return err
	})
}

// Attached gives the names of the policies on a target, sorted. With inherited
// those of the groups above count too, and for a certificate those of the groups
// of its things.
func (r *Registry) Attached(ctx context.Context, target string, inherited bool, after string, limit int) (all []string, err error) {
	err = r.read(ctx, "list policies of target", func(tx *store.Tx) error {
		if err := checkTarget(tx, target); err != nil {
			return err
		}
		targets := []string{target}
		if inherited {
			if targets, err = withInherited(tx, target); err != nil {
				return err
			}
		}
		for _, t := range targets {
			more, err := row.Names(tx, table.SelectAttached, t, after, limit)
			if err != nil {
				return err
			}
			all = append(all, more...)
		}
		all = sortedUnique(all, limit)
		return nil
	})
	return all, err
}

// withInherited adds the targets whose policies a target inherits.
func withInherited(tx *store.Tx, target string) ([]string, error) {
	targets := []string{target}
	if name, is := strings.CutPrefix(target, groupPrefix); is {
		line, err := lineage(tx, name)
		for i := 1; i < len(line); i++ {
			targets = append(targets, GroupTarget(line[i]))
		}
		return targets, err
	}
	things, err := bindingsOf(tx, strings.TrimPrefix(target, certificatePrefix))
	if err != nil {
		return nil, err
	}
	for _, b := range things {
		groups, err := groupsAbove(tx, b.Name)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			targets = append(targets, GroupTarget(g))
		}
	}
	return targets, nil
}

// Targets gives what a policy is attached to, sorted: NotFound.
func (r *Registry) Targets(ctx context.Context, name, after string, limit int) (all []string, err error) {
	err = r.read(ctx, "list targets of policy", func(tx *store.Tx) error {
		if _, err := policyOf(tx, name); err != nil {
			return err
		}
		all, err = row.Names(tx, table.SelectTargets, name, after, limit)
		return err
	})
	return all, err
}

// Binding ties a certificate to a thing; Name is that of the other side.
type Binding struct {
	Name string
	// Exclusive: the certificate stands for this thing alone.
	Exclusive bool
}

func scanBinding(s store.Scan) (b Binding, err error) {
	var exclusive int
	err = s(&b.Name, &exclusive)
	b.Exclusive = exclusive == 1
	return b, err
}

func bindingsOf(tx *store.Tx, certificate string) ([]Binding, error) {
	return row.All(tx, table.SelectThingsOf, scanBinding, certificate, "", -1)
}

// AttachThing ties a certificate to a thing. An exclusive tie allows no other,
// of the certificate or of the thing: InvalidRequest.
func (r *Registry) AttachThing(ctx context.Context, certificate, thing string, exclusive bool) error {
	return r.write(ctx, Change{AttachmentChange, CertificateTarget(certificate)}, "attach thing "+thing, func(tx *store.Tx) error {
		return attachThing(tx, certificate, thing, exclusive)
	})
}

func attachThing(tx *store.Tx, certificate, thing string, exclusive bool) error {
	if _, err := certificateOf(tx, certificate); err != nil {
		return err
	}
	_, found, err := thingOf(tx, thing)
	if err != nil || !found {
		return either(err, missing("thing", thing))
	}
	n, err := row.Number(tx, table.SelectOtherBindings, certificate, thing, certificate, thing, flag(exclusive))
	if err != nil || n > 0 {
		return either(err, iot.Errorf(iot.InvalidRequest, "an EXCLUSIVE_THING attachment allows no other: detach %d attachments first", n))
	}
	_, err = tx.Exec(table.InsertPrincipal, certificate, thing, flag(exclusive))
	return err
}

// DetachThing unties a certificate from a thing. Both must exist: NotFound.
func (r *Registry) DetachThing(ctx context.Context, certificate, thing string) error {
	return r.write(ctx, Change{AttachmentChange, CertificateTarget(certificate)}, "detach thing "+thing, func(tx *store.Tx) error {
		if _, err := certificateOf(tx, certificate); err != nil {
			return err
		}
		_, found, err := thingOf(tx, thing)
		if err != nil || !found {
			return either(err, missing("thing", thing))
		}
		_, err = tx.Exec(table.DeletePrincipal, certificate, thing)
		return err
	})
}

// Principals gives the certificates of a thing, sorted by id: NotFound.
func (r *Registry) Principals(ctx context.Context, thing, after string, limit int) (all []Binding, err error) {
	err = r.read(ctx, "list principals of thing", func(tx *store.Tx) error {
		_, found, err := thingOf(tx, thing)
		if err != nil || !found {
			return either(err, missing("thing", thing))
		}
		all, err = row.All(tx, table.SelectPrincipals, scanBinding, thing, after, limit)
		return err
	})
	return all, err
}

// ThingsOf gives the things of a certificate, sorted by name: NotFound.
func (r *Registry) ThingsOf(ctx context.Context, certificate, after string, limit int) (all []Binding, err error) {
	err = r.read(ctx, "list things of principal", func(tx *store.Tx) error {
		if _, err := certificateOf(tx, certificate); err != nil {
			return err
		}
		all, err = row.All(tx, table.SelectThingsOf, scanBinding, certificate, after, limit)
		return err
	})
	return all, err
}
