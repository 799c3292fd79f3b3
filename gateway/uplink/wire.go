package uplink

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// writeTimeout limits every single write, pings and acknowledgements included.
const writeTimeout = 10 * time.Second

// errSilent is the only reason for which paho closes a connection that has not
// failed already and is not being said goodbye to.
var errSilent = errors.New("upstream does not answer pings")

// wire wraps the connection of one epoch. It is where the end of an epoch is
// seen: paho tells of it only after all its goroutines have stopped, and not at
// all when the socket was closed on our side.
type wire struct {
	net.Conn
	once sync.Once
	dead chan struct{} // closed at the first failure
	why  error         // set before dead is closed

	mu   sync.Mutex
	head []byte // the first bytes read: the CONNACK
	code byte   // CONNACK return code that paho cannot know
}

func newWire(conn net.Conn) *wire { return &wire{Conn: conn, dead: make(chan struct{})} }

// fail ends the epoch: the socket is closed at once. The first cause counts.
func (w *wire) fail(why error) {
	w.once.Do(func() {
		w.why = why
		close(w.dead)
		w.Conn.Close()
	})
}

// ended reports whether the epoch is over.
func (w *wire) ended() bool {
	select {
	case <-w.dead:
		return true
	default:
		return false
	}
}

// Read reads, and reports failures to the epoch. paho keeps silent about an
// error that says "use of closed network connection" and would hang: it gets
// the epoch's own cause instead.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.connack(p[:n])
	}
	if err != nil {
		w.fail(err)
		return n, w.why
	}
	return n, nil
}

// connack watches the first four bytes for a return code above 5 (AWS: 7). paho
// has no error for such codes and takes the refusal for a success.
func (w *wire) connack(p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 0; i < len(p) && len(w.head) < 4; i++ {
		w.head = append(w.head, p[i])
		if len(w.head) == 4 && w.head[0] == 0x20 && p[i] > 5 {
			w.code, p[i] = p[i], 5
		}
	}
}

func (w *wire) refusal() byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.code
}

// Write writes with a deadline of its own.
func (w *wire) Write(p []byte) (int, error) {
	if w.ended() {
		return 0, w.why
	}
	if err := w.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		w.fail(err)
		return 0, w.why
	}
	n, err := w.Conn.Write(p)
	if err != nil {
		w.fail(err)
		return n, w.why
	}
	return n, nil
}

// Close is paho's end of the connection.
func (w *wire) Close() error {
	w.fail(errSilent)
	return nil
}

// webSocketConn makes a WebSocket a stream of bytes in binary frames.
type webSocketConn struct {
	*websocket.Conn
	writing sync.Mutex
	frame   io.Reader
}

// Read reads on across frames. One goroutine reads.
func (c *webSocketConn) Read(p []byte) (int, error) {
	for {
		if c.frame == nil {
			_, frame, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.frame = frame
		}
		n, err := c.frame.Read(p)
		if err == io.EOF {
			c.frame, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

// Write sends one frame; paho's pings come from a goroutine of their own.
func (c *webSocketConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline waits for a write under way: the library's own is not safe
// beside one. Such a write has a deadline already.
func (c *webSocketConn) SetWriteDeadline(t time.Time) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *webSocketConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
