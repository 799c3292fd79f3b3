package control

import (
	"strconv"

	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/registry"
)

func certificateOperations() []operation {
	return []operation{
		{name: "CreateKeysAndCertificate", method: "POST", path: "/keys-and-certificate", do: createKeys},
		{name: "CreateCertificateFromCsr", method: "POST", path: "/certificates", do: createFromCSR},
		{name: "RegisterCertificate", method: "POST", path: "/certificate/register", do: registerCertificate},
		{name: "RegisterCertificateWithoutCA", method: "POST", path: "/certificate/register-no-ca", do: registerWithoutCA},
		{name: "DescribeCertificate", method: "GET", path: "/certificates/{certificate}", do: describeCertificate},
		{name: "ListCertificates", method: "GET", path: "/certificates", do: listCertificates},
		{name: "UpdateCertificate", method: "PUT", path: "/certificates/{certificate}", do: updateCertificate},
		{name: "DeleteCertificate", method: "DELETE", path: "/certificates/{certificate}", do: deleteCertificate},
	}
}

// statusOf is what setAsActive asks for.
func (c *call) statusOf() (registry.Status, error) {
	active, err := c.flag("setAsActive")
	if err != nil || !active {
		return registry.Inactive, err
	}
	return registry.Active, nil
}

// createKeys makes AWS's RSA key; the query `tidehold-key=p256` a smaller one,
// and `tidehold-label` names the certificate.
func createKeys(c *call) (any, error) {
	status, err := c.statusOf()
	if err != nil {
		return nil, err
	}
	made, err := c.registry().CreateKeys(c, pki.Device{
		Key: pki.KeyKind(c.query.Get("tidehold-key")), CommonName: c.query.Get("tidehold-label"),
	}, status)
	if err != nil {
		return nil, err
	}
	a := newCertificate(c, made.Certificate)
	a["keyPair"] = keyPair(made.Keys)
	return a, nil
}

func newCertificate(c *call, made registry.Certificate) answer {
	return answer{"certificateArn": c.arn("cert/" + made.ID), "certificateId": made.ID, "certificatePem": made.PEM}
}

func keyPair(k pki.KeyPair) answer {
	return answer{"PublicKey": string(k.Public), "PrivateKey": string(k.Private)}
}

func createFromCSR(c *call) (any, error) {
	var in struct {
		CertificateSigningRequest string `json:"certificateSigningRequest"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if err := need("certificateSigningRequest", in.CertificateSigningRequest); err != nil {
		return nil, err
	}
	status, err := c.statusOf()
	if err != nil {
		return nil, err
	}
	made, err := c.registry().CreateFromCSR(c, []byte(in.CertificateSigningRequest), status)
	return newCertificate(c, made.Certificate), err
}

func registerCertificate(c *call) (any, error) { return register(c, false) }
func registerWithoutCA(c *call) (any, error)   { return register(c, true) }

func register(c *call, withoutCA bool) (any, error) {
	var in struct {
		CertificatePem   string `json:"certificatePem"`
		CACertificatePem string `json:"caCertificatePem"`
		Status           string `json:"status"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if err := need("certificatePem", in.CertificatePem); err != nil {
		return nil, err
	}
	active, err := c.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	status := registry.Status(in.Status)
	if active && status == "" {
		status = registry.Active
	}
	made, err := c.registry().Register(c, registry.Registration{
		PEM: []byte(in.CertificatePem), CA: []byte(in.CACertificatePem), Status: status, WithoutCA: withoutCA,
	})
	return answer{"certificateArn": c.arn("cert/" + made.ID), "certificateId": made.ID}, err
}

func describeCertificate(c *call) (any, error) {
	id, err := pki.ParseID(c.vars["certificate"])
	if err != nil {
		return nil, err
	}
	one, err := c.registry().Certificate(c, id)
	if err != nil {
		return nil, err
	}
	return answer{"certificateDescription": compact(answer{
		"certificateArn": c.arn("cert/" + one.ID), "certificateId": one.ID, "caCertificateId": orNil(one.CA), "status": one.Status,
		"certificatePem": one.PEM, "ownedBy": c.h.cfg.Scope.Account, "creationDate": seconds(one.Created),
		"lastModifiedDate": seconds(one.Changed), "customerVersion": one.Version, "transferData": answer{},
		"generationId": one.ID[:32], "certificateMode": one.Mode,
		"validity": answer{"notBefore": seconds(one.From), "notAfter": seconds(one.Until)},
	})}, nil
}

func listCertificates(c *call) (any, error) { return certificates(c, "") }

// certificates gives a page of all certificates, or of those of a CA.
func certificates(c *call, ca string) (any, error) {
	q, err := c.seq()
	if err != nil {
		return nil, err
	}
	q.Of = ca
	all, err := c.registry().ListCertificates(c, q)
	all, next := cut(all, q.Limit-1, func(one registry.Certificate) string { return strconv.FormatInt(one.Seq, 10) })
	return answer{"certificates": each(all, func(one registry.Certificate) any {
		return answer{
			"certificateArn": c.arn("cert/" + one.ID), "certificateId": one.ID, "status": one.Status, "certificateMode": one.Mode,
			"creationDate": seconds(one.Created),
		}
	}), "nextMarker": next}, err
}

func updateCertificate(c *call) (any, error) {
	status := c.query.Get("newStatus")
	if err := need("newStatus", status); err != nil {
		return nil, err
	}
	return nil, c.registry().UpdateCertificate(c, c.vars["certificate"], registry.Status(status))
}

func deleteCertificate(c *call) (any, error) {
	force, err := c.flag("forceDelete")
	if err != nil {
		return nil, err
	}
	return nil, c.registry().DeleteCertificate(c, c.vars["certificate"], force)
}
