package broker

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

func TestConnect_RefusalsHaveTheirCode(t *testing.T) {
	w := serve(t, nil, &gatekeeper{
		connect: func(c *Client, password []byte) error {
			if string(password) == "wrong" {
				return iot.Errorf(iot.Unauthorized, "who are you?")
			}
			return nil
		},
		publish: func(name string) error {
			if name == "secret" {
				return iot.Errorf(iot.Forbidden, "no")
			}
			return nil
		},
	})
	will := func(topic string) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte("x")
		}
	}
	password := func(pk *packets.Packet) {
		pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte("u")
		pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte("wrong")
	}
	for what, c := range map[string]struct {
		change     func(*packets.Packet)
		four, five byte
	}{
		"password":           {password, 5, 0x87},
		"will not allowed":   {will("secret"), 5, 0x87},
		"will reserved":      {will("$aws/events/x"), 5, 0x87},
		"will with wildcard": {will("a/#"), 5, 0x90},
		"long client id":     {func(pk *packets.Packet) { pk.Connect.ClientIdentifier = strings.Repeat("x", 129) }, 2, 0x85},
	} {
		for version, code := range map[byte]byte{4: c.four, 5: c.five} {
			p := w.dial(version)
			p.send(greeting(version, "c", c.change))
			if pk := p.want(packets.Connack); pk.ReasonCode != code {
				t.Errorf("%s, version %d: CONNACK %#x, want %#x", what, version, pk.ReasonCode, code)
			}
			p.closed()
		}
	}
	failed := w.house.topics("$aws/events/presence/connect_failed/c")
	if len(failed) != 6 || !contains(string(failed[0].Payload), `"connectFailureReason":"AUTHORIZATION_FAILED"`) {
		t.Errorf("%d connect_failed events", len(failed))
	}
}

func TestConnect_VersionsAndEmptyClientIDs(t *testing.T) {
	w := serve(t, nil, nil)
	p := w.dial(4)
	p.send(greeting(3, "c", func(pk *packets.Packet) { pk.Connect.ProtocolName = []byte("MQIsdp") }))
	old := greeting(3, "c", func(pk *packets.Packet) { pk.Connect.ProtocolName = []byte("MQIsdp"); pk.ProtocolVersion = 3 })
	p = w.dial(3)
	p.send(old)
	if pk := p.want(packets.Connack); pk.ReasonCode != 1 {
		t.Errorf("MQTT 3.1: CONNACK %#x, want 1", pk.ReasonCode)
	}
	_, connack := w.connect(5, "", nil)
	if connack.Properties.AssignedClientID == "" {
		t.Error("no client id assigned")
	}
	w.client(4, "")
	p = w.dial(4)
	p.send(greeting(4, "", func(pk *packets.Packet) { pk.Connect.Clean = false }))
	if pk := p.want(packets.Connack); pk.ReasonCode != 2 {
		t.Errorf("persistent without client id: CONNACK %#x, want 2", pk.ReasonCode)
	}
}

func TestConnect_CONNACKOfMQTT5TellsTheLimits(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxQoS, c.MaxKeepAlive = 1, 20*time.Minute }, nil)
	_, connack := w.connect(5, "c", func(pk *packets.Packet) { pk.Connect.Keepalive = 5000 })
	p := connack.Properties
	if p.MaximumQos != 1 || p.ReceiveMaximum != 100 || p.TopicAliasMaximum != aliasMax || p.ServerKeepAlive != 1200 || p.MaximumPacketSize < 128<<10 {
		t.Errorf("got %+v", p)
	}
}

func TestConnect_MustComeCompleteInTime(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.ConnectTimeout = 300 * time.Millisecond }, nil)
	silent, half := w.dial(4), w.dial(4)
	_, _ = half.nc.Write([]byte{0x10, 20, 0, 4, 'M', 'Q'})
	start := time.Now()
	silent.closed()
	half.closed()
	if d := time.Since(start); d < 200*time.Millisecond || d > 3*time.Second {
		t.Errorf("closed after %v, want 300 ms", d)
	}
	drip := w.dial(4)
	defer drip.nc.Close()
	for i := range 10 {
		if _, err := drip.nc.Write([]byte{[]byte{0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 2}[i]}); err != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	drip.closed()
	w.client(4, "c").silent(500 * time.Millisecond) // who has said CONNECT is not cut off
}

// security.md T4 and its acceptance list, 3.
func TestConnect_ThousandSilentSocketsAndHundredHalfCONNECTsKeepNobodyOut(t *testing.T) {
	w := serve(t, nil, nil)
	for i := range 1100 {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if i%11 == 0 {
			_, _ = nc.Write([]byte("\x10\x20\x00\x04MQ"))
		}
	}
	start := time.Now()
	w.client(4, "c").publish("t", "x", 1, 1)
	if d := time.Since(start); d > time.Second {
		t.Errorf("a real client took %v", d)
	}
	eventually(t, "lobby is bounded", func() bool { return w.lobby.Len() <= lobbyTotal })
}

func TestConnect_HugeHeaderAllocatesNothing(t *testing.T) {
	w := serve(t, nil, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		p := w.dial(5)
		_, _ = p.nc.Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
		p.closed()
		c := w.client(5, "c")
		_, _ = c.nc.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
		if pk := c.want(packets.Disconnect); pk.ReasonCode != 0x95 {
			t.Errorf("DISCONNECT %#x, want 0x95", pk.ReasonCode)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("40 headers of 256 MiB allocated %d bytes", grown)
	}
}

func TestConnect_LimitOfConnections(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxConnections = 2 }, nil)
	w.client(4, "a")
	w.client(4, "b")
	for version, code := range map[byte]byte{4: 3, 5: 0x97} {
		p := w.dial(version)
		p.send(greeting(version, "c", nil))
		if pk := p.want(packets.Connack); pk.ReasonCode != code {
			t.Errorf("version %d: CONNACK %#x, want %#x", version, pk.ReasonCode, code)
		}
	}
	w.client(4, "a") // a takeover needs no new place
}

func TestConnect_SilentClientIsDroppedAfterOneAndAHalfKeepAlive(t *testing.T) {
	w := serve(t, nil, nil)
	p, _ := w.connect(5, "c", func(pk *packets.Packet) { pk.Connect.Keepalive = 1 })
	start := time.Now()
	if pk := p.want(packets.Disconnect); pk.ReasonCode != 0x8d {
		t.Errorf("DISCONNECT %#x, want 0x8d", pk.ReasonCode)
	}
	if d := time.Since(start); d < 1400*time.Millisecond || d > 3*time.Second {
		t.Errorf("after %v, want 1.5 s", d)
	}
}

func withWill(delay uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload, pk.Connect.WillQos = true, "will", []byte("gone"), 1
		pk.Connect.WillProperties.WillDelayInterval = delay
	}
}

func TestWill_IsSentWhenTheConnectionIsLost(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		sub := w.client(4, "sub")
		sub.subscribe(1, "will")
		c, _ := w.connect(version, "c", withWill(0))
		_ = c.nc.Close()
		sub.receive("will", "gone")
		if all := w.house.topics("will"); len(all) != 1 || !all[0].Origin.Will || all[0].Origin.ClientID != "c" {
			t.Errorf("accepted %+v", all)
		}
		c, _ = w.connect(version, "c", withWill(0))
		c.send(goodbye)
		c.closed()
		sub.silent(50 * time.Millisecond)
		_, _ = w.connect(version, "c", withWill(0)) // a takeover loses the connection too
		_, _ = w.connect(version, "c", nil)
		sub.receive("will", "gone")
	})
}

func TestWill_IsCheckedAgainWhenItIsSent(t *testing.T) {
	var allowed atomic.Bool
	allowed.Store(true)
	w := serve(t, nil, &gatekeeper{publish: func(string) error {
		if !allowed.Load() {
			return iot.Errorf(iot.Forbidden, "no more")
		}
		return nil
	}})
	c, _ := w.connect(4, "c", withWill(0))
	allowed.Store(false)
	_ = c.nc.Close()
	eventually(t, "disconnected", func() bool { return len(w.house.topics("$aws/events/presence/disconnected/c")) == 1 })
	if len(w.house.topics("will")) > 0 {
		t.Error("the will went past the check")
	}
}

func TestWill_DelayIsCancelledByAReturnAndEndsWithTheSession(t *testing.T) {
	w := serve(t, nil, nil)
	sub := w.client(4, "sub")
	sub.subscribe(1, "will")
	c, _ := w.persistent(5, "c", withWill(1))
	w.away(c, "c")
	c, _ = w.persistent(5, "c", withWill(1))
	sub.silent(1200 * time.Millisecond)
	w.away(c, "c")
	start := time.Now()
	sub.receive("will", "gone")
	if d := time.Since(start); d < 800*time.Millisecond {
		t.Errorf("sent after %v, want 1 s", d)
	}
	c, _ = w.persistent(5, "c", withWill(60))
	w.away(c, "c")
	w.client(5, "c") // a clean start ends the session
	sub.receive("will", "gone")
}

func TestListen_TakenPortSaysWhatToDo(t *testing.T) {
	w := serve(t, nil, nil)
	cfg := Config{Listeners: []ListenerConfig{{Name: "first", Bind: "127.0.0.1:0"}, {Name: "local", Bind: w.addr}}}
	b, err := New(cfg, &gatekeeper{}, &household{}, clock.NewSystem(), ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = b.Listen(context.Background())
	if err == nil || !contains(err.Error(), `listener "local"`) || !contains(err.Error(), w.addr) || !contains(err.Error(), "another bind") {
		t.Errorf("got %v", err)
	}
	if _, err := b.listeners[0].Net.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the first listener was left open: %v", err)
	}
}

// flaky fails every other Accept as a host without file descriptors does.
type flaky struct {
	net.Listener
	calls atomic.Int64
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.calls.Add(1)%2 == 1 {
		return nil, errors.New("accept: too many open files")
	}
	return f.Listener.Accept()
}

func TestListen_AcceptErrorsAreSurvived(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, func(c *Config) { c.Listeners[0].Listener = &flaky{Listener: ln} }, nil)
	for range 5 {
		w.client(4, "c").publish("t", "x", 1, 1)
	}
}

func TestStop_TellsMQTT5AndEndsEverything(t *testing.T) {
	b, err := New(Config{Listeners: []ListenerConfig{{Name: "l", Bind: "127.0.0.1:0"}}, Limits: edge}, &gatekeeper{}, &household{},
		clock.NewSystem(), ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	house := b.house.(*household)
	house.b = b
	ctx, cancel := context.WithCancel(context.Background())
	if err := b.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	w := &world{Broker: b, t: t, addr: b.Addresses()[0].Address}
	five, _ := w.connect(5, "five", withWill(0))
	four, lobby := w.client(4, "four"), w.dial(4)
	cancel()
	if pk := five.want(packets.Disconnect); pk.ReasonCode != 0x8b {
		t.Errorf("DISCONNECT %#x, want 0x8b", pk.ReasonCode)
	}
	four.closed()
	lobby.closed()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(house.topics("will")) > 0 {
		t.Error("a stop of the gateway is no reason for wills")
	}
}

func TestDisconnect_ByID(t *testing.T) {
	w := serve(t, nil, nil)
	c := w.client(5, "c")
	if !w.Disconnect("c", 0x98) || w.Disconnect("nobody", 0x98) {
		t.Error("Disconnect must tell whether the client was connected")
	}
	if pk := c.want(packets.Disconnect); pk.ReasonCode != 0x98 {
		t.Errorf("DISCONNECT %#x", pk.ReasonCode)
	}
}

// TestConnect_ARightLostMeanwhileEndsTheConnection: what changes between the
// Authorizer's answer and the connection's place in the list finds nobody there.
func TestConnect_ARightLostMeanwhileEndsTheConnection(t *testing.T) {
	w := serve(t, nil, &gatekeeper{stay: func(c *Client) bool { return c.ID != "late" }})
	w.client(5, "other")
	if pk := w.client(5, "late").want(packets.Disconnect); pk.ReasonCode != 0x98 {
		t.Errorf("DISCONNECT %#x", pk.ReasonCode)
	}
}

// The events of shadow.md section 11, with the shapes of presence.json.
func TestEvents_PresenceAndSubscriptions(t *testing.T) {
	w := serve(t, nil, nil)
	watch := w.client(4, "watch")
	watch.subscribe(1, "$aws/events/+/+/b")
	event := func(topic string) map[string]any {
		t.Helper()
		pk := watch.want(packets.Publish)
		watch.send(ack(packets.Puback, pk.PacketID))
		var e map[string]any
		if err := json.Unmarshal(pk.Payload, &e); err != nil || pk.TopicName != "$aws/events/"+topic+"/b" || pk.FixedHeader.Retain {
			t.Fatalf("got %s %s, want %s", pk.TopicName, pk.Payload, topic)
		}
		return e
	}
	session := ""
	for visit := range 2 {
		b := w.client(4, "b")
		e := event("presence/connected")
		for _, member := range []string{"clientId", "timestamp", "eventType", "sessionIdentifier", "principalIdentifier", "ipAddress", "versionNumber"} {
			if _, ok := e[member]; !ok {
				t.Errorf("connected has no %s", member)
			}
		}
		if e["versionNumber"] != float64(visit) || e["sessionIdentifier"] == session || e["principalIdentifier"] != "local" {
			t.Errorf("visit %d: %v", visit, e)
		}
		session = e["sessionIdentifier"].(string)
		b.subscribe(1, "x", "y")
		if e := event("subscriptions/subscribed"); len(e["topics"].([]any)) != 2 {
			t.Errorf("subscribed: %v", e)
		}
		want := map[string]any{"clientInitiatedDisconnect": true, "disconnectReason": "CLIENT_INITIATED_DISCONNECT"}
		if visit == 0 {
			b.send(goodbye)
		} else {
			_ = b.nc.Close()
			want = map[string]any{"clientInitiatedDisconnect": false, "disconnectReason": "CONNECTION_LOST"}
		}
		want["versionNumber"], want["sessionIdentifier"], want["eventType"] = float64(visit), session, "disconnected"
		e = event("presence/disconnected")
		for k, v := range want {
			if e[k] != v {
				t.Errorf("disconnected: %s is %v, want %v", k, e[k], v)
			}
		}
		if _, has := e["ipAddress"]; has {
			t.Error("disconnected tells the address")
		}
	}
}

func TestWebSocket_CarriesMQTT(t *testing.T) {
	w := serve(t, func(c *Config) {
		c.Listeners = []ListenerConfig{{Name: "web", Bind: "127.0.0.1:0", Protocol: "ws", Upgrade: func(r *http.Request) (iot.Principal, error) {
			if r.URL.Query().Get("key") != "good" {
				return iot.Principal{}, iot.Errorf(iot.Forbidden, "bad signature")
			}
			return iot.Principal{Kind: iot.AccessKeyKind, ID: "AK"}, nil
		}}}
	}, nil)
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	if _, resp, err := dialer.Dial("ws://"+w.addr+"/mqtt?key=bad", nil); err == nil || resp == nil || resp.StatusCode != 403 {
		t.Errorf("bad signature: %v", err)
	}
	if _, resp, err := dialer.Dial("ws://"+w.addr+"/mqtt?key=good", http.Header{"Origin": {"http://evil.example"}}); err == nil || resp.StatusCode != 403 {
		t.Errorf("foreign origin: %v", err)
	}
	ws, resp, err := dialer.Dial("ws://"+w.addr+"/mqtt?key=good", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "mqtt" {
		t.Errorf("subprotocol %q", got)
	}
	p := &peer{t: t, version: 4}
	both := append(p.bytes(greeting(4, "c", nil)), p.bytes(message("t", "x", 1, 1))...)
	_ = ws.WriteMessage(websocket.BinaryMessage, both[:10]) // frames are not packets
	_ = ws.WriteMessage(websocket.BinaryMessage, both[10:])
	var got []byte
	for len(got) < 8 {
		_ = ws.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatalf("after %x: %v", got, err)
		}
		got = append(got, b...)
	}
	if string(got) != "\x20\x02\x00\x00\x40\x02\x00\x01" {
		t.Errorf("got %x", got)
	}
	if len(w.Clients()) != 1 {
		t.Errorf("%d clients", len(w.Clients()))
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("text"))
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("a text frame must end the connection")
	}
}

func TestTLS_ClientCertificateReachesTheAuthorizer(t *testing.T) {
	server, device := certificate(t), certificate(t)
	var seen atomic.Pointer[Client]
	w := serve(t, func(c *Config) {
		c.Listeners = []ListenerConfig{{Name: "mtls", Bind: "127.0.0.1:0", TLS: &tls.Config{
			Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"x-amzn-mqtt-ca", "mqtt"}}}}
	}, &gatekeeper{connect: func(c *Client, _ []byte) error { seen.Store(c); return nil }})
	nc, err := tls.Dial("tcp", w.addr, &tls.Config{Certificates: []tls.Certificate{device}, InsecureSkipVerify: true, ServerName: "edge.local"})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, nc: nc, r: bufio.NewReader(nc), version: 5}
	p.send(greeting(5, "c", nil))
	p.want(packets.Connack)
	p.subscribe(1, "t")
	p.publish("u", "x", 1, 1)
	if c := seen.Load(); c.TLS == nil || len(c.TLS.PeerCertificates) != 1 || c.TLS.ServerName != "edge.local" || c.Listener != "mtls" {
		t.Errorf("the authorizer saw %+v", c)
	}
	w.Disconnect("c", 0x98)
	if pk := p.want(packets.Disconnect); pk.ReasonCode != 0x98 {
		t.Errorf("DISCONNECT %#x", pk.ReasonCode)
	}
	plain := w.dial(4)
	plain.send(greeting(4, "c", nil))
	if _, err := plain.next(5 * time.Second); err == nil && w.Clients() != nil {
		t.Error("plain MQTT on a TLS listener was served")
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A connection that only waits costs a small stack: the one that its CONNECT
// needed is not kept (bar: 20 KiB of memory for each idle connection).
func TestConnect_AnIdleConnectionWaitsOnASmallStack(t *testing.T) {
	const clients, each = 500, 6 << 10
	w := serve(t, nil, nil)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range clients {
		w.client(4, name(i))
	}
	runtime.ReadMemStats(&after)
	if used := (int64(after.StackInuse) - int64(before.StackInuse)) / clients; used > each {
		t.Errorf("%d bytes of stack for each connection, want at most %d", used, each)
	}
}
