package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/wire"
)

// shutdownTimeout is for readers that wait for the house.
const shutdownTimeout = 5 * time.Second

// shutdown ends everybody when the gateway stops.
var shutdown = ending{code: wire.CodeShuttingDown, event: lifecycle.Server, text: "the gateway stops"}

// listener is one open socket.
type listener struct {
	cfg ListenerConfig
	wire.Listener
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
				return wire.ListenError(cfg.Name, cfg.Bind, err)
			}
		}
		b.listeners = append(b.listeners, &listener{cfg: cfg, Listener: wire.Listener{
			Net: ln, TLS: cfg.TLS, WebSocket: cfg.Protocol == "ws", Auto: cfg.Protocol == "auto", HTTP: cfg.HTTP, Upgrade: cfg.Upgrade,
			Timeout: b.cfg.Limits.ConnectTimeout, FrameMax: b.packetMax() + 5,
			Lobby: b.lobby, Gate: b.gate, Serving: &b.serving, Log: b.log,
			Refused: func(why string) { b.count.Connects.Inc(why) },
			Failed:  func(err error) { b.acceptFailed(cfg.Name, err) },
		}})
	}
	return nil
}

func (b *Broker) acceptFailed(name string, err error) {
	if missed, ok := b.denials.Pass("accept\x00"+name, time.Now()); ok {
		b.log.Warn("accept failed, trying again", "listener", name, "err", err, "missed", missed)
	}
}

func (b *Broker) closeListeners() {
	for _, l := range b.listeners {
		_ = l.Net.Close()
	}
}

// Addresses tells where the open listeners can be reached.
func (b *Broker) Addresses() []Address {
	all := make([]Address, 0, len(b.listeners))
	for _, l := range b.listeners {
		all = append(all, Address{Name: l.cfg.Name, Address: l.Net.Addr().String()})
	}
	return all
}

// Run serves until ctx ends. Then MQTT 5 clients are told that the server
// shuts down, and everything Run started has ended, except a reader that the
// house keeps waiting for more than 5 s: that is an error.
func (b *Broker) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	for _, l := range b.listeners {
		loops.Go(func() { l.Serve(func(a wire.Accepted) { b.serve(l, a) }) })
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
