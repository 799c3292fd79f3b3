package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

const (
	handshakeTimeout = 10 * time.Second // of TLS (security.md T4)
	acceptPauseMin   = 5 * time.Millisecond
	acceptPauseMax   = time.Second
)

// Protocols that clients choose by ALPN.
const (
	ProtocolMQTT   = "mqtt"
	ProtocolMQTTCA = "x-amzn-mqtt-ca" // AWS's name of MQTT with a certificate
	ProtocolHTTPCA = "x-amzn-http-ca" // AWS's data plane with a certificate
	ProtocolHTTP   = "http/1.1"
)

// Accepted is a connection that may say CONNECT now.
type Accepted struct {
	Conn net.Conn
	TLS  *tls.ConnectionState // nil on a connection without
	// Principal is who the HTTP request of a WebSocket proved to be, else nil.
	Principal *iot.Principal
	// Guest is its place in the lobby; it leaves by itself at the end.
	Guest *Guest
}

// Listener accepts on one socket: plain, TLS, or WebSocket at /mqtt.
type Listener struct {
	Net       net.Listener
	TLS       *tls.Config // nil: plain
	WebSocket bool
	// Auto lets the client choose by ALPN (security.md 2.5): MQTT, AWS's data
	// plane, which HTTP takes over, else WebSocket.
	Auto bool
	HTTP func(net.Conn)
	// Upgrade, when set, authenticates the request of a WebSocket; an error is
	// answered with its HTTP status.
	Upgrade  func(r *http.Request) (iot.Principal, error)
	Timeout  time.Duration // for the header of a request
	FrameMax int           // bytes of a WebSocket frame

	Lobby *Lobby
	Gate  *Gate
	// Serving counts the connections being served.
	Serving *sync.WaitGroup
	// Refused is told why a connection got no further; Failed is told of
	// errors of Accept, after which it is tried again.
	Refused func(why string)
	Failed  func(error)
	Log     *slog.Logger
}

// Serve accepts until the socket is closed. take runs in a goroutine per
// connection, which Serving counts, and owns the connection.
func (l *Listener) Serve(take func(Accepted)) {
	switch {
	case l.WebSocket:
		l.serveHTTP(take)
	case l.Auto:
		l.serveAuto(take)
	default:
		l.serveMQTT(take)
	}
}

func (l *Listener) serveMQTT(take func(Accepted)) {
	l.accept(func(nc net.Conn) {
		guest := l.Lobby.Enter(nc)
		l.Serving.Go(func() {
			defer guest.Leave()
			l.secure(Accepted{Conn: nc, Guest: guest}, take)
		})
	})
}

// serveAuto sends each connection where its ALPN wants to.
func (l *Listener) serveAuto(take func(Accepted)) {
	web := NewHandover(l.Net.Addr())
	end := l.serveWeb(web, take)
	defer end()
	l.serveMQTT(func(a Accepted) {
		switch a.TLS.NegotiatedProtocol {
		case ProtocolMQTT, ProtocolMQTTCA:
			take(a)
		case ProtocolHTTPCA:
			a.Guest.Leave() // the handshake has proved who it is
			l.HTTP(a.Conn)
		default:
			a.Guest.Leave() // the server of HTTP lets it in again
			web.Offer(a.Conn)
		}
	})
}

// accept never ends for an error (no file descriptors, a peer gone before it
// was accepted), only when the socket is closed.
func (l *Listener) accept(take func(net.Conn)) {
	pause := acceptPauseMin
	for {
		nc, err := l.Net.Accept()
		switch {
		case err == nil && !l.passes(nc):
			_ = nc.Close()
		case err == nil:
			pause = acceptPauseMin
			take(nc)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			l.Failed(err)
			time.Sleep(pause)
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

// passes asks the gate (security.md T6).
func (l *Listener) passes(nc net.Conn) bool {
	addr, now := AddressOf(nc), time.Now()
	if l.Gate.Banned(addr, now) {
		l.Refused("banned")
		return false
	}
	if l.TLS != nil && !l.Gate.Handshake(addr, now) {
		l.Refused("handshake_rate")
		return false
	}
	return true
}

// secure does the TLS handshake, if there is one to do.
func (l *Listener) secure(a Accepted, take func(Accepted)) {
	if l.TLS == nil {
		take(a)
		return
	}
	c := tls.Server(a.Conn, l.TLS)
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := c.Handshake(); err != nil {
		l.Refused("tls")
		l.distrust(AddressOf(a.Conn), err)
		l.Log.Debug("tls handshake failed", "err", err)
		_ = a.Conn.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	state := c.ConnectionState()
	take(Accepted{Conn: c, TLS: &state, Guest: a.Guest})
}

// distrust counts a failure that was somebody's decision, not the network's,
// against an address (security.md T6).
func (l *Listener) distrust(addr netip.Addr, err error) {
	if code := iot.CodeOf(err); code == iot.Unauthorized || code == iot.Forbidden {
		l.Gate.Failed(addr, time.Now())
	}
}

// serveHTTP serves WebSockets.
func (l *Listener) serveHTTP(take func(Accepted)) {
	accepted := NewHandover(l.Net.Addr())
	end := l.serveWeb(accepted, take)
	defer end()
	l.accept(func(nc net.Conn) {
		if l.TLS != nil {
			nc = tls.Server(nc, l.TLS)
		}
		accepted.Offer(nc)
	})
}

// serveWeb serves the WebSockets of accepted until end is called.
func (l *Listener) serveWeb(accepted *Handover, take func(Accepted)) (end func()) {
	guests := &guestBook{lobby: l.Lobby}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /mqtt", func(w http.ResponseWriter, r *http.Request) { l.upgrade(w, r, take) })
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: l.Timeout, IdleTimeout: l.Timeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(l.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, guestKey{}, guests.enter(nc))
		},
		ConnState: func(nc net.Conn, s http.ConnState) {
			switch s {
			case http.StateClosed:
				guests.leave(nc).Leave()
			case http.StateHijacked: // upgrade has it
				guests.leave(nc)
			}
		},
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(accepted) })
	return func() {
		_ = accepted.Close()
		_ = srv.Close()
		serving.Wait()
	}
}

// upgrade turns one HTTP request into an MQTT connection and serves it.
func (l *Listener) upgrade(w http.ResponseWriter, r *http.Request, take func(Accepted)) {
	a := Accepted{TLS: r.TLS}
	if l.Upgrade != nil {
		who, err := l.Upgrade(r)
		if err != nil {
			l.Refused("upgrade")
			if from, parsed := netip.ParseAddrPort(r.RemoteAddr); parsed == nil {
				l.distrust(from.Addr().Unmap(), err)
			}
			http.Error(w, iot.MessageOf(err), iot.CodeOf(err).HTTPStatus())
			return
		}
		a.Principal = &who
	}
	a.Guest, _ = r.Context().Value(guestKey{}).(*Guest)
	l.Serving.Add(1)
	defer l.Serving.Done()
	defer a.Guest.Leave()
	var err error
	if a.Conn, err = Upgrade(w, r, l.FrameMax); err != nil {
		l.Refused("websocket") // the upgrader has answered
		return
	}
	take(a)
}

// guestKey finds the guest of an HTTP connection in its context.
type guestKey struct{}

// guestBook knows the guests of HTTP connections until they are upgraded or
// closed.
type guestBook struct {
	lobby *Lobby
	mu    sync.Mutex
	open  map[net.Conn]*Guest
}

func (g *guestBook) enter(nc net.Conn) *Guest {
	guest := g.lobby.Enter(nc)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = make(map[net.Conn]*Guest)
	}
	g.open[nc] = guest
	return guest
}

func (g *guestBook) leave(nc net.Conn) *Guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	guest := g.open[nc]
	delete(g.open, nc)
	return guest
}
