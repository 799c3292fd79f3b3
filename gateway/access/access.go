// Package access says who a connection is, and whether it may do what it asks.
//
// A Checker identifies clients (loopback, password; certificates and signatures
// arrive identified by their listeners), compiles the policies of their
// principal per connection and caches decisions. It has the shape of
// broker.Authorizer over a Client of its own, so that neither room imports the
// other.
//
// What it promises:
//
//   - A change takes effect at once: after Replace or Invalidate the next
//     question is answered by the new policies.
//   - Every denial is counted; it is logged and kept for the console at most
//     once per client, action and resource in denialQuiet, with a count.
//   - A certificate that is refused again and again is banned (gateway/ban).
//   - Limits: decisionsMax decisions per client and cacheBytesMax in all, then
//     decisions are evaluated anew each time; hashesMax password checks at once,
//     the next ones wait up to hashWait and are then refused.
//   - Blocking: only Connect with a password (argon2 costs tens of
//     milliseconds). Everything else computes under short locks.
//
// It starts no goroutine. What it does not do: the reserved topics, which no
// policy opens (gateway/broker), and bans of addresses.
package access

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/policy"
)

// How a listener authenticates (contract section 5, mqtt.listeners[].auth).
const (
	AuthLoopback    = "loopback"
	AuthPassword    = "password"
	AuthCertificate = "certificate"
	AuthSigV4       = "sigv4"
)

// LocalPolicy is the policy of the identity `local`, built in and replaceable.
const LocalPolicy = "local-default"

// everything is the policy of the house itself and of access keys without one.
const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// Policy is a document under its name.
type Policy struct {
	Name     string
	Document *policy.Document
}

// User may connect with a password.
type User struct {
	Name string
	// Hash is an argon2id or bcrypt hash, ParseHash's forms.
	Hash string
	// Policies are names.
	Policies []string
}

// Rights are what a directory knows of a principal.
type Rights struct {
	// Policies are attached documents; Names are names of policies to look up.
	Policies []policy.Named
	Names    []string
	// Everything is set for a principal without any limits.
	Everything bool
	// Thing is the thing a certificate stands for; nil = none.
	Thing *policy.Thing
	// Subject and Issuer are those of the certificate.
	Subject, Issuer map[string][]string
}

// Directory answers for principals that the configuration does not know:
// certificates and access keys. It is asked once per connection and after each
// change, and must not block.
type Directory interface {
	// Rights are those of p while it is connected as id.
	Rights(p iot.Principal, id iot.ClientID) Rights
	// Policy finds a document that the configuration does not hold.
	Policy(name string) (*policy.Document, bool)
}

// Random draws random bytes: ids.Source.
type Random interface{ Bytes(n int) []byte }

// Config is what a Checker starts with.
type Config struct {
	Scope policy.Scope
	// StrictClientID refuses client ids with wildcards always, not only where a
	// policy uses them (security.strict_client_id).
	StrictClientID bool
	Policies       []Policy
	Users          []User
	// Directory is nil while there are neither certificates nor access keys.
	Directory Directory
}

// Client is one connection, or one signer of HTTP requests. Its fields must not
// change after Connect. It must not be copied.
type Client struct {
	ID iot.ClientID
	// Principal is set by Connect, or by the listener that knows it already.
	Principal iot.Principal
	Listener  string
	Auth      string
	RemoteIP  string
	// ServerName is the SNI; Secure is set on TLS.
	ServerName string
	Secure     bool
	// HTTP is set for requests over HTTPS.
	HTTP     bool
	Username string
	// Persistent: clean start is 0, or the session outlives the connection.
	Persistent bool
	// Will is set when there is a last will; WillTopic is its topic.
	Will      bool
	WillTopic string

	session atomic.Pointer[session]
}

// Checker identifies and authorises. All methods may be called from any
// goroutine.
type Checker struct {
	scope      policy.Scope
	strict     bool
	directory  Directory
	clk        clock.Clock
	log        *slog.Logger
	everything *policy.Document

	table      atomic.Pointer[table]
	generation atomic.Uint64
	cacheBytes atomic.Int64

	passwords passwords
	denials   denials
	bans      bans
	failures  *metrics.Counter
	denied    *metrics.Counter
	banned    *metrics.Counter
}

// table is what the configuration says; it is replaced as a whole.
type table struct {
	policies map[string]*policy.Document
	users    map[string]account
}

type account struct {
	hash     Hash
	policies []string
}

// New checks the policies and users. It starts nothing.
func New(cfg Config, clk clock.Clock, src Random, m *metrics.Registry, log *slog.Logger) (*Checker, error) {
	all, err := policy.Parse([]byte(everything))
	if err != nil {
		return nil, fmt.Errorf("access: built-in policy: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Checker{
		scope: cfg.Scope, strict: cfg.StrictClientID, directory: cfg.Directory, clk: clk, log: log, everything: all,
		passwords: newPasswords(src),
		failures:  m.Counter("auth_failures_total", "Connections that could not prove who they are.", "listener", "reason"),
		denied:    m.Counter("authz_denied_total", "Requests that policies denied.", "action"),
		banned:    m.Counter("auth_bans_total", "Bans of certificates that were refused ten times within a minute."),
	}
	m.GaugeFunc("authz_cache_bytes", "Memory of cached decisions; the limit is 32 MiB.", func() float64 { return float64(k.cacheBytes.Load()) })
	return k, k.Replace(cfg.Policies, cfg.Users)
}

// Replace puts new policies and users in place of all old ones, at once for
// every connection. With an error nothing has changed.
func (k *Checker) Replace(policies []Policy, users []User) error {
	t := &table{policies: make(map[string]*policy.Document), users: make(map[string]account)}
	for _, p := range policies {
		if p.Document == nil {
			return fmt.Errorf("access: policy %q has no document", p.Name)
		}
		t.policies[p.Name] = p.Document
	}
	for _, u := range users {
		h, err := ParseHash(u.Hash)
		if err != nil {
			return fmt.Errorf("access: user %q: password: %w", u.Name, err)
		}
		t.users[u.Name] = account{hash: h, policies: u.Policies}
	}
	k.table.Store(t)
	k.passwords.forget()
	k.Invalidate()
	return nil
}

// Invalidate drops every compiled policy and cached decision: call it when the
// directory would answer differently. Connections whose MayConnect is false then
// are for the caller to close.
func (k *Checker) Invalidate() { k.generation.Add(1) }

// Connect authenticates c, sets its Principal, and asks iot:Connect. An
// Unauthorized error: not who it says; Forbidden: it is, and may not.
func (k *Checker) Connect(c *Client, password []byte) error {
	p, err := k.identify(c, password)
	if err != nil {
		reason := "credentials"
		if iot.CodeOf(err) == iot.Throttled {
			reason = "busy"
		}
		k.failures.Inc(c.Listener, reason)
		return err
	}
	c.Principal = p
	c.session.Store(nil)
	if err := k.bans.banned(c, k.clk.Up()); err != nil {
		k.failures.Inc(c.Listener, "banned")
		return err
	}
	err = k.checkClientID(c)
	if err != nil {
		k.failures.Inc(c.Listener, "client_id")
	} else {
		err = k.allow(c, actConnect, string(c.ID))
	}
	if err != nil && k.bans.failed(c, k.clk.Up()) {
		k.banned.Inc()
		k.log.Warn("a certificate was refused too often and is banned", "principal", c.Principal.ID, "client", string(c.ID), "remote", c.RemoteIP)
	}
	return err
}

// identify says who c is.
func (k *Checker) identify(c *Client, password []byte) (iot.Principal, error) {
	switch c.Auth {
	case AuthLoopback:
		if !loopback(c.RemoteIP) {
			return iot.Principal{}, iot.Errorf(iot.Unauthorized, "listener %q takes connections from this host alone, not from %s", c.Listener, c.RemoteIP)
		}
		return iot.Principal{Kind: iot.Local, ID: "local"}, nil
	case AuthPassword:
		account, known := k.table.Load().users[c.Username]
		if err := k.passwords.check(c.Username, account.hash, known, password); err != nil {
			return iot.Principal{}, err
		}
		return iot.Principal{Kind: iot.UserKind, ID: c.Username}, nil
	case AuthCertificate:
		if c.Principal.Kind == iot.CertificateKind && c.Principal.ID != "" {
			return c.Principal, nil
		}
	case AuthSigV4:
		if c.Principal.Kind == iot.AccessKeyKind && c.Principal.ID != "" {
			return c.Principal, nil
		}
	}
	return iot.Principal{}, iot.Errorf(iot.Unauthorized, "client %q proved no identity on listener %q", c.ID, c.Listener)
}

// checkClientID refuses ids that would be wildcards where a policy puts them
// (security.md 1.3).
func (k *Checker) checkClientID(c *Client) error {
	bad := strings.ContainsAny(string(c.ID), "+#/") || strings.ContainsFunc(string(c.ID), unicode.IsControl)
	if bad && (k.strict || k.current(c).compiled.UsesClientID()) {
		return iot.Errorf(iot.Forbidden, "client id %q: + # / and control characters are refused where a policy uses ${iot:ClientId}", c.ID)
	}
	return nil
}

// Publish allows c to publish to a topic, and to retain there. A Forbidden error
// otherwise.
func (k *Checker) Publish(c *Client, name string, retain bool) error {
	err := k.allow(c, actPublish, name)
	if err == nil && retain {
		err = k.allow(c, actRetain, name)
	}
	return err
}

// Reserved is told that c was kept from a topic that no policy opens: it is
// counted and logged like a denial, with nothing to suggest.
func (k *Checker) Reserved(c *Client, name string) {
	k.denied.Inc(countable(actions[actPublish].name))
	k.note(c, actions[actPublish].name, "topic/"+name, "reserved topic", "")
}

// Unproven is told that c was kept out before it could connect or ask: its
// certificate or its signature did not count. It is counted and logged like a
// denial; by is what c showed, `cert/ID` or its address.
func (k *Checker) Unproven(c *Client, reason, by string, err error) {
	k.failures.Inc(c.Listener, reason)
	k.note(c, "authenticate", by, iot.MessageOf(err), "")
}

// Subscribe allows c a topic filter, as it was sent. A Forbidden error otherwise.
func (k *Checker) Subscribe(c *Client, filter string) error { return k.allow(c, actSubscribe, filter) }

// Receive allows the delivery of one message to c.
func (k *Checker) Receive(c *Client, name string) bool { return k.allow(c, actReceive, name) == nil }

// MayConnect asks iot:Connect again, without counting or logging: for live
// connections after a change.
func (k *Checker) MayConnect(c *Client) bool {
	return k.verdict(c, actConnect, string(c.ID)).allowed
}

// Allow asks any action on a resource (`thing/t1`, `*`): for HTTP. A Forbidden
// error otherwise.
func (k *Checker) Allow(c *Client, action, resource string) error {
	d, _ := k.Explain(c, action, resource)
	if d.Allowed {
		return nil
	}
	return k.refuse(c, action, resource, verdict{explicit: d.Explicit, by: d.Policy})
}

// Explain decides like Allow, without counting or logging, and says why: the
// deciding statement, and which variables and keys had no value.
func (k *Checker) Explain(c *Client, action, resource string) (policy.Decision, []string) {
	s := k.current(c)
	return s.compiled.Evaluate(k.request(action, resource, s.compiled)), s.compiled.Missing()
}

// request fills in the time when a policy wants it and the clock is trusted.
func (k *Checker) request(action, resource string, c *policy.Compiled) policy.Request {
	r := policy.Request{Action: action, Resource: resource}
	if c.Volatile() && k.clk.Synced() {
		r.Now = k.clk.Now()
	}
	return r
}

// allow asks one of the cached actions.
func (k *Checker) allow(c *Client, a action, name string) error {
	v := k.verdict(c, a, name)
	if v.allowed {
		return nil
	}
	return k.refuse(c, actions[a].name, actions[a].prefix+name, v)
}

// errDenied is in the chain of every refusal by policy.
var errDenied = errors.New("denied by policy")

// refuse counts, logs and words a denial.
func (k *Checker) refuse(c *Client, action, resource string, v verdict) error {
	k.denied.Inc(countable(action))
	suggest := ""
	if !v.explicit {
		suggest = suggestion(action, k.scope.ARN(resource))
	}
	k.note(c, action, resource, v.reason(), suggest)
	return &iot.Error{
		Code:    iot.Forbidden,
		Message: fmt.Sprintf("%s may not %s on %s", c.name(), action, resource),
		Err:     fmt.Errorf("%w: %s", errDenied, v.reason()),
	}
}

func (c *Client) name() string {
	if c.ID != "" {
		return fmt.Sprintf("client %q", string(c.ID))
	}
	return fmt.Sprintf("principal %q", c.Principal.ID)
}
