// Package role holds what the actions of rules may do: named permission
// documents of IAM shape (rules.md section 8, Role).
//
// An explicit Deny wins, an Allow is needed, everything else is denied. `*` and
// `?` are wildcards in actions and resources. A resource is written as an ARN,
// whose partition, region and account are not looked at (a document copied
// from AWS works here), or short, `topic/a/b`; a URL without a wildcard also
// covers what lies below it.
//
// The package is pure: a Role never changes and may be shared. What a document
// says and this package cannot decide (conditions, variables) is refused by
// Parse, never ignored.
package role

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Default is the role of an action that names none.
const Default = "edge-default"

// DocumentMax is the most bytes of a document, as of an IAM role.
const DocumentMax = 10240

// defaultDocument is the built-in role of rules.md section 8.
const defaultDocument = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish","edge:Forward"],"Resource":"topic/*"},
 {"Effect":"Deny","Action":["iot:Publish","iot:RetainPublish","edge:Forward"],"Resource":"topic/$*"},
 {"Effect":"Allow","Action":["iot:GetThingShadow","iot:UpdateThingShadow"],"Resource":"thing/*"},
 {"Effect":"Allow","Action":["dynamodb:PutItem","dynamodb:UpdateItem","dynamodb:DeleteItem","dynamodb:GetItem",
  "sqlite:Exec","sqlite:Query","timestream:WriteRecords"],"Resource":"table/rule_*"}]}`

// nameForm is IAM's form of a role's name.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9_+=,.@-]{1,64}$`)

// Role is one checked permission document.
type Role struct {
	name     string
	document json.RawMessage
	grants   []grant
}

// Need is one permission that an action asks for.
type Need struct {
	Action   string `json:"action"`
	Resource string `json:"resource"`
}

// BuiltIn are the roles every gateway has.
func BuiltIn() []*Role {
	r, err := Parse(Default, []byte(defaultDocument))
	if err != nil {
		panic("role: the built-in document does not parse: " + err.Error())
	}
	return []*Role{r}
}

// NameOf is the role that a roleArn means: its last path segment, whatever the
// account.
func NameOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// Parse reads a document. Every refusal is an InvalidRequest or, for the
// document, a MalformedPolicy error that says where and what.
func Parse(name string, document []byte) (*Role, error) {
	if !nameForm.MatchString(name) {
		return nil, iot.Errorf(iot.InvalidRequest, "role %q: a name has 1 to 64 characters of A-Z a-z 0-9 _ + = , . @ -", name)
	}
	if len(document) > DocumentMax {
		return nil, iot.Errorf(iot.MalformedPolicy, "role %q: the document has %d bytes; at most %d", name, len(document), DocumentMax)
	}
	r := &Role{name: name, document: bytes.Clone(document)}
	if err := r.read(document); err != nil {
		return nil, iot.Errorf(iot.MalformedPolicy, "role %q: %v", name, err)
	}
	return r, nil
}

// Name is the role's name.
func (r *Role) Name() string { return r.name }

// Document is the document as it was given.
func (r *Role) Document() json.RawMessage { return r.document }

// Allow reports why the role may not do what n says: nil means it may.
func (r *Role) Allow(n Need) error {
	allowed := false
	for i := range r.grants {
		g := &r.grants[i]
		if !g.covers(n, 0) {
			continue
		}
		if g.deny {
			return iot.Errorf(iot.Forbidden, "role %q denies %s on %q", r.name, n.Action, n.Resource)
		}
		allowed = true
	}
	if !allowed {
		return iot.Errorf(iot.Forbidden, "role %q does not allow %s on %q", r.name, n.Action, n.Resource)
	}
	return nil
}

// Spells reports whether some Allow that covers n spells out the first length
// bytes of its resource, without a wildcard: what is dangerous must be named.
func (r *Role) Spells(n Need, length int) bool {
	for i := range r.grants {
		if g := &r.grants[i]; !g.deny && g.covers(n, length) {
			return true
		}
	}
	return false
}

// grant is one statement.
type grant struct {
	deny      bool
	actions   []string // lower case
	notAction bool
	resources []string
	notRes    bool
}

// covers reports whether g is about n. With literal above zero the matching
// resource must begin with that many bytes spelled out.
func (g *grant) covers(n Need, literal int) bool {
	action, named := strings.ToLower(n.Action), false
	for _, a := range g.actions {
		named = named || match(a, action)
	}
	if named == g.notAction {
		return false
	}
	for _, pattern := range g.resources {
		if matchResource(pattern, n.Resource) {
			return !g.notRes && spelled(pattern) >= literal
		}
	}
	return g.notRes && literal == 0
}

// spelled is the length of a pattern before its first wildcard.
func spelled(pattern string) int {
	if i := strings.IndexAny(pattern, "*?"); i >= 0 {
		return i
	}
	return len(pattern)
}

// matchResource knows that a URL without wildcards covers what is below it.
func matchResource(pattern, resource string) bool {
	if isURL(pattern) && !strings.ContainsAny(pattern, "*?") {
		rest, ok := strings.CutPrefix(resource, pattern)
		return ok && (rest == "" || strings.HasSuffix(pattern, "/") || rest[0] == '/' || rest[0] == '?')
	}
	return match(pattern, resource)
}

func isURL(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }

// match compares with `*` and `?`, in time of at most the product of lengths.
func match(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			t += runeLen(text[t:])
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func runeLen(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}

// short is the local form of a resource: what follows the account in an ARN,
// with `/` between kind and name.
func short(resource string) string {
	if !strings.HasPrefix(resource, "arn:") {
		return resource
	}
	fields := strings.SplitN(resource, ":", 6)
	if len(fields) < 6 {
		return resource
	}
	rest := fields[5]
	switch fields[2] {
	case "lambda", "secretsmanager": // function:NAME:ALIAS, secret:NAME
		kind, name, _ := strings.Cut(rest, ":")
		name, _, _ = strings.Cut(name, ":")
		if name == "" {
			return rest
		}
		return kind + "/" + name
	case "timestream": // database/D/table/T
		if i := strings.Index(rest, "/table/"); i >= 0 {
			return rest[i+1:]
		}
	}
	return rest
}
