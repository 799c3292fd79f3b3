package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/sigv4"
	"github.com/tidehold/tidehold/gateway/topic"
)

// api is what one request asks of the house: who asks, and its body.
type api struct {
	principal iot.Principal
	body      []byte
}

// call answers a request with a JSON value, raw JSON (json.RawMessage) or an error.
type call func(a api, r *http.Request) (any, error)

// operation is one route: the policy action and resource it needs, and what it does.
type operation struct {
	pattern  string
	action   string
	resource func(*http.Request) string
	do       call
}

func everything(*http.Request) string { return "*" }

func thingOf(r *http.Request) string {
	resource := "thing/" + r.PathValue("thing")
	if name := r.URL.Query().Get("name"); name != "" {
		resource += "/" + name
	}
	return resource
}

func topicOf(r *http.Request) string { return "topic/" + r.PathValue("topic") }

// dataPlane are AWS's `iot-data` operations (http-api.md, data plane).
func (s *Server) dataPlane() []operation {
	return []operation{
		{"GET /things/{thing}/shadow", "iot:GetThingShadow", thingOf, s.getShadow},
		{"POST /things/{thing}/shadow", "iot:UpdateThingShadow", thingOf, s.updateShadow},
		{"DELETE /things/{thing}/shadow", "iot:DeleteThingShadow", thingOf, s.deleteShadow},
		{"GET /api/things/shadow/ListNamedShadowsForThing/{thing}", "iot:ListNamedShadowsForThing", everything, s.listShadows},
		{"POST /topics/{topic...}", "iot:Publish", topicOf, s.publish},
	}
}

// admin are the gateway's own operations, for the command line and the console.
func (s *Server) admin() []operation {
	return append(s.ruleOperations(), []operation{
		{"GET /tidehold/v1/status", "tidehold:Read", everything, s.value(s.services.Operator.Status)},
		{"GET /tidehold/v1/version", "tidehold:Read", everything, s.value(s.services.Operator.Version)},
		{"GET /tidehold/v1/spool", "tidehold:Read", everything, s.value(s.services.Operator.SpoolStats)},
		{"GET /tidehold/v1/rules", "tidehold:Read", everything, s.value(s.services.Operator.Rules)},
		{"GET /tidehold/v1/sync", "tidehold:Read", everything, s.value(s.services.Operator.SyncStatus)},
		{"GET /tidehold/v1/uplinks", "tidehold:Read", everything, s.uplinks},
		{"POST /tidehold/v1/uplinks/{verb}", "tidehold:Write", everything, s.moveUplink},
		{"GET /tidehold/v1/sim/{part}", "tidehold:Read", everything, s.simGet},
		{"PUT /tidehold/v1/sim/{part}", "tidehold:Write", everything, s.simSet},
		{"GET /tidehold/v1/root", "tidehold:Read", everything, s.root},
		{"POST /tidehold/v1/access-keys", "tidehold:Write", everything, s.createKey},
		{"GET /tidehold/v1/access-keys", "tidehold:Write", everything, s.listKeys},
		{"DELETE /tidehold/v1/access-keys/{id}", "tidehold:Write", everything, s.deleteKey},
	}...)
}

// identify says who asks, from the request and its body.
type identify func(r *http.Request, body []byte) (iot.Principal, error)

// operatorRoutes trust whoever may open the socket.
func (s *Server) operatorRoutes() http.Handler {
	mux := s.healthRoutes()
	operator := func(*http.Request, []byte) (iot.Principal, error) {
		return iot.Principal{Kind: iot.Local, ID: "operator"}, nil
	}
	for _, op := range append(s.dataPlane(), s.admin()...) {
		mux.HandleFunc(op.pattern, s.ask(operator, false, op))
	}
	mux.Handle("GET /metrics", s.services.Metrics)
	return s.withControl(mux, operator)
}

// controlRoutes ask for a signature, and then for a permission.
func (s *Server) controlRoutes() http.Handler {
	mux := s.healthRoutes()
	for _, op := range append(s.dataPlane(), s.admin()...) {
		mux.HandleFunc(op.pattern, s.ask(s.services.Keys.Verify, true, op))
	}
	if s.services.Console != nil {
		mux.Handle("GET /{$}", s.services.Console)
		mux.Handle("GET /console/", s.services.Console)
	}
	return s.withControl(mux, s.services.Keys.Verify)
}

// deviceRoutes are the data plane for client certificates.
func (s *Server) deviceRoutes() http.Handler {
	mux := http.NewServeMux()
	certificate := func(r *http.Request, _ []byte) (iot.Principal, error) { return s.services.Keys.Certificate(r.TLS) }
	for _, op := range s.dataPlane() {
		mux.HandleFunc(op.pattern, s.ask(certificate, true, op))
	}
	return mux
}

// ask answers one operation for whoever identify finds; asked says whether a
// policy is asked too.
func (s *Server) ask(who identify, asked bool, op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(r)
		if err != nil {
			writeError(w, err)
			return
		}
		principal, err := who(r, body)
		if err == nil && asked {
			err = s.services.Keys.Allow(principal, op.action, op.resource(r))
		}
		if err != nil {
			writeError(w, err)
			return
		}
		answer(w, r, op.do, api{principal, body})
	}
}

// withControl puts AWS's control plane beside the other routes. Its paths are
// taken as they come: a mux would clean them, and a signature covers them.
func (s *Server) withControl(others http.Handler, who identify) http.Handler {
	control := s.services.Control
	if control == nil {
		return others
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !control.Known(r.URL.EscapedPath()) {
			others.ServeHTTP(w, r)
			return
		}
		body, err := readBody(r)
		var principal iot.Principal
		if err == nil {
			principal, err = who(r, body)
		}
		if err != nil {
			writeError(w, err)
			return
		}
		control.Handle(w, r, principal, body)
	})
}

func (s *Server) metricsRoutes() http.Handler {
	mux := s.healthRoutes()
	mux.Handle("GET /metrics", s.services.Metrics)
	return mux
}

// healthRoutes need no identity: they tell a supervisor what it must know.
func (s *Server) healthRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	probe := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			io.WriteString(w, "ok\n")
		}
	}
	mux.HandleFunc("GET /livez", probe(s.services.Operator.Live))
	mux.HandleFunc("GET /readyz", probe(s.services.Operator.Ready))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, s.value(s.services.Operator.Status), api{})
	})
	return mux
}

func answer(w http.ResponseWriter, r *http.Request, do call, a api) {
	value, err := do(a, r)
	if err != nil {
		writeError(w, err)
		return
	}
	body, raw := value.(json.RawMessage)
	if !raw {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			writeError(w, err)
			return
		}
		body = buf.Bytes()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}

// writeError answers with the status, type and message of err's code
// (http-api.md, conventions).
func writeError(w http.ResponseWriter, err error) {
	status, kind := iot.CodeOf(err).HTTPStatus(), iot.CodeOf(err).AWSType()
	var unsigned *sigv4.Error
	if errors.As(err, &unsigned) {
		status, kind = unsigned.Status, unsigned.Type
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", kind)
	w.WriteHeader(status)
	w.Write(errorBody(err))
}

func (s *Server) value(read func() any) call {
	return func(api, *http.Request) (any, error) { return read(), nil }
}

func shadowKey(r *http.Request) (iot.ShadowKey, error) {
	thing, err := iot.ParseThingName(r.PathValue("thing"))
	if err != nil {
		return iot.ShadowKey{}, err
	}
	shadow, err := iot.ParseShadowName(r.URL.Query().Get("name"))
	return iot.ShadowKey{Thing: thing, Shadow: shadow}, err
}

func origin(a api, r *http.Request) iot.Origin {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = ""
	}
	return iot.Origin{Principal: a.principal, SourceIP: host, Source: "api/" + a.principal.ID}
}

func (s *Server) getShadow(_ api, r *http.Request) (any, error) {
	key, err := shadowKey(r)
	if err != nil {
		return nil, err
	}
	body, err := s.services.Shadows.Get(r.Context(), key, "")
	return json.RawMessage(body), err
}

func (s *Server) updateShadow(a api, r *http.Request) (any, error) {
	key, err := shadowKey(r)
	if err != nil {
		return nil, err
	}
	body, err := s.services.Shadows.Update(r.Context(), key, a.body, origin(a, r))
	return json.RawMessage(body), err
}

func (s *Server) deleteShadow(a api, r *http.Request) (any, error) {
	key, err := shadowKey(r)
	if err != nil {
		return nil, err
	}
	body, err := s.services.Shadows.Delete(r.Context(), key, origin(a, r))
	return json.RawMessage(body), err
}

func (s *Server) listShadows(_ api, r *http.Request) (any, error) {
	thing, err := iot.ParseThingName(r.PathValue("thing"))
	if err != nil {
		return nil, err
	}
	size := 25
	if text := r.URL.Query().Get("pageSize"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > 100 {
			return nil, iot.Errorf(iot.InvalidRequest, "pageSize %q: want 1 to 100", text)
		}
	}
	names, next, err := s.services.Shadows.List(r.Context(), thing, r.URL.Query().Get("nextToken"), size)
	if err != nil {
		return nil, err
	}
	page := struct {
		Results   []iot.ShadowName `json:"results"`
		NextToken string           `json:"nextToken,omitempty"`
	}{append([]iot.ShadowName{}, names...), next}
	return page, nil
}

func (s *Server) publish(a api, r *http.Request) (any, error) {
	name, err := topic.ParseName(r.PathValue("topic"))
	if err != nil {
		return nil, err
	}
	if reserved, is := topic.ParseReserved(string(name)); is && !reserved.ClientMayPublish() {
		return nil, iot.Errorf(iot.Forbidden, "topic %q is the gateway's own", name)
	}
	m := iot.Message{Topic: string(name), Payload: a.body, Origin: origin(a, r)}
	switch qos := r.URL.Query().Get("qos"); qos {
	case "", "0":
	case "1":
		m.QoS = 1
	default:
		return nil, iot.Errorf(iot.InvalidRequest, "qos %q: want 0 or 1", qos)
	}
	m.Retain = r.URL.Query().Get("retain") == "true"
	if err := s.services.Publisher.PublishHTTP(r.Context(), m); err != nil {
		return nil, err
	}
	return map[string]string{"message": "OK", "traceId": ""}, nil
}

// uplinks answers with all uplinks, or with the one that is named.
func (s *Server) uplinks(_ api, r *http.Request) (any, error) {
	all := append([]UplinkStatus{}, s.services.Uplinks.UplinkStatus()...)
	name := r.URL.Query().Get("name")
	if name == "" {
		return all, nil
	}
	for _, u := range all {
		if u.Name == name {
			return []UplinkStatus{u}, nil
		}
	}
	return nil, iot.Errorf(iot.NotFound, "uplink %q does not exist", name)
}

func (s *Server) moveUplink(_ api, r *http.Request) (any, error) {
	name := r.URL.Query().Get("name")
	var err error
	switch verb := r.PathValue("verb"); verb {
	case "cut":
		err = s.services.Uplinks.CutUplink(name)
	case "restore":
		err = s.services.Uplinks.RestoreUplink(name)
	default:
		err = iot.Errorf(iot.NotFound, "uplink: no verb %q", verb)
	}
	if err != nil {
		return nil, err
	}
	return s.services.Uplinks.UplinkStatus(), nil
}

// simGet answers with one member per quantity.
func (s *Server) simGet(_ api, r *http.Request) (any, error) {
	return s.services.Sim.SimGet(r.PathValue("part"), r.URL.Query().Get("quantity"))
}

// simSet sets a quantity or, with a fault, what is wrong with the part.
func (s *Server) simSet(a api, r *http.Request) (any, error) {
	var want struct{ Quantity, Value, Fault string }
	if err := json.Unmarshal(a.body, &want); err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "sim set: %v", err)
	}
	part := r.PathValue("part")
	if want.Fault != "" {
		return map[string]any{"part": part, "fault": want.Fault}, s.services.Sim.SimFault(part, want.Fault)
	}
	return map[string]any{"part": part, "value": want.Value}, s.services.Sim.SimSet(part, want.Quantity, want.Value)
}

func (s *Server) createKey(a api, r *http.Request) (any, error) {
	var want struct{ Policy string }
	if err := json.NewDecoder(bytes.NewReader(a.body)).Decode(&want); err != nil && err != io.EOF {
		return nil, iot.Errorf(iot.InvalidRequest, "access-key create: %v", err)
	}
	return s.services.Operator.CreateAccessKey(r.Context(), want.Policy)
}

func (s *Server) listKeys(_ api, r *http.Request) (any, error) {
	return s.services.Operator.AccessKeys(r.Context())
}

func (s *Server) deleteKey(_ api, r *http.Request) (any, error) {
	return map[string]string{}, s.services.Operator.DeleteAccessKey(r.Context(), r.PathValue("id"))
}

// root gives the certificate that devices must trust.
func (s *Server) root(api, *http.Request) (any, error) {
	if s.services.Root == nil {
		return nil, iot.Errorf(iot.NotFound, "this gateway has no certificate authority")
	}
	return map[string]string{"certificatePem": string(s.services.Root())}, nil
}
