// Package spidev talks to SPI chips through the kernel's character devices
// (Linux, Documentation/spi/spidev.rst).
//
// It exists beside periph's sysfs package because that one costs 128 KiB of a
// binary whose size is bounded, for the one request used here, and loses the
// kernel's errno. A transfer runs both ways at once while the chip is selected.
//
// A Conn belongs to one goroutine at a time and blocks during a transfer.
package spidev

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of linux/spi/spidev.h.
const (
	requestMode    = 0x40016b01
	requestSpeed   = 0x40046b04
	requestMessage = 0x40206b00 // of one transfer
)

// TransferMax is the longest transfer that every kernel takes: the default size
// of spidev's buffer.
const TransferMax = 4096

// transfer is struct spi_ioc_transfer. Its buffers are 64-bit numbers on every
// word size.
type transfer struct {
	tx, rx   uint64
	length   uint32
	speed    uint32
	delay    uint16
	bits     uint8
	csChange uint8
	_        [4]uint8
}

// Conn is an open chip select.
type Conn struct{ file *os.File }

// Open opens the node of a chip select and sets its clock: mode 0 to 3, and the
// highest frequency.
func Open(path string, mode uint8, hertz uint32) (*Conn, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &Conn{f}
	err = c.request(requestMode, unsafe.Pointer(&mode))
	if err == nil {
		err = c.request(requestSpeed, unsafe.Pointer(&hertz))
	}
	if err != nil {
		_ = f.Close() // the request's error is the one to tell
		return nil, fmt.Errorf("%s: set mode %d at %d Hz: %w", path, mode, hertz, err)
	}
	return c, nil
}

// Tx writes w and reads as much into r, which has the same length, at the same
// time. The error is the kernel's errno.
func (c *Conn) Tx(w, r []byte) error {
	if len(w) != len(r) || len(w) > TransferMax {
		return fmt.Errorf("transfer of %d and %d bytes: %w", len(w), len(r), unix.EMSGSIZE)
	}
	if len(w) == 0 {
		return nil
	}
	var pins runtime.Pinner // the kernel sees the buffers as numbers
	defer pins.Unpin()
	pins.Pin(&w[0])
	pins.Pin(&r[0])
	t := transfer{tx: address(&w[0]), rx: address(&r[0]), length: uint32(len(w))}
	return c.request(requestMessage, unsafe.Pointer(&t))
}

func address(b *byte) uint64 { return uint64(uintptr(unsafe.Pointer(b))) }

// request runs one request without taking the descriptor out of the file.
func (c *Conn) request(number uintptr, arg unsafe.Pointer) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, number, uintptr(arg)); errno != 0 {
			inner = errno
		}
	}); err != nil {
		return err
	}
	return inner
}

// Close lets go of the chip select.
func (c *Conn) Close() error { return c.file.Close() }
