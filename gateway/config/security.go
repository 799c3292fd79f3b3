package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
)

// Names of the built-in policies.
const (
	DeviceDefault = "device-default"
	LocalDefault  = "local-default"
)

// DeviceDefaultDocument is the policy of a thing made by `tidehold thing
// create` (end of security.md section 3): connect as the own thing name while
// the certificate is attached, dt/<thing>/* and cmd/<thing>/*, the own shadows;
// nothing else.
const DeviceDefaultDocument = `{"Version":"2012-10-17","Statement":[` +
	`{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}",` +
	`"Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}},` +
	`{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":[` +
	`"arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/*",` +
	`"arn:aws:iot:*:*:topic/cmd/${iot:Connection.Thing.ThingName}/*",` +
	`"arn:aws:iot:*:*:topic/$aws/things/${iot:Connection.Thing.ThingName}/shadow/*"]},` +
	`{"Effect":"Allow","Action":"iot:Subscribe","Resource":[` +
	`"arn:aws:iot:*:*:topicfilter/dt/${iot:Connection.Thing.ThingName}/*",` +
	`"arn:aws:iot:*:*:topicfilter/cmd/${iot:Connection.Thing.ThingName}/*",` +
	`"arn:aws:iot:*:*:topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/shadow/*"]}]}`

// LocalDefaultDocument is the policy of the identity `local`: everything.
const LocalDefaultDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// policyForm is a legal policy name (security.md 1.1).
var policyForm = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,128}$`)

func (l *loader) security(m *tree.Map) {
	defer m.Done()
	l.cfg.Security.OnDenied = m.Word("on_denied", OnDeniedAWS, OnDeniedAWS, OnDeniedLenient)
	l.cfg.Security.ConnackCode = code(m, "connack_code", "5", "7")
	l.cfg.Security.SubackCode = code(m, "suback_code", "135", "128")
	l.cfg.Security.Policies = []Policy{
		{Name: DeviceDefault, Document: DeviceDefaultDocument, BuiltIn: true},
		{Name: LocalDefault, Document: LocalDefaultDocument, BuiltIn: true},
	}
	m.Each("policies", l.policy)
	m.Each("users", l.user)
	l.cfg.Security.StrictClientID = m.Bool("strict_client_id", "off")
	l.provisioning(m.Map("provisioning"))
}

func (l *loader) provisioning(m *tree.Map) {
	defer m.Done()
	p := &l.cfg.Security.Provisioning
	p.AutoActivate = m.Text("auto_activate", "")
	if p.AutoActivate != "" {
		l.knownPolicy(m, "auto_activate", p.AutoActivate)
	}
	m.Each("allow_lists", func(m *tree.Map) {
		defer m.Done()
		a := AllowList{
			Name:      formed(m, "name", tree.Required, functionForm, "1 to 64 characters of A-Z a-z 0-9 _ -"),
			Parameter: m.Text("parameter", "SerialNumber"), Values: m.Texts("values", "list of values of the parameter", tree.Required),
		}
		l.sites.functions = append(l.sites.functions, site{m, a.Name})
		p.AllowLists = append(p.AllowLists, a)
	})
}

// code reads one of two numbers; the first is the default.
func code(m *tree.Map, key, def, other string) byte {
	n, _ := strconv.ParseUint(m.Word(key, def, def, other), 10, 8) // Word gives one of the two
	return byte(n)
}

func (l *loader) policy(m *tree.Map) {
	defer m.Done()
	p := Policy{Name: formed(m, "name", tree.Required, policyForm, "1 to 128 characters of A-Z a-z 0-9 _ + = , . @ -")}
	p.Document = l.document(m, l.opt.CheckPolicy)
	l.sites.policies = append(l.sites.policies, site{m, p.Name})
	at := slices.IndexFunc(l.cfg.Security.Policies, func(q Policy) bool { return q.BuiltIn && q.Name == p.Name })
	if at >= 0 {
		l.cfg.Security.Policies[at] = p
		return
	}
	l.cfg.Security.Policies = append(l.cfg.Security.Policies, p)
}

// document reads the permissions of a policy or a role: JSON text, or the same
// as YAML; compact JSON. check may be nil.
func (l *loader) document(m *tree.Map, check func(string) (doubts []string, err error)) string {
	text := []byte(m.JSON("document", "JSON text, or the same as YAML", tree.Required))
	if m.Kind("document") == tree.Scalar {
		var written string
		if json.Unmarshal(text, &written) != nil {
			written = string(text) // a number or a bool: refused below
		}
		var parsed json.RawMessage
		if err := json.Unmarshal([]byte(written), &parsed); err != nil {
			m.Fail("document", "the document is not valid JSON: "+jsonPlace(written, err), "")
			return ""
		}
		var compact bytes.Buffer
		if json.Compact(&compact, parsed) == nil {
			text = compact.Bytes()
		}
	}
	if len(text) == 0 {
		return ""
	}
	checkDocument(m, string(text), check)
	return string(text)
}

func checkDocument(m *tree.Map, text string, check func(string) ([]string, error)) {
	if !strings.HasPrefix(text, "{") {
		m.Fail("document", "a policy is an object with Version and Statement", "")
		return
	}
	if check == nil {
		return
	}
	doubts, err := check(text)
	if err != nil {
		m.Fail("document", err.Error(), "")
	}
	for _, doubt := range doubts {
		m.Warn("document", doubt, "")
	}
}

// jsonPlace adds the line of a syntax error within the text.
func jsonPlace(text string, err error) string {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err.Error()
	}
	before := text[:min(int(syntax.Offset), len(text))]
	line := strings.Count(before, "\n") + 1
	return fmt.Sprintf("%v in line %d of the text", err, line)
}

func (l *loader) user(m *tree.Map) {
	defer m.Done()
	u := User{Name: formed(m, "name", tree.Required, userForm, "1 to 128 characters without white space")}
	u.Password = l.secret(m, "password", tree.Required, value.Place{})
	l.probe(m, "password", u.Password)
	u.Policies = m.Texts("policies", "list of policy names")
	l.knownPolicies(m, u.Policies)
	l.sites.users = append(l.sites.users, site{m, u.Name})
	l.cfg.Security.Users = append(l.cfg.Security.Users, u)
}

var userForm = regexp.MustCompile(`^[^\s\x00-\x1f]{1,128}$`)

func (l *loader) knownPolicies(m *tree.Map, names []string) {
	for i, name := range names {
		l.knownPolicy(m, fmt.Sprintf("policies[%d]", i), name)
	}
}

// knownPolicy warns of a policy that the file does not have: it must come
// through the API.
func (l *loader) knownPolicy(m *tree.Map, path, name string) {
	l.later(func() {
		if !slices.ContainsFunc(l.cfg.Security.Policies, func(p Policy) bool { return p.Name == name }) {
			m.Warn(path, fmt.Sprintf("policy %q is not in this file", name), "it must have been created through the API")
		}
	})
}
