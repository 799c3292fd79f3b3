package broker

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/brake"
	"github.com/tidehold/tidehold/gateway/broker/figures"
	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// ending says why a connection ends.
type ending struct {
	code  byte   // MQTT 5 reason code of our DISCONNECT; 0 sends none
	event string // disconnectReason of the lifecycle event
	text  string // for the client and the log
	clean bool   // the client said DISCONNECT: no will
}

// client is one connection that said CONNECT. One goroutine, run, reads from
// it; everything else may be called from anywhere.
type client struct {
	b       *Broker
	public  Client
	address netip.Addr
	version byte
	conn    *wire.Conn
	read    *wire.Reader
	session *session

	maxPacket   int  // what the client can take
	window      int  // its Receive Maximum
	problemInfo bool // it wants reason strings

	given *wire.Aliases // topic aliases it was told; under the lock of its session

	// Only the reading goroutine uses these.
	aliases map[uint16]string
	topic   checkedTopic
	pace    wire.Pacer
	source  string
	tally   figures.Tally
	visit   int64 // versionNumber of the lifecycle events

	willDelay time.Duration

	hold    atomic.Pointer[brake.Hold] // before it is read again
	acks    *inbound.Line
	once    sync.Once
	end     ending        // set before stopped is closed
	stopped chan struct{} // the connection is over
	gone    chan struct{} // and has been cleaned up after
}

// stop ends the connection; only the first reason counts. It does not wait.
func (c *client) stop(e ending) {
	c.once.Do(func() {
		c.end = e
		if c.version == 5 && e.code != wire.CodeSuccess {
			c.conn.Send(wire.EncodeDisconnect(e.code, e.text, c.mods()), wire.Must)
		}
		close(c.stopped)
		c.acks.Close()
		c.conn.Close()
	})
}

// mods are what c wants of packets that explain themselves.
func (c *client) mods() packets.Mods {
	return packets.Mods{DisallowProblemInfo: !c.problemInfo, MaxSize: uint32(c.maxPacket)}
}

// run reads until the connection ends, and cleans up after it.
func (c *client) run() {
	c.read.Wait = func() { c.tally.Flush(c.b.count, c.read.Bytes) }
	for {
		first, body, err := c.read.Next(wire.Outlives)
		if err != nil {
			c.stop(c.readEnding(err))
			break
		}
		if e := c.packet(first, body); e != nil {
			c.stop(*e)
			break
		}
		c.brake()
	}
	<-c.stopped
	c.tally.Flush(c.b.count, c.read.Bytes)
	c.b.leave(c)
	close(c.gone)
	c.session.forget(c)
}

// brake waits, after a message, while a subscriber of it has hardly any room.
func (c *client) brake() {
	if c.hold.Load() == nil {
		return
	}
	h := c.hold.Swap(nil)
	t := time.NewTimer(h.Left(time.Now()))
	defer t.Stop()
	c.wait("subscriber", h.Room(), t.C)
}

// wait does not read from this client until there is room, or enough of it;
// false is the end of the connection.
func (c *client) wait(reason string, room <-chan struct{}, enough <-chan time.Time) bool {
	c.b.count.Held.Add(1)
	defer c.b.count.Held.Add(-1)
	c.b.count.Holds.Inc(reason)
	select {
	case <-room:
	case <-enough:
	case <-c.stopped:
		return false
	}
	return true
}

// readEnding is what a failed read means.
func (c *client) readEnding(err error) ending {
	var timeout net.Error
	switch {
	case c.conn.Closed(): // from our side, and not by stop: its buffer ran over
		return ending{event: lifecycle.Server, text: "does not read the answers it asks for"}
	case errors.Is(err, wire.ErrTooLarge):
		return ending{code: wire.CodeTooLarge, event: lifecycle.ClientError, text: err.Error()}
	case errors.Is(err, wire.ErrMalformed):
		return ending{code: wire.CodeMalformed, event: lifecycle.ClientError, text: err.Error()}
	case errors.As(err, &timeout) && timeout.Timeout():
		return ending{code: wire.CodeKeepAlive, event: lifecycle.KeepAlive, text: "nothing heard for one and a half keep alive intervals"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ending{event: lifecycle.Lost}
	}
	return ending{event: lifecycle.Lost, text: err.Error()}
}

func protocolError(text string) *ending {
	return &ending{code: wire.CodeProtocol, event: lifecycle.ClientError, text: text}
}

func malformed(err error) *ending {
	return &ending{code: wire.CodeMalformed, event: lifecycle.ClientError, text: err.Error()}
}

// packet acts on one packet; a result ends the connection.
func (c *client) packet(first byte, body []byte) *ending {
	var fh packets.FixedHeader
	if err := fh.Decode(first); err != nil {
		return malformed(err)
	}
	fh.Remaining = len(body)
	switch fh.Type {
	case packets.Publish:
		return c.publish(fh, body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return c.ack(fh.Type, body)
	case packets.Subscribe:
		return c.subscribe(fh, body)
	case packets.Unsubscribe:
		return c.unsubscribe(fh, body)
	case packets.Pingreq:
		c.conn.Send([]byte{packets.Pingresp << 4, 0}, wire.Must)
		return nil
	case packets.Disconnect:
		return c.disconnect(fh, body)
	case packets.Connect:
		return protocolError("second CONNECT")
	}
	return protocolError("packet type " + packets.PacketNames[fh.Type] + " is not for clients to send")
}

// ack acts on the four acknowledgements.
func (c *client) ack(kind byte, body []byte) *ending {
	id, code, err := wire.ParseAck(body)
	if err != nil {
		return malformed(err)
	}
	switch kind {
	case packets.Puback:
		c.session.acknowledged(c, id)
	case packets.Pubrec:
		c.session.received(c, id, code)
	case packets.Pubcomp:
		c.session.completed(c, id)
	case packets.Pubrel:
		c.release(id)
	}
	return nil
}

// disconnect acts on DISCONNECT (MQTT 5, 3.14).
func (c *client) disconnect(fh packets.FixedHeader, body []byte) *ending {
	pk := packets.Packet{FixedHeader: fh, ProtocolVersion: c.version}
	if err := wire.Decode(pk.DisconnectDecode, body); err != nil {
		return malformed(err)
	}
	if pk.Properties.SessionExpiryIntervalFlag {
		if c.public.SessionExpiry == 0 && pk.Properties.SessionExpiryInterval > 0 {
			return protocolError("session expiry was 0 at CONNECT and cannot be raised")
		}
		c.session.setExpiry(c, c.b.expiry(pk.Properties.SessionExpiryInterval))
	}
	return &ending{event: lifecycle.Client, clean: pk.ReasonCode != 0x04} // "with will message"
}

// pause waits for d or the end of the connection; false means the end.
func (c *client) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.stopped:
		return false
	}
}

// subject is the connection as lifecycle events name it.
func (c *client) subject() lifecycle.Subject {
	return lifecycle.Subject{ID: c.public.ID, Principal: c.public.Principal, Session: c.public.Session, IP: c.public.RemoteIP, Version: c.visit}
}

// emit hands a lifecycle event to the house.
func (b *Broker) emit(m iot.Message, ok bool) {
	if ok {
		b.house.Accept(m, ignore)
	}
}
