package wire

import (
	"net"
	"sync"
)

// Handover is a net.Listener of connections that another listener accepted and
// secured: one port serves several protocols by ALPN.
type Handover struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

// NewHandover makes a Handover that says it listens on addr.
func NewHandover(addr net.Addr) *Handover {
	return &Handover{addr: addr, conns: make(chan net.Conn), ended: make(chan struct{})}
}

// Offer waits until somebody accepts nc; after Close it closes nc.
func (h *Handover) Offer(nc net.Conn) {
	select {
	case h.conns <- nc:
	case <-h.ended:
		_ = nc.Close()
	}
}

// Accept waits for the next connection; net.ErrClosed after Close.
func (h *Handover) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

// Close ends every Accept and Offer. It may be called twice.
func (h *Handover) Close() error {
	h.once.Do(func() { close(h.ended) })
	return nil
}

// Addr is the address of the listener that hands over.
func (h *Handover) Addr() net.Addr { return h.addr }
