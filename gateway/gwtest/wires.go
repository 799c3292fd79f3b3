package gwtest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Wires are a network in memory: houses listen and dial on it inside a bubble of
// testing/synctest, where a socket of the host would stop the virtual time. An
// address is any text. Safe for concurrent use.
type Wires struct {
	mu        sync.Mutex
	listeners map[string]*plug
	cut       map[string]bool
	lines     map[string][]net.Conn
	speed     map[string]int
}

// NewWires is a network on which nobody listens yet.
func NewWires() *Wires {
	return &Wires{listeners: make(map[string]*plug), cut: make(map[string]bool), lines: make(map[string][]net.Conn), speed: make(map[string]int)}
}

// Listen is a gateway's Env.Listen.
func (w *Wires) Listen(_ context.Context, _, address string) (net.Listener, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listeners[address] != nil {
		return nil, fmt.Errorf("listen %s: %w", address, syscall.EADDRINUSE)
	}
	p := &plug{wires: w, address: address, calls: make(chan net.Conn), closed: make(chan struct{})}
	w.listeners[address] = p
	return p, nil
}

// Dial is a gateway's Env.Dial; it fails at once where nobody listens, and
// where the way is cut.
func (w *Wires) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	p, cut, speed := w.listeners[address], w.cut[address], w.speed[address]
	w.mu.Unlock()
	if p == nil || cut {
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ENETUNREACH)
	}
	near, far := net.Pipe()
	if speed > 0 {
		near, far = &slow{Conn: near, speed: speed}, &slow{Conn: far, speed: speed}
	}
	select {
	case p.calls <- far:
	case <-p.closed:
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	w.lines[address] = append(w.lines[address], near, far)
	w.mu.Unlock()
	return near, nil
}

// Cut closes every connection to an address and lets no new one through until
// it is mended.
func (w *Wires) Cut(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[address] = true
	for _, c := range w.lines[address] {
		c.Close()
	}
	w.lines[address] = nil
}

// Mend ends a Cut.
func (w *Wires) Mend(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[address] = false
}

// Slow makes connections from now on carry so many bytes a second each way.
func (w *Wires) Slow(address string, bytesPerSecond int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.speed[address] = bytesPerSecond
}

// slow is one end of a line that takes time for every byte.
type slow struct {
	net.Conn
	speed int
}

// Write returns when the line has taken all.
func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(s.speed))
	return s.Conn.Write(p)
}

// plug is a listener on Wires.
type plug struct {
	wires   *Wires
	address string
	calls   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// Accept gives the next connection.
func (p *plug) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close frees the address.
func (p *plug) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.wires.mu.Lock()
		delete(p.wires.listeners, p.address)
		p.wires.mu.Unlock()
	})
	return nil
}

// Addr is the address as text.
func (p *plug) Addr() net.Addr { return place(p.address) }

type place string

func (place) Network() string  { return "wires" }
func (p place) String() string { return string(p) }
