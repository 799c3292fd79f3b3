package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/sigv4"
)

// api is what one request asks of the house: who asks, its body, the id under
// which it is answered, and whether policies are asked.
type api struct {
	principal iot.Principal
	body      []byte
	id        string
	asked     bool
}

// call answers a request with a JSON value, raw JSON (json.RawMessage), a stream
// or an error.
type call func(a api, r *http.Request) (any, error)

// operation is one route: the policy action and resource it needs, and what it does.
type operation struct {
	pattern  string
	action   string
	resource func(*http.Request) string
	do       call
}

func everything(*http.Request) string { return "*" }

// admin are the gateway's own operations, for the command line and the console.
func (s *Server) admin() []operation {
	return append(append(s.ruleOperations(), s.spoolOperations()...), []operation{
		{"GET /tidehold/v1/status", "tidehold:Read", everything, s.value(s.services.Operator.Status)},
		{"GET /tidehold/v1/version", "tidehold:Read", everything, s.value(s.services.Operator.Version)},
		{"GET /tidehold/v1/spool", "tidehold:Read", everything, s.value(s.services.Operator.SpoolStats)},
		{"GET /tidehold/v1/rules", "tidehold:Read", everything, s.value(s.services.Operator.Rules)},
		{"GET /tidehold/v1/sync", "tidehold:Read", everything, s.value(s.services.Operator.SyncStatus)},
		{"GET /tidehold/v1/sync/conflicts", "tidehold:Read", everything, s.conflicts},
		{"GET /tidehold/v1/shadows/{thing}/history", "iot:GetThingShadow", thingOf, s.shadowHistory},
		{"GET /tidehold/v1/shadows/{thing}/watch", "iot:GetThingShadow", thingOf, s.watchShadow},
		{"GET /tidehold/v1/uplinks", "tidehold:Read", everything, s.uplinks},
		{"POST /tidehold/v1/uplinks/{verb}", "tidehold:Write", everything, s.moveUplink},
		{"GET /tidehold/v1/sim/{part}", "tidehold:Read", everything, s.simGet},
		{"PUT /tidehold/v1/sim/{part}", "tidehold:Write", everything, s.simSet},
		{"GET /tidehold/v1/users", "tidehold:Read", everything, s.value(s.services.Operator.Users)},
		{"GET /tidehold/v1/denials", "tidehold:Read", everything, s.value(s.services.Operator.Denials)},
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
	for _, op := range s.admin() {
		mux.HandleFunc(op.pattern, s.ask(operator, false, op))
	}
	mux.Handle("GET /metrics", s.services.Metrics)
	return s.withControl(s.dataRoutes(operator, false, mux), operator)
}

// controlRoutes ask for a signature, and then for a permission.
func (s *Server) controlRoutes() http.Handler {
	mux := s.healthRoutes()
	for _, op := range s.admin() {
		mux.HandleFunc(op.pattern, s.ask(s.services.Keys.Verify, true, op))
	}
	if s.services.Console != nil {
		mux.Handle("GET /{$}", s.services.Console)
		mux.Handle("GET /console/", s.services.Console)
	}
	return s.withControl(s.dataRoutes(s.services.Keys.Verify, true, mux), s.services.Keys.Verify)
}

// deviceRoutes are the data plane for client certificates.
func (s *Server) deviceRoutes() http.Handler {
	certificate := func(r *http.Request, _ []byte) (iot.Principal, error) { return s.services.Keys.Certificate(r.TLS) }
	return s.dataRoutes(certificate, true, http.HandlerFunc(unknownPath))
}

// ask answers one operation for whoever identify finds; asked says whether a
// policy is asked too.
func (s *Server) ask(who identify, asked bool, op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(r, op.bodyMax())
		if err != nil {
			writeError(w, err)
			return
		}
		principal, err := who(r, body)
		if err == nil && asked {
			err = s.services.Keys.Allow(r, principal, op.action, op.resource(r))
		}
		if err != nil {
			writeError(w, err)
			return
		}
		answer(w, r, op.do, api{principal, body, w.Header().Get(requestID), asked})
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
		body, err := readBody(r, BodyBytesMax)
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
	mux.HandleFunc("/", unknownPath)
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
	if lines, is := value.(stream); is {
		lines.send(w)
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
	w.Write(errorBody(err, w.Header().Get(requestID)))
}

func (s *Server) value(read func() any) call {
	return func(api, *http.Request) (any, error) { return read(), nil }
}

// conflicts answers with the journal of shadow sync.
func (s *Server) conflicts(_ api, r *http.Request) (any, error) {
	return s.services.Operator.Conflicts(r.Context(), iot.ThingName(r.URL.Query().Get("thing")))
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
	case "test":
		return s.services.Uplinks.TestUplink(r.Context(), name)
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
