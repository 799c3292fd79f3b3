package gateway_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// premises are a whole gateway with a TLS listener, administered by AWS's
// control plane over the operator's socket.
type premises struct {
	t         testing.TB
	dir       string
	addresses map[string]string
	operator  *http.Client
	roots     *x509.CertPool
	rootPEM   string
}

const mutual = `listeners: [{name: mtls, bind: "127.0.0.1:0", tls: true, auth: certificate}]`

// twoDoors also has port 443, a socket of systemd.
const twoDoors = `listeners: [{name: mtls, bind: "127.0.0.1:0", tls: true, auth: certificate}, {name: https, socket: tidehold-443, tls: on, auth: certificate, protocol: auto}]`

// allowAll is a policy that allows what no policy can forbid.
const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// open runs a gateway with this `mqtt` and more configuration.
func open(t testing.TB, mqtt, more string, env gateway.Env) *premises {
	t.Helper()
	return openIn(t, t.TempDir(), mqtt, more, env)
}

func openIn(t testing.TB, dir, mqtt, more string, env gateway.Env) *premises {
	t.Helper()
	return openAt(t, "127.0.0.1:0", dir, mqtt, more, env)
}

// openAt is openIn with an address of the control endpoint.
func openAt(t testing.TB, control, dir, mqtt, more string, env gateway.Env) *premises {
	t.Helper()
	env.Socket = filepath.Join(dir, "ctl.sock")
	text := fmt.Sprintf(`version: 1
gateway: {id: gw, endpoint: localhost}
storage: {dir: %s, durability: normal}
mqtt: {%s}
http: {data_plane: {bind: "127.0.0.1:0"}, control: {bind: %q}, metrics: {bind: "127.0.0.1:0"}}
%s`, dir, mqtt, control, more)
	p := &premises{t: t, dir: dir, addresses: make(map[string]string), roots: x509.NewCertPool()}
	for _, a := range serve(t, text, env) {
		p.addresses[a.Name] = a.Address
	}
	p.operator = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", env.Socket)
	}}}
	t.Cleanup(p.operator.CloseIdleConnections)
	p.rootPEM = p.admin("GET", "/tidehold/v1/root", nil)["certificatePem"].(string)
	p.roots.AppendCertsFromPEM([]byte(p.rootPEM))
	return p
}

// admin calls one operation; any status but 200 ends the test.
func (p *premises) admin(method, path string, body any) map[string]any {
	p.t.Helper()
	status, answer := p.call(method, path, body)
	if status != http.StatusOK {
		p.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

func (p *premises) call(method, path string, body any) (status int, answer map[string]any) {
	p.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := http.NewRequest(method, "http://gateway"+path, bytes.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	if principal, is := body.(principalHeader); is {
		r.Header.Set("X-Amzn-Principal", string(principal))
	}
	response, err := p.operator.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = json.Unmarshal(raw, &answer)
	return response.StatusCode, answer
}

// principalHeader is the certificate that AttachThingPrincipal is about.
type principalHeader string

// identity is a certificate of this gateway with its key.
type identity struct {
	tls.Certificate
	ID, ARN string
}

// csr makes a signing request.
func csr(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// device makes an active certificate with one policy of its own.
func (p *premises) device(policy, document string) identity {
	p.t.Helper()
	return p.deviceWith(newKey(p.t), policy, document)
}

func (p *premises) deviceWith(key crypto.Signer, policy, document string) identity {
	p.t.Helper()
	made := p.admin("POST", "/certificates?setAsActive=true", map[string]any{"certificateSigningRequest": csr(p.t, key)})
	if document != "" {
		p.admin("POST", "/policies/"+policy, map[string]any{"policyDocument": document})
	}
	d := identity{ID: made["certificateId"].(string), ARN: made["certificateArn"].(string)}
	p.admin("PUT", "/target-policies/"+policy, map[string]any{"target": d.ARN})
	d.Certificate = pair(p.t, made["certificatePem"].(string), key)
	return d
}

// pair joins a certificate in PEM and its key.
func pair(t testing.TB, text string, key crypto.Signer) tls.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no certificate in %q", text)
	}
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// secure is how a client with these certificates speaks TLS.
func (p *premises) secure(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: p.roots, ServerName: "localhost", Certificates: certificates}
}

// connect connects a device to the TLS listener.
func (p *premises) connect(id string, d tls.Certificate) *gwtest.Client {
	p.t.Helper()
	return gwtest.Connect(p.t, p.addresses["mtls"], id, gwtest.ClientOptions{TLS: p.secure(d)})
}

// dial is connect that may fail.
func (p *premises) dial(id string, d tls.Certificate) error {
	c, err := gwtest.Dial(p.t, p.addresses["mtls"], id, gwtest.ClientOptions{TLS: p.secure(d)})
	if err == nil {
		c.Close()
	}
	return err
}

func (d identity) path() string { return "/certificates/" + url.PathEscape(d.ID) }
