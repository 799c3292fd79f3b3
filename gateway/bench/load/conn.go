package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dialMax bounds the way from the socket to the CONNACK, and a SUBACK.
	dialMax = 20 * time.Second
	// flushBytes is how much waits at most before it is written.
	flushBytes = 32 << 10
	// sessionSeconds is the life of a persistent session of MQTT 5.
	sessionSeconds = 3600
)

// Options say how a client connects.
type Options struct {
	Address, ClientID string
	// Level is the protocol: 4 (MQTT 3.1.1, the default) or 5.
	Level byte
	// Persistent keeps the session when the connection ends.
	Persistent bool
	// KeepAlive in seconds; 0 is none.
	KeepAlive uint16
	// ReceiveMax is the client's window, for MQTT 5; 0 is the protocol's.
	ReceiveMax uint16
	// TLS is nil on a plain connection.
	TLS *tls.Config
	// SmallBuffers asks the kernel for the smallest receive buffer.
	SmallBuffers bool
}

// Conn is a connected client. One goroutine reads, any may send.
type Conn struct {
	net    net.Conn
	level  byte
	reader *Reader
	// Resumed is the session-present flag of the CONNACK.
	Resumed bool

	// closing is set when this side ends the connection.
	closing atomic.Bool

	mu   sync.Mutex
	wait []byte // to be written
	fail error
}

// Dial connects and waits for the CONNACK.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	if o.Level == 0 {
		o.Level = 4
	}
	ctx, cancel := context.WithTimeout(ctx, dialMax)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("connect %q to %s: %w", o.ClientID, o.Address, err)
	}
	if tcp, ok := nc.(*net.TCPConn); ok && o.SmallBuffers {
		_ = tcp.SetReadBuffer(4096)
	}
	if o.TLS != nil {
		nc = tls.Client(nc, o.TLS)
	}
	c := &Conn{net: nc, level: o.Level, reader: NewReader(nc)}
	c.reader.Idle = c.Flush
	if err := c.greet(ctx, o); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect %q to %s: %w", o.ClientID, o.Address, err)
	}
	return c, nil
}

func (c *Conn) greet(ctx context.Context, o Options) error {
	deadline, _ := ctx.Deadline()
	_ = c.net.SetDeadline(deadline)
	c.send(func(b []byte) []byte { return appendConnect(b, o) })
	p, err := c.reader.Next()
	if err != nil {
		return err
	}
	if p.Type != Connack || len(p.Body) < 2 {
		return fmt.Errorf("%w: type %d in place of a CONNACK", ErrMalformed, p.Type)
	}
	if p.Body[1] != 0 {
		return fmt.Errorf("refused with code %d", p.Body[1])
	}
	c.Resumed = p.Body[0]&1 != 0
	return c.net.SetDeadline(time.Time{})
}

// Subscribe subscribes to one filter and waits for the SUBACK. It must be
// called before anything else reads.
func (c *Conn) Subscribe(filter string, qos byte) error {
	_ = c.net.SetDeadline(time.Now().Add(dialMax))
	c.send(func(b []byte) []byte { return appendSubscribe(b, c.level, 1, filter, qos) })
	for {
		p, err := c.reader.Next()
		if err != nil {
			return fmt.Errorf("subscribe %q: %w", filter, err)
		}
		if p.Type != Suback {
			continue
		}
		if granted := p.Body[len(p.Body)-1]; granted != qos {
			return fmt.Errorf("subscribe %q: granted %#x, want %d", filter, granted, qos)
		}
		return c.net.SetDeadline(time.Time{})
	}
}

// Publish queues a PUBLISH; it leaves with Flush, or when much waits.
func (c *Conn) Publish(topic string, qos byte, id uint16, payload []byte) {
	c.mu.Lock()
	c.wait = append(appendPublish(c.wait, c.level, topic, qos, id, len(payload)), payload...)
	c.flushOver(flushBytes)
	c.mu.Unlock()
}

// Ack queues an acknowledgement.
func (c *Conn) Ack(kind byte, id uint16) {
	c.mu.Lock()
	c.wait = appendAck(c.wait, kind, id)
	c.flushOver(flushBytes)
	c.mu.Unlock()
}

// send queues and flushes.
func (c *Conn) send(f func([]byte) []byte) {
	c.mu.Lock()
	c.wait = f(c.wait)
	c.flushOver(0)
	c.mu.Unlock()
}

// Flush writes everything that waits.
func (c *Conn) Flush() {
	c.mu.Lock()
	c.flushOver(0)
	c.mu.Unlock()
}

// flushOver writes when more than limit bytes wait. The caller has the lock.
func (c *Conn) flushOver(limit int) {
	if len(c.wait) <= limit {
		return
	}
	if c.fail == nil {
		_, c.fail = c.net.Write(c.wait)
	}
	c.wait = c.wait[:0]
}

// Err is why nothing can be sent any more.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fail
}

// Read gives the next packet; what waits is sent before the reader waits. It
// answers nothing by itself.
// After Close or Drop it gives net.ErrClosed, whoever was faster to close.
func (c *Conn) Read() (Packet, error) {
	p, err := c.reader.Next()
	if err != nil && c.closing.Load() {
		err = net.ErrClosed
	}
	return p, err
}

// OnIdle has f called before the connection waits for its peer.
func (c *Conn) OnIdle(f func()) {
	c.reader.Idle = func() {
		f()
		c.Flush()
	}
}

// Until bounds every later read.
func (c *Conn) Until(t time.Time) { _ = c.net.SetReadDeadline(t) }

// Shortened reports whether the TLS handshake resumed an earlier session.
func (c *Conn) Shortened() bool {
	secure, ok := c.net.(*tls.Conn)
	return ok && secure.ConnectionState().DidResume
}

// Level is the protocol of the connection.
func (c *Conn) Level() byte { return c.level }

// Close says DISCONNECT and closes.
func (c *Conn) Close() {
	c.closing.Store(true)
	c.send(func(b []byte) []byte { return append(b, Disconnect<<4, 0) })
	_ = c.net.Close()
}

// Drop closes without a DISCONNECT.
func (c *Conn) Drop() {
	c.closing.Store(true)
	_ = c.net.Close()
}

// ended reports whether err is the end that this side made.
func ended(err error) bool { return errors.Is(err, net.ErrClosed) }
