package wire

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

const (
	writeTimeout = 20 * time.Second      // a peer that takes less than a piece in it is gone
	writePiece   = 64 << 10              // bytes per write: what is out no longer counts
	closeFlush   = 50 * time.Millisecond // what the last packets get to leave
	closeLinger  = time.Second / 2       // what a busy peer gets to read them, until it closes too
	laterMax     = bufferMax             // unwritten bytes of Later, which the caller holds as well
	drainMax     = 256 << 10             // unread bytes swallowed so that no reset kills the last packet
)

// Class says what becomes of a packet that finds the buffer full.
type Class int

// The classes of packet.
const (
	// Must is for answers: above the limit the peer has stopped reading what
	// it asked for, and the connection is closed.
	Must Class = iota
	// May is for QoS 0: above the limit the packet is dropped.
	May
	// Later is for queued deliveries: above laterMax, or the limit, the packet
	// stays with the caller, and Options.Room is called when there is space again.
	Later
)

// Options configure a Conn.
type Options struct {
	Limit  int             // bytes unwritten at most
	Budget *Budget         // shared with all connections
	Writer *sync.WaitGroup // counts the goroutine that writes
	Room   func()          // space again after Later was refused; called without locks
	Idle   func(wrote int) // after bytes went out; called without locks
}

// Conn writes to a connection without blocking: bytes gather in a buffer that
// one goroutine, started on demand, writes in as large pieces as there are. An
// idle Conn has neither goroutine nor buffer.
type Conn struct {
	net net.Conn
	opt Options

	reading sync.Mutex // held by the Reader during a read

	mu       sync.Mutex
	buf      []byte // waits for the writer
	inHand   int    // bytes the writer is writing
	running  bool
	closed   bool
	wantRoom bool
}

// NewConn wraps c.
func NewConn(c net.Conn, opt Options) *Conn { return &Conn{net: c, opt: opt} }

// Begin locks the buffer for one packet of exactly n bytes and gives the slice to
// append it to; the caller must call End at once. False: refused by class.
func (c *Conn) Begin(n int, class Class) ([]byte, bool) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, false
	}
	limit := c.opt.Limit
	switch class {
	case Must:
		limit += limit / 4 // a buffer full of QoS 0 still takes the answer to a ping
	case Later:
		limit = min(limit, laterMax)
	}
	held := len(c.buf) + c.inHand
	fits := held == 0 || held+n <= limit
	switch {
	case !fits && class == Must:
		c.closeLocked()
		c.mu.Unlock()
		return nil, false
	case !fits && class == Later:
		c.wantRoom = true
		c.mu.Unlock()
		return nil, false
	case class == May && (!fits || !c.opt.Budget.Take(held, n)):
		c.mu.Unlock()
		return nil, false
	case class != May:
		c.opt.Budget.Force(n)
	}
	if c.buf == nil {
		c.buf = c.opt.Budget.buffer()
	}
	return c.buf, true
}

// End stores what Begin gave, with the packet appended, and wakes the writer.
func (c *Conn) End(buf []byte) {
	c.buf = buf
	c.wake()
	c.mu.Unlock()
}

// Send is Begin and End for a packet that is already encoded.
func (c *Conn) Send(packet []byte, class Class) bool {
	buf, ok := c.Begin(len(packet), class)
	if ok {
		c.End(append(buf, packet...))
	}
	return ok
}

// Close stops reading at once and lets what is in the buffer leave for up to
// 50 ms. It does not wait.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closeLocked()
	c.mu.Unlock()
}

// SetReadDeadline bounds the next read; after Close it changes nothing.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.net.SetReadDeadline(t)
}

// SetWriteDeadline bounds the next write; after Close it changes nothing.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.net.SetWriteDeadline(t)
}

// Closed reports whether Close was called or writing failed.
func (c *Conn) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// enter lets the Reader read until it unlocks reading; false after Close.
func (c *Conn) enter() bool {
	c.reading.Lock()
	if c.Closed() {
		c.reading.Unlock()
		return false
	}
	return true
}

func (c *Conn) closeLocked() {
	if c.closed {
		return
	}
	c.closed = true
	now := time.Now()
	_ = c.net.SetReadDeadline(now.Add(-time.Second))
	_ = c.net.SetWriteDeadline(now.Add(closeFlush))
	c.wake()
}

func (c *Conn) wake() {
	if !c.running {
		c.running = true
		c.opt.Writer.Go(c.write)
	}
}

// write runs until the buffer is empty.
func (c *Conn) write() {
	var spare []byte
	for {
		out, closed := c.take(&spare)
		if out == nil && closed {
			c.finish(nil)
		}
		if out == nil {
			c.opt.Budget.recycle(spare)
			return
		}
		if err := c.writeAll(out); err != nil {
			c.fail(err)
			return
		}
		if spare = out[:0]; cap(spare) > bufferMax {
			spare = nil
		}
	}
}

// writeAll writes out piece by piece. A connection that is closed has its
// deadline already.
func (c *Conn) writeAll(out []byte) error {
	for len(out) > 0 {
		piece := out[:min(len(out), writePiece)]
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.net.Write(piece); err != nil {
			return err
		}
		c.opt.Budget.Give(len(piece))
		c.opt.Idle(len(piece))
		if c.settle(len(piece)) {
			c.opt.Room()
		}
		out = out[len(piece):]
	}
	return nil
}

// take swaps the buffers; nil ends the writer.
func (c *Conn) take(spare *[]byte) (out []byte, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf) == 0 {
		c.running = false
		c.opt.Budget.recycle(c.buf)
		c.buf = nil
		return nil, c.closed
	}
	out = c.buf
	c.buf, c.inHand = *spare, len(out)
	*spare = nil
	return out, c.closed
}

// settle books n bytes as written and tells whether somebody waits for room.
func (c *Conn) settle(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inHand -= n
	room := c.wantRoom && !c.closed && len(c.buf)+c.inHand <= min(c.opt.Limit, laterMax)/2
	if room {
		c.wantRoom = false
	}
	return room
}

// fail ends a connection whose peer takes nothing or is gone.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	c.closed, c.running = true, false
	c.opt.Budget.Give(len(c.buf) + c.inHand)
	c.buf, c.inHand = nil, 0
	c.mu.Unlock()
	c.finish(err)
}

// finish closes the socket. After a clean flush it first says so and swallows
// what the peer still sends, because a reset would destroy the last packet.
func (c *Conn) finish(err error) {
	inner := c.net
	if t, ok := c.net.(*tls.Conn); ok {
		inner = t.NetConn()
		if err == nil {
			_ = t.CloseWrite()
		}
	}
	half, ok := inner.(interface{ CloseWrite() error })
	if ok && err == nil && half.CloseWrite() == nil {
		c.reading.Lock() // the Reader has to go first: a new deadline would hold it
		defer c.reading.Unlock()
		_ = inner.SetReadDeadline(time.Now().Add(closeLinger))
		_, _ = io.CopyN(io.Discard, inner, drainMax)
	}
	_ = inner.Close()
}
