package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// board is a fake /sys and /dev with adapters that can be plugged.
type board struct {
	t        *testing.T
	sys, dev string
	answer   error // of every transaction
	txs      int
	closed   int
	dials    int
	block    chan struct{}
	adapter  *i2cBus // of the bus opened last
}

func newBoard(t *testing.T) *board {
	b := &board{t: t, sys: t.TempDir(), dev: t.TempDir()}
	b.must(os.MkdirAll(filepath.Join(b.sys, "bus/i2c/devices"), 0o755))
	return b
}

func (b *board) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// plug adds adapter n with a name, behind a folder of /sys/devices.
func (b *board) plug(n int, name, where string) {
	b.t.Helper()
	real := filepath.Join(b.sys, "devices", where, fmt.Sprintf("i2c-%d", n))
	b.must(os.MkdirAll(real, 0o755))
	b.must(os.WriteFile(filepath.Join(real, "name"), []byte(name+"\n"), 0o644))
	b.must(os.Symlink(real, filepath.Join(b.sys, fmt.Sprintf("bus/i2c/devices/i2c-%d", n))))
	b.must(os.WriteFile(filepath.Join(b.dev, fmt.Sprintf("i2c-%d", n)), nil, 0o600))
}

func (b *board) unplug(n int) {
	b.t.Helper()
	b.must(os.Remove(filepath.Join(b.sys, fmt.Sprintf("bus/i2c/devices/i2c-%d", n))))
	b.must(os.Remove(filepath.Join(b.dev, fmt.Sprintf("i2c-%d", n))))
}

func (b *board) open(m drivers.Match) drivers.Bus {
	b.t.Helper()
	return b.openWith(drivers.BusConfig{Match: m})
}

func (b *board) openWith(c drivers.BusConfig) drivers.Bus {
	b.t.Helper()
	c.Name, c.Type = "main", "i2c"
	h, err := Open([]drivers.BusConfig{c}, Options{sys: b.sys, dev: b.dev})
	b.must(err)
	bus, err := h.Bus("main")
	b.must(err)
	b.adapter = h.real[0]
	b.adapter.dial = func(int) (conn, error) {
		b.dials++
		return &plugged{b}, nil
	}
	return bus
}

// plugged is an open adapter of the board.
type plugged struct{ b *board }

func (c *plugged) Close() error { c.b.closed++; return nil }

func (c *plugged) Tx(uint16, []byte, []byte) error {
	c.b.txs++
	if c.b.block != nil {
		<-c.b.block
	}
	return c.b.answer
}

func number(n int) drivers.Match { return drivers.Match{Number: &n} }

func tx(bus drivers.Bus) error {
	return bus.Tx(context.Background(), 0x76, []byte{0xd0}, make([]byte, 1))
}

func TestTx_FindsTheAdapterByNumberNameAndPath(t *testing.T) {
	b := newBoard(t)
	b.plug(0, "bcm2835 (i2c@7e804000)", "soc")
	b.plug(7, "i2c-tiny-usb at bus 001 device 004", "pci/usb1/1-1")
	for _, m := range []drivers.Match{number(7), {Adapter: "i2c-tiny-usb*"}, {Path: filepath.Join(b.sys, "devices/pci/usb1/1-1")}, {Path: "devices/pci/usb1"}} {
		bus := b.open(m)
		if err := tx(bus); err != nil || b.adapter.number != 7 {
			t.Errorf("%+v: adapter %d, %v", m, b.adapter.number, err)
		}
	}
	if err := tx(b.open(number(3))); !errors.Is(err, drivers.ErrUnplugged) || !strings.Contains(err.Error(), "i2c-7") {
		t.Errorf("got %v; want unplugged, with what is there", err)
	}
	if err := tx(b.open(drivers.Match{Adapter: "*"})); err == nil || !strings.Contains(err.Error(), "use path") {
		t.Errorf("two adapters fit: %v", err)
	}
}

func TestTx_GivesTheKernelsErrorsTheirCause(t *testing.T) {
	b := newBoard(t)
	b.plug(1, "bcm2835", "soc")
	bus := b.open(number(1))
	for errno, want := range map[syscall.Errno]error{
		syscall.ENXIO: drivers.ErrNACK, syscall.EREMOTEIO: drivers.ErrNACK, syscall.ETIMEDOUT: drivers.ErrTimeout,
		syscall.EIO: drivers.ErrTimeout, syscall.EAGAIN: drivers.ErrTimeout, syscall.ENODEV: drivers.ErrUnplugged,
	} {
		b.answer = errno
		if err := tx(bus); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", errno, err, want)
		}
		time.Sleep(time.Millisecond)
		b.adapter.lastErr = nil // no pause before the next open
	}
}

// Goal: an adapter that is unplugged is let go at once and found again after
// it returned under another number. Method: virtual time, real folders.
func TestTx_AReplugedAdapterIsClosedAndFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t)
		b.plug(1, "i2c-tiny-usb", "usb")
		bus := b.open(drivers.Match{Adapter: "i2c-tiny-usb*"})
		b.must(tx(bus))
		b.unplug(1)
		b.answer = syscall.EIO
		if err := tx(bus); !errors.Is(err, drivers.ErrUnplugged) || b.closed != 1 {
			t.Fatalf("got %v, closed %d times; want unplugged and closed", err, b.closed)
		}
		for range 10 {
			if err := tx(bus); !errors.Is(err, drivers.ErrUnplugged) {
				t.Fatalf("while it is away: %v", err)
			}
		}
		b.answer = nil
		b.plug(4, "i2c-tiny-usb", "usb2")
		time.Sleep(reopenWait)
		if err := tx(bus); err != nil || b.adapter.number != 4 {
			t.Errorf("after the return: adapter %d, %v", b.adapter.number, err)
		}
		if b.dials != 2 {
			t.Errorf("%d opens, want 2", b.dials)
		}
	})
}

func TestTx_AnAddressOfAKernelDriverIsRefused(t *testing.T) {
	b := newBoard(t)
	b.plug(1, "bcm2835", "soc")
	at := filepath.Join(b.sys, "bus/i2c/devices/1-0076")
	b.must(os.MkdirAll(at, 0o755))
	b.must(os.Symlink("/sys/bus/i2c/drivers/bmp280", filepath.Join(at, "driver")))
	bus := b.open(number(1))
	err := tx(bus)
	if !errors.Is(err, drivers.ErrNotClaimed) || !strings.Contains(err.Error(), "bmp280") || b.txs != 0 {
		t.Errorf("got %v after %d transactions", err, b.txs)
	}
	if err := bus.Tx(context.Background(), 0x77, []byte{0}, nil); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
}

func TestTx_WaitingForTheBusEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t)
		b.plug(1, "bcm2835", "soc")
		b.block = make(chan struct{})
		bus := b.open(number(1))
		done := make(chan error, 1)
		go func() { done <- tx(bus) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := bus.Tx(ctx, 0x40, []byte{0}, nil); !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("got %v", err)
		}
		close(b.block)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOpen_FaultsOfTheConfigurationAreErrors(t *testing.T) {
	for what, c := range map[string][]drivers.BusConfig{
		"no match":  {{Name: "a", Type: "i2c"}},
		"two":       {{Name: "a", Type: "i2c", Match: drivers.Match{Path: "x", Adapter: "y"}}},
		"type":      {{Name: "a", Type: "can"}},
		"same name": {{Name: "a", Type: "onewire"}, {Name: "a", Type: "onewire"}},
		"pattern":   {{Name: "a", Type: "i2c", Match: drivers.Match{Adapter: "["}}},
	} {
		if _, err := Open(c, Options{}); err == nil {
			t.Errorf("%s: want an error", what)
		}
	}
}

func TestReport_SaysWhatIsThereAndWhatIsNot(t *testing.T) {
	b := newBoard(t)
	b.plug(1, "bcm2835", "soc")
	one, nine := 1, 9
	h, err := Open([]drivers.BusConfig{
		{Name: "main", Type: "i2c", Match: drivers.Match{Number: &one}},
		{Name: "gone", Type: "i2c", Match: drivers.Match{Number: &nine}}, {Name: "wire", Type: "onewire"}}, Options{sys: b.sys, dev: b.dev})
	b.must(err)
	got := h.Report()
	if len(got) != 3 || got[0].Detail != "i2c-1, bcm2835" || got[0].Error != "" || got[1].Error == "" || got[2].Error == "" {
		t.Errorf("got %+v", got)
	}
	if _, err := h.Bus("x"); !errors.Is(err, drivers.ErrNoBus) {
		t.Errorf("unknown bus: %v", err)
	}
	if _, err := h.Output(drivers.PinConfig{Line: "GPIO23"}, drivers.Low); !errors.Is(err, drivers.ErrUnplugged) {
		t.Errorf("no chip: %v", err)
	}
}
