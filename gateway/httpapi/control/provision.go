package control

import (
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry"
)

func provisionOperations() []operation {
	return []operation{
		{name: "CreateProvisioningTemplate", method: "POST", path: "/provisioning-templates", do: createTemplate},
		{name: "DescribeProvisioningTemplate", method: "GET", path: "/provisioning-templates/{template}", do: describeTemplate},
		{name: "ListProvisioningTemplates", method: "GET", path: "/provisioning-templates", do: listTemplates},
		{name: "UpdateProvisioningTemplate", method: "PATCH", path: "/provisioning-templates/{template}", do: updateTemplate},
		{name: "DeleteProvisioningTemplate", method: "DELETE", path: "/provisioning-templates/{template}", do: deleteTemplate},
		{name: "CreateProvisioningClaim", method: "POST", path: "/provisioning-templates/{template}/provisioning-claim", do: createClaim},
		{name: "RegisterThing", method: "POST", path: "/things", do: registerThing},
	}
}

func errNoProvisioning() error {
	return iot.Errorf(iot.Unavailable, "this gateway does not provision by template")
}

type provisioningHook struct {
	PayloadVersion string `json:"payloadVersion,omitempty"`
	TargetArn      string `json:"targetArn"`
}

func createTemplate(c *call) (any, error) {
	var in struct {
		TemplateName        string           `json:"templateName"`
		Description         string           `json:"description"`
		TemplateBody        string           `json:"templateBody"`
		Enabled             bool             `json:"enabled"`
		ProvisioningRoleArn string           `json:"provisioningRoleArn"`
		PreProvisioningHook provisioningHook `json:"preProvisioningHook"`
		Tags                tags             `json:"tags"`
		Type                string           `json:"type"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if c.h.cfg.Provision == nil {
		return nil, errNoProvisioning()
	}
	if in.Type == "" {
		in.Type = "FLEET_PROVISIONING"
	}
	if in.Type != "FLEET_PROVISIONING" && in.Type != "JITP" {
		return nil, iot.Errorf(iot.InvalidRequest, "type %.40q: want FLEET_PROVISIONING or JITP", in.Type)
	}
	if err := c.h.cfg.Provision.Check(in.TemplateBody); err != nil {
		return nil, err
	}
	t, err := c.registry().CreateTemplate(c, registry.Template{
		Name: in.TemplateName, Description: in.Description, Body: in.TemplateBody, Enabled: in.Enabled,
		Role: in.ProvisioningRoleArn, Hook: in.PreProvisioningHook.TargetArn, Kind: in.Type,
	})
	if err == nil {
		err = c.label("provisioningtemplate/"+t.Name, in.Tags)
	}
	return answer{"templateArn": c.arn("provisioningtemplate/" + t.Name), "templateName": t.Name, "defaultVersionId": 1}, err
}

func templateItem(c *call, t registry.Template) answer {
	return compact(answer{
		"templateArn": c.arn("provisioningtemplate/" + t.Name), "templateName": t.Name, "description": orNil(t.Description),
		"creationDate": seconds(t.Created), "lastModifiedDate": seconds(t.Changed), "enabled": t.Enabled, "type": t.Kind,
	})
}

func describeTemplate(c *call) (any, error) {
	t, err := c.registry().Template(c, c.vars["template"])
	a := templateItem(c, t)
	a["defaultVersionId"], a["templateBody"], a["provisioningRoleArn"] = 1, t.Body, orNil(t.Role)
	if t.Hook != "" {
		a["preProvisioningHook"] = provisioningHook{"2020-04-01", t.Hook}
	}
	return a, err
}

func listTemplates(c *call) (any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, err
	}
	all, err := c.registry().ListTemplates(c, after, size+1)
	all, next := cut(all, size, func(t registry.Template) string { return t.Name })
	return answer{"templates": each(all, func(t registry.Template) any { return templateItem(c, t) }), "nextToken": next}, err
}

func updateTemplate(c *call) (any, error) {
	var in struct {
		Description               *string           `json:"description"`
		Enabled                   *bool             `json:"enabled"`
		ProvisioningRoleArn       string            `json:"provisioningRoleArn"`
		PreProvisioningHook       *provisioningHook `json:"preProvisioningHook"`
		RemovePreProvisioningHook bool              `json:"removePreProvisioningHook"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	return nil, c.registry().UpdateTemplate(c, c.vars["template"], func(t *registry.Template) {
		if in.Description != nil {
			t.Description = *in.Description
		}
		if in.Enabled != nil {
			t.Enabled = *in.Enabled
		}
		if in.ProvisioningRoleArn != "" {
			t.Role = in.ProvisioningRoleArn
		}
		if in.PreProvisioningHook != nil {
			t.Hook = in.PreProvisioningHook.TargetArn
		}
		if in.RemovePreProvisioningHook {
			t.Hook = ""
		}
	})
}

func deleteTemplate(c *call) (any, error) {
	return nil, c.registry().DeleteTemplate(c, c.vars["template"])
}

func createClaim(c *call) (any, error) {
	if c.h.cfg.Provision == nil {
		return nil, errNoProvisioning()
	}
	made, err := c.h.cfg.Provision.Claim(c, c.vars["template"])
	if err != nil {
		return nil, err
	}
	return answer{
		"certificateId": made.ID, "certificatePem": made.PEM, "keyPair": keyPair(made.Keys), "expiration": seconds(made.Until),
	}, nil
}

func registerThing(c *call) (any, error) {
	var in struct {
		TemplateBody string            `json:"templateBody"`
		Parameters   map[string]string `json:"parameters"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if c.h.cfg.Provision == nil {
		return nil, errNoProvisioning()
	}
	if err := need("templateBody", in.TemplateBody); err != nil {
		return nil, err
	}
	made, resources, err := c.h.cfg.Provision.Register(c, in.TemplateBody, in.Parameters)
	if err != nil {
		return nil, err
	}
	arns := make(map[string]string, len(resources))
	for name, resource := range resources {
		arns[name] = c.arn(resource)
	}
	return answer{"certificatePem": made.PEM, "resourceArns": arns}, nil
}
