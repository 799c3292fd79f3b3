package uplink

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"github.com/tidehold/tidehold/gateway/uplink/proxy"
)

// userTimeout is TCP_USER_TIMEOUT: data unacknowledged for so long kills the
// connection, so that a half-open link with unsent data dies in time
// (broker-storage.md 3.5).
const userTimeout = 20 * time.Second

// alpnAWS is the protocol that AWS IoT Core wants on port 443.
const alpnAWS = "x-amzn-mqtt-ca"

// dialer dials both address families (happy eyeballs), DNS each time; address
// is called when the first address is known.
func dialer(address func()) *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3},
		ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) error {
			address()
			var err error
			controlErr := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
			})
			if controlErr != nil {
				return controlErr
			}
			return err
		},
	}
}

// opener opens plain connections to the upstream, through the proxy when there
// is one. address is called once the name is resolved (or at once with a dialler
// from outside).
func (l *Link) opener(address func()) proxy.Opener {
	open := proxy.Opener(l.cfg.Dial)
	if open == nil {
		open = dialer(address).DialContext
	} else {
		address()
	}
	if !l.cfg.Proxy.IsSet() {
		return open
	}
	return func(ctx context.Context, _, addr string) (net.Conn, error) { return l.cfg.Proxy.Dial(ctx, open, addr) }
}

// dial opens the connection to a node up to where MQTT begins.
func (l *Link) dial(ctx context.Context, e Endpoint, address func()) (net.Conn, error) {
	conn, err := l.opener(address)(ctx, "tcp", e.Address())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", e, err)
	}
	if e.Secure() {
		secure := tls.Client(conn, l.tlsConfig(e))
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("TLS handshake with %s: %w", e, err)
		}
		conn = secure
	}
	if e.Scheme != "ws" && e.Scheme != "wss" {
		return conn, nil
	}
	upgraded, err := upgrade(ctx, e, conn)
	if err != nil {
		conn.Close()
	}
	return upgraded, err
}

// tlsConfig completes the configured one: SNI always, TLS 1.2 at least, ALPN
// for aws-iot-core on port 443 (upstream.md section 2).
func (l *Link) tlsConfig(e Endpoint) *tls.Config {
	if !e.Secure() {
		return nil
	}
	c := &tls.Config{}
	if l.cfg.TLS != nil {
		c = l.cfg.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = e.Host
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	switch {
	case l.needsALPN(e):
		c.NextProtos = []string{alpnAWS}
	case e.Scheme == "wss":
		c.NextProtos = []string{"http/1.1"} // a WebSocket begins there, never in HTTP/2
	}
	return c
}

// upgrade makes a WebSocket of an open connection.
func upgrade(ctx context.Context, e Endpoint, conn net.Conn) (net.Conn, error) {
	ready := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	d := websocket.Dialer{NetDialContext: ready, NetDialTLSContext: ready, Subprotocols: []string{"mqtt"}}
	ws, answer, err := d.DialContext(ctx, e.String(), http.Header{})
	if err != nil {
		if answer != nil {
			answer.Body.Close()
			err = fmt.Errorf("%w (HTTP %s)", err, answer.Status)
		}
		return nil, fmt.Errorf("WebSocket to %s: %w", e, err)
	}
	return &webSocketConn{Conn: ws}, nil
}
