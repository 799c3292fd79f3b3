package wire

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// Lobby bounds the connections that have not said CONNECT yet: at the limit
// the oldest is closed and the new one is served (security.md T4).
type Lobby struct {
	total, perAddress int

	mu      sync.Mutex
	guests  list.List // of *Guest, oldest first
	address map[netip.Addr]int
}

// NewLobby allows total connections, perAddress of one address; loopback
// addresses know only the total.
func NewLobby(total, perAddress int) *Lobby {
	return &Lobby{total: total, perAddress: perAddress, address: make(map[netip.Addr]int)}
}

// Guest is one connection in the lobby.
type Guest struct {
	lobby *Lobby
	conn  net.Conn
	addr  netip.Addr
	place *list.Element // nil once it has left
}

// Enter admits c and closes whoever is one too many.
func (l *Lobby) Enter(c net.Conn) *Guest {
	g := &Guest{lobby: l, conn: c, addr: AddressOf(c)}
	l.mu.Lock()
	victim := l.victim(g.addr)
	if victim != nil {
		l.leave(victim)
	}
	g.place = l.guests.PushBack(g)
	l.address[g.addr]++
	l.mu.Unlock()
	if victim != nil {
		_ = victim.conn.Close()
	}
	return g
}

func (l *Lobby) victim(addr netip.Addr) *Guest {
	if !addr.IsLoopback() && l.address[addr] >= l.perAddress {
		for e := l.guests.Front(); e != nil; e = e.Next() {
			if g := e.Value.(*Guest); g.addr == addr {
				return g
			}
		}
	}
	if l.guests.Len() >= l.total {
		return l.guests.Front().Value.(*Guest)
	}
	return nil
}

// Leave takes g out: it said CONNECT, or it is gone. It may be called twice,
// and on nil.
func (g *Guest) Leave() {
	if g == nil {
		return
	}
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	g.lobby.leave(g)
}

func (l *Lobby) leave(g *Guest) {
	if g.place == nil {
		return
	}
	l.guests.Remove(g.place)
	g.place = nil
	if l.address[g.addr]--; l.address[g.addr] <= 0 {
		delete(l.address, g.addr)
	}
}

// Close closes everybody in the lobby.
func (l *Lobby) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.guests.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*Guest).conn.Close()
	}
}

// Len is the number of connections in the lobby.
func (l *Lobby) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guests.Len()
}

// AddressOf is the peer's address, loopback for connections without one.
func AddressOf(c net.Conn) netip.Addr {
	if c.RemoteAddr() != nil {
		if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			return ap.Addr().Unmap()
		}
	}
	return netip.IPv6Loopback()
}
