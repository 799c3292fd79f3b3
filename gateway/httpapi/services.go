package httpapi

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
)

// Shadows is the shadow service. Bodies are those of AWS's data plane.
type Shadows interface {
	Get(ctx context.Context, key iot.ShadowKey, clientToken string) ([]byte, error)
	Update(ctx context.Context, key iot.ShadowKey, payload []byte, o iot.Origin) ([]byte, error)
	Delete(ctx context.Context, key iot.ShadowKey, o iot.Origin) ([]byte, error)
	// List gives one page of the named shadows of a thing, sorted, and the
	// token of the next page, empty at the end.
	List(ctx context.Context, thing iot.ThingName, token string, size int) ([]iot.ShadowName, string, error)
	// History gives the last changes of a shadow, the newest first.
	History(ctx context.Context, key iot.ShadowKey) (any, error)
	// Follow writes the shadow as it is and after every change, as JSON, until
	// ctx ends or write fails.
	Follow(ctx context.Context, key iot.ShadowKey, write func(document []byte) error) error
}

// UplinkStatus is one line of `tidehold uplink status` (contract section 3).
type UplinkStatus struct {
	Name    string    `json:"name"`
	Profile string    `json:"profile"`
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Error   string    `json:"error,omitempty"`
	// Node is where the last attempt went, Attempts how many there were since the
	// start.
	Node     string `json:"node"`
	Attempts int    `json:"attempts"`
	// Shadows counts the synced shadows by state.
	Shadows map[string]int `json:"shadows,omitempty"`
}

// Uplinks are the links to the upstream brokers.
type Uplinks interface {
	UplinkStatus() []UplinkStatus
	// CutUplink holds a link down until RestoreUplink; the empty name means
	// the only one there is. An unknown name is NotFound.
	CutUplink(name string) error
	RestoreUplink(name string) error
	// TestUplink tries a link step by step; the value is a list of steps.
	TestUplink(ctx context.Context, name string) (any, error)
}

// Sim is the simulated world seen from outside. An unknown part or quantity is
// NotFound.
type Sim interface {
	// SimGet gives the values by quantity; `level` and `on` for lines.
	SimGet(part, quantity string) (map[string]any, error)
	SimSet(part, quantity, value string) error
	SimFault(part, fault string) error
}

// Publisher takes a message into the house as if a client had published it.
type Publisher interface {
	PublishHTTP(ctx context.Context, m iot.Message) error
}

// Removal says what else goes with a connection that is ended.
type Removal struct {
	Session bool // what waits in it is lost
	Will    bool // the last will is not sent
}

// Broker is what the data plane asks of the broker.
type Broker interface {
	// CheckPublish reports why nobody outside may publish m: its topic, or a full
	// store of retained messages (Throttled). It counts what it refuses.
	CheckPublish(m iot.Message) error
	Retained(name string) (iot.Message, bool)
	// RetainedAfter lists up to n retained messages beyond a topic, by topic.
	RetainedAfter(name string, n int) []iot.Message
	// Remove ends a connection; false: there was nothing to remove.
	Remove(id iot.ClientID, r Removal) bool
}

// Operator answers for the gateway as a whole. Each method gives a value that
// is written as JSON.
type Operator interface {
	Status() any
	Version() any
	SpoolStats() any
	Rules() any
	SyncStatus() any
	// Users are the password identities, without their hashes.
	Users() any
	// Denials are the last refusals of policies, each with what would allow it.
	Denials() any
	// Conflicts are the newest conflicts of shadow sync, of one thing when named.
	Conflicts(ctx context.Context, thing iot.ThingName) (any, error)
	// CreateAccessKey makes a local access key; the secret is told only once.
	CreateAccessKey(ctx context.Context, policy string) (any, error)
	// AccessKeys are all keys, without their secrets.
	AccessKeys(ctx context.Context) (any, error)
	// DeleteAccessKey removes a key: NotFound.
	DeleteAccessKey(ctx context.Context, id string) error
	// Ready reports why the gateway cannot serve; nil means it can.
	Ready() error
	// Live reports why the gateway should be restarted; nil means it should not.
	Live() error
}

// Spool is what people look at and do in the spool (telemetry.md section 13).
// Values are written as JSON.
type Spool interface {
	// SpoolLook answers one of ls, peek, verify, losses and quarantine; another
	// one is NotFound.
	SpoolLook(ctx context.Context, what string, query url.Values) (any, error)
	// SpoolExport writes every message that fits, one document each.
	SpoolExport(ctx context.Context, query url.Values, write func([]byte) error) error
	// SpoolDo does one of drop, forget, import, release, discard, pause, resume
	// and rate; another one is NotFound.
	SpoolDo(ctx context.Context, verb string, request []byte) (any, error)
}

// Rules answers about rules and roles what AWS's API does not. Values are
// written as JSON; an unknown rule is Unauthorized as there, an unknown role
// NotFound.
type Rules interface {
	// RuleTrace gives the last evaluations of a rule.
	RuleTrace(name string) (any, error)
	// TestRule runs a rule on a message without doing anything; request is what
	// `tidehold rule test` sends.
	TestRule(ctx context.Context, request []byte) (any, error)
	Roles() any
	Role(name string) (any, error)
	// PutRole makes a role, or replaces the one there is.
	PutRole(ctx context.Context, name string, document []byte, replace bool) error
	DeleteRole(ctx context.Context, name string) error
}

// Keys finds the identity behind a signed request and says whether it may act.
type Keys interface {
	// Verify authenticates a signed request and its body. Errors are Unauthorized.
	Verify(r *http.Request, body []byte) (iot.Principal, error)
	// Certificate is who a verified client certificate stands for.
	Certificate(state *tls.ConnectionState) (iot.Principal, error)
	// Allow decides one action on one resource for who sent the request: policies
	// also look at where it comes from. Errors are Forbidden.
	Allow(r *http.Request, p iot.Principal, action, resource string) error
}

// Control is AWS's control plane (package control).
type Control interface {
	// Known reports whether a path is one of its own.
	Known(escapedPath string) bool
	// Handle answers one request of an authenticated caller.
	Handle(w http.ResponseWriter, r *http.Request, caller iot.Principal, body []byte)
}

// Services is everything the server needs of the house.
type Services struct {
	Shadows   Shadows
	Uplinks   Uplinks
	Sim       Sim
	Publisher Publisher
	Broker    Broker
	Operator  Operator
	// Rules may be nil: there are none of its routes then.
	Rules Rules
	// Spool may be nil, likewise.
	Spool Spool
	Keys  Keys
	// Control may be nil.
	Control Control
	// Root gives the certificate that clients must trust, in PEM; nil is none.
	Root    func() []byte
	Console http.Handler
	Metrics http.Handler
	Clock   clock.Clock
	IDs     *ids.Source
}

// errorBody is AWS's error document and ours: a message, and a type for machines.
func errorBody(err error, id string) []byte {
	body, _ := json.Marshal(map[string]string{"message": iot.MessageOf(err), "traceId": id})
	return body
}
