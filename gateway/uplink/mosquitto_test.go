package uplink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
)

// mosquitto is a real broker on a free port.
type mosquitto struct {
	t    testing.TB
	path string
	conf string
	port int
	cmd  *exec.Cmd
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startMosquitto runs a broker whose listener has the given extra lines.
func startMosquitto(t testing.TB, lines ...string) *mosquitto {
	t.Helper()
	const path = "/usr/sbin/mosquitto" // Debian's; not on everybody's PATH
	gwtest.Need(t, path)
	m := &mosquitto{t: t, path: path, conf: filepath.Join(t.TempDir(), "mosquitto.conf"), port: freePort(t)}
	text := "user root\npersistence false\nmax_queued_messages 0\n" + fmt.Sprintf("listener %d 127.0.0.1\n", m.port) + strings.Join(lines, "\n") + "\n"
	if len(lines) == 0 {
		text += "allow_anonymous true\n"
	}
	if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.path, "-c", m.conf)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", m.port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (m *mosquitto) kill() {
	if m.cmd != nil {
		m.cmd.Process.Kill()
		m.cmd.Wait()
		m.cmd = nil
	}
}

func (m *mosquitto) endpoint(scheme string) Endpoint {
	e := Endpoint{Scheme: scheme, Host: "127.0.0.1", Port: m.port}
	if scheme == "ws" || scheme == "wss" {
		e.Path = "/mqtt"
	}
	return e
}

// client is an ordinary client beside the link.
func (m *mosquitto) client(id string) mqtt.Client {
	m.t.Helper()
	o := mqtt.NewClientOptions().AddBroker(fmt.Sprint("tcp://127.0.0.1:", m.port)).SetClientID(id).SetAutoReconnect(false)
	c := mqtt.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		m.t.Fatalf("observer: %v", token.Error())
	}
	m.t.Cleanup(func() { c.Disconnect(10) })
	return c
}

// seen collects what an observer receives.
type seen struct {
	mu  sync.Mutex
	all []string
}

func (s *seen) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text)
}

func (s *seen) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.all...)
}

func (s *seen) last() string {
	if all := s.list(); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

func observe(t *testing.T, c mqtt.Client, filter string) *seen {
	t.Helper()
	s := &seen{}
	token := c.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) { s.add(string(m.Payload())) })
	if !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatalf("observer subscribes to %s: %v", filter, token.Error())
	}
	return s
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("within 15s not true: %s", what)
}

func waitState(t testing.TB, l *Link, want State) {
	t.Helper()
	eventually(t, fmt.Sprintf("state %s", want), func() bool { return l.Status().State == want })
}

// runLink runs l until the test ends or stop is called.
func runLink(t testing.TB, l *Link) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func status(t *testing.T, text string) (s struct {
	Online  bool
	Epoch   uint64
	Session string
	Since   int64
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("status %q: %v", text, err)
	}
	return s
}

func TestMosquitto_PublishesInOrderAndHearsEveryAcknowledgement(t *testing.T) {
	m := startMosquitto(t)
	got := observe(t, m.client("observer"), "t/#")
	l := newLink(t, func(c *Config) { c.Endpoint = m.endpoint("tcp"); c.Profile = profile.Mosquitto })
	runLink(t, l)
	waitState(t, l, Online)
	const n = 2000
	var a after
	for i := range n {
		l.Publish(Outgoing{Topic: "t/x", Payload: fmt.Append(nil, i), QoS: 1}, a.done)
	}
	eventually(t, "every message is acknowledged", func() bool { return len(a.all()) == n })
	if err := errors.Join(a.all()...); err != nil {
		t.Errorf("done got %v", err)
	}
	eventually(t, "every message arrived", func() bool { return len(got.list()) == n })
	for i, text := range got.list() {
		if text != fmt.Sprint(i) {
			t.Fatalf("message %d is %q: order is lost", i, text)
		}
	}
}

func TestMosquitto_StatusWillCutAndFarewell(t *testing.T) {
	m := startMosquitto(t)
	got := observe(t, m.client("observer"), "shadow/gw1/status")
	l := newLink(t, func(c *Config) {
		c.Endpoint = m.endpoint("tcp")
		c.StatusTopic = "shadow/gw1/status"
		c.LastEpoch = 4
	})
	stop := runLink(t, l)
	waitState(t, l, Online)
	eventually(t, "online is told", func() bool { return len(got.list()) == 1 })
	if s := status(t, got.last()); !s.Online || s.Epoch != 5 || s.Session != "new" || s.Since == 0 {
		t.Errorf("online: %+v", s)
	}
	l.Cut()
	eventually(t, "the will is sent", func() bool { return len(got.list()) == 2 })
	if s := status(t, got.last()); s.Online {
		t.Errorf("after cut: %+v", s)
	}
	l.Restore()
	eventually(t, "online is told again", func() bool { return len(got.list()) == 3 })
	if s := status(t, got.last()); !s.Online || s.Epoch != 5 || s.Session != "resumed" {
		t.Errorf("restored: %+v", s)
	}
	waitState(t, l, Online)
	stop()
	eventually(t, "the farewell is told", func() bool { return len(got.list()) == 4 })
	if s := status(t, got.last()); s.Online || s.Session != "resumed" {
		t.Errorf("farewell: %+v", s)
	}
	time.Sleep(100 * time.Millisecond)
	if n := len(got.list()); n != 4 {
		t.Errorf("%d messages: a will came after the farewell", n)
	}
	late := observe(t, m.client("late"), "shadow/gw1/status")
	eventually(t, "the status is retained", func() bool { return len(late.list()) == 1 })
}

func TestMosquitto_KilledBrokerEndsTheEpochAndTheLinkComesBack(t *testing.T) {
	m := startMosquitto(t)
	l := newLink(t, func(c *Config) { c.Endpoint = m.endpoint("tcp"); c.ReconnectMax = 200 * time.Millisecond })
	var offline seen
	l.OnOffline(func(err error) { offline.add(err.Error()) })
	runLink(t, l)
	waitState(t, l, Online)
	var a after
	var sent int
	deadline := time.Now().Add(20 * time.Second)
	for killed := false; time.Now().Before(deadline); sent++ {
		l.Publish(Outgoing{Topic: "t/x", QoS: 1}, a.done)
		if sent == 500 {
			m.kill()
			killed = true
		}
		if killed && !l.Status().State.Up() {
			sent++
			break
		}
	}
	eventually(t, "every done is called", func() bool { return len(a.all()) == sent })
	for _, err := range a.all() {
		if err != nil && !errors.Is(err, ErrEpochEnded) && !errors.Is(err, ErrOffline) && !errors.Is(err, ErrBusy) {
			t.Errorf("done got %v", err)
		}
	}
	if n := len(offline.list()); n != 1 {
		t.Errorf("OnOffline called %d times", n)
	}
	m.start()
	waitState(t, l, Online)
}

func TestMosquitto_UnacknowledgedCommandsComeAgain(t *testing.T) {
	m := startMosquitto(t)
	l := newLink(t, func(c *Config) { c.Endpoint = m.endpoint("tcp") })
	var k taken
	l.Subscribe("cmd/#", 1, k.take)
	gone := make(chan struct{}, 2)
	l.OnOffline(func(error) { gone <- struct{}{} })
	runLink(t, l)
	waitState(t, l, Online)
	observer := m.client("observer")
	for i := range 3 {
		observer.Publish(fmt.Sprint("cmd/", i), 1, false, "x").Wait()
	}
	eventually(t, "three commands came", func() bool { return len(k.topics()) == 3 })
	k.acks[0]()
	time.Sleep(100 * time.Millisecond)
	l.Cut()
	<-gone // the socket is closed: what comes now waits at the broker
	observer.Publish("cmd/away", 1, false, "x").Wait()
	l.Restore()
	eventually(t, "the rest came again, and what was queued", func() bool { return len(k.topics()) == 6 })
	if got := fmt.Sprint(k.topics()); got != "[cmd/0 cmd/1 cmd/2 cmd/1 cmd/2 cmd/away]" {
		t.Errorf("came: %s", got)
	}
}

func TestMosquitto_WrongPasswordIsNotHurried(t *testing.T) {
	m := startMosquitto(t, "allow_anonymous false")
	l := newLink(t, func(c *Config) { c.Endpoint = m.endpoint("tcp"); c.Username, c.Password = "gw", "wrong" })
	runLink(t, l)
	waitState(t, l, Waiting)
	want := "upstream answers CONNECT with 5: not authorised"
	if got := l.Status().Error; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	l.mu.Lock()
	wait := l.machine.retryAt - l.clk.Up()
	l.mu.Unlock()
	if wait < 14*time.Minute {
		t.Errorf("tries again in %v", wait)
	}
}

// certs writes a CA, a server and a client certificate.
type certs struct {
	dir    string
	pool   *x509.CertPool
	client tls.Certificate
}

func makeCerts(t *testing.T, notAfter time.Time) certs {
	t.Helper()
	c := certs{dir: t.TempDir(), pool: x509.NewCertPool()}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c.issue(t, "ca", ca, ca, caKey, caKey)
	c.pool.AddCert(ca)
	for i, name := range []string{"server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, NotAfter: notAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"upstream.test"}}
		c.issue(t, name, leaf, ca, key, caKey)
	}
	if c.client, err = tls.LoadX509KeyPair(filepath.Join(c.dir, "client.pem"), filepath.Join(c.dir, "client.key")); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c certs) issue(t *testing.T, name string, leaf, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	*leaf = *parsed
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(c.dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (c certs) lines(more ...string) []string {
	return append([]string{"allow_anonymous true", "cafile " + c.dir + "/ca.pem", "certfile " + c.dir + "/server.pem", "keyfile " + c.dir + "/server.key"}, more...)
}

// webSocketFront carries WebSockets to the broker, as a reverse proxy does
// (Debian's broker has none of its own). Its frames split packets on purpose.
func webSocketFront(t *testing.T, m *mosquitto, c certs, secure bool) (port int) {
	t.Helper()
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil || r.URL.Path != "/mqtt" || ws.Subprotocol() != "mqtt" {
			t.Errorf("upgrade of %s: subprotocol %v, %v", r.URL, r.Header["Sec-Websocket-Protocol"], err)
			return
		}
		defer ws.Close()
		broker, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", m.port))
		if err != nil {
			return
		}
		defer broker.Close()
		near := &webSocketConn{Conn: ws}
		go func() {
			defer broker.Close()
			io.Copy(broker, near)
		}()
		io.CopyBuffer(struct{ io.Writer }{near}, struct{ io.Reader }{broker}, make([]byte, 1000))
	}))
	if secure {
		pair, err := tls.LoadX509KeyPair(c.dir+"/server.pem", c.dir+"/server.key")
		if err != nil {
			t.Fatal(err)
		}
		front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: c.pool, ClientAuth: tls.RequireAndVerifyClientCert}
		front.StartTLS()
	} else {
		front.Start()
	}
	t.Cleanup(front.Close)
	return front.Listener.Addr().(*net.TCPAddr).Port
}

func TestMosquitto_EveryTransport(t *testing.T) {
	c := makeCerts(t, time.Now().Add(time.Hour))
	mutual := &tls.Config{RootCAs: c.pool, Certificates: []tls.Certificate{c.client}}
	for scheme, lines := range map[string][]string{
		"tcp": nil,
		"tls": c.lines("require_certificate true"),
		"ws":  nil,
		"wss": nil,
	} {
		t.Run(scheme, func(t *testing.T) {
			m := startMosquitto(t, lines...)
			endpoint := m.endpoint(scheme)
			if endpoint.Path != "" {
				endpoint.Port = webSocketFront(t, m, c, scheme == "wss")
			}
			l := newLink(t, func(cfg *Config) { cfg.Endpoint = endpoint; cfg.TLS = mutual })
			var k taken
			l.Subscribe("echo/#", 1, func(m iot.Message, ack func()) { k.take(m, ack); ack() })
			runLink(t, l)
			waitState(t, l, Online)
			var a after
			big := make([]byte, 100<<10)
			for range 20 {
				l.Publish(Outgoing{Topic: "echo/a", Payload: big, QoS: 1}, a.done)
			}
			eventually(t, "all came back", func() bool { return len(k.topics()) == 20 && len(a.all()) == 20 })
			if err := errors.Join(a.all()...); err != nil {
				t.Error(err)
			}
			l.Cut()
			waitState(t, l, Severed)
			l.Restore()
			waitState(t, l, Online)
		})
	}
}

func TestRun_LeavesNoGoroutineBehind(t *testing.T) {
	m := startMosquitto(t)
	before := runtime.NumGoroutine()
	for range 3 {
		l := newLink(t, func(c *Config) { c.Endpoint = m.endpoint("tcp"); c.StatusTopic = "s" })
		l.Subscribe("cmd/#", 1, func(iot.Message, func()) {})
		stop := runLink(t, l)
		waitState(t, l, Online)
		l.Cut()
		l.Restore()
		waitState(t, l, Online)
		l.Publish(Outgoing{Topic: "a", QoS: 1}, func(error) {})
		stop()
	}
	eventually(t, "every goroutine ends", func() bool { return runtime.NumGoroutine() <= before })
}

// tlsServer shakes hands and reports what it saw.
func tlsServer(t *testing.T, cfg *tls.Config) (addr string, hello chan tls.ConnectionState) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	hello = make(chan tls.ConnectionState, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if conn.(*tls.Conn).Handshake() == nil {
				hello <- conn.(*tls.Conn).ConnectionState()
			}
			conn.Close()
		}
	}()
	return l.Addr().String(), hello
}

func TestDial_AWSOnPort443AsksForItsProtocolAndSendsSNI(t *testing.T) {
	c := makeCerts(t, time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(c.dir+"/server.pem", c.dir+"/server.key")
	if err != nil {
		t.Fatal(err)
	}
	addr, hello := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"x-amzn-mqtt-ca"}})
	for port, want := range map[int]string{443: "x-amzn-mqtt-ca", 8883: ""} {
		l := newLink(t, func(cfg *Config) {
			cfg.Profile, cfg.TLS = profile.AWSIoTCore, &tls.Config{RootCAs: c.pool}
			cfg.Endpoint = Endpoint{Scheme: "tls", Host: "upstream.test", Port: port}
			cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			}
		})
		conn, err := l.dial(t.Context(), l.node(), func() {})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got := <-hello; got.NegotiatedProtocol != want || got.ServerName != "upstream.test" {
			t.Errorf("port %d: ALPN %q, SNI %q", port, got.NegotiatedProtocol, got.ServerName)
		}
	}
}

func TestRun_CertificateThatIsNotValidNowWaitsForTheClock(t *testing.T) {
	c := makeCerts(t, time.Now().Add(-time.Minute))
	pair, err := tls.LoadX509KeyPair(c.dir+"/server.pem", c.dir+"/server.key")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{pair}})
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	cfg := Config{Name: "c", ClientID: "g", Endpoint: Endpoint{Scheme: "tls", Host: "upstream.test", Port: 1}, Dial: dial, TLS: &tls.Config{RootCAs: c.pool}}
	for synced, want := range map[bool]State{false: WaitingClock, true: Waiting} {
		l, err := New(cfg, clock.Fixed{Wall: time.Unix(1e9, 0), Unsynched: !synced}, ids.New(rand.Reader), metrics.New(), nil)
		if err != nil {
			t.Fatal(err)
		}
		stop := runLink(t, l)
		waitState(t, l, want)
		stop()
	}
}

// BenchmarkPublish_WindowOf1000 counts acknowledged messages against a real
// broker on loopback.
func BenchmarkPublish_WindowOf1000(b *testing.B) {
	m := startMosquitto(b)
	l := newLink(b, func(c *Config) { c.Endpoint = m.endpoint("tcp") })
	runLink(b, l)
	waitState(b, l, Online)
	window := make(chan struct{}, 1000)
	payload := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		window <- struct{}{}
		l.Publish(Outgoing{Topic: "t/x", Payload: payload, QoS: 1}, func(err error) {
			<-window
			if err != nil {
				b.Error(err)
			}
		})
	}
	for range cap(window) {
		window <- struct{}{}
	}
}
