package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// world is a broker that serves, with a house and an authorizer to play with.
type world struct {
	*Broker
	t     testing.TB
	auth  *gatekeeper
	house *household
	addr  string
}

// household routes everything and says it is safe, unless take says otherwise.
type household struct {
	b *Broker

	mu       sync.Mutex
	accepted []iot.Message
	take     func(m iot.Message, done func(error)) bool // true: it did all there is to do
}

func (h *household) Accept(m iot.Message, done func(error)) {
	h.mu.Lock()
	if len(h.accepted) < 1000 {
		h.accepted = append(h.accepted, m)
	}
	take := h.take
	h.mu.Unlock()
	if take != nil && take(m, done) {
		return
	}
	h.b.Deliver(m, done)
}

func (h *household) set(take func(m iot.Message, done func(error)) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.take = take
}

// topics lists what was accepted under a prefix.
func (h *household) topics(prefix string) []iot.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []iot.Message
	for _, m := range h.accepted {
		if strings.HasPrefix(m.Topic, prefix) {
			all = append(all, m)
		}
	}
	return all
}

// gatekeeper allows everything that its functions do not refuse.
type gatekeeper struct {
	mu        sync.Mutex
	connect   func(c *Client, password []byte) error
	stay      func(c *Client) bool
	publish   func(name string) error
	subscribe func(filter string) error
	receive   func(id iot.ClientID, name string) bool
}

func (g *gatekeeper) Connect(c *Client, password []byte) error {
	c.Principal = iot.Principal{Kind: iot.Local}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.connect == nil {
		return nil
	}
	return g.connect(c, password)
}

func (g *gatekeeper) Publish(_ *Client, name string, _ bool) error {
	if g.publish == nil {
		return nil
	}
	return g.publish(name)
}

func (g *gatekeeper) MayStay(c *Client) bool { return g.stay == nil || g.stay(c) }

func (g *gatekeeper) Reserved(*Client, string) {}

func (g *gatekeeper) Subscribe(_ *Client, filter string) error {
	if g.subscribe == nil {
		return nil
	}
	return g.subscribe(filter)
}

func (g *gatekeeper) Receive(c *Client, name string) bool {
	return g.receive == nil || g.receive(c.ID, name)
}

var edge = Limits{
	MaxPayload: 128 << 10, MaxTopicLevels: 8, MaxTopicBytes: 256, MaxSubscriptionsPerClient: 50, MaxFiltersPerSubscribe: 8,
	MaxQoS: 2, MaxInflight: 100, ConnectTimeout: 5 * time.Second, MaxRetained: 5000, MaxRetainedBytes: 16 << 20,
}

// serve starts a broker with the `edge` limits, changed by change.
func serve(t testing.TB, change func(*Config), auth *gatekeeper) *world {
	t.Helper()
	cfg := Config{
		Listeners:     []ListenerConfig{{Name: "local", Bind: "127.0.0.1:0", Auth: "loopback", RateFree: true}},
		Limits:        edge,
		Queue:         Queue{MaxMessages: 1000, MaxBytes: 4 << 20, MaxAge: time.Hour},
		SessionExpiry: time.Hour,
	}
	if change != nil {
		change(&cfg)
	}
	if auth == nil {
		auth = &gatekeeper{}
	}
	w := &world{t: t, auth: auth, house: &household{}}
	b, err := New(cfg, auth, w.house, clock.NewSystem(), ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Broker, w.house.b = b, b
	ctx, cancel := context.WithCancel(context.Background())
	if err := b.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	if all := b.Addresses(); len(all) > 0 {
		w.addr = all[0].Address
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return w
}

// peer is a raw MQTT client: it does what the test says and nothing else.
type peer struct {
	t       testing.TB
	nc      net.Conn
	r       *bufio.Reader
	version byte
}

// greeting builds a CONNECT.
func greeting(version byte, id string, change func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: version,
		Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), ClientIdentifier: id, Clean: true, Keepalive: 60},
	}
	if change != nil {
		change(&pk)
	}
	return pk
}

func (w *world) dial(version byte) *peer {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	return &peer{t: w.t, nc: nc, r: bufio.NewReaderSize(nc, 64<<10), version: version}
}

// connect connects and wants to be accepted.
func (w *world) connect(version byte, id string, change func(*packets.Packet)) (*peer, packets.Packet) {
	w.t.Helper()
	p := w.dial(version)
	p.send(greeting(version, id, change))
	ack := p.want(packets.Connack)
	if ack.ReasonCode != 0 {
		w.t.Fatalf("CONNACK code %#x", ack.ReasonCode)
	}
	return p, ack
}

func (w *world) client(version byte, id string) *peer {
	w.t.Helper()
	p, _ := w.connect(version, id, nil)
	return p
}

// persistent connects with a session that outlives the connection.
func (w *world) persistent(version byte, id string, change func(*packets.Packet)) (*peer, packets.Packet) {
	w.t.Helper()
	return w.connect(version, id, func(pk *packets.Packet) {
		pk.Connect.Clean = false
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
		if change != nil {
			change(pk)
		}
	})
}

func (p *peer) send(pk packets.Packet) {
	p.t.Helper()
	if _, err := p.nc.Write(p.bytes(pk)); err != nil {
		p.t.Fatalf("send %s: %v", packets.PacketNames[pk.FixedHeader.Type], err)
	}
}

func (p *peer) bytes(pk packets.Packet) []byte {
	pk.ProtocolVersion = p.version
	pk.Mods.AllowResponseInfo = true
	var b bytes.Buffer
	encoders := map[byte]func(*bytes.Buffer) error{
		packets.Connect: pk.ConnectEncode, packets.Publish: pk.PublishEncode, packets.Puback: pk.PubackEncode,
		packets.Pubrec: pk.PubrecEncode, packets.Pubrel: pk.PubrelEncode, packets.Pubcomp: pk.PubcompEncode,
		packets.Subscribe: pk.SubscribeEncode, packets.Unsubscribe: pk.UnsubscribeEncode,
		packets.Pingreq: pk.PingreqEncode, packets.Disconnect: pk.DisconnectEncode,
	}
	if err := encoders[pk.FixedHeader.Type](&b); err != nil {
		p.t.Fatal(err)
	}
	return b.Bytes()
}

// next reads one packet within d.
func (p *peer) next(d time.Duration) (packets.Packet, error) {
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	first, err := p.r.ReadByte()
	if err != nil {
		return packets.Packet{}, err
	}
	pk := packets.Packet{ProtocolVersion: p.version}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	if pk.FixedHeader.Remaining, _, err = packets.DecodeLength(p.r); err != nil {
		return pk, err
	}
	body := make([]byte, pk.FixedHeader.Remaining)
	if _, err := io.ReadFull(p.r, body); err != nil {
		return pk, err
	}
	decoders := map[byte]func([]byte) error{
		packets.Connack: pk.ConnackDecode, packets.Publish: pk.PublishDecode, packets.Puback: pk.PubackDecode,
		packets.Pubrec: pk.PubrecDecode, packets.Pubrel: pk.PubrelDecode, packets.Pubcomp: pk.PubcompDecode,
		packets.Suback: pk.SubackDecode, packets.Unsuback: pk.UnsubackDecode,
		packets.Pingresp: pk.PingrespDecode, packets.Disconnect: pk.DisconnectDecode,
	}
	return pk, decoders[pk.FixedHeader.Type](body)
}

// want reads one packet, which must be of a type.
func (p *peer) want(kind byte) packets.Packet {
	p.t.Helper()
	pk, err := p.next(5 * time.Second)
	if err != nil {
		p.t.Fatalf("want %s: %v", packets.PacketNames[kind], err)
	}
	if pk.FixedHeader.Type != kind {
		p.t.Fatalf("want %s, got %s %q %.40q code %#x", packets.PacketNames[kind], packets.PacketNames[pk.FixedHeader.Type], pk.TopicName, pk.Payload, pk.ReasonCode)
	}
	return pk
}

// silent wants nothing to come for a while.
func (p *peer) silent(d time.Duration) {
	p.t.Helper()
	pk, err := p.next(d)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		p.t.Fatalf("want silence, got %s %q, err %v", packets.PacketNames[pk.FixedHeader.Type], pk.TopicName, err)
	}
}

// closed wants the end of the connection, and nothing before it.
func (p *peer) closed() {
	p.t.Helper()
	pk, err := p.next(5 * time.Second)
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatalf("want the connection closed, got %s, err %v", packets.PacketNames[pk.FixedHeader.Type], err)
	}
}

// subscribe subscribes and wants it granted.
func (p *peer) subscribe(qos byte, filters ...string) {
	p.t.Helper()
	subs := make(packets.Subscriptions, len(filters))
	for i, f := range filters {
		subs[i] = packets.Subscription{Filter: f, Qos: qos}
	}
	for i, code := range p.subscribeWith(subs...) {
		if code != qos {
			p.t.Fatalf("SUBACK for %q: %#x", filters[i], code)
		}
	}
}

func (p *peer) subscribeWith(subs ...packets.Subscription) []byte {
	p.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 77, Filters: subs}
	if id := subs[0].Identifier; id > 0 {
		pk.Properties.SubscriptionIdentifier = []int{id}
	}
	p.send(pk)
	return p.want(packets.Suback).ReasonCodes
}

func message(name, payload string, qos byte, id uint16) packets.Packet {
	return packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: name, Payload: []byte(payload), PacketID: id,
	}
}

func retainedMessage(name, payload string, qos byte, id uint16) packets.Packet {
	pk := message(name, payload, qos, id)
	pk.FixedHeader.Retain = true
	return pk
}

// ack is PUBACK, PUBREC, PUBREL or PUBCOMP.
func ack(kind byte, id uint16) packets.Packet {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id}
	if kind == packets.Pubrel {
		pk.FixedHeader.Qos = 1
	}
	return pk
}

var goodbye = packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}

// publish publishes and wants the acknowledgement.
func (p *peer) publish(name, payload string, qos byte, id uint16) {
	p.t.Helper()
	p.send(message(name, payload, qos, id))
	switch qos {
	case 1:
		if got := p.want(packets.Puback); got.PacketID != id || got.ReasonCode >= 0x80 {
			p.t.Fatalf("PUBACK %d code %#x, want %d", got.PacketID, got.ReasonCode, id)
		}
	case 2:
		p.want(packets.Pubrec)
		p.send(ack(packets.Pubrel, id))
		p.want(packets.Pubcomp)
	}
}

// receive wants a message, acknowledges QoS 1 and completes QoS 2.
func (p *peer) receive(name, payload string) packets.Packet {
	p.t.Helper()
	pk := p.want(packets.Publish)
	if pk.TopicName != name || string(pk.Payload) != payload {
		p.t.Fatalf("got %q %q, want %q %q", pk.TopicName, pk.Payload, name, payload)
	}
	switch pk.FixedHeader.Qos {
	case 1:
		p.send(ack(packets.Puback, pk.PacketID))
	case 2:
		p.send(ack(packets.Pubrec, pk.PacketID))
		p.want(packets.Pubrel)
		p.send(ack(packets.Pubcomp, pk.PacketID))
	}
	return pk
}

// eventually waits for ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: did not happen within 5 s", what)
}

// versions runs f for both versions of MQTT.
func versions(t *testing.T, f func(t *testing.T, version byte)) {
	for _, version := range []byte{4, 5} {
		t.Run("v"+strconv.Itoa(int(version)), func(t *testing.T) { f(t, version) })
	}
}

func name(i int) string { return fmt.Sprintf("%06d", i) }

func contains(s, part string) bool { return strings.Contains(s, part) }
