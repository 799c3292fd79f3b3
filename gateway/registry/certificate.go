package registry

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// Status is the state of a certificate (security.md 2.1).
type Status string

// The states. Active alone may connect; Revoked is final.
const (
	Active   Status = "ACTIVE"
	Inactive Status = "INACTIVE"
	Revoked  Status = "REVOKED"
	Pending  Status = "PENDING_ACTIVATION"
)

// Modes of certificates and CAs.
const (
	ModeDefault = "DEFAULT"
	ModeSNIOnly = "SNI_ONLY"
)

// ClaimLife is how long an ownership token is good.
const ClaimLife = time.Hour

// Certificate is a device certificate. ID is the SHA-256 of its DER.
type Certificate struct {
	ID string
	// CA is the id of the registered CA that vouched for it, or empty.
	CA          string
	Status      Status
	Mode        string
	PEM         string
	From, Until time.Time
	// Version grows with each change of the status.
	Version          int64
	Created, Changed time.Time
	// Seq orders certificates by creation.
	Seq int64
}

func ms(n int64) time.Time { return time.UnixMilli(n).UTC() }

func scanCertificate(s store.Scan) (c Certificate, err error) {
	var status string
	var from, until, created, changed int64
	err = s(&c.Seq, &c.ID, &c.CA, &status, &c.Mode, &c.PEM, &from, &until, &c.Version, &created, &changed)
	c.Status, c.From, c.Until, c.Created, c.Changed = Status(status), ms(from), ms(until), ms(created), ms(changed)
	return c, err
}

func certificateOf(tx *store.Tx, id string) (Certificate, error) {
	c, found, err := row.One(tx, table.SelectCertificate, scanCertificate, id)
	if err == nil && !found {
		err = missing("certificate", id)
	}
	return c, err
}

// Issued is a new certificate. Token is set with the status Pending: who shows
// it within ClaimLife owns the certificate.
type Issued struct {
	Certificate
	Keys  pki.KeyPair
	Token string
}

// CreateKeys makes a key and a certificate of the local authority.
func (r *Registry) CreateKeys(ctx context.Context, d pki.Device, status Status) (Issued, error) {
	if r.cfg.Authority == nil {
		return Issued{}, errNoAuthority()
	}
	c, keys, err := r.cfg.Authority().CreateDevice(d, r.Moment(), r.ids)
	if err != nil {
		return Issued{}, err
	}
	issued, err := r.keep(ctx, c, status)
	issued.Keys = keys
	return issued, err
}

// CreateFromCSR makes a certificate of the local authority for a request. A bad
// request is InvalidRequest.
func (r *Registry) CreateFromCSR(ctx context.Context, request []byte, status Status) (Issued, error) {
	if r.cfg.Authority == nil {
		return Issued{}, errNoAuthority()
	}
	csr, err := pki.ParseCSR(request)
	if err != nil {
		return Issued{}, err
	}
	c, err := r.cfg.Authority().SignCSR(csr, r.Moment(), r.ids)
	if err != nil {
		return Issued{}, err
	}
	return r.keep(ctx, c, status)
}

func errNoAuthority() error {
	return iot.Errorf(iot.Unavailable, "this gateway has no certificate authority; register certificates made elsewhere")
}

// keep stores a certificate of ours, and with Pending its token.
func (r *Registry) keep(ctx context.Context, c *x509.Certificate, status Status) (Issued, error) {
	issued := Issued{Certificate: r.record(c, "", status, ModeDefault)}
	err := r.write(ctx, Change{CertificateChange, issued.ID}, "create certificate", func(tx *store.Tx) error {
		if err := insertCert(tx, issued.Certificate); err != nil || status != Pending {
			return err
		}
		issued.Token = r.ids.Token(240)
		_, err := tx.Exec(table.InsertClaim, tokenHash(issued.Token), issued.ID, r.now().Add(ClaimLife).UnixMilli())
		return err
	})
	return issued, err
}

// tokenHash is what is stored of a token.
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func (r *Registry) record(c *x509.Certificate, ca string, status Status, mode string) Certificate {
	now := ms(r.nowMS())
	return Certificate{
		ID: pki.ID(c), CA: ca, Status: status, Mode: mode, PEM: string(pki.EncodeCertificate(c)),
		From: c.NotBefore, Until: c.NotAfter, Version: 1, Created: now, Changed: now,
	}
}

func insertCert(tx *store.Tx, c Certificate) error {
	if _, err := certificateOf(tx, c.ID); err == nil {
		return iot.Errorf(iot.AlreadyExists, "The certificate is already registered: %s", c.ID)
	}
	if err := atMost(tx, CertificatesMax, "certificates", table.CountCertificates); err != nil {
		return err
	}
	_, err := tx.Exec(table.InsertCertificate, c.ID, c.CA, string(c.Status), c.Mode, c.PEM, c.From.UnixMilli(), c.Until.UnixMilli(), c.Created.UnixMilli(), c.Changed.UnixMilli())
	return err
}

// Registration is a certificate made elsewhere.
type Registration struct {
	PEM []byte
	// CA is the PEM of its CA; empty means: find it among the registered ones.
	CA []byte
	// Status is Active or Inactive; empty means Inactive.
	Status Status
	// WithoutCA takes any certificate, pinned by its id.
	WithoutCA bool
}

// Register takes a certificate made elsewhere. One that is weak or not signed by
// a registered CA is CertificateInvalid; one of an inactive CA CertificateState;
// a known one AlreadyExists.
func (r *Registry) Register(ctx context.Context, g Registration) (Certificate, error) {
	c, err := pki.ParseCertificate(g.PEM)
	if err != nil {
		return Certificate{}, err
	}
	if err := pki.CheckCertificate(c); err != nil {
		return Certificate{}, err
	}
	if !pki.Movable(c.PublicKey) {
		r.log.Warn("a certificate with an Ed25519 key was registered: AWS IoT Core does not take such devices", "principal", pki.ID(c))
	}
	if g.Status == "" || g.Status == "REGISTER_INACTIVE" {
		g.Status = Inactive
	}
	if g.Status != Active && g.Status != Inactive {
		return Certificate{}, iot.Errorf(iot.InvalidRequest, "status %q: want ACTIVE or INACTIVE", g.Status)
	}
	made := r.record(c, "", g.Status, ModeSNIOnly)
	err = r.write(ctx, Change{CertificateChange, made.ID}, "register certificate", func(tx *store.Tx) error {
		if !g.WithoutCA {
			ca, err := r.vouching(tx, c, g.CA)
			if err != nil {
				return err
			}
			made.CA, made.Mode = ca.ID, ca.Mode
		}
		return insertCert(tx, made)
	})
	return made, err
}

// vouching finds the registered, active CA of a certificate.
func (r *Registry) vouching(tx *store.Tx, c *x509.Certificate, given []byte) (CA, error) {
	candidates, err := row.All(tx, table.SelectCAsByName, scanCA, subjectOf(c.RawIssuer))
	if err != nil {
		return CA{}, err
	}
	only := ""
	if len(given) > 0 {
		ca, err := pki.ParseCertificate(given)
		if err != nil {
			return CA{}, err
		}
		only = pki.ID(ca)
	}
	refusal := error(iot.Errorf(iot.CertificateInvalid, "the certificate is not signed by a registered CA; register the CA first, or use RegisterCertificateWithoutCA"))
	for _, ca := range candidates {
		if only != "" && ca.ID != only {
			continue
		}
		signer, err := pki.ParseCertificate([]byte(ca.PEM))
		if err == nil {
			err = pki.VerifyChain(c, signer, nil, r.Moment())
		}
		if err == nil && ca.Status != Active {
			err = iot.Errorf(iot.CertificateState, "the CA certificate %s is not active", ca.ID)
		}
		if err == nil {
			return ca, nil
		}
		refusal = err
	}
	return CA{}, refusal
}

// Certificate finds a certificate: NotFound.
func (r *Registry) Certificate(ctx context.Context, id string) (c Certificate, err error) {
	err = r.read(ctx, "find certificate", func(tx *store.Tx) error {
		c, err = certificateOf(tx, id)
		return err
	})
	return c, err
}

// SeqQuery chooses a page of records in the order of their creation: those after
// the Seq seen last (0 = from the beginning).
type SeqQuery struct {
	After int64
	Limit int
	// Newest gives the newest first.
	Newest bool
	// Of narrows down: the CA of certificates, the template of CAs.
	Of string
}

func (q SeqQuery) from() int64 {
	if q.Newest && q.After == 0 {
		return math.MaxInt64
	}
	return q.After
}

// ListCertificates gives a page of certificates; q.Of is the id of a CA.
func (r *Registry) ListCertificates(ctx context.Context, q SeqQuery) (all []Certificate, err error) {
	text := table.SelectCertificates
	if q.Newest {
		text = table.SelectCertificatesBack
	}
	err = r.read(ctx, "list certificates", func(tx *store.Tx) error {
		all, err = row.All(tx, text, scanCertificate, q.from(), q.Of, q.Of, q.Limit)
		return err
	})
	return all, err
}

// UpdateCertificate sets Active, Inactive or Revoked; the same again is fine,
// leaving Revoked is CertificateState.
func (r *Registry) UpdateCertificate(ctx context.Context, id string, status Status) error {
	if status != Active && status != Inactive && status != Revoked {
		return iot.Errorf(iot.InvalidRequest, "status %q: want ACTIVE, INACTIVE or REVOKED", status)
	}
	return r.write(ctx, Change{CertificateChange, id}, "update certificate", func(tx *store.Tx) error {
		return setStatus(tx, id, status, r.nowMS())
	})
}

func setStatus(tx *store.Tx, id string, status Status, nowMS int64) error {
	c, err := certificateOf(tx, id)
	switch {
	case err != nil || c.Status == status:
		return err
	case c.Status == Revoked:
		return iot.Errorf(iot.CertificateState, "the certificate %s is REVOKED, and stays so", id)
	}
	if _, err := tx.Exec(table.UpdateCertificate, string(status), nowMS, id); err != nil {
		return err
	}
	_, err = tx.Exec(table.DeleteClaimsOf, id)
	return err
}

// DeleteCertificate removes a certificate: CertificateState while it is active,
// DeleteConflict while a thing or (unless force) a policy is attached.
func (r *Registry) DeleteCertificate(ctx context.Context, id string, force bool) error {
	return r.write(ctx, Change{CertificateChange, id}, "delete certificate", func(tx *store.Tx) error {
		c, err := certificateOf(tx, id)
		if err != nil {
			return err
		}
		if c.Status == Active {
			return iot.Errorf(iot.CertificateState, "Certificate must be deactivated before deletion (certificate %s is ACTIVE)", id)
		}
		if n, err := row.Number(tx, table.CountThingsOf, id); err != nil || n > 0 {
			return either(err, iot.Errorf(iot.DeleteConflict, "Things must be detached before deletion (certificate %s)", id))
		}
		target := CertificateTarget(id)
		if n, err := row.Number(tx, table.CountAttached, target, ""); err != nil || n > 0 && !force {
			return either(err, iot.Errorf(iot.DeleteConflict, "Policies must be detached before deletion, or forceDelete given (certificate %s)", id))
		}
		if err := row.Exec(tx, []string{table.DeleteCertificate, table.DeleteClaimsOf}, id); err != nil {
			return err
		}
		return row.Exec(tx, []string{table.DeleteTargets, table.DeleteTags}, target)
	})
}

// Lease lets Expire remove a certificate after until, whatever is attached to it:
// for claims that live minutes.
func (r *Registry) Lease(ctx context.Context, id string, until time.Time) error {
	return r.db.Write(ctx, "registry lease certificate", func(tx *store.Tx) error {
		_, err := tx.Exec(table.InsertClaim, "lease "+id, id, until.UnixMilli())
		return err
	})
}

// Expire removes certificates whose ownership token was not used in time and
// those whose lease is over, at most 100 at once, and gives how many.
func (r *Registry) Expire(ctx context.Context) (n int, err error) {
	var gone []string
	err = r.db.Write(ctx, "registry expire claims", func(tx *store.Tx) error {
		gone = nil
		stale, err := row.All(tx, table.SelectStale, func(s store.Scan) (c [2]string, err error) { return c, s(&c[0], &c[1]) }, r.nowMS())
		if err != nil {
			return err
		}
		for _, claim := range stale {
			removed, err := expire(tx, claim[0], claim[1])
			if err != nil {
				return err
			}
			if removed {
				gone = append(gone, claim[1])
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("registry expire claims: %w", err)
	}
	for _, id := range gone {
		r.tell(Change{CertificateChange, id})
	}
	return len(gone), nil
}

// expire removes a claim and the certificate that waits or was lent.
func expire(tx *store.Tx, token, id string) (removed bool, err error) {
	if _, err := tx.Exec(table.DeleteClaim, token); err != nil {
		return false, err
	}
	c, err := certificateOf(tx, id)
	if iot.CodeOf(err) == iot.NotFound {
		return false, nil
	}
	if err != nil || c.Status != Pending && !strings.HasPrefix(token, "lease ") {
		return false, err
	}
	if err := row.Exec(tx, []string{table.DeleteCertificate, table.DeleteThingsOf}, id); err != nil {
		return false, err
	}
	return true, row.Exec(tx, []string{table.DeleteTargets, table.DeleteTags}, CertificateTarget(id))
}
