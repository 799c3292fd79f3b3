package registry

import (
	"context"
	"crypto/x509"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// Rights are what the registry knows of a principal. It has the fields of
// access.Rights, so that one converts into the other.
type Rights struct {
	// Policies are attached documents; Names are names of policies to look up.
	Policies []policy.Named
	Names    []string
	// Everything is set for a principal without any limits.
	Everything bool
	// Thing is the thing a certificate stands for; nil = none.
	Thing *policy.Thing
	// Subject and Issuer are those of the certificate.
	Subject, Issuer map[string][]string
}

type documentKey struct {
	name    string
	version int64
	text    string
}

// Hello is what a client showed of itself in a TLS handshake.
type Hello struct {
	// Chain is its certificate, which TLS has proved to be its own, and those it
	// sent along.
	Chain []*x509.Certificate
	// ServerName is the name it asked for (SNI); clients that connect to an
	// address send none.
	ServerName string
}

// standing is what Identify asks of a certificate's record.
type standing struct {
	status Status
	// named: its CA is SNI_ONLY.
	named bool
}

// errNoName refuses a client of an SNI_ONLY CA, as AWS does.
func errNoName(id string) error {
	return iot.Errorf(iot.Unauthorized, "certificate %s is of a CA in mode SNI_ONLY, and the client named no server: connect to the host name, not to its address", id)
}

// Identify says whether a client may come in with its certificate: Unauthorized
// when it is unknown (ErrUnknown in the chain), not active, outside its time, or
// of an SNI_ONLY CA without a server name. Call it for resumed sessions too.
func (r *Registry) Identify(ctx context.Context, h Hello) (iot.Principal, error) {
	leaf := h.Chain[0]
	id := pki.ID(leaf)
	known, err := r.standings.Get(id, func() (standing, error) {
		c, err := r.Certificate(ctx, id)
		return standing{c.Status, c.CA != "" && c.Mode == ModeSNIOnly}, err
	})
	if iot.CodeOf(err) == iot.NotFound {
		return iot.Principal{}, &iot.Error{Code: iot.Unauthorized, Message: "certificate " + id + " is not registered", Err: ErrUnknown}
	}
	if err != nil {
		return iot.Principal{}, err
	}
	if known.status != Active {
		return iot.Principal{}, iot.Errorf(iot.Unauthorized, "certificate %s is %s, not ACTIVE", id, known.status)
	}
	if known.named && h.ServerName == "" {
		return iot.Principal{}, errNoName(id)
	}
	if err := pki.CheckCertificate(leaf); err != nil {
		return iot.Principal{}, err
	}
	if err := pki.CheckValidity(leaf, r.Moment()); err != nil {
		return iot.Principal{}, err
	}
	return iot.Principal{Kind: iot.CertificateKind, ID: id}, nil
}

// Rights are those of a principal while it is connected as id: of a certificate
// the policies on it, on its things, and on the groups of the thing it stands
// for; none unless it is active. They are kept until a record changes, so that
// Thing, Subject and Issuer must not be changed. It blocks for a read of the
// store when they are not kept; when that fails there are no rights.
func (r *Registry) Rights(p iot.Principal, id iot.ClientID) Rights {
	ctx, cancel := context.WithTimeout(context.Background(), readWait)
	defer cancel()
	switch p.Kind {
	case iot.House:
		return Rights{Everything: true}
	case iot.AccessKeyKind:
		return r.keyRights(ctx, p.ID)
	case iot.CertificateKind:
	default:
		return Rights{}
	}
	rights, err := r.certificateRights(ctx, p.ID, string(id))
	if err != nil {
		if iot.CodeOf(err) != iot.NotFound {
			r.log.Error("rights cannot be read; the principal has none", "principal", p.ID, "err", err)
		}
		return Rights{}
	}
	rights.Policies = slices.Clone(rights.Policies) // callers add and leave out
	return rights
}

func (r *Registry) keyRights(ctx context.Context, id string) Rights {
	key, err := r.keys.Find(ctx, id)
	if err != nil {
		return Rights{}
	}
	if key.Policy == "" {
		return Rights{Everything: true}
	}
	return Rights{Names: []string{key.Policy}}
}

// holder is a certificate while its client has the name of one of its things;
// thing is empty while it has none, so that all other names are one.
type holder struct{ certificate, thing string }

func (r *Registry) certificateRights(ctx context.Context, id, client string) (Rights, error) {
	op := "read rights of " + id
	bindings, err := r.bindings.Get(id, func() (b []Binding, err error) {
		err = r.read(ctx, op, func(tx *store.Tx) (err error) {
			b, err = bindingsOf(tx, id)
			return err
		})
		return b, err
	})
	if err != nil {
		return Rights{}, err
	}
	if !slices.ContainsFunc(bindings, func(b Binding) bool { return b.Name == client }) {
		client = ""
	}
	return r.rights.Get(holder{id, client}, func() (rights Rights, err error) {
		err = r.read(ctx, op, func(tx *store.Tx) (err error) {
			rights, err = r.readRights(tx, id, client)
			return err
		})
		return rights, err
	})
}

func (r *Registry) readRights(tx *store.Tx, id, client string) (rights Rights, err error) {
	c, err := certificateOf(tx, id)
	if err != nil || c.Status != Active {
		return Rights{}, err
	}
	parsed, err := pki.ParseCertificate([]byte(c.PEM))
	if err != nil {
		return Rights{}, err
	}
	rights.Subject, rights.Issuer = pki.NameValues(parsed.Subject), pki.NameValues(parsed.Issuer)
	if err := r.addAttached(tx, &rights, CertificateTarget(id), false); err != nil {
		return Rights{}, err
	}
	bindings, err := bindingsOf(tx, id)
	if err != nil {
		return Rights{}, err
	}
	var declared []string
	for _, b := range bindings {
		t, found, err := thingOf(tx, b.Name)
		if err != nil {
			return Rights{}, err
		}
		if found {
			declared = append(declared, t.Policies...)
		}
	}
	slices.Sort(declared)
	for _, name := range slices.Compact(declared) {
		if slices.ContainsFunc(rights.Policies, func(p policy.Named) bool { return p.Name == name }) {
			continue
		}
		if err := r.add(tx, &rights, name); err != nil {
			return Rights{}, err
		}
	}
	return rights, r.addThing(tx, &rights, bindings, client)
}

// addThing finds the thing a certificate stands for: the one named like the
// client, else an exclusive one, else the only one. Its groups' policies count
// under the condition of security.md 1.3, which package policy knows.
func (r *Registry) addThing(tx *store.Tx, rights *Rights, bindings []Binding, client string) error {
	at := slices.IndexFunc(bindings, func(b Binding) bool { return b.Name == client })
	if at < 0 {
		at = slices.IndexFunc(bindings, func(b Binding) bool { return b.Exclusive })
	}
	if at < 0 && len(bindings) == 1 {
		at = 0
	}
	if at < 0 {
		return nil
	}
	t, found, err := thingOf(tx, bindings[at].Name)
	if err != nil || !found {
		return err
	}
	rights.Thing = &policy.Thing{
		Name: string(t.Name), Type: t.Type, Attributes: t.Attributes, Attached: true, Exclusive: bindings[at].Exclusive,
	}
	groups, err := groupsAbove(tx, string(t.Name))
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := r.addAttached(tx, rights, GroupTarget(g), true); err != nil {
			return err
		}
	}
	return nil
}

// addAttached appends the default versions of the policies on a target, all by
// one query. One that is gone grants nothing and is logged.
func (r *Registry) addAttached(tx *store.Tx, rights *Rights, target string, group bool) error {
	attached, err := row.All(tx, table.SelectAttachedTexts, func(s store.Scan) (k documentKey, err error) {
		return k, s(&k.name, &k.version, &k.text)
	}, target)
	for _, key := range attached {
		if key.text == "" {
			r.logMissing(key.name)
			continue
		}
		d, err := r.parsed(key)
		if err != nil {
			return err
		}
		rights.Policies = append(rights.Policies, policy.Named{Name: key.name, Document: d, Group: group})
	}
	return err
}

func (r *Registry) logMissing(name string) {
	r.log.Warn("a policy that is attached is missing; it grants nothing", "policy", name)
}

// add appends the default version of a policy that a thing of the configuration
// names.
func (r *Registry) add(tx *store.Tx, rights *Rights, name string) error {
	d, err := r.document(tx, name)
	if iot.CodeOf(err) == iot.NotFound && err != nil {
		r.logMissing(name)
		return nil
	}
	if err == nil {
		rights.Policies = append(rights.Policies, policy.Named{Name: name, Document: d})
	}
	return err
}

// document gives the parsed default version of a policy.
func (r *Registry) document(tx *store.Tx, name string) (*policy.Document, error) {
	key := documentKey{name: name}
	found, err := tx.QueryRow(table.SelectDefault, []any{name}, &key.version, &key.text)
	if err != nil || !found {
		return nil, either(err, missing("policy", name))
	}
	return r.parsed(key)
}

// parsed gives the document of a policy's version.
func (r *Registry) parsed(key documentKey) (*policy.Document, error) {
	return r.documents.Get(key, func() (*policy.Document, error) { return policy.Parse([]byte(key.text)) })
}

// Policy finds the document of a policy, for names that the configuration does
// not hold.
func (r *Registry) Policy(name string) (d *policy.Document, found bool) {
	ctx, cancel := context.WithTimeout(context.Background(), readWait)
	defer cancel()
	err := r.read(ctx, "find policy", func(tx *store.Tx) (err error) {
		d, err = r.document(tx, name)
		return err
	})
	return d, err == nil
}
