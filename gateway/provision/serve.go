package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/provision/cbor"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/topic"
)

// serve carries one request out and answers it.
func (s *Service) serve(ctx context.Context, r request) {
	defer r.done(nil)
	answer, err := s.perform(ctx, r)
	if err != nil {
		s.log.Info("a provisioning request was rejected", "client", string(r.message.Origin.ClientID), "topic", r.message.Topic, "err", err)
		s.reject(r, err)
		return
	}
	s.say(r, topic.Accepted, answer)
}

// say sends an answer to the connection that asked.
func (s *Service) say(r request, answer string, body map[string]any) {
	var payload []byte
	var err error
	if r.topic.Format == "cbor" {
		payload, err = cbor.Encode(body)
	} else {
		payload, err = json.Marshal(body)
	}
	if err != nil {
		s.log.Error("an answer could not be written", "topic", r.message.Topic, "err", err)
		return
	}
	// QoS 0: a private key must not wait on a disk for a client that is away.
	s.voice.Answer(r.message.Origin, iot.Message{
		Topic: r.topic.AnswerTo(answer), Payload: payload, Origin: iot.Origin{Source: "sys/provision"}, Arrived: s.clock.Now(),
	})
}

// What an invalid request got wrong, where AWS names it.
var (
	errToken = errors.New("InvalidCertificateOwnershipToken")
	errCSR   = errors.New("InvalidCertificateSigningRequest")
)

func (s *Service) reject(r request, err error) {
	code := iot.CodeOf(err)
	name := strings.TrimSuffix(code.AWSType(), "Exception")
	switch {
	case code == iot.InvalidRequest && errors.Is(err, errToken):
		name = errToken.Error()
	case code == iot.InvalidRequest && errors.Is(err, errCSR):
		name = errCSR.Error()
	case code == iot.InvalidRequest:
		name = "InvalidParameters"
	case code == iot.Forbidden:
		name = "AccessDenied"
	}
	s.say(r, topic.Rejected, map[string]any{"statusCode": code.HTTPStatus(), "errorCode": name, "errorMessage": iot.MessageOf(err)})
}

// body reads a request of either format; an empty one is an empty map.
func (r request) body() (map[string]any, error) {
	payload := r.message.Payload
	if len(payload) == 0 {
		return nil, nil
	}
	var v any
	var err error
	if r.topic.Format == "cbor" {
		v, err = cbor.Decode(payload)
	} else {
		err = json.Unmarshal(payload, &v)
	}
	m, is := v.(map[string]any)
	if err != nil || !is {
		return nil, iot.Errorf(iot.InvalidRequest, "the payload is not a map in %s", r.topic.Format)
	}
	return m, nil
}

func (s *Service) perform(ctx context.Context, r request) (map[string]any, error) {
	in, err := r.body()
	if err != nil {
		return nil, err
	}
	switch r.topic.Op {
	case topic.CreateKeys:
		made, err := s.registry.CreateKeys(ctx, pki.Device{}, registry.Pending)
		return map[string]any{
			"certificateId": made.ID, "certificatePem": made.PEM, "privateKey": string(made.Keys.Private), "certificateOwnershipToken": made.Token,
		}, err
	case topic.CreateFromCSR:
		csr, _ := in["certificateSigningRequest"].(string)
		made, err := s.registry.CreateFromCSR(ctx, []byte(csr), registry.Pending)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errCSR, err)
		}
		return map[string]any{"certificateId": made.ID, "certificatePem": made.PEM, "certificateOwnershipToken": made.Token}, nil
	}
	return s.provision(ctx, r, in)
}

// provision carries the template of a request out for the certificate that its
// token stands for.
func (s *Service) provision(ctx context.Context, r request, in map[string]any) (map[string]any, error) {
	t, err := s.registry.Template(ctx, r.topic.Template)
	if err != nil {
		return nil, err
	}
	if !t.Enabled || t.Kind == "JITP" {
		return nil, iot.Errorf(iot.Forbidden, "template %q is not enabled for claims", t.Name)
	}
	token, _ := in["certificateOwnershipToken"].(string)
	id, err := s.registry.Owned(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	parameters, err := texts(in["parameters"])
	if err != nil {
		return nil, err
	}
	c, err := s.registry.Certificate(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := s.ask(ctx, t, HookRequest{
		ClaimCertificateID: r.message.Origin.Principal.ID, CertificateID: id, CertificatePEM: c.PEM,
		ClientID: r.message.Origin.ClientID, Parameters: parameters,
	}); err != nil {
		return nil, err
	}
	parameters[parameterPrefix+"Id"] = id
	parsed, err := ParseTemplate(t.Body)
	if err != nil {
		return nil, err
	}
	f, err := parsed.Fill(parameters)
	if err != nil {
		return nil, err
	}
	// The token says whose certificate it is, whatever the template refers to.
	f.Plan.Certificate, f.Plan.Token, f.Plan.Template = id, token, t.Name
	if _, err := s.registry.Carry(ctx, f.Plan); err != nil {
		return nil, err
	}
	answer := map[string]any{"deviceConfiguration": f.Device}
	if f.Plan.Thing != nil {
		answer["thingName"] = string(f.Plan.Thing.Name)
	}
	return answer, nil
}

// hookWait is how long a hook may think, as at AWS.
const hookWait = 5 * time.Second

// ask asks the template's hook, and puts its overrides into the parameters. A
// hook that is named and not there allows nothing.
func (s *Service) ask(ctx context.Context, t registry.Template, r HookRequest) error {
	if t.Hook == "" {
		return nil
	}
	hook := s.cfg.Hook(t.Hook)
	if hook == nil {
		return iot.Errorf(iot.Forbidden, "the pre-provisioning hook of template %q is not available here", t.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, hookWait)
	defer cancel()
	r.TemplateArn = s.cfg.ARN("provisioningtemplate/" + t.Name)
	allow, overrides, err := hook(ctx, r)
	if err != nil {
		return fmt.Errorf("pre-provisioning hook of template %q: %w", t.Name, err)
	}
	if !allow {
		return iot.Errorf(iot.Forbidden, "the pre-provisioning hook of template %q does not allow this device", t.Name)
	}
	maps.Copy(r.Parameters, overrides)
	return nil
}

// texts reads a map of texts.
func texts(v any) (map[string]string, error) {
	out := make(map[string]string)
	in, is := v.(map[string]any)
	if v != nil && !is {
		return nil, iot.Errorf(iot.InvalidRequest, "parameters: want a map of texts")
	}
	for name, value := range in {
		text, is := value.(string)
		if !is {
			return nil, iot.Errorf(iot.InvalidRequest, "parameter %.80q: want a text", name)
		}
		out[name] = text
	}
	return out, nil
}
