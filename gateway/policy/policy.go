// Package policy answers one question: may this principal do this? It speaks
// the policy language of AWS IoT exactly as security.md section 1 sets it down.
//
// A Document is parsed once and shared; Compile binds documents to one
// connection (variables substituted, conditions that cannot change decided) and
// gives a Compiled, which answers many requests. Both are immutable: any number
// of goroutines may use them.
//
// The package is pure: no clock (the time is part of a Request), no I/O, no
// lock. Matching is greedy and costs at most pattern length times text length;
// no regular expression is ever built from a document. A document is limited to
// MaxChars characters besides white space and MaxBytes in all.
//
// What it does not do: collect the policies of a principal (gateway/registry),
// cache decisions or log denials (gateway/access).
package policy

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// ErrMalformed is in the chain of every error of Parse: AWS's
// MalformedPolicyException (400).
var ErrMalformed = errors.New("MalformedPolicyException")

// Limits of AWS (security.md 1.1).
const (
	MaxChars    = 2048   // of one document, white space not counted
	MaxBytes    = 404600 // of one document, white space counted
	MaxVersions = 5      // versions of one policy
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,128}$`)

// ParseName checks the name of a policy: 1..128 characters of
// [A-Za-z0-9_+=,.@-]. A malformed name is an InvalidRequest error.
func ParseName(s string) (string, error) {
	if !nameForm.MatchString(s) {
		return "", iot.Errorf(iot.InvalidRequest, "policy name %q: want 1 to 128 characters of A-Z a-z 0-9 _ + = , . @ -", s)
	}
	return s, nil
}

// Named is a document as it is attached to a principal.
type Named struct {
	Name     string
	Document *Document
	// Group is set when it is attached to a thing group: it counts only while
	// the connection is associated with its thing (security.md 1.3, 1.5).
	Group bool
}

// Scope is the region and account of the gateway's own ARNs.
type Scope struct {
	Region, Account string
	// AnyAccount ignores region and account of a policy's ARNs
	// (gateway.aws.accept_any_account).
	AnyAccount bool
}

// ARN builds the ARN of a resource such as `topic/a/b`; `*` stays `*`.
func (s Scope) ARN(resource string) string {
	if resource == "*" {
		return resource
	}
	return "arn:aws:iot:" + s.Region + ":" + s.Account + ":" + resource
}

// Resource is the inverse of ARN: the sixth field of an ARN of this scope. Any
// other text, and the ARN of another account, is given back with false.
func (s Scope) Resource(arn string) (string, bool) {
	if arn == "*" {
		return arn, true
	}
	rest, ok := strings.CutPrefix(arn, s.ARN(""))
	if !ok || rest == "" {
		return arn, false
	}
	return rest, true
}

// Request asks for one action on one resource.
type Request struct {
	// Action is spelled as AWS does, `iot:Publish`; case is ignored.
	Action string
	// Resource is the part of the ARN behind the account, `topic/a/b`, or `*`
	// for actions that know no resource.
	Resource string
	// Now is the value of aws:CurrentTime; zero while the clock is not trusted,
	// and the key is missing then.
	Now time.Time
}

// Decision is the answer to a Request, and why.
type Decision struct {
	Allowed bool
	// Explicit is set when a statement decided: an allow, or an explicit deny.
	// A deny that is not explicit is an implicit one.
	Explicit bool
	// Policy, Statement (from 0) and Sid name the deciding statement; they are
	// empty after an implicit deny.
	Policy    string
	Statement int
	Sid       string
	// Volatile is set when the time of day had a part in it: such a decision
	// must not be cached.
	Volatile bool
}

// Reason words the decision: `allowed`, `explicitDeny` or `implicitDeny`, the
// words of TestAuthorization.
func (d Decision) Reason() string {
	switch {
	case d.Allowed:
		return "allowed"
	case d.Explicit:
		return "explicitDeny"
	}
	return "implicitDeny"
}

// Evaluate asks one document alone, as if it were the only one attached. Who
// asks often compiles.
func (d *Document) Evaluate(r Request, c Connection, s Scope) Decision {
	return Compile([]Named{{Document: d}}, c, s).Evaluate(r)
}
