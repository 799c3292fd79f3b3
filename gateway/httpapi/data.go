package httpapi

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
)

// dataPlane are AWS's `iot-data` operations (http-api.md section 1).
func (s *Server) dataPlane() []operation {
	return []operation{
		{"GET /things/{thing}/shadow", "iot:GetThingShadow", thingOf, s.getShadow},
		{"POST /things/{thing}/shadow", "iot:UpdateThingShadow", thingOf, s.updateShadow},
		{"DELETE /things/{thing}/shadow", "iot:DeleteThingShadow", thingOf, s.deleteShadow},
		{"GET /api/things/shadow/ListNamedShadowsForThing/{thing}", "iot:ListNamedShadowsForThing", thingOf, s.listShadows},
		{"POST /topics/{topic...}", "iot:Publish", topicOf, s.publish},
		{"GET /retainedMessage", "iot:ListRetainedMessages", everything, s.listRetained},
		{"GET /retainedMessage/{topic...}", "iot:GetRetainedMessage", topicOf, s.getRetained},
		{"DELETE /connections/{client}", "iot:DeleteConnection", clientOf, s.deleteConnection},
	}
}

func thingOf(r *http.Request) string {
	resource := "thing/" + r.PathValue("thing")
	if name := r.URL.Query().Get("name"); name != "" {
		resource += "/" + name
	}
	return resource
}

func topicOf(r *http.Request) string { return "topic/" + r.PathValue("topic") }

func clientOf(r *http.Request) string { return "client/" + r.PathValue("client") }

// dataRoute is one operation of the data plane, ready to serve.
type dataRoute struct {
	method   string
	segments []string
	serve    http.HandlerFunc
}

// dataRoutes puts the data plane before other routes. Its paths are taken as
// they were sent and decoded segment by segment (http-api.md section 0): a
// ServeMux would clean `//`, which a topic may hold and a signature covers.
func (s *Server) dataRoutes(who identify, asked bool, others http.Handler) http.Handler {
	var routes []dataRoute
	for _, op := range s.dataPlane() {
		method, pattern, _ := strings.Cut(op.pattern, " /")
		routes = append(routes, dataRoute{method, strings.Split(pattern, "/"), s.ask(who, asked, op)})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
		var allowed []string
		for _, route := range routes {
			switch values, fits := route.match(segments); {
			case !fits:
			case route.method != r.Method:
				allowed = append(allowed, route.method)
			default:
				for name, value := range values {
					r.SetPathValue(name, value)
				}
				route.serve(w, r)
				return
			}
		}
		if allowed == nil && isClean(r.URL.Path) {
			others.ServeHTTP(w, r)
			return
		}
		if allowed == nil {
			unknownPath(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeError(w, iot.Errorf(iot.MethodNotAllowed, "%s is not allowed here", r.Method))
	})
}

// isClean reports whether a ServeMux would take a path as it is; another one it
// would redirect, which no client that signs can follow.
func isClean(p string) bool { return p == "/" || path.Clean(p) == strings.TrimSuffix(p, "/") }

// match gives the decoded variables of a path. `{name...}` takes what is left,
// however it was encoded.
func (d dataRoute) match(segments []string) (map[string]string, bool) {
	last := len(d.segments) - 1
	rest, takesRest := strings.CutSuffix(d.segments[last], "...}")
	if len(segments) < len(d.segments) || len(segments) > len(d.segments) && !takesRest {
		return nil, false
	}
	values := make(map[string]string)
	for i, want := range d.segments {
		got := segments[i]
		if i == last && takesRest {
			want, got = rest+"}", strings.Join(segments[last:], "/")
		}
		text, err := url.PathUnescape(got)
		switch name, variable := strings.CutPrefix(want, "{"); {
		case err != nil || !variable && text != want:
			return nil, false
		case variable:
			values[strings.TrimSuffix(name, "}")] = text
		}
	}
	return values, true
}

// unknownPath is AWS's answer to a path that is no operation.
func unknownPath(w http.ResponseWriter, r *http.Request) {
	writeError(w, iot.Errorf(iot.NotFound, "no operation %s %s", r.Method, r.URL.EscapedPath()))
}

// pageSize reads the size of a page from a query member.
func pageSize(r *http.Request, member string, most, otherwise int) (int, error) {
	text := r.URL.Query().Get(member)
	if text == "" {
		return otherwise, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 || size > most {
		return 0, iot.Errorf(iot.InvalidRequest, "%s %.20q: want 1 to %d", member, text, most)
	}
	return size, nil
}

// truth reads a boolean of a query: the lower-case words alone.
func truth(r *http.Request, member string) (bool, error) {
	text := r.URL.Query().Get(member)
	if !slices.Contains([]string{"", "true", "false"}, text) {
		return false, iot.Errorf(iot.InvalidRequest, "%s %.20q: want true or false", member, text)
	}
	return text == "true", nil
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
	size, err := pageSize(r, "pageSize", 100, 25)
	if err != nil {
		return nil, err
	}
	names, next, err := s.services.Shadows.List(r.Context(), thing, r.URL.Query().Get("nextToken"), size)
	if err != nil {
		return nil, err
	}
	page := struct {
		Results   []iot.ShadowName `json:"results"`
		NextToken string           `json:"nextToken,omitempty"`
		Timestamp int64            `json:"timestamp"`
	}{append([]iot.ShadowName{}, names...), next, s.services.Clock.Now().Unix()}
	return page, nil
}

// deleteConnection ends the connection of a client, with its session or
// without its will on demand.
func (s *Server) deleteConnection(_ api, r *http.Request) (any, error) {
	session, err := truth(r, "cleanSession")
	if err != nil {
		return nil, err
	}
	will, err := truth(r, "preventWillMessage")
	if err != nil {
		return nil, err
	}
	id := iot.ClientID(r.PathValue("client"))
	if !s.services.Broker.Remove(id, Removal{Session: session, Will: will}) {
		return nil, iot.Errorf(iot.NotFound, "client %q is not connected", id)
	}
	return struct{}{}, nil
}
