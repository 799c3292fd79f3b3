// Package load is the load generator of the benchmarks: a minimal MQTT client
// for 3.1.1 and 5 that batches its reads and its writes, so that it costs less
// than the broker it measures.
//
// Order: what one Conn sends leaves in the order of the calls; a Plan checks
// that every subscriber gets the messages of each publisher in their order.
// Blocking: a reader sends everything that waits, acknowledgements and PUBREL
// too, before it waits for the socket. Limits: every run ends by Plan.Duration
// or Plan.Messages, and stallMax after nothing moves any more.
//
// It is no client for other uses: it trusts the broker to speak correct MQTT
// and gives up on the connection at the first packet it cannot read.
package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The packet types of MQTT that the generator sends or reads.
const (
	Connect    = 1
	Connack    = 2
	Publish    = 3
	Puback     = 4
	Pubrec     = 5
	Pubrel     = 6
	Pubcomp    = 7
	Subscribe  = 8
	Suback     = 9
	Pingreq    = 12
	Pingresp   = 13
	Disconnect = 14
)

// packetMax is the longest packet the generator reads.
const packetMax = 64 << 20

// ErrMalformed means that the broker sent what is not MQTT.
var ErrMalformed = errors.New("malformed packet")

// Packet is one packet as it was read; Body is valid until the next read.
type Packet struct {
	Type  byte
	Flags byte
	Body  []byte
}

// QoS is the quality of service of a PUBLISH.
func (p Packet) QoS() byte { return p.Flags >> 1 & 3 }

// ID is the packet id of an acknowledgement or a SUBACK.
func (p Packet) ID() uint16 {
	if len(p.Body) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(p.Body)
}

// Message takes a PUBLISH apart. level is the protocol of the connection.
func (p Packet) Message(level byte) (topic []byte, id uint16, payload []byte, err error) {
	rest := p.Body
	if topic, rest, err = cutString(rest); err != nil {
		return nil, 0, nil, err
	}
	if p.QoS() > 0 {
		if len(rest) < 2 {
			return nil, 0, nil, ErrMalformed
		}
		id, rest = binary.BigEndian.Uint16(rest), rest[2:]
	}
	if level == 5 {
		n, used := length(rest)
		if used <= 0 || used+n > len(rest) {
			return nil, 0, nil, ErrMalformed
		}
		rest = rest[used+n:]
	}
	return topic, id, rest, nil
}

func cutString(b []byte) (text, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, ErrMalformed
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, ErrMalformed
	}
	return b[2 : 2+n], b[2+n:], nil
}

// length reads a variable byte integer: used is 0 when b is too short and
// negative when it is none.
func length(b []byte) (n, used int) {
	for i := 0; i < len(b) && i < 4; i++ {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, i + 1
		}
	}
	if len(b) >= 4 {
		return 0, -1
	}
	return 0, 0
}

func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendConnect appends a CONNECT without will and credentials.
func appendConnect(b []byte, o Options) []byte {
	var props []byte
	if o.Level == 5 {
		if o.Persistent {
			props = binary.BigEndian.AppendUint32(append(props, 0x11), sessionSeconds)
		}
		if o.ReceiveMax > 0 {
			props = binary.BigEndian.AppendUint16(append(props, 0x21), o.ReceiveMax)
		}
		props = append(appendLength(nil, len(props)), props...)
	}
	flags := byte(0x02)
	if o.Persistent {
		flags = 0
	}
	b = append(b, Connect<<4)
	b = appendLength(b, 10+len(props)+2+len(o.ClientID))
	b = appendString(b, "MQTT")
	b = append(b, o.Level, flags)
	b = binary.BigEndian.AppendUint16(b, o.KeepAlive)
	b = append(b, props...)
	return appendString(b, o.ClientID)
}

// appendSubscribe appends a SUBSCRIBE of one filter.
func appendSubscribe(b []byte, level byte, id uint16, filter string, qos byte) []byte {
	n := 2 + 2 + len(filter) + 1
	if level == 5 {
		n++
	}
	b = appendLength(append(b, Subscribe<<4|2), n)
	b = binary.BigEndian.AppendUint16(b, id)
	if level == 5 {
		b = append(b, 0)
	}
	return append(appendString(b, filter), qos)
}

// appendPublish appends the head of a PUBLISH whose payload of n bytes follows.
func appendPublish(b []byte, level byte, topic string, qos byte, id uint16, n int) []byte {
	remaining := 2 + len(topic) + n
	if qos > 0 {
		remaining += 2
	}
	if level == 5 {
		remaining++
	}
	b = appendLength(append(b, Publish<<4|qos<<1), remaining)
	b = appendString(b, topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	if level == 5 {
		b = append(b, 0)
	}
	return b
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func appendAck(b []byte, kind byte, id uint16) []byte {
	first := kind << 4
	if kind == Pubrel {
		first |= 2
	}
	return append(b, first, 2, byte(id>>8), byte(id))
}

const (
	readMin = 512
	readMax = 64 << 10
)

// Reader reads packets in batches. Its buffer grows with what arrives, so that
// an idle connection costs little.
type Reader struct {
	from io.Reader
	// Idle is called before the reader waits for the socket.
	Idle func()

	buf      []byte
	at, have int
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{from: r, buf: make([]byte, readMin)} }

// Next gives the next packet, or the error of the socket.
func (r *Reader) Next() (Packet, error) {
	for {
		p, size, err := r.cut()
		if err != nil {
			return p, err
		}
		if size <= r.have-r.at {
			r.at += size
			return p, nil
		}
		if err := r.fill(size); err != nil {
			return p, err
		}
	}
}

// cut looks at the packet at the front; size is how many bytes it needs, at
// least, when more must be read.
func (r *Reader) cut() (p Packet, size int, err error) {
	b := r.buf[r.at:r.have]
	if len(b) < 2 {
		return p, 2, nil
	}
	n, used := length(b[1:])
	if used < 0 || n > packetMax {
		return p, 0, fmt.Errorf("%w: a length", ErrMalformed)
	}
	if used == 0 {
		return p, len(b) + 1, nil
	}
	size = 1 + used + n
	if size <= len(b) {
		p = Packet{Type: b[0] >> 4, Flags: b[0] & 15, Body: b[1+used : size]}
	}
	return p, size, nil
}

// fill reads once, after making room for a packet of size bytes.
func (r *Reader) fill(size int) error {
	full := r.have == len(r.buf)
	r.have = copy(r.buf, r.buf[r.at:r.have])
	r.at = 0
	wanted := size
	if full {
		wanted = max(size, min(2*len(r.buf), readMax))
	}
	if wanted > len(r.buf) {
		r.buf = append(r.buf, make([]byte, wanted-len(r.buf))...)
	}
	if r.Idle != nil {
		r.Idle()
	}
	n, err := r.from.Read(r.buf[r.have:])
	r.have += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
