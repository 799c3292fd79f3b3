package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"

	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/pki/local"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/provision"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/sigv4"
)

// openKeeper opens the gateway's certificate authority, made at the first
// start, and sees to a server certificate with all names of now.
func (g *Gateway) openKeeper(dir string) (*local.Keeper, error) {
	server := g.cfg.TLS.Server
	cfg := local.Config{
		Dir: filepath.Join(dir, "pki"), Gateway: string(g.cfg.Gateway.ID), Built: g.env.Built,
		RequireSNI: g.cfg.TLS.RequireSNI,
		Names:      func() pki.Names { return local.SystemNames(append([]string{g.cfg.Gateway.Endpoint}, server.Names...)) },
	}
	if server.Cert.IsSet() {
		cfg.Custom = func() (chain, key []byte, err error) {
			if chain, err = server.Cert.Resolve(); err == nil {
				key, err = server.Key.Resolve()
			}
			return chain, key, err
		}
	}
	return local.Open(cfg, g.env.Clock, g.ids, g.metrics, g.log)
}

// newRegistry reads the records and adds what the configuration declares.
func (g *Gateway) newRegistry(ctx context.Context, f *files, keeper *local.Keeper) (*registry.Registry, error) {
	r := registry.New(g.things(), f.state, g.env.Clock, g.ids)
	cfg := registry.Config{Authority: keeper.Authority, Floor: keeper.Floor(), Log: g.log}
	for _, p := range g.cfg.Security.Policies {
		cfg.Policies = append(cfg.Policies, registry.Static{Name: p.Name, Document: p.Document})
	}
	return r, r.Load(ctx, cfg)
}

func (g *Gateway) scope() policy.Scope {
	aws := g.cfg.Gateway.AWS
	return policy.Scope{Region: aws.Region, Account: aws.AccountID, AnyAccount: aws.AcceptAnyAccount}
}

// newChecker builds the authoriser from the configuration's policies and users;
// certificates and access keys are the registry's.
func (g *Gateway) newChecker(reg *registry.Registry) (*access.Checker, error) {
	cfg := access.Config{Scope: g.scope(), Directory: directory{reg}, StrictClientID: g.cfg.Security.StrictClientID}
	for _, p := range g.cfg.Security.Policies {
		document, err := policy.Parse([]byte(p.Document))
		if err != nil {
			return nil, fmt.Errorf("policy %q: %w", p.Name, err)
		}
		cfg.Policies = append(cfg.Policies, access.Policy{Name: p.Name, Document: document})
	}
	for _, u := range g.cfg.Security.Users {
		hash, err := u.Password.Resolve()
		if err != nil {
			return nil, fmt.Errorf("user %q: password: %w", u.Name, err)
		}
		cfg.Users = append(cfg.Users, access.User{Name: u.Name, Hash: string(hash), Policies: u.Policies})
	}
	return access.New(cfg, g.env.Clock, g.ids, g.metrics, g.log)
}

// directory answers the authoriser's questions from the registry.
type directory struct{ *registry.Registry }

// Rights are those of a certificate or an access key.
func (d directory) Rights(p iot.Principal, id iot.ClientID) access.Rights {
	return access.Rights(d.Registry.Rights(p, id))
}

// gate is the broker's Authorizer over the house's one checker.
type gate struct{ checker *access.Checker }

// Connect authenticates a client and asks iot:Connect.
func (g gate) Connect(c *broker.Client, password []byte) error {
	known := &access.Client{
		ID: c.ID, Principal: c.Principal, Listener: c.Listener, Auth: c.Auth, RemoteIP: c.RemoteIP, Username: c.Username,
		Secure: c.TLS != nil, Persistent: !c.CleanStart || c.SessionExpiry > 0, Will: c.Will != nil,
	}
	if c.TLS != nil {
		known.ServerName = c.TLS.ServerName
		if len(c.TLS.PeerCertificates) > 0 {
			known.Principal = certificatePrincipal(c.TLS)
		}
	}
	known.Auth = authOf(known)
	if c.Will != nil {
		known.WillTopic = c.Will.Topic
	}
	if err := g.checker.Connect(known, password); err != nil {
		return err
	}
	c.Principal, c.Private = known.Principal, known
	return nil
}

// authOf is how a client of a listener with several protocols has proved who it
// is: by a certificate in its handshake, or by the signature of its request.
func authOf(c *access.Client) string {
	switch c.Principal.Kind {
	case iot.CertificateKind:
		return access.AuthCertificate
	case iot.AccessKeyKind:
		return access.AuthSigV4
	}
	return c.Auth
}

// certificatePrincipal is who a verified client certificate stands for.
func certificatePrincipal(state *tls.ConnectionState) iot.Principal {
	return iot.Principal{Kind: iot.CertificateKind, ID: pki.ID(state.PeerCertificates[0])}
}

// MayStay asks iot:Connect again: a change between Connect and now has found
// nobody to put out.
func (g gate) MayStay(c *broker.Client) bool {
	return g.checker.MayConnect(c.Private.(*access.Client))
}

// Publish asks iot:Publish, and iot:RetainPublish for a retained message.
func (g gate) Publish(c *broker.Client, name string, retain bool) error {
	return g.checker.Publish(c.Private.(*access.Client), name, retain)
}

// Reserved tells the denial log of a topic that no policy opens.
func (g gate) Reserved(c *broker.Client, name string) {
	g.checker.Reserved(c.Private.(*access.Client), name)
}

// Subscribe asks iot:Subscribe.
func (g gate) Subscribe(c *broker.Client, filter string) error {
	return g.checker.Subscribe(c.Private.(*access.Client), filter)
}

// Receive asks iot:Receive.
func (g gate) Receive(c *broker.Client, name string) bool {
	return g.checker.Receive(c.Private.(*access.Client), name)
}

// sweep lets a change of the registry take effect at once: every decision is
// made anew, and who may not connect any more is put out.
func (g gate) sweep(b *broker.Broker) {
	g.checker.Invalidate()
	for _, c := range b.Clients() {
		if known, is := c.Private.(*access.Client); is && !g.checker.MayConnect(known) {
			b.Disconnect(c.ID, wire.CodeAdministrative)
		}
	}
}

// admit lets in whose certificate the registry knows and calls ACTIVE, and whom
// a registered CA lets in for the first time. It is asked at every handshake, a
// resumed one too.
func (r *rooms) admit(listener string) func(context.Context, tls.ConnectionState) error {
	return func(ctx context.Context, state tls.ConnectionState) error {
		_, err := r.provision.Admit(ctx, registry.Hello{Chain: state.PeerCertificates, ServerName: state.ServerName})
		if err != nil {
			p := certificatePrincipal(&state)
			r.checker.Unproven(&access.Client{Principal: p, Listener: listener}, "certificate", "cert/"+p.ID, err)
		}
		return err
	}
}

// newProvision builds fleet and just-in-time provisioning.
func (g *Gateway) newProvision(r *rooms, h *house) *provision.Service {
	said := g.cfg.Security.Provisioning
	cfg := provision.Config{Account: g.cfg.Gateway.AWS.AccountID, ARN: g.scope().ARN, AutoActivate: said.AutoActivate}
	hooks := make(map[string]provision.Hook)
	for _, name := range r.functions.Names() {
		hooks[name] = functionHook(r.functions, name)
	}
	for _, l := range said.AllowLists {
		hooks[l.Name] = provision.AllowList(l.Parameter, l.Values)
	}
	cfg.Hook = func(arn string) provision.Hook { return hooks[function.NameOf(arn)] }
	return provision.New(cfg, r.registry, provisionVoice{h}, g.env.Clock, g.ids, g.log)
}

// functionHook asks a local function, with the event and the answer of AWS's
// pre-provisioning hooks.
func functionHook(functions *function.Runner, name string) provision.Hook {
	return func(ctx context.Context, r provision.HookRequest) (bool, map[string]string, error) {
		event, err := json.Marshal(r)
		if err != nil {
			return false, nil, err
		}
		text, err := functions.Invoke(ctx, function.Call{Function: name, Event: event, ClientID: string(r.ClientID)})
		if err != nil {
			return false, nil, err
		}
		var answer struct {
			Allow     bool              `json:"allowProvisioning"`
			Overrides map[string]string `json:"parameterOverrides"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return false, nil, fmt.Errorf("its answer: %w", err)
		}
		return answer.Allow, answer.Overrides, nil
	}
}

// provisionVoice says what provisioning has to say.
type provisionVoice struct{ *house }

// Answer reaches the connection that asked and nobody else.
func (v provisionVoice) Answer(asker iot.Origin, m iot.Message) { v.broker.DeliverTo(asker, m) }

// keys is httpapi's Keys: signatures by access keys, and client certificates.
type keys struct {
	registry *registry.Registry
	checker  *access.Checker
	clock    clock.Clock
	log      *slog.Logger
}

// Verify authenticates a signed request.
func (k keys) Verify(r *http.Request, body []byte) (iot.Principal, error) {
	secret := func(id string) (string, bool) {
		key, err := k.registry.AccessKeys().Find(r.Context(), id)
		return key.Secret, err == nil
	}
	identity, err := sigv4.Verify(sigv4.Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, ContentLength: r.ContentLength,
		Header: r.Header, Body: func() ([]byte, error) { return body, nil },
	}, secret, k.clock.Now(), sigv4.Skew)
	if err != nil {
		k.checker.Unproven(&access.Client{Principal: iot.Principal{Kind: iot.AccessKeyKind}, Listener: "http", HTTP: true}, "signature", remoteIP(r), err)
		return iot.Principal{}, err
	}
	if err := k.registry.AccessKeys().Used(r.Context(), identity.AccessKeyID); err != nil {
		k.log.Warn("the last use of an access key is not known", "err", err)
	}
	return iot.Principal{Kind: iot.AccessKeyKind, ID: identity.AccessKeyID}, nil
}

// Certificate is who a TLS connection with a client certificate stands for.
func (k keys) Certificate(state *tls.ConnectionState) (iot.Principal, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return iot.Principal{}, iot.Errorf(iot.Forbidden, "no client certificate")
	}
	return certificatePrincipal(state), nil
}

// Allow asks the policies of an access key or a certificate, which may also look
// at where the request comes from.
func (k keys) Allow(r *http.Request, p iot.Principal, action, resource string) error {
	c := &access.Client{Principal: p, Auth: access.AuthSigV4, HTTP: true, RemoteIP: remoteIP(r)}
	if p.Kind == iot.CertificateKind {
		c.Auth = access.AuthCertificate
	}
	if r.TLS != nil {
		c.Secure, c.ServerName = true, r.TLS.ServerName
	}
	return k.checker.Allow(c, action, resource)
}

// remoteIP is the address a request comes from; empty on the operator's socket.
func remoteIP(r *http.Request) string {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return remote.Addr().Unmap().String()
}
