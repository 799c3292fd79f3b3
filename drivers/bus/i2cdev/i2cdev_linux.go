// Package i2cdev talks to I2C adapters through the kernel's character devices
// (Linux, Documentation/i2c/dev-interface.rst).
//
// A transaction is one I2C_RDWR request: a write and a read with a repeated
// start between them. Its time-out is the kernel's own, so a chip that holds
// the clock costs no more than was asked for. Errors keep their errno: NACK,
// time-out and unplug can be told apart by errors.Is. The kernel does not check
// here whether one of its drivers has an address; the caller looks first.
//
// A Conn belongs to one goroutine at a time and blocks during a transaction.
package i2cdev

import (
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests and flags of linux/i2c-dev.h and linux/i2c.h.
const (
	requestRetries = 0x0701
	requestTimeout = 0x0702
	requestRDWR    = 0x0707
	flagRead       = 0x0001
	flagTenBit     = 0x0010
	// timeoutUnit is that of requestTimeout.
	timeoutUnit = 10 * time.Millisecond
)

// MessageMax is the longest message the kernel takes (I2C_RDWR).
const MessageMax = 8192

// message is struct i2c_msg. Its layout follows the size of a pointer by
// itself.
type message struct {
	addr   uint16
	flags  uint16
	length uint16
	buf    unsafe.Pointer
}

// messages is struct i2c_rdwr_ioctl_data.
type messages struct {
	list  unsafe.Pointer
	count uint32
}

// Conn is an open adapter.
type Conn struct{ file *os.File }

// Open opens an adapter's node and sets the time-out of its transactions, which
// the kernel counts in steps of 10 ms. The kernel's own retries are off: the
// driver layer decides what is tried again.
func Open(path string, timeout time.Duration) (*Conn, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &Conn{f}
	steps := max(1, int((timeout+timeoutUnit-1)/timeoutUnit))
	for request, value := range map[uint]int{requestTimeout: steps, requestRetries: 0} {
		if err := c.control(func(fd int) error { return unix.IoctlSetInt(fd, request, value) }); err != nil {
			_ = f.Close() // the request's error is the one to tell
			return nil, fmt.Errorf("%s: set time-out: %w", path, err)
		}
	}
	return c, nil
}

// Tx writes w, then reads r, in one transaction with addr; an empty one is left
// out. The error is the kernel's errno.
func (c *Conn) Tx(addr uint16, w, r []byte) error {
	if len(w) > MessageMax || len(r) > MessageMax {
		return fmt.Errorf("message of %d bytes: %w", max(len(w), len(r)), unix.EMSGSIZE)
	}
	var list [2]message
	count := 0
	for _, part := range []struct {
		b     []byte
		flags uint16
	}{{w, 0}, {r, flagRead}} {
		if len(part.b) > 0 {
			list[count] = message{addr, part.flags | tenBit(addr), uint16(len(part.b)), unsafe.Pointer(&part.b[0])}
			count++
		}
	}
	if count == 0 {
		return nil
	}
	q := messages{unsafe.Pointer(&list[0]), uint32(count)}
	err := c.control(func(fd int) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), requestRDWR, uintptr(unsafe.Pointer(&q))); errno != 0 {
			return errno
		}
		return nil
	})
	runtime.KeepAlive(&list)
	return err
}

func tenBit(addr uint16) uint16 {
	if addr > 0x7f {
		return flagTenBit
	}
	return 0
}

// control runs one request without taking the descriptor out of the file.
func (c *Conn) control(f func(fd int) error) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Close lets go of the adapter. One that was unplugged leaves the kernel only
// then.
func (c *Conn) Close() error { return c.file.Close() }
