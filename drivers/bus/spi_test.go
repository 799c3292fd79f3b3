package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/drivers"
)

// chipSelect answers each byte with its complement.
type chipSelect struct {
	out    []byte
	err    error
	closed bool
}

func (c *chipSelect) Tx(w, r []byte) error {
	c.out = slices.Clone(w)
	for i := range r {
		r[i] = ^w[i]
	}
	return c.err
}

func (c *chipSelect) Close() error { c.closed = true; return nil }

// spiBoard is an SPI bus 0 on a fake /dev with chip selects 0 and 1.
func spiBoard(t *testing.T) (drivers.Bus, *Host, map[string]*chipSelect) {
	t.Helper()
	dev, zero := t.TempDir(), 0
	for _, n := range []string{"spidev0.0", "spidev0.1"} {
		if err := os.WriteFile(filepath.Join(dev, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, err := Open([]drivers.BusConfig{{Name: "adc", Type: "spi", Match: drivers.Match{Number: &zero}}}, Options{sys: t.TempDir(), dev: dev})
	if err != nil {
		t.Fatal(err)
	}
	opened := map[string]*chipSelect{}
	h.spi[0].dial = func(addr uint16, mode drivers.SPIMode) (port, error) {
		c := &chipSelect{}
		opened[fmt.Sprintf("%d mode %d", addr, mode)] = c
		return c, nil
	}
	bus, err := h.Bus("adc")
	if err != nil {
		t.Fatal(err)
	}
	return bus, h, opened
}

func TestSPI_EqualLengthsRunAtTheSameTimeElseTheReadFollows(t *testing.T) {
	bus, _, opened := spiBoard(t)
	r := make([]byte, 2)
	if err := bus.Tx(t.Context(), 0, []byte{1, 2}, r); err != nil || !slices.Equal(r, []byte{0xfe, 0xfd}) {
		t.Errorf("both ways: % x, %v", r, err)
	}
	if err := bus.Tx(t.Context(), 0, []byte{7}, r); err != nil || !slices.Equal(r, []byte{0xff, 0xff}) {
		t.Errorf("write, then read: % x, %v", r, err)
	}
	if out := opened["0 mode 0"].out; !slices.Equal(out, []byte{7, 0, 0}) {
		t.Errorf("sent % x; want the chip selected all the time", out)
	}
	if err := bus.Tx(t.Context(), 0, []byte{1, 2, 3}, nil); err != nil || len(opened["0 mode 0"].out) != 3 {
		t.Errorf("a write alone: % x, %v", opened["0 mode 0"].out, err)
	}
}

func TestSPI_EachChipHasItsMode(t *testing.T) {
	bus, _, opened := spiBoard(t)
	for addr, mode := range map[uint16]drivers.SPIMode{0: 0, 1: 3} {
		if err := bus.Tx(drivers.WithSPIMode(t.Context(), mode), addr, []byte{0}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(opened) != 2 || opened["1 mode 3"] == nil || opened["0 mode 0"].closed {
		t.Errorf("opened %v", opened)
	}
	if err := bus.Tx(drivers.WithSPIMode(t.Context(), 1), 1, []byte{0}, nil); err != nil || !opened["1 mode 3"].closed {
		t.Errorf("another chip at the same select: %v", err)
	}
}

func TestSPI_AbsentNodesSayWhatIsThereAndAGoneOneIsClosed(t *testing.T) {
	bus, h, opened := spiBoard(t)
	if err := bus.Tx(t.Context(), 5, []byte{0}, nil); !errors.Is(err, drivers.ErrUnplugged) || !strings.Contains(err.Error(), "spidev0.1") {
		t.Errorf("got %v", err)
	}
	if err := bus.Tx(t.Context(), 0, []byte{0}, nil); err != nil {
		t.Fatal(err)
	}
	c := opened["0 mode 0"]
	c.err = errors.New("input/output error")
	if err := os.Remove(filepath.Join(h.o.dev, "spidev0.0")); err != nil {
		t.Fatal(err)
	}
	if err := bus.Tx(t.Context(), 0, []byte{0}, nil); !errors.Is(err, drivers.ErrUnplugged) || !c.closed {
		t.Errorf("got %v, closed %v", err, c.closed)
	}
	if f := h.Report()[0]; f.Detail != "SPI bus 0, 1 chip selects" {
		t.Errorf("report %+v", f)
	}
}

func TestSPI_IsFoundByNumberOnly(t *testing.T) {
	_, err := Open([]drivers.BusConfig{{Name: "adc", Type: "spi", Match: drivers.Match{Adapter: "x"}}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "number") {
		t.Errorf("got %v", err)
	}
	if m := drivers.SPIModeOf(context.Background()); m != 0 {
		t.Errorf("mode %d", m)
	}
}
