package registry

import (
	"context"
	"errors"
	"maps"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// ErrUnknown is in the chain of Identify's error for a certificate that is not
// registered.
var ErrUnknown = errors.New("unknown certificate")

// Settings of a Plan for a thing or certificate that exists already.
const (
	DoNothing = "DO_NOTHING"
	Replace   = "REPLACE"
	Merge     = "MERGE"
	Fail      = "FAIL"
)

// Plan is what a provisioning template asks for: all of it is done, or nothing.
type Plan struct {
	// Certificate is the id of the certificate; Status what it becomes.
	Certificate string
	Status      Status
	// Token must be the certificate's ownership token; it is used up.
	Token string
	// Template counts the use against TemplateUsesMax; empty counts none.
	Template string
	// Thing is nil when the template makes none.
	Thing     *Thing
	Groups    []string
	Exclusive bool
	// OnAttributes, OnType and OnGroups say what happens to a thing that exists;
	// empty means DoNothing.
	OnAttributes, OnType, OnGroups string
	// Policies are made when they do not exist; without a document they must.
	Policies []Static
}

// Carry carries a plan out and gives the certificate.
func (r *Registry) Carry(ctx context.Context, p Plan) (c Certificate, err error) {
	err = r.write(ctx, Change{AttachmentChange, CertificateTarget(p.Certificate)}, "provision", func(tx *store.Tx) error {
		if err := r.useToken(tx, p); err != nil {
			return err
		}
		if err := useUp(tx, p.Template); err != nil {
			return err
		}
		if err := r.planThing(tx, p); err != nil {
			return err
		}
		for _, s := range p.Policies {
			if err := r.planPolicy(tx, s, p.Certificate); err != nil {
				return err
			}
		}
		if err := setStatus(tx, p.Certificate, p.Status, r.nowMS()); err != nil {
			return err
		}
		c, err = certificateOf(tx, p.Certificate)
		return err
	})
	return c, err
}

// Owned gives the id of the certificate that a token stands for: InvalidRequest
// when it is unknown or too old.
func (r *Registry) Owned(ctx context.Context, token string) (id string, err error) {
	err = r.read(ctx, "find claim", func(tx *store.Tx) error {
		id, err = r.owned(tx, token)
		return err
	})
	return id, err
}

func (r *Registry) owned(tx *store.Tx, token string) (id string, err error) {
	var until int64
	found, err := tx.QueryRow(table.SelectClaim, []any{tokenHash(token)}, &id, &until)
	if err == nil && (!found || until < r.nowMS()) {
		err = iot.Errorf(iot.InvalidRequest, "certificateOwnershipToken is unknown, used or older than %v", ClaimLife)
	}
	return id, err
}

func (r *Registry) useToken(tx *store.Tx, p Plan) error {
	if p.Token == "" {
		return nil
	}
	id, err := r.owned(tx, p.Token)
	if err == nil && id != p.Certificate {
		err = iot.Errorf(iot.InvalidRequest, "certificateOwnershipToken is that of another certificate")
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(table.DeleteClaim, tokenHash(p.Token))
	return err
}

func useUp(tx *store.Tx, template string) error {
	if template == "" {
		return nil
	}
	done, err := tx.Exec(table.UseTemplate, template, TemplateUsesMax)
	if err == nil && done.RowsAffected == 0 {
		err = iot.Errorf(iot.LimitExceeded, "template %q has provisioned %d devices, the most it may", template, TemplateUsesMax)
	}
	return err
}

func (r *Registry) planThing(tx *store.Tx, p Plan) error {
	if p.Thing == nil {
		return nil
	}
	name := string(p.Thing.Name)
	if _, err := iot.ParseThingName(name); err != nil {
		return err
	}
	have, found, err := thingOf(tx, name)
	if err != nil {
		return err
	}
	next := Thing{Name: p.Thing.Name, Type: p.Thing.Type, Attributes: withoutEmpty(p.Thing.Attributes), ID: r.ids.UUID(), Version: 1}
	if found {
		if next, err = override(have, next, p); err != nil {
			return err
		}
	} else if err := atMost(tx, ThingsMax, "things", table.CountThings); err != nil {
		return err
	}
	if !found || next.Version != have.Version {
		if err := checkAttributes(next.Attributes, attributeLimit(next.Type)); err != nil {
			return err
		}
		if err := usableType(tx, next.Type); err != nil {
			return err
		}
		if err := saveThing(tx, next, r.nowMS()); err != nil {
			return err
		}
	}
	if err := planGroups(tx, p, found); err != nil {
		return err
	}
	return attachThing(tx, p.Certificate, name, p.Exclusive)
}

// override decides what becomes of a thing that exists.
func override(have, want Thing, p Plan) (Thing, error) {
	next := have
	switch p.OnAttributes {
	case Fail:
		if !maps.Equal(have.Attributes, want.Attributes) {
			return next, iot.Errorf(iot.AlreadyExists, "thing %q exists with other attributes", have.Name)
		}
	case Replace:
		next.Attributes = want.Attributes
	case Merge:
		next.Attributes = changed(have.Attributes, ThingUpdate{Attributes: want.Attributes, Merge: true})
	}
	if want.Type != have.Type {
		switch p.OnType {
		case Fail:
			return next, iot.Errorf(iot.AlreadyExists, "thing %q exists with another type", have.Name)
		case Replace:
			next.Type = want.Type
		}
	}
	if next.Type == have.Type && maps.Equal(next.Attributes, have.Attributes) {
		return have, nil
	}
	if have.Static {
		return have, fixed("thing", string(have.Name))
	}
	next.Version++
	return next, nil
}

func planGroups(tx *store.Tx, p Plan, existed bool) error {
	if existed && (p.OnGroups == "" || p.OnGroups == DoNothing) {
		return nil
	}
	name := string(p.Thing.Name)
	if existed && p.OnGroups == Replace {
		if _, err := tx.Exec(table.DeleteMemberships, name); err != nil {
			return err
		}
	}
	for _, group := range p.Groups {
		if _, err := groupOf(tx, group); err != nil {
			return err
		}
		if err := atMost(tx, groupsOfThingMax, "groups of thing "+name, table.CountMemberships, name); err != nil {
			return err
		}
		if _, err := tx.Exec(table.InsertMember, group, name, 0); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) planPolicy(tx *store.Tx, s Static, certificate string) error {
	_, err := policyOf(tx, s.Name)
	if iot.CodeOf(err) == iot.NotFound && s.Document != "" {
		if _, err := policy.ParseName(s.Name); err != nil {
			return err
		}
		if err := checkDocument(s.Document); err != nil {
			return err
		}
		err = createPolicy(tx, s.Name, s.Document, false, r.nowMS())
	}
	if err != nil {
		return err
	}
	return attachPolicy(tx, s.Name, CertificateTarget(certificate))
}
