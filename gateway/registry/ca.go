package registry

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// CA is a registered certificate authority of somebody else.
type CA struct {
	ID     string
	Status Status // Active or Inactive
	Mode   string
	PEM    string
	// Auto lets certificates it signed register themselves by connecting.
	Auto bool
	// Provision says what becomes of such a certificate.
	Provision
	Version          int64
	Created, Changed time.Time
	// Seq orders CAs by creation.
	Seq int64
}

// Provision is the registrationConfig of a CA: the name of a template or its
// text; both empty means that certificates wait for their activation.
type Provision struct{ Template, Body, Role string }

func scanCA(s store.Scan) (c CA, err error) {
	var status, identity string
	var auto int
	var created, changed int64
	err = s(&c.Seq, &c.ID, &status, &c.Mode, &c.PEM, &identity, &auto, &c.Template, &c.Body, &c.Role, &c.Version, &created, &changed)
	c.Status, c.Auto, c.Created, c.Changed = Status(status), auto == 1, ms(created), ms(changed)
	return c, err
}

// subjectOf is how CAs are found by the issuer of a certificate.
func subjectOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// registrationCode is the name of a setting.
const registrationCode = "registration_code"

// RegistrationCode is the common name that a CA's verification certificate must
// carry; it stays the same.
func (r *Registry) RegistrationCode(ctx context.Context) (code string, err error) {
	err = r.db.Write(ctx, "registry registration code", func(tx *store.Tx) error {
		found, err := tx.QueryRow(table.ReadSetting, []any{registrationCode}, &code)
		if err != nil || found {
			return err
		}
		code = hex.EncodeToString(r.ids.Bytes(32))
		_, err = tx.Exec(table.SaveSetting, registrationCode, code)
		return err
	})
	return code, err
}

// CARegistration asks to trust a CA.
type CARegistration struct {
	PEM []byte
	// Verification is a certificate that the CA signed, with the registration
	// code as its common name; SNI_ONLY needs none.
	Verification []byte
	Mode         string
	Active, Auto bool
	Provision
}

// RegisterCA takes a CA: CertificateInvalid when it is none or the verification
// certificate is not its, RegistrationCode for a wrong code, AlreadyExists.
func (r *Registry) RegisterCA(ctx context.Context, g CARegistration) (CA, error) {
	c, err := pki.ParseCertificate(g.PEM)
	if err != nil {
		return CA{}, err
	}
	if err := pki.CheckCA(c); err != nil {
		return CA{}, err
	}
	if g.Mode == "" {
		g.Mode = ModeDefault
	}
	if err := r.proveCA(ctx, c, g); err != nil {
		return CA{}, err
	}
	made := CA{ID: pki.ID(c), Status: Inactive, Mode: g.Mode, PEM: string(pki.EncodeCertificate(c)), Auto: g.Auto, Provision: g.Provision, Version: 1}
	if g.Active {
		made.Status = Active
	}
	now := r.nowMS()
	made.Created, made.Changed = ms(now), ms(now)
	identity := subjectOf(append(append([]byte{}, c.RawSubject...), c.RawSubjectPublicKeyInfo...))
	err = r.write(ctx, Change{CAChange, made.ID}, "register CA", func(tx *store.Tx) error {
		twin := ""
		if _, err := tx.QueryRow(table.SelectTwinCA, []any{identity}, &twin); err != nil {
			return err
		}
		_, known, err := row.One(tx, table.SelectCA, scanCA, made.ID)
		if err != nil {
			return err
		}
		if known || twin != "" && made.Mode == ModeDefault {
			return iot.Errorf(iot.AlreadyExists, "this CA certificate is already registered: %s", made.ID)
		}
		if err := checkProvision(tx, g.Provision); err != nil {
			return err
		}
		if err := atMost(tx, CAsMax, "CA certificates", table.CountCAs); err != nil {
			return err
		}
		_, err = tx.Exec(table.InsertCA, made.ID, string(made.Status), made.Mode, made.PEM, subjectOf(c.RawSubject), identity, flag(made.Auto),
			made.Template, made.Body, made.Role, now, now)
		return err
	})
	return made, err
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

func checkProvision(tx *store.Tx, p Provision) error {
	if p.Template == "" {
		return nil
	}
	_, found, err := row.One(tx, table.SelectTemplate, scanTemplate, p.Template)
	if err == nil && !found {
		err = missing("provisioning template", p.Template)
	}
	return err
}

// proveCA wants a proof that the asker holds the CA's key.
func (r *Registry) proveCA(ctx context.Context, ca *x509.Certificate, g CARegistration) error {
	switch {
	case g.Mode == ModeSNIOnly && len(g.Verification) == 0:
		return nil
	case g.Mode == ModeSNIOnly:
		return iot.Errorf(iot.InvalidRequest, "SNI_ONLY takes no verificationCertificate")
	case g.Mode != ModeDefault:
		return iot.Errorf(iot.InvalidRequest, "certificateMode %q: want DEFAULT or SNI_ONLY", g.Mode)
	case len(g.Verification) == 0:
		return iot.Errorf(iot.InvalidRequest, "verificationCertificate is missing: sign one whose common name is the code of GetRegistrationCode, or use certificateMode SNI_ONLY")
	}
	proof, err := pki.ParseCertificate(g.Verification)
	if err != nil {
		return err
	}
	if err := pki.VerifyChain(proof, ca, nil, r.Moment()); err != nil {
		return err
	}
	code, err := r.RegistrationCode(ctx)
	if err == nil && proof.Subject.CommonName != code {
		err = iot.Errorf(iot.RegistrationCode, "the common name of the verification certificate is %.80q; want the code of GetRegistrationCode", proof.Subject.CommonName)
	}
	return err
}

func caOf(tx *store.Tx, id string) (CA, error) {
	c, found, err := row.One(tx, table.SelectCA, scanCA, id)
	if err == nil && !found {
		err = missing("CA certificate", id)
	}
	return c, err
}

// CA finds a CA: NotFound.
func (r *Registry) CA(ctx context.Context, id string) (c CA, err error) {
	err = r.read(ctx, "find CA", func(tx *store.Tx) error {
		c, err = caOf(tx, id)
		return err
	})
	return c, err
}

// ListCAs gives a page of CAs; q.Of is the name of their template.
func (r *Registry) ListCAs(ctx context.Context, q SeqQuery) (all []CA, err error) {
	text := table.SelectCAs
	if q.Newest {
		text = table.SelectCAsBack
	}
	err = r.read(ctx, "list CAs", func(tx *store.Tx) error {
		all, err = row.All(tx, text, scanCA, q.from(), q.Of, q.Of, q.Limit)
		return err
	})
	return all, err
}

// CAUpdate changes a CA; nil and empty keep what is.
type CAUpdate struct {
	Status    Status
	Auto      *bool
	Provision *Provision
}

// UpdateCA changes a CA. One set inactive stops registrations, not the devices
// that are registered.
func (r *Registry) UpdateCA(ctx context.Context, id string, u CAUpdate) error {
	if u.Status != "" && u.Status != Active && u.Status != Inactive {
		return iot.Errorf(iot.InvalidRequest, "status %q: want ACTIVE or INACTIVE", u.Status)
	}
	return r.write(ctx, Change{CAChange, id}, "update CA", func(tx *store.Tx) error {
		c, err := caOf(tx, id)
		if err != nil {
			return err
		}
		if u.Status != "" {
			c.Status = u.Status
		}
		if u.Auto != nil {
			c.Auto = *u.Auto
		}
		if u.Provision != nil {
			if err := checkProvision(tx, *u.Provision); err != nil {
				return err
			}
			c.Provision = *u.Provision
		}
		_, err = tx.Exec(table.UpdateCA, string(c.Status), flag(c.Auto), c.Template, c.Body, c.Role, r.nowMS(), id)
		return err
	})
}

// DeleteCA removes a CA; CertificateState while it is active.
func (r *Registry) DeleteCA(ctx context.Context, id string) error {
	return r.write(ctx, Change{CAChange, id}, "delete CA", func(tx *store.Tx) error {
		c, err := caOf(tx, id)
		if err != nil {
			return err
		}
		if c.Status == Active {
			return iot.Errorf(iot.CertificateState, "the CA certificate must be deactivated before deletion (%s is ACTIVE)", id)
		}
		if _, err := tx.Exec(table.DeleteCA, id); err != nil {
			return err
		}
		_, err = tx.Exec(table.DeleteTags, "cacert/"+id)
		return err
	})
}

// Vouching finds the active CA with automatic registration that signed a
// client's certificate, directly or through the intermediates it sent. None is
// Unauthorized, and so is one in mode SNI_ONLY when the client named no server.
func (r *Registry) Vouching(ctx context.Context, h Hello) (found CA, err error) {
	leaf, intermediates, m := h.Chain[0], h.Chain[1:], r.Moment()
	if err := pki.CheckCertificate(leaf); err != nil {
		return CA{}, err
	}
	refusal := error(iot.Errorf(iot.Unauthorized, "certificate %s is not registered, and no CA with automatic registration signed it", pki.ID(leaf)))
	err = r.read(ctx, "find vouching CA", func(tx *store.Tx) error {
		for _, c := range append([]*x509.Certificate{leaf}, intermediates[:min(len(intermediates), pki.ChainMax)]...) {
			candidates, err := row.All(tx, table.SelectCAsByName, scanCA, subjectOf(c.RawIssuer))
			if err != nil {
				return err
			}
			for _, ca := range candidates {
				signer, err := pki.ParseCertificate([]byte(ca.PEM))
				if err != nil || ca.Status != Active || !ca.Auto || pki.VerifyChain(leaf, signer, intermediates, m) != nil {
					continue
				}
				if ca.Mode == ModeDefault || h.ServerName != "" {
					found = ca
					return nil
				}
				refusal = errNoName(pki.ID(leaf))
			}
		}
		return refusal
	})
	return found, err
}

// Adopt registers a certificate that its CA vouches for, as Pending. A known one
// is AlreadyExists.
func (r *Registry) Adopt(ctx context.Context, leaf *x509.Certificate, ca CA) (Certificate, error) {
	made := r.record(leaf, ca.ID, Pending, ca.Mode)
	err := r.write(ctx, Change{CertificateChange, made.ID}, "adopt certificate", func(tx *store.Tx) error {
		return insertCert(tx, made)
	})
	return made, err
}
