package board

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/tidehold/tidehold/drivers"
)

// Packet types, status codes and capability bits of the usbredir protocol 0.7
// (SPICE project, docs/usb-redirection-protocol.md).
const (
	packetHello       = 0
	packetConnect     = 1
	packetDisconnect  = 2
	packetInterfaces  = 4
	packetEndpoints   = 5
	packetSetConfig   = 6
	packetGetConfig   = 7
	packetConfig      = 8
	packetSetSetting  = 9
	packetGetSetting  = 10
	packetSetting     = 11
	packetControl     = 100
	statusOK          = 0
	statusStall       = 4
	capability64bitID = 1 << 5
	// Device version in connect, packet size in endpoints, 64-bit ids, 32-bit
	// bulk lengths: QEMU refuses a peer without them behind an xHCI controller.
	capabilities  = 1<<1 | 1<<4 | capability64bitID | 1<<6
	packetMax     = 1 << 20
	functionality = 0x0eff0009 // plain I2C and what the kernel makes of it
)

// tinyUSB names the device so that the kernel's i2c-tiny-usb driver takes it.
var (
	deviceDescriptor = []byte{18, 1, 0x10, 0x01, 0xff, 0, 0, 64, 0x03, 0x04, 0x31, 0xc6, 0x05, 0x02, 0, 0, 0, 1}
	configDescriptor = []byte{9, 2, 18, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 0xff, 0, 0, 0}
)

// Adapter is a USB I2C adapter behind QEMU's usb-redir device: the board's
// kernel sees a real adapter whose bus lives in this process.
type Adapter struct {
	bus    drivers.Bus
	mu     sync.Mutex
	conn   net.Conn
	wide   bool // 64-bit packet ids were agreed
	status byte
}

// serve talks to QEMU until the listener is closed.
func (a *Adapter) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		a.talk(c)
	}
}

func (a *Adapter) talk(c net.Conn) {
	a.mu.Lock()
	a.conn, a.wide = c, false
	a.mu.Unlock()
	hello := make([]byte, 64, 68)
	copy(hello, "tidehold board")
	a.send(packetHello, 0, binary.LittleEndian.AppendUint32(hello, capabilities))
	for r := bufio.NewReader(c); ; {
		kind, id, body, err := a.receive(r)
		if err != nil {
			return
		}
		a.packet(kind, id, body)
	}
}

func (a *Adapter) send(kind uint32, id uint64, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		return
	}
	h := binary.LittleEndian.AppendUint32(nil, kind)
	h = binary.LittleEndian.AppendUint32(h, uint32(len(body)))
	if a.wide {
		h = binary.LittleEndian.AppendUint64(h, id)
	} else {
		h = binary.LittleEndian.AppendUint32(h, uint32(id))
	}
	_, _ = a.conn.Write(append(h, body...)) // QEMU that is gone ends the reader
}

func (a *Adapter) receive(r io.Reader) (kind uint32, id uint64, body []byte, err error) {
	h := make([]byte, 16)
	n := 12
	if a.wide {
		n = 16
	}
	if _, err := io.ReadFull(r, h[:n]); err != nil {
		return 0, 0, nil, err
	}
	size := binary.LittleEndian.Uint32(h[4:])
	if size > packetMax {
		return 0, 0, nil, errors.New("usbredir: packet too long")
	}
	body = make([]byte, size)
	_, err = io.ReadFull(r, body)
	return binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint64(h[8:]), body, err
}

func (a *Adapter) packet(kind uint32, id uint64, b []byte) {
	switch kind {
	case packetHello:
		if len(b) >= 68 && binary.LittleEndian.Uint32(b[64:])&capability64bitID != 0 {
			a.mu.Lock()
			a.wide = true
			a.mu.Unlock()
		}
		a.Plug()
	case packetSetConfig:
		a.send(packetConfig, id, []byte{statusOK, b[0]})
	case packetGetConfig:
		a.send(packetConfig, id, []byte{statusOK, 1})
	case packetSetSetting:
		a.send(packetSetting, id, []byte{statusOK, b[0], b[1]})
	case packetGetSetting:
		a.send(packetSetting, id, []byte{statusOK, b[0], 0})
	case packetControl:
		if len(b) >= 10 {
			a.send(packetControl, id, a.control(b))
		}
	}
}

// Plug plugs the adapter in.
func (a *Adapter) Plug() {
	endpoints := make([]byte, 160)
	for i := range 32 {
		endpoints[i] = 255
	}
	endpoints[0], endpoints[16] = 0, 0
	binary.LittleEndian.PutUint16(endpoints[96:], 64)
	binary.LittleEndian.PutUint16(endpoints[96+32:], 64)
	a.send(packetEndpoints, 0, endpoints)
	interfaces := make([]byte, 4+4*32)
	interfaces[0] = 1
	interfaces[4+32] = 0xff
	a.send(packetInterfaces, 0, interfaces)
	a.send(packetConnect, 0, []byte{1, 0xff, 0, 0, 0x03, 0x04, 0x31, 0xc6, 0x05, 0x02})
}

// Unplug pulls the adapter out.
func (a *Adapter) Unplug() { a.send(packetDisconnect, 0, nil) }

// control answers a control transfer: the descriptors of the device, and the
// vendor requests of i2c-tiny-usb.
func (a *Adapter) control(b []byte) []byte {
	request, kind := b[1], b[2]
	value, length := binary.LittleEndian.Uint16(b[4:]), int(binary.LittleEndian.Uint16(b[8:]))
	answer := func(status byte, content []byte, n int) []byte {
		h := append([]byte(nil), b[:10]...)
		h[3] = status
		binary.LittleEndian.PutUint16(h[8:], uint16(n))
		return append(h, content...)
	}
	in := func(content []byte) []byte {
		content = content[:min(len(content), length)]
		return answer(statusOK, content, len(content))
	}
	switch {
	case kind == 0x80 && request == 6 && value>>8 == 1:
		return in(deviceDescriptor)
	case kind == 0x80 && request == 6 && value>>8 == 2:
		return in(configDescriptor)
	case kind == 0x80 && request == 0:
		return in([]byte{0, 0})
	case kind&0x60 != 0x40:
		return answer(statusStall, nil, 0)
	}
	switch {
	case request == 0: // echo
		return in([]byte{byte(value), byte(value >> 8)})
	case request == 1:
		return in(binary.LittleEndian.AppendUint32(nil, functionality))
	case request == 2: // bit delay
		return answer(statusOK, nil, 0)
	case request == 3:
		return in([]byte{a.status})
	case request >= 4 && request <= 7:
		return a.message(b, kind&0x80 != 0, length, answer)
	}
	return answer(statusStall, nil, 0)
}

// message carries out one I2C message. An address that does not answer is told
// by the next status request, a held bus by a stalled transfer: the kernel
// makes ENXIO of the one and EIO of the other.
func (a *Adapter) message(b []byte, read bool, length int, answer func(byte, []byte, int) []byte) []byte {
	addr := binary.LittleEndian.Uint16(b[6:])
	content := make([]byte, length)
	if !read {
		copy(content, b[10:])
	}
	a.status = 1
	w, r := content, []byte(nil)
	if read {
		w, r = nil, content
	}
	err := a.bus.Tx(context.Background(), addr, w, r)
	switch {
	case errors.Is(err, drivers.ErrNACK):
		a.status = 2
	case err != nil:
		return answer(statusStall, nil, 0)
	}
	if read {
		return answer(statusOK, content, length)
	}
	return answer(statusOK, nil, length)
}
