package gateway_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/ids"
)

// TestIdentities_EachFilterOfASubscribeIsJudgedByItself.
func TestIdentities_EachFilterOfASubscribeIsJudgedByItself(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	d := p.device("some", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":["iot:Subscribe","iot:Receive","iot:Publish"],"Resource":["arn:aws:iot:*:*:topicfilter/ok/*","arn:aws:iot:*:*:topic/ok/*"]}]}`)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("ssl://" + p.addresses["mtls"]).SetClientID("d").SetTLSConfig(p.secure(d.Certificate)).SetAutoReconnect(false))
	if token := c.Connect(); !token.WaitTimeout(wait) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer c.Disconnect(100)
	heard := make(chan string, 1)
	token := c.SubscribeMultiple(map[string]byte{"ok/a": 1, "no/a": 1, "ok/b": 0}, func(_ mqtt.Client, m mqtt.Message) { heard <- m.Topic() })
	if !token.WaitTimeout(wait) {
		t.Fatal("no answer")
	}
	if got := token.(*mqtt.SubscribeToken).Result(); got["ok/a"] != 1 || got["no/a"] != 0x80 || got["ok/b"] != 0 {
		t.Errorf("SUBACK %v", got)
	}
	c.Publish("ok/b", 0, false, "1")
	select {
	case topic := <-heard:
		if topic != "ok/b" {
			t.Error(topic)
		}
	case <-time.After(wait):
		t.Error("what is allowed does not arrive")
	}
}

// TestIdentities_LocalMayDoWhatItsPolicySays: local-default can be replaced.
func TestIdentities_LocalMayDoWhatItsPolicySays(t *testing.T) {
	address := start(t, "gw", `security: {policies: [{name: local-default, document: '{"Version":"2012-10-17","Statement":[
  {"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/meter"},{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/m/*"}]}'}]}
`)
	if _, err := gwtest.Dial(t, address, "stranger", gwtest.ClientOptions{}); err == nil {
		t.Error("a client id that the policy does not know came in")
	}
	c := gwtest.Connect(t, address, "meter", gwtest.ClientOptions{})
	c.Publish("m/1", "1", 1)
	if c.TrySubscribe("m/1") == nil {
		t.Error("a filter that the policy does not know was granted")
	}
	<-c.TryPublish("n/1", []byte("1"), 1)
	gwtest.Eventually(t, "a forbidden publish ends the connection", func() bool { return !c.Connected() })
}

// TestIdentities_PasswordsOfBothHashesLogIn: argon2id is what `user hash` makes,
// bcrypt what others bring. Who has no policy may do nothing.
func TestIdentities_PasswordsOfBothHashesLogIn(t *testing.T) {
	p := open(t, `listeners: [{name: users, bind: "127.0.0.1:0", auth: password}]`, `security:
  users:
    - {name: ann, password: "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", policies: [all]}
    - {name: bob, password: "`+access.HashPassword([]byte("correct horse"), ids.New(rand.Reader))+`", policies: [all]}
    - {name: cat, password: "`+access.HashPassword([]byte("correct horse"), ids.New(rand.Reader))+`"}
  policies: [{name: all, document: '`+allowAll+`'}]
`, gateway.Env{})
	for _, c := range []struct {
		user, password string
		in             bool
	}{{"ann", "correct horse", true}, {"ann", "wrong", false}, {"ann", "", false}, {"bob", "correct horse", true}, {"bob", "wrong", false}, {"cat", "correct horse", false}, {"eve", "correct horse", false}} {
		conn, err := gwtest.Dial(t, p.addresses["users"], c.user, gwtest.ClientOptions{Username: c.user, Password: c.password})
		if (err == nil) != c.in {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			conn.Publish("x", "1", 1)
			conn.Close()
		}
	}
}

// lan is a network whose peers come from where the test says: the rates and bans
// of security.md T4 and T6 spare this host.
type lan struct{ from atomic.Pointer[net.TCPAddr] }

func (l *lan) at(ip string) { l.from.Store(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1000}) }

func (l *lan) listen(ctx context.Context, network, address string) (net.Listener, error) {
	socket, err := (&net.ListenConfig{}).Listen(ctx, network, address)
	if network != "tcp" || err != nil {
		return socket, err
	}
	return lanListener{socket, l}, nil
}

type lanListener struct {
	net.Listener
	lan *lan
}

func (l lanListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return lanConn{conn, l.lan.from.Load()}, err
}

type lanConn struct {
	net.Conn
	from net.Addr
}

func (c lanConn) RemoteAddr() net.Addr { return c.from }

func openLAN(t *testing.T) (*premises, *lan) {
	l := &lan{}
	l.at("10.0.0.1")
	return open(t, mutual, "", gateway.Env{Listen: l.listen}), l
}

// counts reports whether the metrics have this line.
func (p *premises) counts(line string) bool { return strings.Contains(p.metrics(), "\n"+line+"\n") }

// TestT4_OneAddressHoldsSixteenSilentConnections: the oldest gives way.
func TestT4_OneAddressHoldsSixteenSilentConnections(t *testing.T) {
	p, _ := openLAN(t)
	var silent []net.Conn
	for range 17 {
		conn, err := net.Dial("tcp", p.addresses["mtls"])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	_ = silent[0].SetReadDeadline(time.Now().Add(wait))
	if _, err := silent[0].Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the oldest of 17: %v", err)
	}
}

// TestT6_HandshakesOfOneAddressAreLimited to its burst; others still come in.
func TestT6_HandshakesOfOneAddressAreLimited(t *testing.T) {
	p, l := openLAN(t)
	d := p.device("all", allowAll)
	refused := 0
	for n := range 30 {
		if p.dial(fmt.Sprint("d", n), d.Certificate) != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("30 handshakes at once and none refused")
	}
	if !strings.Contains(p.metrics(), `tidehold_mqtt_connects_total{result="handshake_rate"}`) {
		t.Error("the refusal is not counted")
	}
	l.at("10.0.0.2")
	p.connect("other", d.Certificate)
}

// TestT6_WhoIsRefusedTenTimesIsBanned: the address for everybody, and the
// certificate from every address.
func TestT6_WhoIsRefusedTenTimesIsBanned(t *testing.T) {
	p, l := openLAN(t)
	named := p.device("named", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/named"}]}`)
	good := p.device("all", allowAll)
	for range 10 {
		if p.dial("other", named.Certificate) == nil {
			t.Fatal("came in under a foreign client id")
		}
	}
	if p.dial("good", good.Certificate) == nil {
		t.Error("the banned address came in")
	}
	l.at("10.0.0.2")
	if p.dial("named", named.Certificate) == nil {
		t.Error("the banned certificate came in from elsewhere")
	}
	p.connect("good", good.Certificate)
	for _, line := range []string{"tidehold_mqtt_bans_total 1", "tidehold_auth_bans_total 1", `tidehold_mqtt_connects_total{result="banned"} 1`} {
		if !p.counts(line) {
			t.Errorf("no line %q in the metrics", line)
		}
	}
}

// TestDenials_TheOperatorSeesWhatWasRefusedAndWhatWouldAllowIt: a policy's
// refusal with a suggestion, a reserved topic without.
func TestDenials_TheOperatorSeesWhatWasRefusedAndWhatWouldAllowIt(t *testing.T) {
	p := open(t, mutual, "security: {on_denied: lenient}", gateway.Env{})
	d := p.device("connect", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`)
	c := p.connect("d", d.Certificate)
	<-c.TryPublish("a/b", []byte("1"), 1)
	<-c.TryPublish("$SYS/x", []byte("1"), 1)
	var told []struct{ Client, Action, Resource, Reason, Suggest string }
	p.list("/tidehold/v1/denials", &told)
	if len(told) != 2 || told[0].Client != "d" || told[0].Resource != "topic/a/b" || told[0].Reason != "implicit" || !strings.Contains(told[0].Suggest, "arn:aws:iot:us-east-1:000000000000:topic/a/b") {
		t.Errorf("%+v", told)
	} else if told[1].Resource != "topic/$SYS/x" || told[1].Reason != "reserved topic" || told[1].Suggest != "" {
		t.Errorf("%+v", told[1])
	}
}

// TestDenials_ReservedTopicsOverHTTPSAreSeen like those over MQTT: in the list and
// in the figures, each device by itself.
func TestDenials_ReservedTopicsOverHTTPSAreSeen(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	one, two := p.device("all", allowAll), p.deviceWith(newKey(t), "all", "")
	for _, d := range []identity{one, two, one} {
		if status := p.https(d, "POST", "/topics/"+url.PathEscape("$aws/things/t/shadow/update/accepted")); status != http.StatusForbidden {
			t.Errorf("a forgery: %d", status)
		}
	}
	var told []struct {
		Principal                struct{ ID string }
		Action, Resource, Reason string
	}
	p.list("/tidehold/v1/denials", &told)
	if len(told) != 2 || told[0].Principal.ID != one.ID || told[1].Principal.ID != two.ID {
		t.Fatalf("%+v", told)
	}
	if d := told[0]; d.Action != "iot:Publish" || d.Resource != "topic/$aws/things/t/shadow/update/accepted" || d.Reason != "reserved topic" {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(p.metrics(), `tidehold_authz_denied_total{action="Publish"} 3`) {
		t.Error("the figures do not say three denials")
	}
}

// TestDenials_WhoProvesNothingIsSeen: a certificate that does not count and a
// signature that is none are in the list and in the figures.
func TestDenials_WhoProvesNothingIsSeen(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	d := p.device("all", allowAll)
	p.admin("PUT", d.path()+"?newStatus=REVOKED", nil)
	if p.dial("d", d.Certificate) == nil {
		t.Error("a revoked certificate came in")
	}
	if status := p.signed(accessKey{"AKIANOBODY", "secret"}, "/topics/a"); status != http.StatusForbidden {
		t.Errorf("an unknown key: %d", status)
	}
	var told []struct {
		Principal                struct{ ID string }
		Action, Resource, Reason string
	}
	p.list("/tidehold/v1/denials", &told)
	if len(told) != 2 || told[0].Resource != "cert/"+d.ID || !strings.Contains(told[0].Reason, "REVOKED") || told[1].Resource != "127.0.0.1" || told[1].Action != "authenticate" {
		t.Errorf("%+v", told)
	}
	for _, want := range []string{`{listener="mtls",reason="certificate"} 1`, `{listener="http",reason="signature"} 1`} {
		if !strings.Contains(p.metrics(), "tidehold_auth_failures_total"+want) {
			t.Errorf("no %s in the figures", want)
		}
	}
}

// list reads an answer of the operator that is a list.
func (p *premises) list(path string, into any) {
	p.t.Helper()
	response, err := p.operator.Get("http://gateway" + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		p.t.Fatal(err)
	}
}
