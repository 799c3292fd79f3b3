package control

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry"
)

func policyOperations() []operation {
	return []operation{
		{name: "CreatePolicy", method: "POST", path: "/policies/{policy}", do: createPolicy},
		{name: "GetPolicy", method: "GET", path: "/policies/{policy}", do: getPolicy},
		{name: "ListPolicies", method: "GET", path: "/policies", do: listPolicies},
		{name: "DeletePolicy", method: "DELETE", path: "/policies/{policy}", do: deletePolicy},
		{name: "CreatePolicyVersion", method: "POST", path: "/policies/{policy}/version", do: createPolicyVersion},
		{name: "GetPolicyVersion", method: "GET", path: "/policies/{policy}/version/{version}", do: getPolicyVersion},
		{name: "ListPolicyVersions", method: "GET", path: "/policies/{policy}/version", do: listPolicyVersions},
		{name: "SetDefaultPolicyVersion", method: "PATCH", path: "/policies/{policy}/version/{version}", do: setDefaultVersion},
		{name: "DeletePolicyVersion", method: "DELETE", path: "/policies/{policy}/version/{version}", do: deletePolicyVersion},
		{name: "AttachPolicy", method: "PUT", path: "/target-policies/{policy}", do: attachPolicy},
		{name: "DetachPolicy", method: "POST", path: "/target-policies/{policy}", do: detachPolicy},
		{name: "ListAttachedPolicies", method: "POST", path: "/attached-policies/{target}", do: listAttached},
		{name: "ListTargetsForPolicy", method: "POST", path: "/policy-targets/{policy}", do: listTargets},
		{name: "AttachPrincipalPolicy", method: "PUT", path: "/principal-policies/{policy}", do: attachPrincipal},
		{name: "DetachPrincipalPolicy", method: "DELETE", path: "/principal-policies/{policy}", do: detachPrincipal},
		{name: "ListPrincipalPolicies", method: "GET", path: "/principal-policies", do: listPrincipalPolicies},
		{name: "ListPolicyPrincipals", method: "GET", path: "/policy-principals", do: listPolicyPrincipals},
		{name: "TestAuthorization", method: "POST", path: "/test-authorization", do: testAuthorization},
		{name: "GetEffectivePolicies", method: "POST", path: "/effective-policies", do: effectivePolicies},
	}
}

func (c *call) document() (string, error) {
	var in struct {
		PolicyDocument string `json:"policyDocument"`
	}
	if err := c.into(&in); err != nil {
		return "", err
	}
	return in.PolicyDocument, need("policyDocument", in.PolicyDocument)
}

func createPolicy(c *call) (any, error) {
	text, err := c.document()
	if err != nil {
		return nil, err
	}
	var in struct {
		Tags tags `json:"tags"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	name := c.vars["policy"]
	v, err := c.registry().CreatePolicy(c, name, text)
	if err == nil {
		err = c.label("policy/"+name, in.Tags)
	}
	return answer{"policyName": name, "policyArn": c.arn("policy/" + name), "policyDocument": v.Document, "policyVersionId": "1"}, err
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func getPolicy(c *call) (any, error) {
	v, err := c.registry().PolicyVersion(c, c.vars["policy"], 0)
	return answer{
		"policyName": v.Policy.Name, "policyArn": c.arn("policy/" + v.Policy.Name), "policyDocument": v.Document,
		"defaultVersionId": number(v.Policy.Default), "creationDate": seconds(v.Policy.Created),
		"lastModifiedDate": seconds(v.Policy.Changed), "generationId": number(v.Policy.Seq) + "." + number(v.Version),
		"tideholdReadOnly": orFalse(v.Policy.Static),
	}, err
}

func policyItem(c *call, name string) any {
	return answer{"policyName": name, "policyArn": c.arn("policy/" + name)}
}

func listPolicies(c *call) (any, error) {
	q, err := c.seq()
	if err != nil {
		return nil, err
	}
	all, err := c.registry().ListPolicies(c, q)
	all, next := cut(all, q.Limit-1, func(p registry.Policy) string { return number(p.Seq) })
	return answer{"policies": each(all, func(p registry.Policy) any { return policyItem(c, p.Name) }), "nextMarker": next}, err
}

func deletePolicy(c *call) (any, error) { return nil, c.registry().DeletePolicy(c, c.vars["policy"]) }

func createPolicyVersion(c *call) (any, error) {
	text, err := c.document()
	if err != nil {
		return nil, err
	}
	isDefault, err := c.flag("setAsDefault")
	if err != nil {
		return nil, err
	}
	v, err := c.registry().CreatePolicyVersion(c, c.vars["policy"], text, isDefault)
	return answer{
		"policyArn": c.arn("policy/" + v.Policy.Name), "policyDocument": v.Document, "policyVersionId": number(v.Version),
		"isDefaultVersion": v.Version == v.Policy.Default,
	}, err
}

func (c *call) policyVersion() (int64, error) {
	n, err := strconv.ParseInt(c.vars["version"], 10, 64)
	if err != nil || n < 1 {
		return 0, iot.Errorf(iot.InvalidRequest, "policyVersionId %.20q: want a positive number", c.vars["version"])
	}
	return n, nil
}

func getPolicyVersion(c *call) (any, error) {
	n, err := c.policyVersion()
	if err != nil {
		return nil, err
	}
	v, err := c.registry().PolicyVersion(c, c.vars["policy"], n)
	return answer{
		"policyArn": c.arn("policy/" + v.Policy.Name), "policyName": v.Policy.Name, "policyDocument": v.Document,
		"policyVersionId": number(v.Version), "isDefaultVersion": v.Version == v.Policy.Default,
		"creationDate": seconds(v.Created), "lastModifiedDate": seconds(v.Created),
		"generationId": number(v.Policy.Seq) + "." + number(v.Version),
	}, err
}

func listPolicyVersions(c *call) (any, error) {
	all, err := c.registry().PolicyVersions(c, c.vars["policy"])
	return answer{"policyVersions": each(all, func(v registry.PolicyVersion) any {
		return answer{"versionId": number(v.Version), "isDefaultVersion": v.Version == v.Policy.Default, "createDate": seconds(v.Created)}
	})}, err
}

func setDefaultVersion(c *call) (any, error) {
	n, err := c.policyVersion()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().SetDefaultVersion(c, c.vars["policy"], n)
}

func deletePolicyVersion(c *call) (any, error) {
	n, err := c.policyVersion()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().DeletePolicyVersion(c, c.vars["policy"], n)
}

func (c *call) target() (string, error) {
	var in struct {
		Target string `json:"target"`
	}
	if err := c.into(&in); err != nil {
		return "", err
	}
	return c.resourceOf("target", in.Target)
}

func attachPolicy(c *call) (any, error) {
	target, err := c.target()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().AttachPolicy(c, c.vars["policy"], target)
}

func detachPolicy(c *call) (any, error) {
	target, err := c.target()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().DetachPolicy(c, c.vars["policy"], target)
}

func listAttached(c *call) (any, error) {
	target, err := c.resourceOf("target", c.vars["target"])
	if err != nil {
		return nil, err
	}
	recursive, err := c.flag("recursive")
	if err != nil {
		return nil, err
	}
	return attached(c, target, recursive)
}

func attached(c *call, target string, recursive bool) (any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, err
	}
	all, err := c.registry().Attached(c, target, recursive, after, size+1)
	all, next := cut(all, size, itself)
	return answer{"policies": each(all, func(name string) any { return policyItem(c, name) }), "nextMarker": next}, err
}

func targets(c *call, name string) ([]string, any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, nil, err
	}
	all, err := c.registry().Targets(c, name, after, size+1)
	all, next := cut(all, size, itself)
	return all, next, err
}

func listTargets(c *call) (any, error) {
	all, next, err := targets(c, c.vars["policy"])
	return answer{"targets": each(all, func(target string) any { return c.arn(target) }), "nextMarker": next}, err
}

func (c *call) oldPrincipal() (string, error) {
	return c.resourceOf("x-amzn-iot-principal", c.header.Get("X-Amzn-Iot-Principal"))
}

func attachPrincipal(c *call) (any, error) {
	target, err := c.oldPrincipal()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().AttachPolicy(c, c.vars["policy"], target)
}

func detachPrincipal(c *call) (any, error) {
	target, err := c.oldPrincipal()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().DetachPolicy(c, c.vars["policy"], target)
}

func listPrincipalPolicies(c *call) (any, error) {
	target, err := c.oldPrincipal()
	if err != nil {
		return nil, err
	}
	return attached(c, target, false)
}

func listPolicyPrincipals(c *call) (any, error) {
	name := c.header.Get("X-Amzn-Iot-Policy")
	if err := need("x-amzn-iot-policy", name); err != nil {
		return nil, err
	}
	all, next, err := targets(c, name)
	return answer{"principals": each(all, func(target string) any { return c.arn(target) }), "nextMarker": next}, err
}

// rightsOf collects the policies of a principal (a certificate's ARN, or none).
func (c *call) rightsOf(principal, client string) (registry.Rights, policy.Connection, error) {
	conn := policy.Connection{ClientID: client, Secure: true}
	if principal == "" {
		return registry.Rights{}, conn, nil
	}
	id, err := c.certificateOf("principal", principal)
	if err != nil {
		return registry.Rights{}, conn, err
	}
	if _, err := c.registry().Certificate(c, id); err != nil {
		return registry.Rights{}, conn, err
	}
	rights := c.registry().Rights(iot.Principal{Kind: iot.CertificateKind, ID: id}, iot.ClientID(client))
	conn.CertificateID, conn.Thing, conn.Subject, conn.Issuer = id, rights.Thing, rights.Subject, rights.Issuer
	return rights, conn, nil
}

// actionNames are those of AWS's authInfos.
var actionNames = map[string]string{"PUBLISH": "iot:Publish", "SUBSCRIBE": "iot:Subscribe", "RECEIVE": "iot:Receive", "CONNECT": "iot:Connect"}

type authInfo struct {
	ActionType string   `json:"actionType"`
	Resources  []string `json:"resources"`
}

// testLimit is how many authInfos one request may hold.
const testLimit = 10

func testAuthorization(c *call) (any, error) {
	var in struct {
		Principal         string     `json:"principal"`
		AuthInfos         []authInfo `json:"authInfos"`
		PolicyNamesToAdd  []string   `json:"policyNamesToAdd"`
		PolicyNamesToSkip []string   `json:"policyNamesToSkip"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if len(in.AuthInfos) == 0 || len(in.AuthInfos) > testLimit {
		return nil, iot.Errorf(iot.InvalidRequest, "authInfos: want 1 to %d", testLimit)
	}
	rights, conn, err := c.rightsOf(in.Principal, c.query.Get("clientId"))
	if err != nil {
		return nil, err
	}
	named := slices.DeleteFunc(rights.Policies, func(p policy.Named) bool { return slices.Contains(in.PolicyNamesToSkip, p.Name) })
	for _, name := range in.PolicyNamesToAdd {
		d, found := c.registry().Policy(name)
		if !found {
			return nil, iot.Errorf(iot.NotFound, "policy %q does not exist", name)
		}
		named = append(named, policy.Named{Name: name, Document: d})
	}
	compiled := policy.Compile(named, conn, c.h.cfg.Scope)
	var results []any
	for _, info := range in.AuthInfos {
		more, err := c.verdicts(compiled, info)
		if err != nil {
			return nil, err
		}
		results = append(results, more...)
	}
	return answer{"authResults": results}, nil
}

// verdicts judges each resource by itself, and says which policy decided.
func (c *call) verdicts(compiled *policy.Compiled, info authInfo) (results []any, err error) {
	action, known := actionNames[info.ActionType]
	if !known {
		action = info.ActionType
	}
	if !strings.HasPrefix(action, "iot:") || len(info.Resources) == 0 {
		return nil, iot.Errorf(iot.InvalidRequest, "authInfos: actionType %.40q with %d resources: want PUBLISH, SUBSCRIBE, RECEIVE or CONNECT and their ARNs", info.ActionType, len(info.Resources))
	}
	for _, arn := range info.Resources {
		resource, _ := c.h.cfg.Scope.Resource(arn)
		d := compiled.Evaluate(policy.Request{Action: action, Resource: resource, Now: c.now()})
		deciding := []any{}
		if d.Policy != "" {
			deciding = append(deciding, policyItem(c, d.Policy))
		}
		missing := compiled.Missing()
		if missing == nil {
			missing = []string{}
		}
		result := answer{
			"authInfo": authInfo{info.ActionType, []string{arn}}, "missingContextValues": missing,
			"allowed": answer{"policies": []any{}}, "denied": answer{"implicitDeny": answer{"policies": []any{}}, "explicitDeny": answer{"policies": []any{}}},
		}
		switch {
		case d.Allowed:
			result["authDecision"], result["allowed"] = "ALLOWED", answer{"policies": deciding}
		case d.Explicit:
			result["authDecision"] = "EXPLICIT_DENY"
			result["denied"] = answer{"implicitDeny": answer{"policies": []any{}}, "explicitDeny": answer{"policies": deciding}}
		default:
			result["authDecision"] = "IMPLICIT_DENY"
		}
		// The statement that decided is ours to tell; AWS's clients skip it.
		if d.Policy != "" {
			result["tideholdStatement"] = c.statement(d)
		}
		results = append(results, result)
	}
	return results, nil
}

// now is the time that policies see: none while the clock is not trusted.
func (c *call) now() time.Time {
	if m := c.registry().Moment(); m.Synced {
		return m.Now
	}
	return time.Time{}
}

// statement names the statement that decided, and gives its text.
func (c *call) statement(d policy.Decision) answer {
	a := answer{"policyName": d.Policy, "statement": d.Statement, "sid": d.Sid}
	if v, err := c.registry().PolicyVersion(c, d.Policy, 0); err == nil {
		if text, found := policy.StatementText([]byte(v.Document), d.Statement); found {
			a["text"] = json.RawMessage(text)
		}
	}
	return a
}

func effectivePolicies(c *call) (any, error) {
	var in struct {
		Principal string `json:"principal"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	rights, conn, err := c.rightsOf(in.Principal, c.query.Get("thingName"))
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, p := range rights.Policies {
		if p.Group && !conn.Associated() {
			continue
		}
		v, err := c.registry().PolicyVersion(c, p.Name, 0)
		if err != nil {
			return nil, err
		}
		list = append(list, answer{"policyName": p.Name, "policyArn": c.arn("policy/" + p.Name), "policyDocument": v.Document})
	}
	return answer{"effectivePolicies": list}, nil
}
