// Package provision makes things of devices that nobody registered by hand: by
// the CA that signed them, when they connect for the first time (Admit), or by a
// claim over MQTT (HandleTopic), both through templates (security.md 2.3).
//
// What it promises:
//
//   - A template is carried out as a whole or not at all; the answer leaves after
//     the commit.
//   - Requests over MQTT are worked off in the order they came, by one worker in
//     Run: making an RSA key takes up to seconds on a small board, and nobody
//     else waits for it. At most queueMax wait; the next ones are rejected with
//     429. An answer goes to the connection that asked and to nobody else.
//   - Limits: rateAll provisionings a second in all and rateOne of one principal,
//     then 429; TemplateUsesMax devices a template (gateway/registry).
//   - A certificate whose ownership token nobody used for an hour is removed.
//   - Admit blocks for the store: call it in a handshake, not on the message path.
//
// It knows neither broker nor HTTP: what it says goes through Voice.
package provision

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/bucket"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/topic"
)

const (
	// queueMax is how many requests may wait; beyond it they are rejected.
	queueMax = 64
	// rateAll and rateOne are provisionings a second; rateBurst seconds of them
	// may come at once.
	rateAll   = 10
	rateOne   = 1
	rateBurst = 2
	// principalsMax is how many principals are told apart at once; rateAll alone
	// bounds the others.
	principalsMax = 1024
	// sweepEvery is how often unused certificates are looked for.
	sweepEvery = time.Minute
)

// Voice says what provisioning has to say.
type Voice interface {
	// Publish takes an event into the house.
	Publish(m iot.Message)
	// Answer delivers a message to the connection that asked, if it subscribes to
	// the topic, and to nobody else: answers hold private keys.
	Answer(asker iot.Origin, m iot.Message)
}

// Hook decides about one device before it is provisioned. overrides replace
// parameters.
type Hook func(ctx context.Context, r HookRequest) (allow bool, overrides map[string]string, err error)

// HookRequest is what a hook is asked, in AWS's words.
type HookRequest struct {
	ClaimCertificateID string            `json:"claimCertificateId,omitempty"`
	CertificateID      string            `json:"certificateId"`
	CertificatePEM     string            `json:"certificatePem"`
	TemplateArn        string            `json:"templateArn"`
	ClientID           iot.ClientID      `json:"clientId,omitempty"`
	Parameters         map[string]string `json:"parameters"`
}

// AllowList is a hook that allows the listed values of one parameter, such as
// serial numbers.
func AllowList(parameter string, values []string) Hook {
	allowed := make(map[string]bool, len(values))
	for _, v := range values {
		allowed[v] = true
	}
	return func(_ context.Context, r HookRequest) (bool, map[string]string, error) {
		return allowed[r.Parameters[parameter]], nil, nil
	}
}

// Config is what a Service works with.
type Config struct {
	// Account is told in events; ARN builds the ARN of a resource.
	Account string
	ARN     func(resource string) string
	// Hook finds what the targetArn of a template names; nil is not there.
	Hook func(targetARN string) Hook
	// AutoActivate is the policy that a certificate of a CA without template gets,
	// and with it the status ACTIVE; empty leaves it PENDING_ACTIVATION.
	AutoActivate string
}

// Service provisions devices.
type Service struct {
	cfg      Config
	registry *registry.Registry
	voice    Voice
	clock    clock.Clock
	ids      *ids.Source
	log      *slog.Logger
	queue    chan request

	mu    sync.Mutex
	all   map[topic.ProvisionOp]*bucket.Bucket
	apart bucket.Shelf[string] // by principal
}

type request struct {
	message iot.Message
	topic   topic.Provision
	done    func(error)
}

// New builds a service; it starts nothing.
func New(cfg Config, reg *registry.Registry, voice Voice, clk clock.Clock, src *ids.Source, log *slog.Logger) *Service {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		cfg: cfg, registry: reg, voice: voice, clock: clk, ids: src, log: log,
		queue: make(chan request, queueMax), all: make(map[topic.ProvisionOp]*bucket.Bucket),
		apart: bucket.Shelf[string]{Rate: rateOne, Burst: rateBurst * rateOne, Max: principalsMax},
	}
}

// Run works the requests off and removes unused certificates until ctx ends;
// what waits then is refused.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case r := <-s.queue:
			s.serve(ctx, r)
		case <-ticker.C:
			if n, err := s.registry.Expire(ctx); err != nil {
				s.log.Warn("unused certificates could not be removed", "err", err)
			} else if n > 0 {
				s.log.Info("unused certificates were removed", "count", n)
			}
		case <-ctx.Done():
			s.drain()
			return nil
		}
	}
}

func (s *Service) drain() {
	for {
		select {
		case r := <-s.queue:
			r.done(iot.Errorf(iot.Unavailable, "the gateway stops"))
		default:
			return
		}
	}
}

// HandleTopic takes a request of fleet provisioning. done is called once the
// answer has left: with nil also for a rejection, which is an answer.
func (s *Service) HandleTopic(m iot.Message, done func(error)) {
	p, ok := topic.ParseProvision(m.Topic)
	if !ok || p.Answer != "" {
		done(nil)
		return
	}
	r := request{m, p, done}
	err := s.throttle(p.Op, m.Origin.Principal.ID)
	if err == nil {
		select {
		case s.queue <- r:
			return
		default:
			err = iot.Errorf(iot.Throttled, "%d provisioning requests wait already", queueMax)
		}
	}
	s.reject(r, err)
	done(nil)
}

// throttle takes one token of all that do the same, and one of the principal
// when a certificate is to be made.
func (s *Service) throttle(op topic.ProvisionOp, principal string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Time{}.Add(s.clock.Up()) // of a clock that does not go back
	if op != topic.RegisterThing && !s.apart.Take(principal, now) {
		return iot.Errorf(iot.Throttled, "too many certificates for one claim; at most %d a second", rateOne)
	}
	all := s.all[op]
	if all == nil {
		all = &bucket.Bucket{}
		s.all[op] = all
	}
	if !all.Take(now, rateAll, rateBurst*rateAll) {
		return iot.Errorf(iot.Throttled, "too many provisioning requests; at most %d a second", rateAll)
	}
	return nil
}

// Check reports why a template would be refused.
func (s *Service) Check(body string) error {
	_, err := ParseTemplate(body)
	return err
}

// Claim makes a certificate that lives pki.ClaimLife and may do nothing but
// provision by one template.
func (s *Service) Claim(ctx context.Context, template string) (registry.Issued, error) {
	t, err := s.registry.Template(ctx, template)
	if err != nil {
		return registry.Issued{}, err
	}
	made, err := s.registry.CreateKeys(ctx, pki.Device{CommonName: "Provisioning claim " + t.Name, Life: pki.ClaimLife}, registry.Inactive)
	if err != nil {
		return registry.Issued{}, err
	}
	if err := s.registry.Lease(ctx, made.ID, made.Until); err != nil {
		return registry.Issued{}, err
	}
	name := "tidehold-claim-" + t.Name
	_, err = s.registry.Carry(ctx, registry.Plan{
		Certificate: made.ID, Status: registry.Active, Policies: []registry.Static{{Name: name, Document: s.claimPolicy(t.Name)}},
	})
	return made, err
}

// claimPolicy allows exactly the topics of one template.
func (s *Service) claimPolicy(template string) string {
	var topics, filters []string
	for _, what := range []string{"$aws/certificates/create/*", "$aws/certificates/create-from-csr/*", "$aws/provisioning-templates/" + template + "/provision/*"} {
		topics = append(topics, s.cfg.ARN("topic/"+what))
		filters = append(filters, s.cfg.ARN("topicfilter/"+what))
	}
	text, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{
		map[string]any{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
		map[string]any{"Effect": "Allow", "Action": []string{"iot:Publish", "iot:Receive"}, "Resource": topics},
		map[string]any{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": filters},
	}})
	return string(text)
}

// Register carries a template's text out for an administrator (RegisterThing).
// What a template asks for and cannot have is RegistrationFailure.
func (s *Service) Register(ctx context.Context, body string, parameters map[string]string) (registry.Certificate, map[string]string, error) {
	t, err := ParseTemplate(body)
	if err != nil {
		return registry.Certificate{}, nil, err
	}
	f, err := t.Fill(parameters)
	if err != nil {
		return registry.Certificate{}, nil, err
	}
	if err := s.certificate(ctx, &f); err != nil {
		return registry.Certificate{}, nil, err
	}
	c, err := s.registry.Carry(ctx, f.Plan)
	if err != nil {
		return c, nil, &iot.Error{Code: iot.RegistrationFailure, Message: iot.MessageOf(err), Err: err}
	}
	for name, resource := range f.Resources {
		if resource == "cert/" {
			f.Resources[name] += c.ID
		}
	}
	return c, f.Resources, nil
}

// certificate makes or registers the certificate of a template.
func (s *Service) certificate(ctx context.Context, f *Filled) error {
	switch {
	case f.CSR != "":
		made, err := s.registry.CreateFromCSR(ctx, []byte(f.CSR), registry.Pending)
		f.Plan.Certificate, f.Plan.Token = made.ID, made.Token
		return err
	case f.PEM != "":
		made, err := s.registry.Register(ctx, registry.Registration{PEM: []byte(f.PEM), CA: []byte(f.CAPEM), WithoutCA: f.CAPEM == ""})
		if err == nil {
			f.Plan.Certificate = made.ID
			return nil
		}
		if iot.CodeOf(err) != iot.AlreadyExists {
			return err
		}
		c, parseErr := pki.ParseCertificate([]byte(f.PEM))
		if parseErr == nil {
			f.Plan.Certificate = pki.ID(c)
		}
		return parseErr
	case f.Plan.Certificate == "":
		return iot.Errorf(iot.InvalidRequest, "the template's certificate needs CertificateId, CertificateSigningRequest or CertificatePem")
	}
	return nil
}

// Admit says who a client is by what it showed in a TLS handshake. One that is not registered, of a CA with automatic registration,
// is registered: by the CA's template it becomes a thing and comes in at once;
// without a template it is told to the house, waits for its activation, and is
// Unauthorized until then.
func (s *Service) Admit(ctx context.Context, h registry.Hello) (iot.Principal, error) {
	if len(h.Chain) == 0 {
		return iot.Principal{}, iot.Errorf(iot.Unauthorized, "the client sent no certificate")
	}
	leaf := h.Chain[0]
	p, err := s.registry.Identify(ctx, h)
	if !errors.Is(err, registry.ErrUnknown) {
		return p, err
	}
	ca, err := s.registry.Vouching(ctx, h)
	if err != nil {
		return iot.Principal{}, err
	}
	if err := s.throttle(topic.RegisterThing, ""); err != nil {
		return iot.Principal{}, err
	}
	c, err := s.registry.Adopt(ctx, leaf, ca)
	if iot.CodeOf(err) == iot.AlreadyExists && err != nil {
		return s.registry.Identify(ctx, h)
	}
	if err != nil {
		return iot.Principal{}, err
	}
	if err := s.welcome(ctx, leaf, c, ca); err != nil {
		return iot.Principal{}, err
	}
	return s.registry.Identify(ctx, h)
}

// welcome does with an adopted certificate what its CA says. When a template
// fails the certificate is forgotten, so that the device may try again.
func (s *Service) welcome(ctx context.Context, leaf *x509.Certificate, c registry.Certificate, ca registry.CA) error {
	body, hook := ca.Body, ""
	if ca.Template != "" {
		t, err := s.registry.Template(ctx, ca.Template)
		if err != nil || !t.Enabled {
			return s.forget(ctx, c, either(err, iot.Errorf(iot.Forbidden, "template %q is not enabled", ca.Template)))
		}
		body, hook = t.Body, t.Hook
	}
	switch {
	case body != "":
		if err := s.byTemplate(ctx, leaf, c, registry.Template{Name: ca.Template, Body: body, Hook: hook}); err != nil {
			return s.forget(ctx, c, err)
		}
	case s.cfg.AutoActivate != "":
		plan := registry.Plan{Certificate: c.ID, Status: registry.Active, Policies: []registry.Static{{Name: s.cfg.AutoActivate}}}
		if _, err := s.registry.Carry(ctx, plan); err != nil {
			return s.forget(ctx, c, err)
		}
	default:
		s.announce(c, ca)
	}
	return nil
}

func (s *Service) forget(ctx context.Context, c registry.Certificate, reason error) error {
	s.log.Warn("a device could not be provisioned", "principal", c.ID, "err", reason)
	if err := s.registry.DeleteCertificate(ctx, c.ID, true); err != nil {
		s.log.Warn("its certificate could not be removed", "principal", c.ID, "err", err)
	}
	return fmt.Errorf("provision certificate %s: %w", c.ID, reason)
}

// subjectParameters are the parameters of just-in-time provisioning, by the part
// of the subject they come from.
var subjectParameters = map[string]string{
	"Country": "Country", "Organization": "Organization", "OrganizationalUnit": "OrganizationalUnit",
	"DistinguishedNameQualifier": "DistinguishedNameQualifier", "State": "StateName", "CommonName": "CommonName", "SerialNumber": "SerialNumber",
}

const parameterPrefix = "AWS::IoT::Certificate::"

// byTemplate provisions a device by what its certificate says.
func (s *Service) byTemplate(ctx context.Context, leaf *x509.Certificate, c registry.Certificate, t registry.Template) error {
	parsed, err := ParseTemplate(t.Body)
	if err != nil {
		return err
	}
	values := map[string]string{parameterPrefix + "Id": c.ID}
	for part, list := range pki.NameValues(leaf.Subject) {
		if parameter, has := subjectParameters[part]; has && len(list) > 0 {
			values[parameterPrefix+parameter] = list[0]
		}
	}
	if err := s.ask(ctx, t, HookRequest{CertificateID: c.ID, CertificatePEM: c.PEM, Parameters: values}); err != nil {
		return err
	}
	f, err := parsed.Fill(values)
	if err != nil {
		return err
	}
	f.Plan.Certificate, f.Plan.Template = c.ID, t.Name
	_, err = s.registry.Carry(ctx, f.Plan)
	return err
}

// announce tells the house of a certificate that waits for its activation.
func (s *Service) announce(c registry.Certificate, ca registry.CA) {
	now := s.clock.Now().UnixMilli()
	text, _ := json.Marshal(map[string]any{
		"certificateId": c.ID, "caCertificateId": ca.ID, "timestamp": now, "certificateStatus": c.Status,
		"awsAccountId": s.cfg.Account, "certificateRegistrationTimestamp": fmt.Sprint(now),
	})
	s.voice.Publish(iot.Message{Topic: topic.CertificateRegistered(ca.ID), Payload: text, Origin: iot.Origin{Source: "sys/provision"}, Arrived: s.clock.Now()})
}
