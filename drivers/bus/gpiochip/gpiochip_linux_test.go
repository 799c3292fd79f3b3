package gpiochip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tidehold/tidehold/drivers"
)

// Sizes and offsets are those of include/uapi/linux/gpio.h; the sizes are part
// of the request numbers.
func TestLayout_IsTheKernelsOnEveryWordSize(t *testing.T) {
	sizeIn := func(request uint) uintptr { return uintptr(request>>16) & 0x3fff }
	for _, c := range []struct {
		what      string
		got, want uintptr
	}{
		{"chip", unsafe.Sizeof(chipRecord{}), sizeIn(getChip)},
		{"line", unsafe.Sizeof(lineRecord{}), sizeIn(unix.GPIO_V2_GET_LINEINFO_IOCTL)},
		{"request", unsafe.Sizeof(lineRequest{}), sizeIn(unix.GPIO_V2_GET_LINE_IOCTL)},
		{"config", unsafe.Sizeof(lineConfig{}), sizeIn(lineSetConfig)},
		{"values", unsafe.Sizeof(lineValues{}), sizeIn(unix.GPIO_V2_LINE_SET_VALUES_IOCTL)},
		{"event", unsafe.Sizeof(lineEvent{}), eventSize},
		{"request.config", unsafe.Offsetof(lineRequest{}.Config), 288},
		{"request.num_lines", unsafe.Offsetof(lineRequest{}.NumLines), 560},
		{"request.fd", unsafe.Offsetof(lineRequest{}.FD), 588},
		{"config.attrs", unsafe.Offsetof(lineConfig{}.Attrs), 32},
		{"line.flags", unsafe.Offsetof(lineRecord{}.Flags), 72},
		{"event.line_seqno", unsafe.Offsetof(lineEvent{}.LineSeqNo), 20},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}

func TestOutputConfig_CarriesTheFirstLevel(t *testing.T) {
	for _, high := range []bool{false, true} {
		c := outputConfig(high)
		if c.Flags != flagOutput || c.NumAttrs != 1 || c.Attrs[0].Mask != 1 || c.Attrs[0].Attr.ID != 2 || (c.Attrs[0].Attr.Value == 1) != high {
			t.Errorf("high %v: %+v", high, c)
		}
	}
}

func event(at uint64, id, seq uint32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint64(b, at)
	binary.NativeEndian.PutUint32(b[8:], id)
	binary.NativeEndian.PutUint32(b[20:], seq)
	return b
}

func TestEdgeOf_KeepsTheKernelsTimeAndNumber(t *testing.T) {
	now := time.Now()
	e := edgeOf(event(5_000_000_000, 2, 7), now, 5*time.Second+3*time.Millisecond)
	if e.High || e.Seq != 7 || !e.Time.Equal(now.Add(-3*time.Millisecond)) {
		t.Errorf("got %+v", e)
	}
}

// A pipe stands for the line's descriptor: it is polled the same way.
func TestWait_GivesEdgesAndEndsWithItsContext(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(p[1]), "w")
	defer w.Close()
	l := &Line{pin: drivers.PinConfig{Line: "GPIO17"}, file: os.NewFile(uintptr(p[0]), "r")}
	for i := range uint32(3) {
		if _, err := w.Write(event(1, 1, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(3) {
		if e, err := l.Wait(t.Context()); err != nil || !e.High || e.Seq != i+1 {
			t.Fatalf("edge %d: %+v, %v", i, e, err)
		}
	}
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		cancel()
	}
	if _, err := w.Write(event(1, 1, 9)); err != nil {
		t.Fatal(err)
	}
	if e, err := l.Wait(t.Context()); err != nil || e.Seq != 9 {
		t.Errorf("after cancelled waits: %+v, %v", e, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := l.Wait(context.Background())
		done <- err
	}()
	time.Sleep(5 * time.Millisecond)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("Close must end a Wait")
	}
}

func TestFind_ABoardWithoutChipsSaysSo(t *testing.T) {
	_, err := Output(t.TempDir(), drivers.PinConfig{Line: "GPIO23"}, drivers.Low)
	if !errors.Is(err, drivers.ErrUnplugged) {
		t.Errorf("got %v", err)
	}
}

func TestClassify_NamesTheCause(t *testing.T) {
	for errno, want := range map[error]error{unix.EACCES: drivers.ErrPermission, unix.EPERM: drivers.ErrPermission, unix.EBUSY: drivers.ErrNotClaimed,
		unix.ENODEV: drivers.ErrUnplugged, unix.ENOENT: drivers.ErrUnplugged} {
		if err := classify("x", fmt.Errorf("y: %w", errno)); !errors.Is(err, want) {
			t.Errorf("%v: got %v", errno, err)
		}
	}
}

// The period is the first half of a union of eight bytes, in the order of the
// machine (struct gpio_v2_line_attribute).
func TestDebounceConfig_CarriesTheMicrosecondsInTheFirstFourBytes(t *testing.T) {
	for d, want := range map[time.Duration]uint32{0: 0, -time.Second: 0, 20 * time.Millisecond: 20_000, 1 << 62: 1<<32 - 1} {
		c := debounceConfig(flagInput|flagEdgeRising, d)
		a := c.Attrs[0]
		first := (*[2]uint32)(unsafe.Pointer(&a.Attr.Value))
		if first[0] != want || first[1] != 0 || a.Attr.ID != 3 || a.Mask != 1 || c.NumAttrs != 1 || c.Flags != flagInput|flagEdgeRising {
			t.Errorf("%v: %+v", d, c)
		}
	}
}
