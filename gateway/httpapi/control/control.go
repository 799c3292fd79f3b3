// Package control speaks AWS IoT's control plane (http-api.md section 2): paths,
// queries and JSON bodies in, calls of the registry, and AWS's answers out. It
// holds no rule of its own but the forms of the wire.
//
// Whoever calls Handle has authenticated the caller and read the body; control
// asks the Authorizer for the operation's own action on its own resource, then
// carries it out. An operation it does not know is a 404, a known path with
// another verb a 405; nothing panics on a malformed request. Answers are bounded
// by the page sizes of AWS (250). It starts no goroutine and keeps no state:
// Handle may be called from any goroutine and blocks for the registry.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/presence"
	"github.com/tidehold/tidehold/gateway/registry"
)

// Authorizer decides one action on one resource (`iot:CreateThing` on
// `thing/x`) for the caller of a request. Errors are Forbidden.
type Authorizer interface {
	Allow(r *http.Request, caller iot.Principal, action, resource string) error
}

// Rule is a rule as the control plane sees it; Payload is AWS's
// topicRulePayload.
type Rule struct {
	Name    string
	Payload json.RawMessage
	// Pattern is the topic filter of its FROM.
	Pattern string
	Created time.Time
}

// Rules keeps the rules of the gateway. Errors: AlreadyExists, SQLParse,
// InvalidRequest for an action that is not available, and for changes of rules
// of the configuration.
type Rules interface {
	// Rule finds a rule.
	Rule(name string) (Rule, bool)
	// Rules are all rules, sorted by name.
	Rules() []Rule
	// PutRule makes a rule, or replaces the one there is.
	PutRule(ctx context.Context, name string, payload json.RawMessage, replace bool) error
	EnableRule(ctx context.Context, name string, on bool) error
	// DeleteRule removes a rule.
	DeleteRule(ctx context.Context, name string) error
}

// Provisioner carries provisioning templates out: gateway/provision.
type Provisioner interface {
	// Check reports why a template would be refused.
	Check(body string) error
	// Claim makes a short-lived certificate that may provision by a template.
	Claim(ctx context.Context, template string) (registry.Issued, error)
	// Register carries a template out; it gives the certificate and the names of
	// what was made (`thing/x`) under the names of the template.
	Register(ctx context.Context, body string, parameters map[string]string) (registry.Certificate, map[string]string, error)
}

// Config is what a Handler works with.
type Config struct {
	Scope policy.Scope
	// Endpoint is the bare host name that devices use.
	Endpoint string
	Registry *registry.Registry
	Allow    Authorizer
	// Rules and Provision may be nil: their operations are Unavailable then.
	Rules     Rules
	Provision Provisioner
	// Connectivity tells whether the client with the name of a thing is
	// connected, false when it was never seen; nil knows nobody.
	Connectivity func(iot.ClientID) (presence.State, bool)
	IDs          *ids.Source
}

// Handler answers the control plane.
type Handler struct {
	cfg   Config
	known []operation
}

// New builds a handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg}
	for _, list := range [][]operation{
		thingOperations(), groupOperations(), certificateOperations(), caOperations(), policyOperations(),
		ruleOperations(), provisionOperations(), searchOperations(),
	} {
		for _, op := range list {
			op.segments = strings.Split(op.path[1:], "/")
			h.known = append(h.known, op)
		}
	}
	// A path without variables is found before one with.
	slices.SortStableFunc(h.known, func(a, b operation) int { return strings.Count(a.path, "{") - strings.Count(b.path, "{") })
	return h
}

// operation is one of AWS's. The first variable of its path names the resource
// that its policy is asked for, unless resource says otherwise.
type operation struct {
	name, method, path string
	do                 func(c *call) (any, error)
	resource           func(c *call) (string, error)
	segments           []string
}

// prefixes of the resources that variables name.
var prefixes = map[string]string{
	"thing": "thing/", "type": "thingtype/", "group": "thinggroup/", "certificate": "cert/", "ca": "cacert/",
	"policy": "policy/", "rule": "rule/", "template": "provisioningtemplate/",
}

// call is one request on its way.
type call struct {
	context.Context
	h      *Handler
	query  url.Values
	header http.Header
	body   []byte
	vars   map[string]string
	first  string // name of the first variable
}

// answer is a JSON object; members with nil are left out.
type answer map[string]any

// Known reports whether the control plane has the path, with any verb.
func (h *Handler) Known(escapedPath string) bool {
	for i := range h.known {
		if _, _, ok := h.known[i].match(escapedPath); ok {
			return true
		}
	}
	return false
}

// Handle answers one request of an authenticated caller.
func (h *Handler) Handle(w http.ResponseWriter, r *http.Request, caller iot.Principal, body []byte) {
	w.Header().Set("X-Amzn-RequestId", h.cfg.IDs.UUID())
	value, err := h.perform(r, caller, body)
	if err != nil {
		h.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		h.refuse(w, err)
		return
	}
	w.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

func (h *Handler) perform(r *http.Request, caller iot.Principal, body []byte) (any, error) {
	op, c, err := h.find(r, body)
	if err != nil {
		return nil, err
	}
	resource := "*"
	if prefix, named := prefixes[c.first]; named {
		resource = prefix + c.vars[c.first]
	}
	if op.resource != nil {
		if resource, err = op.resource(c); err != nil {
			return nil, err
		}
	}
	if err := h.cfg.Allow.Allow(r, caller, "iot:"+op.name, resource); err != nil {
		return nil, err
	}
	value, err := op.do(c)
	if a, is := value.(answer); is {
		for key, member := range a {
			if member == nil {
				delete(a, key)
			}
		}
	}
	if value == nil {
		value = answer{}
	}
	return value, err
}

// find chooses the operation by verb and escaped path: segments are decoded one
// by one, because names may hold what separates them.
func (h *Handler) find(r *http.Request, body []byte) (*operation, *call, error) {
	path, known := r.URL.EscapedPath(), false
	for i := range h.known {
		op := &h.known[i]
		vars, first, ok := op.match(path)
		if !ok {
			continue
		}
		known = true
		if op.method == r.Method {
			return op, &call{Context: r.Context(), h: h, query: r.URL.Query(), header: r.Header, body: body, vars: vars, first: first}, nil
		}
	}
	if known {
		return nil, nil, iot.Errorf(iot.MethodNotAllowed, "no operation has this path with the method %s", r.Method)
	}
	return nil, nil, iot.Errorf(iot.NotFound, "this gateway has no operation at %.200q", path)
}

func (op *operation) match(path string) (vars map[string]string, first string, ok bool) {
	given := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(given) != len(op.segments) {
		return nil, "", false
	}
	for i, want := range op.segments {
		have, err := url.PathUnescape(given[i])
		switch {
		case err != nil:
			return nil, "", false
		case !strings.HasPrefix(want, "{"):
			if have != want {
				return nil, "", false
			}
		case have == "":
			return nil, "", false
		default:
			if vars == nil {
				vars, first = make(map[string]string), want[1:len(want)-1]
			}
			vars[want[1:len(want)-1]] = have
		}
	}
	return vars, first, true
}

// refuse answers with the status, type and message of an error. On the control
// plane a throttled request is a 400 and a denied one AccessDeniedException; the
// body carries no number (http-api.md section 0).
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	code := iot.CodeOf(err)
	status, kind, text := code.HTTPStatus(), code.AWSType(), iot.MessageOf(err)
	switch code {
	case iot.Throttled:
		status = http.StatusBadRequest
	case iot.Forbidden:
		kind = "AccessDeniedException"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", kind)
	w.WriteHeader(status)
	body, _ := json.Marshal(map[string]string{"message": text, "traceId": h.cfg.IDs.UUID()})
	w.Write(body)
}
