package gpiochip

import (
	"encoding/binary"
	"math"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The structures of include/uapi/linux/gpio.h, version 2. Every 64-bit member
// lies on a multiple of 8, so that 32- and 64-bit builds agree; a test pins
// sizes and offsets.

type chipRecord struct {
	Name, Label [32]byte
	Lines       uint32
}

type attribute struct {
	ID, _ uint32
	Value uint64 // flags or a bitmap of values
}

type configAttribute struct {
	Attr attribute
	Mask uint64
}

type lineConfig struct {
	Flags    uint64
	NumAttrs uint32
	_        [5]uint32
	Attrs    [10]configAttribute
}

type lineRequest struct {
	Offsets         [64]uint32
	Consumer        [32]byte
	Config          lineConfig
	NumLines        uint32
	EventBufferSize uint32
	_               [5]uint32
	FD              int32
}

type lineRecord struct {
	Name, Consumer   [32]byte
	Offset, NumAttrs uint32
	Flags            uint64
	Attrs            [10]attribute
	_                [4]uint32
}

type lineValues struct{ Bits, Mask uint64 }

type lineEvent struct {
	TimestampNS                  uint64
	ID, Offset, SeqNo, LineSeqNo uint32
	_                            [6]uint32
}

// Requests that golang.org/x/sys/unix does not name.
const (
	getChip       = 0x8044b401
	lineSetConfig = 0xc110b40d
)

// Flags of a line (enum gpio_v2_line_flag).
const (
	flagUsed         = 1 << 0
	flagInput        = 1 << 2
	flagOutput       = 1 << 3
	flagEdgeRising   = 1 << 4
	flagEdgeFalling  = 1 << 5
	flagOpenDrain    = 1 << 6
	flagPullUp       = 1 << 8
	flagPullDown     = 1 << 9
	flagBiasDisabled = 1 << 10
)

// ioctl passes arg to the kernel for the length of one call.
func ioctl[T any](fd int, request uint, arg *T) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(arg)
	if errno != 0 {
		return errno
	}
	return nil
}

// outputConfig makes line 0 of a request an output with a level.
func outputConfig(high bool) lineConfig {
	c := lineConfig{Flags: flagOutput, NumAttrs: 1}
	c.Attrs[0] = configAttribute{Attr: attribute{ID: unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES}, Mask: 1}
	if high {
		c.Attrs[0].Attr.Value = 1
	}
	return c
}

// debounceConfig makes line 0 of a request hold its edges back.
func debounceConfig(flags uint64, stable time.Duration) lineConfig {
	c := lineConfig{Flags: flags, NumAttrs: 1}
	us := uint32(min(max(stable.Microseconds(), 0), math.MaxUint32))
	var value [8]byte // the period is the first four bytes of a union of eight
	binary.NativeEndian.PutUint32(value[:], us)
	c.Attrs[0] = configAttribute{Attr: attribute{ID: unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE, Value: binary.NativeEndian.Uint64(value[:])}, Mask: 1}
	return c
}

func text(b [32]byte) string { return unix.ByteSliceToString(b[:]) }
