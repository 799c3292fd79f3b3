package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry"
)

// Limits of a template.
const (
	// TemplateBytesMax is AWS's limit of a template's text.
	TemplateBytesMax = 10_240
	valueDepthMax    = 16
	valueBytesMax    = 64 << 10
)

// Types of resources a template may hold.
const (
	thingResource       = "AWS::IoT::Thing"
	certificateResource = "AWS::IoT::Certificate"
	policyResource      = "AWS::IoT::Policy"
)

// Template is a parsed provisioning template. It does not change.
type Template struct {
	parameters map[string]parameter
	mappings   map[string]any
	resources  map[string]resource
	device     map[string]any
}

type parameter struct {
	Type    string  `json:"Type"`
	Default *string `json:"Default"`
}

type resource struct {
	Type             string
	Properties       map[string]any
	OverrideSettings map[string]any
}

// ParseTemplate reads a template (JSON with Parameters, Mappings, Resources and
// DeviceConfiguration). Errors are InvalidRequest.
func ParseTemplate(body string) (*Template, error) {
	if len(body) > TemplateBytesMax {
		return nil, iot.Errorf(iot.InvalidRequest, "template of %d bytes; at most %d", len(body), TemplateBytesMax)
	}
	var in struct {
		Parameters          map[string]parameter
		Mappings            map[string]any
		Resources           map[string]resource
		DeviceConfiguration map[string]any
	}
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "the template is not the JSON of a template: %v", err)
	}
	t := &Template{in.Parameters, in.Mappings, in.Resources, in.DeviceConfiguration}
	seen := make(map[string]bool)
	for name, r := range t.resources {
		switch r.Type {
		case thingResource, certificateResource:
			if seen[r.Type] {
				return nil, iot.Errorf(iot.InvalidRequest, "the template has two resources of type %s", r.Type)
			}
		case policyResource:
		default:
			return nil, iot.Errorf(iot.InvalidRequest, "resource %q has type %.60q: want %s, %s or %s", name, r.Type, thingResource, certificateResource, policyResource)
		}
		seen[r.Type] = true
	}
	if !seen[certificateResource] {
		return nil, iot.Errorf(iot.InvalidRequest, "the template has no resource of type %s", certificateResource)
	}
	return t, nil
}

// Filled is a template with its parameters put in.
type Filled struct {
	Plan registry.Plan
	// CSR, PEM and CAPEM are set when the template's certificate is to be made or
	// registered; otherwise Plan.Certificate is.
	CSR, PEM, CAPEM string
	// Device is the deviceConfiguration of the answer.
	Device map[string]any
	// Resources are the names of what the plan makes (`thing/x`, `cert/`) under
	// the names of the template.
	Resources map[string]string
}

// Fill puts values in. A parameter without value or default is an InvalidRequest
// error.
func (t *Template) Fill(given map[string]string) (Filled, error) {
	s := scope{values: maps.Clone(given), mappings: t.mappings}
	if s.values == nil {
		s.values = make(map[string]string)
	}
	for name, p := range t.parameters {
		if _, has := s.values[name]; has {
			continue
		}
		if p.Default == nil {
			return Filled{}, iot.Errorf(iot.InvalidRequest, "parameter %q has no value", name)
		}
		s.values[name] = *p.Default
	}
	f := Filled{Resources: make(map[string]string), Device: make(map[string]any)}
	for _, name := range slices.Sorted(maps.Keys(t.resources)) {
		if err := s.resource(&f, name, t.resources[name]); err != nil {
			return Filled{}, fmt.Errorf("template resource %q: %w", name, err)
		}
	}
	for name, v := range t.device {
		value, err := s.text(v, 0)
		if err != nil {
			return Filled{}, fmt.Errorf("template DeviceConfiguration %q: %w", name, err)
		}
		f.Device[name] = value
	}
	return f, nil
}

func (s scope) resource(f *Filled, name string, r resource) error {
	switch r.Type {
	case thingResource:
		if err := s.thing(&f.Plan, r); err != nil {
			return err
		}
		f.Resources[name] = "thing/" + string(f.Plan.Thing.Name)
	case policyResource:
		p, err := s.policy(r)
		if err != nil {
			return err
		}
		f.Plan.Policies = append(f.Plan.Policies, p)
		f.Resources[name] = "policy/" + p.Name
	case certificateResource:
		f.Resources[name] = "cert/"
		return s.certificate(f, r)
	}
	return nil
}

func (s scope) thing(p *registry.Plan, r resource) (err error) {
	t := &registry.Thing{}
	var name string
	if name, err = s.member(r.Properties, "ThingName"); err != nil {
		return err
	}
	t.Name = iot.ThingName(name)
	if t.Type, err = s.member(r.Properties, "ThingTypeName"); err != nil {
		return err
	}
	attributes, _ := r.Properties["AttributePayload"].(map[string]any)
	if inner, is := attributes["attributes"].(map[string]any); is {
		attributes = inner
	}
	t.Attributes = make(map[string]string)
	for key, v := range attributes {
		if t.Attributes[key], err = s.text(v, 0); err != nil {
			return err
		}
	}
	groups, _ := r.Properties["ThingGroups"].([]any)
	for _, v := range groups {
		group, err := s.text(v, 0)
		if err != nil {
			return err
		}
		p.Groups = append(p.Groups, group)
	}
	p.Thing = t
	p.OnAttributes, p.OnType, p.OnGroups = setting(r, "AttributePayload"), setting(r, "ThingTypeName"), setting(r, "ThingGroups")
	return nil
}

func setting(r resource, name string) string {
	text, _ := r.OverrideSettings[name].(string)
	return strings.ToUpper(text)
}

func (s scope) policy(r resource) (p registry.Static, err error) {
	if p.Name, err = s.member(r.Properties, "PolicyName"); err != nil {
		return p, err
	}
	switch document := r.Properties["PolicyDocument"].(type) {
	case nil:
	case map[string]any:
		if _, call := function(document); !call {
			text, err := json.Marshal(document)
			if err != nil {
				return p, err
			}
			p.Document = string(text)
			break
		}
		p.Document, err = s.text(document, 0)
	default:
		p.Document, err = s.text(document, 0)
	}
	if p.Name == "" && p.Document != "" {
		sum := sha256.Sum256([]byte(p.Document))
		p.Name = hex.EncodeToString(sum[:])
	}
	if err == nil && p.Name == "" {
		err = iot.Errorf(iot.InvalidRequest, "want PolicyName or PolicyDocument")
	}
	return p, err
}

func (s scope) certificate(f *Filled, r resource) (err error) {
	for _, m := range []struct {
		name string
		into *string
	}{
		{"CertificateId", &f.Plan.Certificate}, {"CertificateSigningRequest", &f.CSR},
		{"CertificatePem", &f.PEM}, {"CACertificatePem", &f.CAPEM},
	} {
		if *m.into, err = s.member(r.Properties, m.name); err != nil {
			return err
		}
	}
	status, err := s.member(r.Properties, "Status")
	if err != nil {
		return err
	}
	f.Plan.Status = registry.Active
	if status != "" {
		f.Plan.Status = registry.Status(strings.ToUpper(status))
	}
	if f.Plan.Status != registry.Active && f.Plan.Status != registry.Inactive {
		return iot.Errorf(iot.InvalidRequest, "Status %.40q: want ACTIVE or INACTIVE", status)
	}
	kind, err := s.member(r.Properties, "ThingPrincipalType")
	f.Plan.Exclusive = kind == "EXCLUSIVE_THING"
	return err
}
