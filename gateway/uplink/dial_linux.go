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

	"github.com/tidehold/tidehold/gateway/uplink/profile"
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

// dial opens the connection up to where MQTT begins. address is called once the
// name is resolved (or at once with a dialler from outside).
func (l *Link) dial(ctx context.Context, address func()) (net.Conn, error) {
	e := l.cfg.Endpoint
	open := l.cfg.Dial
	if open == nil {
		open = dialer(address).DialContext
	} else {
		address()
	}
	if e.Scheme == "ws" || e.Scheme == "wss" {
		return dialWebSocket(ctx, e, l.tlsConfig(), open)
	}
	conn, err := open(ctx, "tcp", e.Address())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", e, err)
	}
	if !e.Secure() {
		return conn, nil
	}
	secure := tls.Client(conn, l.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", e, err)
	}
	return secure, nil
}

// tlsConfig completes the configured one: SNI always, TLS 1.2 at least, ALPN
// for aws-iot-core on port 443 (upstream.md section 2).
func (l *Link) tlsConfig() *tls.Config {
	if !l.cfg.Endpoint.Secure() {
		return nil
	}
	c := &tls.Config{}
	if l.cfg.TLS != nil {
		c = l.cfg.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = l.cfg.Endpoint.Host
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	if l.profile.Name == profile.AWSIoTCore && l.cfg.Endpoint.Scheme == "tls" && l.cfg.Endpoint.Port == 443 {
		c.NextProtos = []string{alpnAWS}
	}
	return c
}

func dialWebSocket(ctx context.Context, e Endpoint, c *tls.Config, open func(context.Context, string, string) (net.Conn, error)) (net.Conn, error) {
	d := websocket.Dialer{NetDialContext: open, TLSClientConfig: c, Subprotocols: []string{"mqtt"}}
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
