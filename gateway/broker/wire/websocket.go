package wire

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// errText is a text frame where MQTT wants binary ones (MQTT-6.0.0-1).
var errText = errors.New("websocket: text frame; MQTT travels in binary frames")

// frameBuffer is what a WebSocket reads and writes at once.
const frameBuffer = 2 << 10

// Upgrade turns an HTTP request into a byte stream of MQTT packets. Requests
// from pages of other origins are refused; the subprotocol is mqtt, or
// mqttv3.1 as the older AWS SDKs say. frameMax bounds one frame.
func Upgrade(w http.ResponseWriter, r *http.Request, frameMax int) (net.Conn, error) {
	up := websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second,
		ReadBufferSize:   frameBuffer,
		WriteBufferSize:  frameBuffer,
		Subprotocols:     []string{"mqtt", "mqttv3.1"},
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(int64(frameMax))
	return &wsConn{Conn: ws.NetConn(), ws: ws}, nil
}

// wsConn is a WebSocket as a byte stream: frames are not packets (MQTT-6.0.0-2).
type wsConn struct {
	net.Conn
	ws       *websocket.Conn
	frame    io.Reader
	deadline atomic.Pointer[time.Time] // of writes; the library sets its own at each one
}

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.frame == nil {
			kind, frame, err := c.ws.NextReader()
			if err != nil {
				return 0, closed(err)
			}
			if kind != websocket.BinaryMessage {
				return 0, errText
			}
			c.frame = frame
		}
		n, err := c.frame.Read(p)
		if err == io.EOF {
			c.frame, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// closed makes an ordinary end of a WebSocket the end of a stream.
func closed(err error) error {
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived) {
		return io.EOF
	}
	return err
}

func (c *wsConn) Write(p []byte) (int, error) {
	if t := c.deadline.Load(); t != nil {
		_ = c.ws.SetWriteDeadline(*t)
	}
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *wsConn) Close() error {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(closeFlush))
	return c.ws.Close()
}

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *wsConn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

func (c *wsConn) SetWriteDeadline(t time.Time) error {
	c.deadline.Store(&t)
	return c.Conn.SetWriteDeadline(t)
}
