package gateway_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// openDoor runs a gateway whose port 443 is a socket of systemd.
func openDoor(t *testing.T) *premises {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return open(t, twoDoors, "",
		gateway.Env{Sockets: map[string][]net.Listener{"tidehold-443": {socket}}})
}

// TestListeners_Port8883TakesEveryNameOfALPN and none at all.
func TestListeners_Port8883TakesEveryNameOfALPN(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	d := p.device("all", allowAll)
	for _, offered := range [][]string{nil, {"mqtt"}, {"x-amzn-mqtt-ca"}} {
		secure := p.secure(d.Certificate)
		secure.NextProtos = offered
		c := gwtest.Connect(t, p.addresses["mtls"], "d", gwtest.ClientOptions{TLS: secure})
		c.Publish("x", "1", 1)
		c.Close()
	}
	secure := p.secure(d.Certificate)
	secure.NextProtos = []string{"h2"}
	if _, err := tls.Dial("tcp", p.addresses["mtls"], secure); err == nil {
		t.Error("a protocol that is not served was agreed on")
	}
	if _, err := gwtest.Dial(t, p.addresses["mtls"], "d", gwtest.ClientOptions{TLS: p.secure()}); err == nil {
		t.Error("a client without certificate came in")
	}
}

// TestListeners_Port443ServesThreeProtocolsByALPN: MQTT and the data plane by
// certificate, WebSocket by signature.
func TestListeners_Port443ServesThreeProtocolsByALPN(t *testing.T) {
	p := openDoor(t)
	d := p.device("all", allowAll)
	secure := p.secure(d.Certificate)
	secure.NextProtos = []string{"x-amzn-mqtt-ca"}
	c := gwtest.Connect(t, p.addresses["https"], "d", gwtest.ClientOptions{TLS: secure})
	c.Subscribe("a/#")

	for _, port := range []string{"https", "data_plane"} {
		if status := p.publishHTTPS(port, "x-amzn-http-ca", d.Certificate, "a/b"); status != http.StatusOK {
			t.Errorf("publish at %s: %d", port, status)
		}
		c.Next("a/b")
	}
	if status := p.publishHTTPS("data_plane", "", d.Certificate, "a/b"); status != http.StatusOK {
		t.Errorf("publish without ALPN: %d", status)
	}

	key := p.accessKey("")
	signed, err := p.webSocket(key, "app", time.Now())
	if err != nil {
		t.Fatalf("WebSocket: %v", err)
	}
	if token := signed.Publish("a/ws", 1, false, "1"); !token.WaitTimeout(wait) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	c.Next("a/ws")
}

// TestListeners_WebSocketWithoutAGoodSignatureStaysOut on every count.
func TestListeners_WebSocketWithoutAGoodSignatureStaysOut(t *testing.T) {
	p := openDoor(t)
	key := p.accessKey("")
	if _, err := p.webSocket(accessKey{key.id, "wrong"}, "app", time.Now()); err == nil {
		t.Error("a wrong secret came in")
	}
	if _, err := p.webSocket(accessKey{"AKIAUNKNOWN", key.secret}, "app", time.Now()); err == nil {
		t.Error("an unknown key came in")
	}
	if _, err := p.webSocket(key, "app", time.Now().Add(-time.Hour)); err == nil {
		t.Error("a signature of an hour ago came in")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: p.secure()}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]int{"/mqtt": http.StatusForbidden, "/topics/a": http.StatusNotFound, "/things": http.StatusNotFound} {
		response, err := client.Get("https://" + p.addresses["https"] + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s: %d %s; want %d", path, response.StatusCode, text, want)
		}
	}
}

// TestListeners_AWebSocketTicketDoesNotOpenMutualTLS: a session of a client
// without certificate is not resumed into a protocol that wants one.
func TestListeners_AWebSocketTicketDoesNotOpenMutualTLS(t *testing.T) {
	p := openDoor(t)
	cfg := p.secure()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
	response, err := client.Get("https://" + p.addresses["https"] + "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	client.CloseIdleConnections()
	cfg.NextProtos = []string{"x-amzn-mqtt-ca"}
	if _, err := gwtest.Dial(t, p.addresses["https"], "d", gwtest.ClientOptions{TLS: cfg}); err == nil {
		t.Error("a client without certificate came in by a ticket")
	}
}

// TestListeners_AMissingSocketDegradesItsOwnComponent and nothing else.
func TestListeners_AMissingSocketDegradesItsOwnComponent(t *testing.T) {
	p := open(t, twoDoors, "", gateway.Env{})
	status := p.admin("GET", "/tidehold/v1/status", nil)
	component := status["components"].(map[string]any)["listener/https"].(map[string]any)
	if component["state"] != "degraded" || !strings.Contains(component["error"].(string), "FileDescriptorName=tidehold-443") {
		t.Error(component)
	}
	p.connect("d", p.device("all", allowAll).Certificate)
}

// publishHTTPS publishes by the data plane and gives the status.
func (p *premises) publishHTTPS(port, protocol string, d tls.Certificate, topic string) int {
	p.t.Helper()
	secure := p.secure(d)
	if protocol != "" {
		secure.NextProtos = []string{protocol}
	}
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&tls.Dialer{Config: secure}).DialContext(ctx, network, address)
		return struct{ net.Conn }{conn}, err // net/http knows no AWS protocols
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Post("https://"+p.addresses[port]+"/topics/"+topic+"?qos=1", "", strings.NewReader("1"))
	if err != nil {
		p.t.Errorf("publish at %s: %v", port, err)
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

type accessKey struct{ id, secret string }

func (p *premises) accessKey(policy string) accessKey {
	p.t.Helper()
	made := p.admin("POST", "/tidehold/v1/access-keys", map[string]string{"Policy": policy})
	return accessKey{made["AccessKeyId"].(string), made["SecretAccessKey"].(string)}
}

// webSocket connects as AWS's SDKs do: signed in the query, the session of an
// unmodified client over TLS.
func (p *premises) webSocket(key accessKey, id string, at time.Time) (mqtt.Client, error) {
	p.t.Helper()
	address := p.addresses["https"]
	options := mqtt.NewClientOptions().AddBroker("wss://" + address + "/mqtt?" + presign(key, "GET", "/mqtt", address, at)).SetClientID(id).
		SetTLSConfig(p.secure()).SetAutoReconnect(false).SetConnectTimeout(wait)
	c := mqtt.NewClient(options)
	token := c.Connect()
	if !token.WaitTimeout(wait) {
		return nil, fmt.Errorf("no answer within %v", wait)
	}
	p.t.Cleanup(func() { c.Disconnect(100) })
	return c, token.Error()
}

// presign is the query of http-api.md 3.2 for a request without a body.
func presign(key accessKey, method, path, host string, at time.Time) string {
	date := at.UTC().Format("20060102T150405Z")
	scope := date[:8] + "/us-east-1/iotdevicegateway/aws4_request"
	query := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {key.id + "/" + scope}, "X-Amz-Date": {date}, "X-Amz-SignedHeaders": {"host"},
	}.Encode()
	empty := sha256.Sum256(nil)
	canonical := method + "\n" + path + "\n" + query + "\nhost:" + host + "\n\nhost\n" + hex.EncodeToString(empty[:])
	sum := sha256.Sum256([]byte(canonical))
	signing := []byte("AWS4" + key.secret)
	for _, part := range append(strings.Split(scope, "/"), strings.Join([]string{"AWS4-HMAC-SHA256", date, scope, hex.EncodeToString(sum[:])}, "\n")) {
		mac := hmac.New(sha256.New, signing)
		mac.Write([]byte(part))
		signing = mac.Sum(nil)
	}
	return query + "&X-Amz-Signature=" + hex.EncodeToString(signing)
}

// TestListeners_ControlIsEncryptedWhereOthersReachIt: plain HTTP is for this
// host alone (contract section 4).
func TestListeners_ControlIsEncryptedWhereOthersReachIt(t *testing.T) {
	for bind, want := range map[string]string{"127.0.0.1:0": "http", "localhost:0": "http", ":0": "https", "0.0.0.0:0": "https"} {
		p := openAt(t, bind, t.TempDir(), mutual, "", gateway.Env{})
		_, port, _ := net.SplitHostPort(p.addresses["control"])
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: p.secure()}}
		for _, scheme := range []string{"http", "https"} {
			response, err := client.Get(scheme + "://localhost:" + port + "/livez")
			if (err == nil) != (scheme == want) {
				t.Errorf("bind %s, %s: %v", bind, scheme, err)
			}
			if err == nil {
				response.Body.Close()
			}
		}
		client.CloseIdleConnections()
	}
}
