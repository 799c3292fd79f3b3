package gateway

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/sigv4"
)

// newChecker builds the authoriser from the configuration's policies and users.
func (g *Gateway) newChecker(reg *registry.Registry) (*access.Checker, error) {
	cfg := access.Config{
		Scope: policy.Scope{
			Region: g.cfg.Gateway.AWS.Region, Account: g.cfg.Gateway.AWS.AccountID, AnyAccount: g.cfg.Gateway.AWS.AcceptAnyAccount,
		},
		Directory: directory{reg},
	}
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

// directory answers for access keys.
type directory struct{ registry *registry.Registry }

// Rights are what an access key may do: what its policy says, without one
// everything.
func (d directory) Rights(p iot.Principal, _ iot.ClientID) access.Rights {
	if p.Kind == iot.House {
		return access.Rights{Everything: true}
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeWait)
	defer cancel()
	key, err := d.registry.AccessKey(ctx, p.ID)
	if err != nil || p.Kind != iot.AccessKeyKind {
		return access.Rights{}
	}
	if key.Policy == "" {
		return access.Rights{Everything: true}
	}
	return access.Rights{Names: []string{key.Policy}}
}

// Policy finds nothing: all policies are the configuration's.
func (d directory) Policy(string) (*policy.Document, bool) { return nil, false }

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
	}
	if c.Will != nil {
		known.WillTopic = c.Will.Topic
	}
	if err := g.checker.Connect(known, password); err != nil {
		return err
	}
	c.Principal, c.Private = known.Principal, known
	return nil
}

// Publish asks iot:Publish, and iot:RetainPublish for a retained message.
func (g gate) Publish(c *broker.Client, name string, retain bool) error {
	return g.checker.Publish(c.Private.(*access.Client), name, retain)
}

// Subscribe asks iot:Subscribe.
func (g gate) Subscribe(c *broker.Client, filter string) error {
	return g.checker.Subscribe(c.Private.(*access.Client), filter)
}

// Receive asks iot:Receive.
func (g gate) Receive(c *broker.Client, name string) bool {
	return g.checker.Receive(c.Private.(*access.Client), name)
}

// keys is httpapi's Keys: signatures by access keys of the registry.
type keys struct {
	registry *registry.Registry
	checker  *access.Checker
	clock    clock.Clock
}

// Verify authenticates a signed request.
func (k keys) Verify(r *http.Request, body []byte) (iot.Principal, error) {
	secret := func(id string) (string, bool) {
		key, err := k.registry.AccessKey(r.Context(), id)
		return key.Secret, err == nil
	}
	identity, err := sigv4.Verify(sigv4.Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, ContentLength: r.ContentLength,
		Header: r.Header, Body: func() ([]byte, error) { return body, nil },
	}, secret, k.clock.Now(), sigv4.Skew)
	if err != nil {
		return iot.Principal{}, err
	}
	return iot.Principal{Kind: iot.AccessKeyKind, ID: identity.AccessKeyID}, nil
}

// Allow asks the policy of the key.
func (k keys) Allow(p iot.Principal, action, resource string) error {
	return k.checker.Allow(&access.Client{Principal: p, Auth: access.AuthSigV4, HTTP: true}, action, resource)
}
