package control_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/httpapi/control"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/pki/local"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/store"
)

// directory converts the registry's answers to those access wants.
type directory struct{ *registry.Registry }

func (d directory) Rights(p iot.Principal, id iot.ClientID) access.Rights {
	return access.Rights(d.Registry.Rights(p, id))
}

// gate is the way the gateway itself joins broker and checker.
type gate struct{ *access.Checker }

func (g gate) Connect(c *broker.Client, password []byte) error {
	known := &access.Client{ID: c.ID, Principal: c.Principal, Listener: c.Listener, Auth: c.Auth, RemoteIP: c.RemoteIP, Secure: c.TLS != nil}
	if c.TLS != nil && len(c.TLS.PeerCertificates) > 0 {
		known.Principal = iot.Principal{Kind: iot.CertificateKind, ID: pki.ID(c.TLS.PeerCertificates[0])}
	}
	if err := g.Checker.Connect(known, password); err != nil {
		return err
	}
	c.Principal, c.Private = known.Principal, known
	return nil
}

func (g gate) MayStay(c *broker.Client) bool { return g.MayConnect(c.Private.(*access.Client)) }
func (g gate) Publish(c *broker.Client, name string, retain bool) error {
	return g.Checker.Publish(c.Private.(*access.Client), name, retain)
}
func (g gate) Reserved(c *broker.Client, name string) {
	g.Checker.Reserved(c.Private.(*access.Client), name)
}
func (g gate) Subscribe(c *broker.Client, filter string) error {
	return g.Checker.Subscribe(c.Private.(*access.Client), filter)
}
func (g gate) Receive(c *broker.Client, name string) bool {
	return g.Checker.Receive(c.Private.(*access.Client), name)
}

// sweep closes the connections that may not connect any more.
func (g gate) sweep(b *broker.Broker) {
	g.Invalidate()
	for _, c := range b.Clients() {
		if known, is := c.Private.(*access.Client); is && !g.MayConnect(known) {
			b.Disconnect(c.ID, 0x98)
		}
	}
}

// hall lets everything through.
type hall struct{ broker atomic.Pointer[broker.Broker] }

func (h *hall) Accept(m iot.Message, done func(error)) {
	h.broker.Load().Route(m)
	done(nil)
}

type everyone struct{}

func (everyone) Allow(*http.Request, iot.Principal, string, string) error { return nil }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// house builds registry, authority, checker, broker and control plane, and gives
// the URL of the last and the port of the broker's listener with client certificates.
func house(t *testing.T) (url, port string, keeper *local.Keeper, b *broker.Broker) {
	t.Helper()
	clk, src, m := clock.NewSystem(), ids.New(rand.Reader), metrics.New()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "state.db"), Schemas: []store.Schema{registry.Schema()}, Metrics: m, Clock: clk})
	ok(t, err)
	keeper, err = local.Open(local.Config{Dir: filepath.Join(t.TempDir(), "pki"), Gateway: "gw", Names: func() pki.Names { return local.SystemNames(nil) }}, clk, src, m, nil)
	ok(t, err)
	reg := registry.New(nil, db, clk, src)
	ok(t, reg.Load(t.Context(), registry.Config{Authority: keeper.Authority, Floor: keeper.Floor()}))
	scope := policy.Scope{Region: "us-east-1", Account: "000000000000"}
	checker, err := access.New(access.Config{Scope: scope, Directory: directory{reg}}, clk, src, m, nil)
	ok(t, err)
	g, h := gate{checker}, &hall{}
	admit := func(ctx context.Context, state tls.ConnectionState) error {
		_, err := reg.Identify(ctx, registry.Hello{Chain: state.PeerCertificates, ServerName: state.ServerName})
		return err
	}
	b, err = broker.New(broker.Config{Limits: broker.Limits{MaxQoS: 1}, Listeners: []broker.ListenerConfig{{
		Name: "mtls", Bind: "127.0.0.1:0", Auth: access.AuthCertificate,
		TLS: keeper.TLS(local.Listener{Protocols: []string{"mqtt", "x-amzn-mqtt-ca"}, Admit: admit}),
	}}}, g, h, clk, src, m, nil)
	ok(t, err)
	h.broker.Store(b)
	reg.Watch(func(registry.Change) { g.sweep(b) })
	ok(t, b.Listen(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { b.Run(ctx); close(ended) }()
	handler := control.New(control.Config{Scope: scope, Endpoint: "localhost", Registry: reg, Allow: everyone{}, IDs: src})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		handler.Handle(w, r, iot.Principal{Kind: iot.Local, ID: "operator"}, body)
	}))
	t.Cleanup(func() { server.Close(); cancel(); <-ended; db.Close() })
	_, port, err = net.SplitHostPort(b.Addresses()[0].Address)
	ok(t, err)
	return server.URL, port, keeper, b
}

const devicePolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/*"},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:*:*:topicfilter/dt/${iot:Connection.Thing.ThingName}/*"}]}`

// TestDevice_LivesAndDiesByTheAWSCommandLine is the story a user's script would
// tell, with the unmodified command line of AWS and Mosquitto's clients.
func TestDevice_LivesAndDiesByTheAWSCommandLine(t *testing.T) {
	gwtest.Need(t, "aws", "mosquitto_pub", "mosquitto_sub")
	url, port, keeper, b := house(t)
	dir := t.TempDir()
	aws := func(args ...string) map[string]any {
		t.Helper()
		cmd := exec.Command("aws", append([]string{"iot", "--endpoint-url", url, "--no-sign-request", "--region", "us-east-1", "--output", "json"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("aws iot %v: %v\n%s", args, err, out)
		}
		var answer map[string]any
		json.Unmarshal(out, &answer)
		return answer
	}
	aws("create-thing", "--thing-name", "pump")
	made := aws("create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", "cert.pem", "--private-key-outfile", "private.key")
	aws("create-policy", "--policy-name", "dev", "--policy-document", devicePolicy)
	arn := made["certificateArn"].(string)
	aws("attach-policy", "--policy-name", "dev", "--target", arn)
	aws("attach-thing-principal", "--thing-name", "pump", "--principal", arn)
	ok(t, os.WriteFile(filepath.Join(dir, "ca.pem"), keeper.RootPEM(), 0o644))

	mosquitto := func(tool, client string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "timeout", append([]string{"60", tool}, append([]string{"-h", "localhost", "-p", port, "--cafile", "ca.pem", "--cert", "cert.pem", "--key", "private.key", "-i", client, "-V", "mqttv5"}, args...)...)...)
		cmd.Dir = dir
		return cmd
	}
	if out, err := mosquitto("mosquitto_pub", "somebody", "-t", "dt/pump/x", "-m", "1", "-q", "1").CombinedOutput(); err == nil {
		t.Errorf("another client id came in: %s", out)
	}
	if out, err := mosquitto("mosquitto_pub", "pump", "-t", "dt/pump/x", "-m", "1", "-q", "1").CombinedOutput(); err != nil {
		t.Errorf("an allowed topic: %v\n%s", err, out)
	}
	if out, err := mosquitto("mosquitto_pub", "pump", "-t", "dt/other/x", "-m", "1", "-q", "1").CombinedOutput(); err == nil && !strings.Contains(string(out), "Not authorized") {
		t.Errorf("a forbidden topic: %s", out)
	}

	sub := mosquitto("mosquitto_sub", "pump", "-t", "dt/pump/#", "-q", "1")
	ok(t, sub.Start())
	gwtest.Eventually(t, "the subscriber comes in", func() bool { return len(b.Clients()) == 1 })
	r, err := http.NewRequest("PUT", url+"/certificates/"+made["certificateId"].(string)+"?newStatus=INACTIVE", nil)
	ok(t, err)
	answer, err := http.DefaultClient.Do(r)
	ok(t, err)
	answer.Body.Close()
	answered := time.Now()
	gwtest.Eventually(t, "it is out", func() bool { return len(b.Clients()) == 0 })
	t.Logf("out %v after the answer", time.Since(answered))
	sub.Process.Signal(syscall.SIGTERM)
	sub.Wait()
	if out, err := mosquitto("mosquitto_pub", "pump", "-t", "dt/pump/x", "-m", "1", "-q", "1").CombinedOutput(); err == nil {
		t.Errorf("an inactive certificate came in: %s", out)
	}
	aws("update-certificate", "--certificate-id", made["certificateId"].(string), "--new-status", "ACTIVE")
	if out, err := mosquitto("mosquitto_pub", "pump", "-t", "dt/pump/x", "-m", "1", "-q", "1").CombinedOutput(); err != nil {
		t.Errorf("active again: %v\n%s", err, out)
	}
}
