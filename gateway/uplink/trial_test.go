package uplink

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
	"github.com/tidehold/tidehold/gateway/uplink/proxy"
)

// told makes one text of the steps; failed is the one that did not succeed.
func told(steps []Step) (text, failed string) {
	for _, s := range steps {
		text += fmt.Sprintf("%s %v %s -> %s\n", s.Step, s.OK, s.Detail, s.Hint)
		if !s.OK {
			failed = s.Step
		}
	}
	return text, failed
}

// httpProxy is a real HTTP CONNECT proxy that wants u:p; count is how many ways
// it opened. It asks a name only it knows to be at target.
func httpProxy(t *testing.T, target string) (url string, count *atomic.Int32) {
	t.Helper()
	count = new(atomic.Int32)
	l := listen(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		if r.Header.Get("Proxy-Authorization") != "Basic dTpw" {
			io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
			return
		}
		count.Add(1)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		join(conn, target)
	})
	return "http://u:p@" + l, count
}

// socksProxy is a real SOCKS5 proxy without credentials.
func socksProxy(t *testing.T, target string) (url string, count *atomic.Int32) {
	t.Helper()
	count = new(atomic.Int32)
	l := listen(t, func(conn net.Conn) {
		head := make([]byte, 3)
		io.ReadFull(conn, head)
		conn.Write([]byte{5, 0})
		request := make([]byte, 5) // and the first byte of the address
		io.ReadFull(conn, request)
		rest := map[byte]int{1: 3, 3: int(request[4]), 4: 15}[request[3]]
		io.ReadFull(conn, make([]byte, rest+2))
		count.Add(1)
		conn.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 0})
		join(conn, target)
	})
	return "socks5://" + l, count
}

func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func join(near net.Conn, target string) {
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		io.Copy(far, near)
		far.Close()
	}()
	io.Copy(near, far)
}

func TestTry_TellsEveryStepOfALinkThatWorks(t *testing.T) {
	c := makeCerts(t, time.Now().Add(48*time.Hour))
	m := startMosquitto(t, c.lines("require_certificate true")...)
	mutual := &tls.Config{RootCAs: c.pool, Certificates: []tls.Certificate{c.client}}
	l := newLink(t, func(cfg *Config) { cfg.Endpoint, cfg.TLS = m.endpoint("tls"), mutual })
	l.Subscribe("cmd/#", 1, func(iot.Message, func()) {})
	steps := l.Try(t.Context(), "gw/gw1/sys/test")
	text, failed := told(steps)
	if failed != "" || len(steps) != 7 {
		t.Fatalf("%s failed:\n%s", failed, text)
	}
	for _, want := range []string{"TLS 1.3", "certificate for", "by test CA", "the upstream's certificate ends in", `accepted as "gw1"`, "profile generic", "gw/gw1/sys/test was acknowledged", "granted: cmd/#"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func TestTry_BesideAnOnlineLinkTakesAnotherClientIdAndDisturbsNothing(t *testing.T) {
	m := startMosquitto(t)
	l := newLink(t, func(cfg *Config) { cfg.Endpoint, cfg.StatusTopic = m.endpoint("tcp"), "state/gw1" }) // its will is not the test's
	runLink(t, l)
	waitState(t, l, Online)
	since := l.Status().Since
	text, failed := told(l.Try(t.Context(), "gw/gw1/sys/test"))
	if failed != "" || !strings.Contains(text, `accepted as "gw1-test"`) {
		t.Fatal(text)
	}
	if s := l.Status(); s.State != Online || s.Since != since {
		t.Fatalf("the link was disturbed: %+v", s)
	}
}

func TestTry_OfALinkThatIsAwayLeavesItsSessionAlone(t *testing.T) {
	m := startMosquitto(t)
	commanded := make(chan string, 10)
	l := newLink(t, func(cfg *Config) { cfg.Endpoint = m.endpoint("tcp") })
	l.Subscribe("cmd/#", 1, func(m iot.Message, ack func()) { commanded <- string(m.Payload); ack() })
	runLink(t, l)
	waitState(t, l, Online)
	l.Cut()
	waitState(t, l, Severed)
	other := newLink(t, func(cfg *Config) { cfg.Endpoint, cfg.ClientID = m.endpoint("tcp"), "other" })
	runLink(t, other)
	waitState(t, other, Online)
	var sent after
	other.Publish(Outgoing{Topic: "cmd/x", Payload: []byte("open"), QoS: 1}, sent.done)
	eventually(t, "the command waits there", func() bool { return len(sent.all()) == 1 })
	if text, failed := told(l.Try(t.Context(), "t")); failed != "" || !strings.Contains(text, "the session was kept there") {
		t.Fatal(text)
	}
	l.Restore()
	select {
	case got := <-commanded:
		if got != "open" {
			t.Fatal(got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the test took the command away from the link")
	}
}

func TestTry_NamesTheStepThatFailsAndWhatToDo(t *testing.T) {
	c, old := makeCerts(t, time.Now().Add(time.Hour)), makeCerts(t, time.Now().Add(-time.Hour))
	good, stale := startMosquitto(t, c.lines()...), startMosquitto(t, old.lines()...)
	plain := startMosquitto(t)
	shut := listen(t, func(net.Conn) {})
	for name, f := range map[string]struct {
		edit           func(*Config)
		step, say, why string
	}{
		"no such name":       {func(cfg *Config) { cfg.Endpoint.Host = "nowhere.invalid" }, "resolve", "DNS servers", ""},
		"nobody listens":     {func(cfg *Config) { cfg.Endpoint = Endpoint{Scheme: "tcp", Host: "127.0.0.1", Port: 1} }, "tcp", "firewall", "refused"},
		"unknown authority":  {func(cfg *Config) { cfg.Endpoint, cfg.TLS = good.endpoint("tls"), nil }, "tls", "uplinks[].ca", "by test CA"},
		"expired":            {func(cfg *Config) { cfg.Endpoint, cfg.TLS = stale.endpoint("tls"), &tls.Config{RootCAs: old.pool} }, "tls", "", "valid"},
		"no TLS there":       {func(cfg *Config) { cfg.Endpoint = plain.endpoint("tcp"); cfg.Endpoint.Scheme = "tls" }, "tls", "TLS port", ""},
		"no MQTT there":      {func(cfg *Config) { cfg.Endpoint = endpointOf(shut, "tcp") }, "connect", "without an answer", ""},
		"no WebSocket there": {func(cfg *Config) { cfg.Endpoint = endpointOf(shut, "ws") }, "websocket", "path", ""},
		"topic too deep":     {func(cfg *Config) { cfg.Endpoint, cfg.Profile = plain.endpoint("tcp"), profile.AWSIoTCore }, "publish", "another topic", "more than 8 levels"},
		"proxy refuses": {func(cfg *Config) {
			cfg.Endpoint = plain.endpoint("tcp")
			cfg.Proxy, _ = proxy.Parse("http://" + listen(t, func(c net.Conn) { bufio.NewReader(c).ReadString('\n'); io.WriteString(c, "HTTP/1.1 407 No\r\n\r\n") }))
		}, "tcp", "uplinks[].proxy", "407"},
	} {
		l := newLink(t, f.edit)
		text, failed := told(l.Try(t.Context(), "a/b/c/d/e/f/g/h/i"))
		if failed != f.step || !strings.Contains(text, f.say) || !strings.Contains(text, f.why) {
			t.Errorf("%s: failed at %q:\n%s", name, failed, text)
		}
	}
}

func endpointOf(address, scheme string) Endpoint {
	a, _ := net.ResolveTCPAddr("tcp", address)
	e := Endpoint{Scheme: scheme, Host: "127.0.0.1", Port: a.Port}
	if scheme == "ws" {
		e.Path = "/mqtt"
	}
	return e
}

func TestRun_GoesThroughAProxyOnEveryTransport(t *testing.T) {
	c := makeCerts(t, time.Now().Add(time.Hour))
	mutual := &tls.Config{RootCAs: c.pool, Certificates: []tls.Certificate{c.client}}
	for _, kind := range []func(*testing.T, string) (string, *atomic.Int32){httpProxy, socksProxy} {
		for scheme, lines := range map[string][]string{"tls": c.lines("require_certificate true"), "wss": nil} {
			m := startMosquitto(t, lines...)
			endpoint := m.endpoint(scheme)
			if scheme == "wss" {
				endpoint.Port = webSocketFront(t, m, c, true)
			}
			url, ways := kind(t, endpoint.Address())
			l := newLink(t, func(cfg *Config) {
				cfg.Endpoint, cfg.TLS = endpoint, mutual
				cfg.Proxy, _ = proxy.Parse(url)
				cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					if address == endpoint.Address() {
						t.Errorf("%s %s: went past the proxy", url, scheme)
					}
					return new(net.Dialer).DialContext(ctx, network, address)
				}
			})
			runLink(t, l)
			waitState(t, l, Online)
			if text, failed := told(l.Try(t.Context(), "t")); failed != "" || ways.Load() != 2 {
				t.Errorf("%s %s: %d ways\n%s", url, scheme, ways.Load(), text)
			}
		}
	}
}
