package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/topic"
)

// house is a fake of all services; it remembers what was asked.
type house struct {
	updated, published string
	message            iot.Message
	retained           []iot.Message
	removed            string
	allowed            string
	asked              []string
	ready              error
}

func (h *house) Get(_ context.Context, key iot.ShadowKey, _ string) ([]byte, error) {
	if key.Thing == "ghost" {
		return nil, iot.Errorf(iot.NotFound, "No shadow exists with name: '%s'", key)
	}
	if key.Thing == "bomb" {
		panic("boom")
	}
	return []byte(`{"state":{"reported":{"n":9007199254740993}}}`), nil
}

func (h *house) Update(_ context.Context, key iot.ShadowKey, payload []byte, o iot.Origin) ([]byte, error) {
	h.updated = key.String() + " " + string(payload) + " by " + o.Principal.ID
	return []byte(`{"version":1}`), nil
}

func (h *house) Delete(context.Context, iot.ShadowKey, iot.Origin) ([]byte, error) {
	return nil, iot.Errorf(iot.Conflict, "Version conflict")
}

func (h *house) List(_ context.Context, _ iot.ThingName, token string, size int) ([]iot.ShadowName, string, error) {
	if token == "" && size == 1 {
		return []iot.ShadowName{"a"}, "next", nil
	}
	return nil, "", nil
}

func (h *house) History(_ context.Context, key iot.ShadowKey) (any, error) {
	return []string{key.String()}, nil
}

func (h *house) Follow(_ context.Context, key iot.ShadowKey, write func([]byte) error) error {
	if err := write([]byte(`{"version":1}`)); err != nil {
		return err
	}
	return iot.Errorf(iot.Throttled, "behind")
}

func (h *house) UplinkStatus() []UplinkStatus {
	return []UplinkStatus{{Name: "cloud", State: "online"}}
}
func (h *house) CutUplink(name string) error {
	if name == "moon" {
		return iot.Errorf(iot.NotFound, "uplink %q does not exist", name)
	}
	return nil
}
func (h *house) RestoreUplink(string) error { return nil }

func (h *house) TestUplink(_ context.Context, name string) (any, error) { return []string{name}, nil }
func (h *house) SimGet(part, quantity string) (map[string]any, error) {
	return map[string]any{"temperature": 21.5}, nil
}
func (h *house) SimSet(part, quantity, value string) error { return nil }
func (h *house) SimFault(part, fault string) error         { return nil }
func (h *house) Status() any                               { return map[string]string{"state": "ok"} }
func (h *house) Version() any                              { return map[string]string{"version": "1"} }
func (h *house) SpoolStats() any                           { return map[string]int{"bytes": 0} }
func (h *house) Rules() any                                { return []string{} }
func (h *house) Users() any                                { return []string{} }
func (h *house) Denials() any                              { return []string{} }
func (h *house) SyncStatus() any                           { return []string{} }
func (h *house) Conflicts(context.Context, iot.ThingName) (any, error) {
	return []string{}, nil
}
func (h *house) CreateAccessKey(_ context.Context, policy string) (any, error) {
	return map[string]string{"Policy": policy}, nil
}
func (h *house) AccessKeys(context.Context) (any, error) { return []string{}, nil }
func (h *house) DeleteAccessKey(_ context.Context, id string) error {
	if id != "AKIA" {
		return iot.Errorf(iot.NotFound, "access key %q does not exist", id)
	}
	return nil
}
func (h *house) Ready() error { return h.ready }
func (h *house) Live() error  { return nil }
func (h *house) PublishHTTP(_ context.Context, m iot.Message) error {
	h.published, h.message = m.Topic+" "+string(m.Payload), m
	return nil
}
func (h *house) CheckPublish(m iot.Message) error {
	if r, is := topic.ParseReserved(m.Topic); is && !r.ClientMayPublish() {
		return iot.Errorf(iot.Forbidden, "reserved")
	}
	_, err := topic.ParseName(m.Topic)
	return err
}
func (h *house) Retained(name string) (iot.Message, bool) {
	i := slices.IndexFunc(h.retained, func(m iot.Message) bool { return m.Topic == name })
	if i < 0 {
		return iot.Message{}, false
	}
	return h.retained[i], true
}
func (h *house) RetainedAfter(name string, n int) (all []iot.Message) {
	for _, m := range h.retained {
		if m.Topic > name && len(all) < n {
			all = append(all, m)
		}
	}
	return all
}
func (h *house) Remove(id iot.ClientID, r Removal) bool {
	h.removed = fmt.Sprintf("%s session=%t will=%t", id, r.Session, r.Will)
	return id != "nobody"
}
func (h *house) Verify(r *http.Request, _ []byte) (iot.Principal, error) {
	if r.Header.Get("Authorization") == "" {
		return iot.Principal{}, iot.Errorf(iot.Unauthorized, "Missing Authentication Token")
	}
	return iot.Principal{Kind: iot.AccessKeyKind, ID: "AKIA"}, nil
}
func (h *house) Certificate(*tls.ConnectionState) (iot.Principal, error) {
	return iot.Principal{Kind: iot.CertificateKind, ID: "c"}, nil
}
func (h *house) Allow(_ *http.Request, _ iot.Principal, action, resource string) error {
	h.allowed = action + " " + resource
	h.asked = append(h.asked, h.allowed)
	if resource == "thing/secret" {
		return iot.Errorf(iot.Forbidden, "Forbidden")
	}
	return nil
}

// serve runs a server on a socket and two free ports.
func serve(t *testing.T, h *house) (*Server, *http.Client) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "ctl.sock")
	s := New(Config{Socket: socket, Control: "127.0.0.1:0", Metrics: "127.0.0.1:0"},
		Services{Shadows: h, Uplinks: h, Sim: h, Publisher: h, Broker: h, Operator: h, Keys: h, Clock: clock.NewSystem(), IDs: ids.New(rand.Reader), Metrics: metrics.New().Handler()},
		metrics.New(), slog.New(slog.DiscardHandler))
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return s, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

func ask(t *testing.T, c *http.Client, method, url, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func TestSocket_TranslatesTheDataPlaneBothWays(t *testing.T) {
	h := &house{}
	_, c := serve(t, h)
	if status, body, _ := ask(t, c, "GET", "http://x/things/pump/shadow", ""); status != 200 || !strings.Contains(body, "9007199254740993") {
		t.Errorf("get: %d %s", status, body)
	}
	status, body, head := ask(t, c, "GET", "http://x/things/ghost/shadow?name=s", "")
	if status != 404 || !strings.Contains(body, "No shadow exists with name: 'ghost~s'") || head.Get("X-Amzn-ErrorType") != "ResourceNotFoundException" {
		t.Errorf("missing shadow: %d %s %q", status, body, head.Get("X-Amzn-ErrorType"))
	}
	ask(t, c, "POST", "http://x/things/pump/shadow?name=s", `{"state":{}}`)
	if h.updated != `pump~s {"state":{}} by operator` {
		t.Errorf("update reached the service as %q", h.updated)
	}
	if status, _, _ := ask(t, c, "DELETE", "http://x/things/pump/shadow", ""); status != 409 {
		t.Errorf("conflict: %d", status)
	}
	if _, body, _ := ask(t, c, "GET", "http://x/api/things/shadow/ListNamedShadowsForThing/pump?pageSize=1", ""); !strings.HasPrefix(body, `{"results":["a"],"nextToken":"next","timestamp":1`) {
		t.Errorf("list: %s", body)
	}
	if _, body, _ := ask(t, c, "GET", "http://x/api/things/shadow/ListNamedShadowsForThing/pump", ""); !strings.HasPrefix(body, `{"results":[],"timestamp":1`) {
		t.Errorf("empty list: %s", body)
	}
	ask(t, c, "POST", "http://x/topics/a/b%2Fc?qos=1", "hi")
	if h.published != "a/b/c hi" {
		t.Errorf("publish reached the house as %q", h.published)
	}
}

func TestSocket_BadInputIsAClearRefusal(t *testing.T) {
	_, c := serve(t, &house{})
	for _, bad := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/things/a%20b/shadow", "", 400}, {"POST", "/topics/a%2F%23", "", 400}, {"POST", "/topics/$aws/things/t/shadow/update/accepted", "", 403},
		{"POST", "/topics/t?qos=2", "", 400}, {"GET", "/api/things/shadow/ListNamedShadowsForThing/t?pageSize=0", "", 400},
		{"POST", "/things/pump/shadow", strings.Repeat("x", BodyBytesMax+1), 413}, {"PUT", "/tidehold/v1/sim/climate", "{", 400},
		{"POST", "/tidehold/v1/uplinks/cut?name=moon", "", 404}, {"GET", "/tidehold/v1/uplinks?name=moon", "", 404}, {"POST", "/tidehold/v1/uplinks/burn", "", 404}, {"GET", "/nowhere", "", 404},
	} {
		if status, body, _ := ask(t, c, bad.method, "http://x"+bad.path, bad.body); status != bad.want {
			t.Errorf("%s %s: %d %s, want %d", bad.method, bad.path, status, body, bad.want)
		}
	}
}

func TestGuard_APanicIsOneRequestsAlone(t *testing.T) {
	_, c := serve(t, &house{})
	if status, body, _ := ask(t, c, "GET", "http://x/things/bomb/shadow", ""); status != 500 || !strings.Contains(body, "Internal service failure") {
		t.Errorf("panic: %d %s", status, body)
	}
	if status, _, _ := ask(t, c, "GET", "http://x/things/pump/shadow", ""); status != 200 {
		t.Errorf("the next request: %d", status)
	}
}

func TestControl_AsksForASignatureThenForAPermission(t *testing.T) {
	h := &house{}
	s, _ := serve(t, h)
	control := "http://" + s.Addresses()["control"]
	if status, _, _ := ask(t, http.DefaultClient, "GET", control+"/things/pump/shadow", ""); status != 401 {
		t.Errorf("unsigned: %d", status)
	}
	for _, want := range []struct {
		path   string
		status int
		asked  string
	}{
		{"/things/pump/shadow?name=s", 200, "iot:GetThingShadow thing/pump/s"}, {"/things/secret/shadow", 403, "iot:GetThingShadow thing/secret"},
		{"/tidehold/v1/status", 200, "tidehold:Read *"},
	} {
		req, err := http.NewRequest("GET", control+want.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "signed")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want.status || h.allowed != want.asked {
			t.Errorf("%s: %d after asking %q, want %d, %q", want.path, resp.StatusCode, h.allowed, want.status, want.asked)
		}
	}
}

func TestHealth_NeedsNoIdentity(t *testing.T) {
	h := &house{}
	s, _ := serve(t, h)
	for _, name := range []string{"control", "metrics"} {
		at := "http://" + s.Addresses()[name]
		if status, _, _ := ask(t, http.DefaultClient, "GET", at+"/readyz", ""); status != 200 {
			t.Errorf("%s readyz: %d", name, status)
		}
		if _, body, _ := ask(t, http.DefaultClient, "GET", at+"/healthz", ""); !json.Valid([]byte(body)) {
			t.Errorf("%s healthz: %s", name, body)
		}
	}
	h.ready = errors.New("state.db is away")
	if status, body, _ := ask(t, http.DefaultClient, "GET", "http://"+s.Addresses()["metrics"]+"/readyz", ""); status != 503 || !strings.Contains(body, "state.db") {
		t.Errorf("unready: %d %s", status, body)
	}
}

func TestListen_ADeadSocketIsReplacedALivingOneIsNot(t *testing.T) {
	s, _ := serve(t, &house{})
	socket := s.cfg.Socket
	again := New(Config{Socket: socket}, s.services, metrics.New(), slog.New(slog.DiscardHandler))
	if err := again.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "another gateway") {
		t.Errorf("a living socket: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Stat(dead); err != nil {
		t.Fatal(err)
	}
	if err := clearSocket(dead); err != nil {
		t.Errorf("a dead socket: %v", err)
	}
}

func TestListen_ATakenPortNamesTheMouthAndTheKey(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := New(Config{Control: l.Addr().String()}, Services{Operator: &house{}, Keys: &house{}, Metrics: http.NotFoundHandler()}, metrics.New(), slog.New(slog.DiscardHandler))
	if err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "http.control.bind") {
		t.Errorf("got %v", err)
	}
}

func TestSlowHeader_IsCutOff(t *testing.T) {
	if headerWait > 30*time.Second || !bytes.Equal(errorBody(errors.New("secret path"), ""), []byte(`{"message":"Internal service failure","traceId":""}`)) {
		t.Error("a silent client must be cut off, and an internal error must tell nothing")
	}
}

// TestRouting_EverythingElseIsAnErrorThatClientsRead: no text page and no
// redirect, which would break a signature.
func TestRouting_EverythingElseIsAnErrorThatClientsRead(t *testing.T) {
	s, _ := serve(t, &house{})
	for _, c := range []struct {
		method, path, kind string
		status             int
	}{
		{"GET", "/jobs", "ResourceNotFoundException", 404},
		{"GET", "//jobs", "ResourceNotFoundException", 404},
		{"GET", "/jobs/a/../b", "ResourceNotFoundException", 404},
		{"GET", "/topics/a", "MethodNotAllowedException", 405},
		{"PATCH", "/things/a/shadow", "MethodNotAllowedException", 405},
		{"GET", "/things/a/shadow", "UnauthorizedException", 401},
	} {
		conn, err := net.Dial("tcp", s.Addresses()["control"])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n", c.method, c.path)
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		body, _ := io.ReadAll(got.Body)
		conn.Close()
		id := got.Header.Get("X-Amzn-Requestid")
		if got.StatusCode != c.status || got.Header.Get("X-Amzn-Errortype") != c.kind || id == "" ||
			!strings.Contains(string(body), `"traceId":"`+id+`"`) || !strings.Contains(string(body), `"message":"`) {
			t.Errorf("%s %s: %d %v %s; want %d %s", c.method, c.path, got.StatusCode, got.Header, body, c.status, c.kind)
		}
	}
}
