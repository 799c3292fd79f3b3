package broker

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

const (
	connectMax  = 4 << 10 // bytes of a CONNECT (security.md T5)
	clientIDMax = 128     // bytes, as in AWS
	packetSlack = 8 << 10 // what a PUBLISH may have beside topic and payload
)

// noProperties is an empty property block.
var noProperties = []byte{0}

// serve begins the life of one connection with its CONNECT. The rest of it, run,
// has a goroutine of its own: the stack that a handshake and a CONNECT need is
// twice what waiting for packets does, and a stack shrinks only when the
// collector finds it nearly empty.
func (b *Broker) serve(l *listener, a wire.Accepted) {
	c := b.newClient(l, a.Conn, a.TLS)
	_ = a.Conn.SetReadDeadline(time.Now().Add(b.cfg.Limits.ConnectTimeout))
	first, body, err := c.read.Next(wire.Outlives)
	if err != nil || first != packets.Connect<<4 {
		b.count.Connects.Inc("no_connect")
		c.conn.Close()
		return
	}
	pk, no := wire.ParseConnect(body)
	if no == nil {
		c.version, no = pk.ProtocolVersion, c.introduce(&pk, a.Principal)
	}
	if no == nil {
		no = c.admitted(&pk)
	}
	if no != nil {
		b.refuse(c, no)
		return
	}
	a.Guest.Leave()
	b.welcome(c, &pk)
	b.serving.Go(c.run)
}

func (b *Broker) newClient(l *listener, nc net.Conn, state *tls.ConnectionState) *client {
	c := &client{b: b, version: 4, stopped: make(chan struct{}), gone: make(chan struct{}), problemInfo: true}
	c.conn = wire.NewConn(nc, wire.Options{
		Limit: b.cfg.WriteBufferBytes, Budget: b.budget, Writer: &b.serving,
		Room: func() { c.session.resume(c) }, Idle: b.count.Wrote,
	})
	c.read = wire.NewReader(nc, c.conn, connectMax)
	c.read.Fixed = true
	c.address = wire.AddressOf(nc)
	if !l.cfg.RateFree {
		c.pace = wire.Pacer{Rate: b.cfg.Limits.PublishRate, Bytes: b.cfg.Limits.PublishBytes}
	}
	c.public = Client{
		Listener: l.cfg.Name, Auth: l.cfg.Auth, TLS: state,
		RemoteIP: c.address.String(), Session: hex.EncodeToString(b.src.Bytes(16)),
	}
	return c
}

// introduce fills in who the client is and what it wants.
func (c *client) introduce(pk *packets.Packet, who *iot.Principal) *wire.Refusal {
	p := &pk.Connect
	if p.ClientIdentifier == "" && pk.ProtocolVersion == 4 && !p.Clean || len(p.ClientIdentifier) > clientIDMax {
		return &wire.Refusal{Code: wire.CodeClientID, Reason: "client_id", Text: fmt.Sprintf("client id: want 1 to %d bytes", clientIDMax)}
	}
	c.public.ID = iot.ClientID(p.ClientIdentifier)
	if p.ClientIdentifier == "" {
		c.public.ID = iot.ClientID("auto-" + c.b.src.Token(80))
		pk.Properties.AssignedClientID = string(c.public.ID)
	}
	c.public.Protocol, c.public.CleanStart, c.public.Username = pk.ProtocolVersion, p.Clean, string(p.Username)
	c.public.Since = c.b.clk.Now()
	if who != nil {
		c.public.Principal = *who
	}
	c.source = "dev/" + p.ClientIdentifier
	c.negotiate(pk)
	if p.WillFlag {
		return c.readWill(pk)
	}
	return nil
}

// negotiate settles expiry, window, sizes and keep alive.
func (c *client) negotiate(pk *packets.Packet) {
	switch {
	case pk.ProtocolVersion == 5:
		c.public.SessionExpiry = c.b.expiry(pk.Properties.SessionExpiryInterval)
		c.problemInfo = !pk.Properties.RequestProblemInfoFlag || pk.Properties.RequestProblemInfo == 1
		c.maxPacket = int(pk.Properties.MaximumPacketSize)
		c.given = wire.NewAliases(pk.Properties.TopicAliasMaximum)
		if most := uint16(c.b.cfg.MaxKeepAlive / time.Second); most > 0 && pk.Connect.Keepalive > most {
			pk.Connect.Keepalive = most
			pk.Properties.ServerKeepAliveFlag = true
		}
	case !pk.Connect.Clean:
		c.public.SessionExpiry = c.b.expiry(math.MaxUint32)
	}
	c.window = math.MaxUint16
	if n := c.b.cfg.Limits.MaxInflight; n > 0 {
		c.window = min(c.window, n)
	}
	if n := int(pk.Properties.ReceiveMaximum); n > 0 {
		c.window = min(c.window, n)
	}
}

// expiry is the life of a session that asks for seconds.
func (b *Broker) expiry(seconds uint32) time.Duration {
	d := time.Duration(seconds) * time.Second
	if b.cfg.SessionExpiry > 0 {
		d = min(d, b.cfg.SessionExpiry)
	}
	return d
}

func (c *client) readWill(pk *packets.Packet) *wire.Refusal {
	p := &pk.Connect
	if _, err := topic.ParseName(p.WillTopic); err != nil {
		return &wire.Refusal{Code: wire.CodeTopicInvalid, Reason: "will", Text: err.Error()}
	}
	if p.WillQos > c.b.cfg.Limits.MaxQoS {
		return &wire.Refusal{Code: wire.CodeQoSNotSupported, Reason: "will", Text: "QoS of the will is not supported"}
	}
	var props *iot.Properties
	if pk.ProtocolVersion == 5 {
		props = wire.PropertiesOf(&p.WillProperties)
		c.willDelay = time.Duration(p.WillProperties.WillDelayInterval) * time.Second
	}
	origin := c.origin()
	origin.Will = true
	c.public.Will = &iot.Message{
		Topic: p.WillTopic, Payload: p.WillPayload, QoS: p.WillQos, Retain: p.WillRetain, Properties: props, Origin: origin,
	}
	return nil
}

// admitted asks whether there is a place, and the Authorizer.
func (c *client) admitted(pk *packets.Packet) *wire.Refusal {
	b := c.b
	if limit := b.cfg.Limits.MaxConnections; limit > 0 && int(b.count.Connections.Load()) >= limit && b.sessions.connected(c.public.ID) == nil {
		return &wire.Refusal{Code: wire.CodeQuota, Reason: "max_connections", Text: "the limit of connections is reached"}
	}
	if err := b.auth.Connect(&c.public, pk.Connect.Password); err != nil {
		b.gate.Failed(c.address, time.Now())
		b.count.Failures.Inc(c.public.Listener, "connect")
		b.denied("connect")
		b.emit(lifecycle.ConnectFailed(c.subject(), b.clk.Now()))
		return &wire.Refusal{Code: denialCode(err), Reason: "denied", Text: iot.MessageOf(err)}
	}
	if code, err := c.willAllowed(c.public.Will); err != nil {
		b.emit(lifecycle.ConnectFailed(c.subject(), b.clk.Now()))
		return &wire.Refusal{Code: code, Reason: "will", Text: err.Error()}
	}
	return nil
}

// willAllowed asks for a will what its publish would be asked; nil is none.
func (c *client) willAllowed(will *iot.Message) (byte, error) {
	if will == nil {
		return 0, nil
	}
	will.Origin.Principal = c.public.Principal // known only now
	if code, no := c.b.judgeTopic(will.Topic); no != nil {
		c.b.refused("will", c, will.Topic, no)
		return code, no
	}
	if err := c.b.auth.Publish(&c.public, will.Topic, will.Retain); err != nil {
		c.b.denied("will")
		return denialCode(err), err
	}
	return 0, nil
}

// refuse answers a CONNECT that is not accepted.
func (b *Broker) refuse(c *client, no *wire.Refusal) {
	b.count.Connects.Inc(no.Reason)
	if c.version == 5 {
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ProtocolVersion: 5, ReasonCode: no.Code, Mods: c.mods()}
		pk.Properties.ReasonString = no.Text
		c.conn.Send(wire.Encode(func(w *bytes.Buffer) error { return pk.ConnackEncode(w) }), wire.Must)
	} else if code := wire.ReturnCode(no.Code, b.cfg.ConnackDenied); code != 0 {
		c.conn.Send([]byte{packets.Connack << 4, 2, 0, code}, wire.Must)
	}
	c.conn.Close()
}

// welcome gives c its session and its CONNACK.
func (b *Broker) welcome(c *client, pk *packets.Packet) {
	limits := &b.cfg.Limits
	c.read.Fixed = false
	c.read.Silence = time.Duration(pk.Connect.Keepalive) * time.Second * 3 / 2 // MQTT-3.1.2-24
	c.read.Max = b.packetMax()
	c.acks = inbound.NewLine(limits.MaxInflight, c.version, func(acks []byte) { c.conn.Send(acks, wire.Must) })
	b.count.Connections.Add(1)
	b.count.Connects.Inc("accepted")
	b.attach(c, func(present bool) []byte {
		ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ProtocolVersion: c.version, SessionPresent: present}
		if c.version == 5 {
			ack.Properties = packets.Properties{
				AssignedClientID: pk.Properties.AssignedClientID, TopicAliasMaximum: aliasMax, MaximumPacketSize: uint32(c.read.Max),
				ReceiveMaximum: uint16(min(limits.MaxInflight, math.MaxUint16)), MaximumQos: limits.MaxQoS, MaximumQosFlag: limits.MaxQoS < 2,
				ServerKeepAlive: pk.Connect.Keepalive, ServerKeepAliveFlag: pk.Properties.ServerKeepAliveFlag,
			}
			if granted := uint32(c.public.SessionExpiry / time.Second); granted != pk.Properties.SessionExpiryInterval {
				ack.Properties.SessionExpiryInterval, ack.Properties.SessionExpiryIntervalFlag = granted, true
			}
		}
		return wire.Encode(func(w *bytes.Buffer) error { return ack.ConnackEncode(w) })
	})
	c.visit = b.presence.Come(c.public.ID, time.Now())
	b.emit(lifecycle.Connected(c.subject(), b.clk.Now()))
	select {
	case <-b.stopping: // Run may not have seen this one
		c.stop(shutdown)
	default:
		if !b.auth.MayStay(&c.public) { // changed since Connect, when nobody could put it out yet
			c.stop(ending{code: wire.CodeAdministrative, event: lifecycle.API})
		}
	}
}

// packetMax is the largest remaining length that is read.
func (b *Broker) packetMax() int {
	const protocolMax = 268435455
	l := &b.cfg.Limits
	if l.MaxPayload <= 0 {
		return protocolMax
	}
	return min(protocolMax, l.MaxPayload+max(l.MaxTopicBytes, 256)+packetSlack)
}
