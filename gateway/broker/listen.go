package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

const (
	handshakeTimeout = 10 * time.Second // of TLS (security.md T4)
	shutdownTimeout  = 5 * time.Second  // for readers that wait for the house
)

// listener is one open socket.
type listener struct {
	cfg ListenerConfig
	net net.Listener
}

// Listen opens all sockets, or none. A taken port is an error that names
// listener and address and says what to do.
func (b *Broker) Listen(ctx context.Context) error {
	for _, cfg := range b.cfg.Listeners {
		ln := cfg.Listener
		if ln == nil {
			var err error
			if ln, err = b.cfg.Listen(ctx, "tcp", cfg.Bind); err != nil {
				b.closeListeners()
				return listenError(cfg, err)
			}
		}
		b.listeners = append(b.listeners, &listener{cfg: cfg, net: ln})
	}
	return nil
}

func listenError(cfg ListenerConfig, err error) error {
	advice := "check bind of the listener"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "the address is taken: stop the other program, or give this listener another bind (HOST:0 picks a free port)"
	case errors.Is(err, syscall.EACCES):
		advice = "ports below 1024 need CAP_NET_BIND_SERVICE or a socket unit of systemd"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this host does not have the address: give the listener another bind"
	}
	return fmt.Errorf("broker: listener %q: listen on %s: %w; %s", cfg.Name, cfg.Bind, err, advice)
}

func (b *Broker) closeListeners() {
	for _, l := range b.listeners {
		_ = l.net.Close()
	}
}

// Addresses tells where the open listeners can be reached.
func (b *Broker) Addresses() []Address {
	all := make([]Address, 0, len(b.listeners))
	for _, l := range b.listeners {
		all = append(all, Address{Name: l.cfg.Name, Address: l.net.Addr().String()})
	}
	return all
}

// Run serves until ctx ends. Then MQTT 5 clients are told that the server
// shuts down, and everything Run started has ended, except a reader that the
// house keeps waiting for more than 5 s: that is an error.
func (b *Broker) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	for _, l := range b.listeners {
		loops.Go(func() { b.listen(l) })
	}
	loops.Go(func() { b.keepHouse(ctx) })
	<-ctx.Done()
	close(b.stopping)
	b.closeListeners()
	loops.Wait()
	b.lobby.Close()
	b.sessions.each(func(s *session) {
		if c := s.connection(); c != nil {
			c.stop(shutdown)
		}
	})
	return b.waitServing()
}

func (b *Broker) waitServing() error {
	done := make(chan struct{})
	go func() {
		b.serving.Wait()
		close(done)
	}()
	t := time.NewTimer(shutdownTimeout)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		return errors.New("broker: stop: connections still wait for their last message to be taken in")
	}
}

// listen accepts on one socket until it is closed.
func (b *Broker) listen(l *listener) {
	report := func(err error) {
		if missed, ok := b.denials.pass("accept\x00"+l.cfg.Name, time.Now()); ok {
			b.log.Warn("accept failed, trying again", "listener", l.cfg.Name, "err", err, "missed", missed)
		}
	}
	if l.cfg.Protocol == "ws" {
		b.listenWebSocket(l, report)
		return
	}
	wire.Serve(l.net, func(nc net.Conn) { b.take(l, nc) }, report)
}

// take lets one accepted connection in, or not.
func (b *Broker) take(l *listener, nc net.Conn) {
	if !b.passes(l, nc) {
		_ = nc.Close()
		return
	}
	guest := b.lobby.Enter(nc)
	b.serving.Go(func() {
		defer guest.Leave()
		if l.cfg.TLS == nil {
			b.serve(l, nc, nil, nil, guest)
			return
		}
		secure := tls.Server(nc, l.cfg.TLS)
		_ = secure.SetDeadline(time.Now().Add(handshakeTimeout))
		if err := secure.Handshake(); err != nil {
			b.count.connects.Inc("tls")
			b.log.Debug("tls handshake failed", "listener", l.cfg.Name, "err", err)
			_ = nc.Close()
			return
		}
		_ = secure.SetDeadline(time.Time{})
		state := secure.ConnectionState()
		b.serve(l, secure, &state, nil, guest)
	})
}

// passes asks the gate (security.md T6).
func (b *Broker) passes(l *listener, nc net.Conn) bool {
	addr, now := wire.AddressOf(nc), time.Now()
	if b.gate.Banned(addr, now) {
		b.count.connects.Inc("banned")
		return false
	}
	if l.cfg.TLS != nil && !b.gate.Handshake(addr, now) {
		b.count.connects.Inc("handshake_rate")
		return false
	}
	return true
}

// guestKey finds the guest of an HTTP connection in its context.
type guestKey struct{}

// gatedListener lets http.Server accept only who passes the gate, and retries
// errors that would end it.
type gatedListener struct {
	net.Listener
	conns chan net.Conn
}

func (g *gatedListener) Accept() (net.Conn, error) {
	nc, ok := <-g.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}

// listenWebSocket serves MQTT over WebSocket at /mqtt.
func (b *Broker) listenWebSocket(l *listener, report func(error)) {
	gate := &gatedListener{Listener: l.net, conns: make(chan net.Conn)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /mqtt", func(w http.ResponseWriter, r *http.Request) { b.upgrade(l, w, r) })
	guests := &guestBook{lobby: b.lobby}
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: b.cfg.Limits.ConnectTimeout, MaxHeaderBytes: 16 << 10,
		IdleTimeout: b.cfg.Limits.ConnectTimeout, ErrorLog: slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
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
	serving.Go(func() { _ = srv.Serve(gate) })
	wire.Serve(l.net, func(nc net.Conn) {
		if !b.passes(l, nc) {
			_ = nc.Close()
			return
		}
		if l.cfg.TLS != nil {
			nc = tls.Server(nc, l.cfg.TLS)
		}
		gate.conns <- nc
	}, report)
	close(gate.conns)
	_ = srv.Close()
	serving.Wait()
}

// upgrade turns one HTTP request into an MQTT connection and serves it.
func (b *Broker) upgrade(l *listener, w http.ResponseWriter, r *http.Request) {
	var who *iot.Principal
	if l.cfg.Upgrade != nil {
		p, err := l.cfg.Upgrade(r)
		if err != nil {
			b.count.failures.Inc(l.cfg.Name, "upgrade")
			http.Error(w, iot.MessageOf(err), iot.CodeOf(err).HTTPStatus())
			return
		}
		who = &p
	}
	guest, _ := r.Context().Value(guestKey{}).(*wire.Guest)
	nc, err := wire.Upgrade(w, r, b.packetMax()+5)
	if err != nil {
		b.count.connects.Inc("websocket")
		return // the upgrader has answered
	}
	b.serving.Add(1)
	defer b.serving.Done()
	defer guest.Leave()
	b.serve(l, nc, r.TLS, who, guest)
}

// guestBook knows the guests of HTTP connections until they are upgraded or
// closed.
type guestBook struct {
	lobby *wire.Lobby
	mu    sync.Mutex
	open  map[net.Conn]*wire.Guest
}

func (g *guestBook) enter(nc net.Conn) *wire.Guest {
	guest := g.lobby.Enter(nc)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = make(map[net.Conn]*wire.Guest)
	}
	g.open[nc] = guest
	return guest
}

func (g *guestBook) leave(nc net.Conn) *wire.Guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	guest := g.open[nc]
	delete(g.open, nc)
	return guest
}
