package sim

import (
	"fmt"
	"sync"

	"github.com/tidehold/tidehold/drivers"
)

// muxPorts are the ports of a PCA9548.
const muxPorts = 8

// mux is a PCA9548: the byte that was written last is the mask of its open
// ports, all closed after power-up.
type mux struct {
	ports [muxPorts]*Bus

	mu   sync.Mutex
	mask byte
}

// Write opens the ports of the last byte.
func (m *mux) Write(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mask = b[len(b)-1]
	return nil
}

// Read gives the mask.
func (m *mux) Read(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range b {
		b[i] = m.mask
	}
	return nil
}

// PowerLoss closes every port.
func (m *mux) PowerLoss() { _ = m.Write([]byte{0}) }

// WrongID does nothing: the chip has no identity.
func (m *mux) WrongID(bool) {}

// open reports whether a port is.
func (m *mux) open(port int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mask&(1<<port) != 0
}

// Port is the bus behind a port of the multiplexer at addr, which is put there
// when nobody is.
func (b *Bus) Port(addr uint16, port int) (*Bus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if port < 0 || port >= muxPorts {
		return nil, fmt.Errorf("bus %s: a multiplexer has no port %d", b.name, port)
	}
	s := b.slots[addr]
	if s == nil {
		s = &slot{chip: &mux{}}
		b.slots[addr] = s
	}
	m, ok := s.chip.(*mux)
	if !ok {
		return nil, fmt.Errorf("bus %s: address 0x%02x is taken by a chip that is no multiplexer", b.name, addr)
	}
	if m.ports[port] == nil {
		m.ports[port] = NewBus(fmt.Sprintf("%s/0x%02x/%d", b.name, addr, port), b.seed)
		m.ports[port].mu = b.mu // one lock for all that hangs on one bus
	}
	return m.ports[port], nil
}

// reach finds the chip that hears an address: on the bus itself, else behind
// an open port. The lock is held.
func (b *Bus) reach(addr uint16) *slot {
	if s := b.slots[addr]; s != nil {
		return s
	}
	for _, s := range b.slots {
		m, ok := s.chip.(*mux)
		for port := 0; ok && port < muxPorts; port++ {
			if behind := m.ports[port]; behind != nil && m.open(port) {
				if found := behind.reach(addr); found != nil {
					return found
				}
			}
		}
	}
	return nil
}

// all are the chips of the bus and of everything behind it. The lock is held.
func (b *Bus) all() (list []*slot) {
	for _, s := range b.slots {
		list = append(list, s)
		m, ok := s.chip.(*mux)
		for port := 0; ok && port < muxPorts; port++ {
			if behind := m.ports[port]; behind != nil {
				list = append(list, behind.all()...)
			}
		}
	}
	return list
}

// locate finds the bus of a sensor, which may be the port of a multiplexer.
func (w *World) locate(name string) (*Bus, error) {
	parent, addr, port, ok := drivers.SplitPort(name)
	if !ok {
		return w.find(name)
	}
	b, err := w.locate(parent)
	if err != nil {
		return nil, err
	}
	return b.Port(addr, port)
}
