package wire

import (
	"errors"
	"io"
	"net"
	"time"
)

// ErrTooLarge is a packet over the limit; it was not read and nothing was
// allocated for it.
var ErrTooLarge = errors.New("packet is larger than allowed")

// ErrMalformed is a fixed header that no MQTT packet has.
var ErrMalformed = errors.New("malformed remaining length")

const (
	readBufferMin = 512
	readBufferMax = 32 << 10
)

// Reader takes MQTT packets off a connection. Its buffer starts small, because
// most connections are idle, and grows when reads fill it.
type Reader struct {
	src  net.Conn
	out  *Conn
	buf  []byte
	r, w int

	// Max is the largest remaining length that Next accepts.
	Max int
	// Silence is how long the peer may say nothing; 0 = for ever. An absolute
	// deadline set by the owner holds while Fixed is set.
	Silence time.Duration
	Fixed   bool
	// Wait is called before a read that may block.
	Wait func()
	// Bytes counts all bytes read.
	Bytes uint64
}

// NewReader reads packets of up to limit bytes from src, whose writing side is out.
func NewReader(src net.Conn, out *Conn, limit int) *Reader {
	return &Reader{src: src, out: out, buf: make([]byte, readBufferMin), Max: limit, Wait: func() {}}
}

// Next gives the first byte and the body of the next packet. keep tells for
// which packet types the body must outlive the next call; other bodies may be
// overwritten by it.
func (r *Reader) Next(keep func(first byte) bool) (first byte, body []byte, err error) {
	if first, err = r.readByte(); err != nil {
		return 0, nil, err
	}
	n, err := r.length()
	if err != nil {
		return first, nil, err
	}
	if n > r.Max {
		return first, nil, ErrTooLarge
	}
	if n <= r.w-r.r && !keep(first) {
		body = r.buf[r.r : r.r+n]
		r.r += n
		return first, body, nil
	}
	body = make([]byte, n)
	return first, body, r.full(body)
}

// length reads the remaining length: at most four bytes (MQTT 3.1.1, 2.2.3).
func (r *Reader) length() (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.readByte()
		if err != nil {
			return 0, err
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, ErrMalformed
}

func (r *Reader) readByte() (byte, error) {
	if r.r == r.w {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	b := r.buf[r.r]
	r.r++
	return b, nil
}

func (r *Reader) full(p []byte) error {
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	for n < len(p) {
		if len(p)-n >= len(r.buf) {
			m, err := r.read(p[n:])
			if n += m; err != nil && n < len(p) {
				return unexpected(err)
			}
			continue
		}
		if err := r.fill(); err != nil {
			return unexpected(err)
		}
		m := copy(p[n:], r.buf[r.r:r.w])
		n, r.r = n+m, r.r+m
	}
	return nil
}

// fill reads once into the empty buffer.
func (r *Reader) fill() error {
	if r.w == len(r.buf) && len(r.buf) < readBufferMax {
		r.buf = make([]byte, 4*len(r.buf))
	}
	for {
		n, err := r.read(r.buf)
		if r.r, r.w = 0, n; n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *Reader) read(p []byte) (int, error) {
	r.Wait()
	if err := r.arm(); err != nil {
		return 0, err
	}
	if !r.out.enter() {
		return 0, net.ErrClosed
	}
	n, err := r.src.Read(p)
	r.out.reading.Unlock()
	r.Bytes += uint64(n)
	return n, err
}

func (r *Reader) arm() error {
	switch {
	case r.Fixed:
		return nil
	case r.Silence > 0:
		return r.out.SetReadDeadline(time.Now().Add(r.Silence))
	}
	return r.out.SetReadDeadline(time.Time{})
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
