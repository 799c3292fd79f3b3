package control

import (
	"strconv"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/registry"
)

func caOperations() []operation {
	return []operation{
		{name: "GetRegistrationCode", method: "GET", path: "/registrationcode", do: getRegistrationCode},
		{name: "RegisterCACertificate", method: "POST", path: "/cacertificate", do: registerCA},
		{name: "DescribeCACertificate", method: "GET", path: "/cacertificate/{ca}", do: describeCA},
		{name: "ListCACertificates", method: "GET", path: "/cacertificates", do: listCAs},
		{name: "UpdateCACertificate", method: "PUT", path: "/cacertificate/{ca}", do: updateCA},
		{name: "DeleteCACertificate", method: "DELETE", path: "/cacertificate/{ca}", do: deleteCA},
		{name: "ListCertificatesByCA", method: "GET", path: "/certificates-by-ca/{ca}", do: listCertificatesByCA},
	}
}

func getRegistrationCode(c *call) (any, error) {
	code, err := c.registry().RegistrationCode(c)
	return answer{"registrationCode": code}, err
}

type registrationConfig struct {
	TemplateBody string `json:"templateBody,omitempty"`
	RoleArn      string `json:"roleArn,omitempty"`
	TemplateName string `json:"templateName,omitempty"`
}

// provision checks and converts a registrationConfig.
func (c *call) provision(in registrationConfig) (registry.Provision, error) {
	if in.TemplateBody != "" {
		if c.h.cfg.Provision == nil {
			return registry.Provision{}, errNoProvisioning()
		}
		if err := c.h.cfg.Provision.Check(in.TemplateBody); err != nil {
			return registry.Provision{}, err
		}
	}
	return registry.Provision{Template: in.TemplateName, Body: in.TemplateBody, Role: in.RoleArn}, nil
}

func registerCA(c *call) (any, error) {
	var in struct {
		CACertificate           string             `json:"caCertificate"`
		VerificationCertificate string             `json:"verificationCertificate"`
		RegistrationConfig      registrationConfig `json:"registrationConfig"`
		Tags                    tags               `json:"tags"`
		CertificateMode         string             `json:"certificateMode"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if err := need("caCertificate", in.CACertificate); err != nil {
		return nil, err
	}
	active, err := c.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	auto, err := c.flag("allowAutoRegistration")
	if err != nil {
		return nil, err
	}
	provision, err := c.provision(in.RegistrationConfig)
	if err != nil {
		return nil, err
	}
	made, err := c.registry().RegisterCA(c, registry.CARegistration{
		PEM: []byte(in.CACertificate), Verification: []byte(in.VerificationCertificate), Mode: in.CertificateMode,
		Active: active, Auto: auto, Provision: provision,
	})
	if err == nil {
		err = c.label("cacert/"+made.ID, in.Tags)
	}
	return answer{"certificateArn": c.arn("cacert/" + made.ID), "certificateId": made.ID}, err
}

func describeCA(c *call) (any, error) {
	one, err := c.registry().CA(c, c.vars["ca"])
	if err != nil {
		return nil, err
	}
	parsed, err := pki.ParseCertificate([]byte(one.PEM))
	if err != nil {
		return nil, err
	}
	a := answer{"certificateDescription": answer{
		"certificateArn": c.arn("cacert/" + one.ID), "certificateId": one.ID, "status": one.Status, "certificatePem": one.PEM,
		"ownedBy": c.h.cfg.Scope.Account, "creationDate": seconds(one.Created), "autoRegistrationStatus": onOff(one.Auto),
		"lastModifiedDate": seconds(one.Changed), "customerVersion": one.Version, "generationId": one.ID[:32], "certificateMode": one.Mode,
		"validity": answer{"notBefore": seconds(parsed.NotBefore), "notAfter": seconds(parsed.NotAfter)},
	}}
	if one.Provision != (registry.Provision{}) {
		a["registrationConfig"] = registrationConfig{one.Body, one.Role, one.Template}
	}
	return a, nil
}

func onOff(on bool) string {
	if on {
		return "ENABLE"
	}
	return "DISABLE"
}

func listCAs(c *call) (any, error) {
	q, err := c.seq()
	if err != nil {
		return nil, err
	}
	q.Of = c.query.Get("templateName")
	all, err := c.registry().ListCAs(c, q)
	all, next := cut(all, q.Limit-1, func(one registry.CA) string { return strconv.FormatInt(one.Seq, 10) })
	return answer{"certificates": each(all, func(one registry.CA) any {
		return answer{"certificateArn": c.arn("cacert/" + one.ID), "certificateId": one.ID, "status": one.Status, "creationDate": seconds(one.Created)}
	}), "nextMarker": next}, err
}

func updateCA(c *call) (any, error) {
	var in struct {
		RegistrationConfig     *registrationConfig `json:"registrationConfig"`
		RemoveAutoRegistration bool                `json:"removeAutoRegistration"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	u := registry.CAUpdate{Status: registry.Status(c.query.Get("newStatus"))}
	switch text := c.query.Get("newAutoRegistrationStatus"); text {
	case "":
	case "ENABLE", "DISABLE":
		on := text == "ENABLE"
		u.Auto = &on
	default:
		return nil, iot.Errorf(iot.InvalidRequest, "newAutoRegistrationStatus %.20q: want ENABLE or DISABLE", text)
	}
	if in.RegistrationConfig != nil {
		provision, err := c.provision(*in.RegistrationConfig)
		if err != nil {
			return nil, err
		}
		u.Provision = &provision
	}
	if in.RemoveAutoRegistration {
		u.Provision = &registry.Provision{}
	}
	return nil, c.registry().UpdateCA(c, c.vars["ca"], u)
}

func deleteCA(c *call) (any, error) { return nil, c.registry().DeleteCA(c, c.vars["ca"]) }

func listCertificatesByCA(c *call) (any, error) { return certificates(c, c.vars["ca"]) }
