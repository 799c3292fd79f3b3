package bus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
)

// heldBus is two open-drain lines whose data line a chip holds until the clock
// was pulsed a number of times.
type heldBus struct {
	need     int
	scl, sda bool
	pulses   int
	stopped  bool // data rose while the clock was high
	closed   int
	taken    error
}

type heldLine struct {
	b    *heldBus
	data bool
}

func (l heldLine) Read() (bool, error) {
	if l.data {
		return l.b.sda && l.b.pulses >= l.b.need, nil
	}
	return l.b.scl, nil
}

func (l heldLine) Write(high bool) error {
	b := l.b
	if l.data {
		b.stopped = b.stopped || high && !b.sda && b.scl
		b.sda = high
		return nil
	}
	if high && !b.scl {
		b.pulses++
	}
	b.scl = high
	return nil
}

func (l heldLine) Close() error { l.b.closed++; return nil }

func (b *heldBus) wire(line string) (drivers.OutputLine, error) {
	b.scl, b.sda = true, true
	return heldLine{b, line == "SDA"}, b.taken
}

// stick makes every transaction of a board time out until the bus is stuck.
func stick(b *board, bus drivers.Bus) error {
	b.must(tx(bus))
	b.answer = syscall.ETIMEDOUT
	_ = tx(bus)
	return tx(bus)
}

func TestFree_PulsesTheClockUntilTheDataLineIsFreeAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t)
		b.plug(1, "bcm2835", "soc")
		one := 1
		bus := b.openWith(drivers.BusConfig{Match: drivers.Match{Number: &one}, Recover: &drivers.Recover{SCL: "SCL", SDA: "SDA"}})
		held := &heldBus{need: 5}
		b.adapter.wire = held.wire
		if err := stick(b, bus); !errors.Is(err, drivers.ErrBusStuck) {
			t.Fatalf("got %v", err)
		}
		b.answer = nil
		b.must(tx(bus))
		if held.pulses != 6 || !held.stopped { // five for the chip, one for the STOP
			t.Errorf("%d pulses, stop %v", held.pulses, held.stopped)
		}
		if held.closed != 2 || b.closed != 1 || b.dials != 2 {
			t.Errorf("lines given back %d times, adapter closed %d and opened %d times", held.closed, b.closed, b.dials)
		}
	})
}

func TestFree_ADataLineThatStaysHeldSaysWhatToDo(t *testing.T) {
	held := &heldBus{need: 100}
	scl, _ := held.wire("SCL")
	sda, _ := held.wire("SDA")
	n, err := clockOut(scl, sda)
	if n != 9 || !errors.Is(err, drivers.ErrBusStuck) || !strings.Contains(err.Error(), "supply") {
		t.Errorf("after %d pulses: %v", n, err)
	}
}

// driver puts a kernel driver behind adapter 1.
func (b *board) driver(where string) string {
	at := filepath.Join(b.sys, "bus/platform/drivers/i2c-bcm2835")
	b.must(os.MkdirAll(at, 0o755))
	b.must(os.Symlink(at, filepath.Join(b.sys, "devices", where, "driver")))
	return at
}

func TestFree_PinsThatAreInUseLeadToBindingTheDriverAnew(t *testing.T) {
	b := newBoard(t)
	b.plug(1, "bcm2835", "soc/fe804000.i2c")
	at := b.driver("soc/fe804000.i2c")
	one := 1
	bus := b.openWith(drivers.BusConfig{Match: drivers.Match{Number: &one}, Recover: &drivers.Recover{SCL: "SCL", SDA: "SDA"}})
	held := &heldBus{taken: drivers.ErrNotClaimed}
	b.adapter.wire = held.wire
	if err := stick(b, bus); !errors.Is(err, drivers.ErrBusStuck) {
		t.Fatalf("got %v", err)
	}
	b.answer = nil
	b.must(tx(bus))
	for _, verb := range []string{"unbind", "bind"} {
		if got, err := os.ReadFile(filepath.Join(at, verb)); err != nil || string(got) != "fe804000.i2c" {
			t.Errorf("%s: %q, %v", verb, got, err)
		}
	}
}

func TestFree_PulsesThatDidNotHelpAreFollowedByBindingAnew(t *testing.T) {
	b := newBoard(t)
	b.plug(1, "bcm2835", "soc/fe804000.i2c")
	b.driver("soc/fe804000.i2c")
	one := 1
	b.openWith(drivers.BusConfig{Match: drivers.Match{Number: &one}, Recover: &drivers.Recover{SCL: "SCL", SDA: "SDA"}})
	b.adapter.wire = (&heldBus{}).wire
	for i, want := range []string{"pulses", "bound anew", "pulses"} {
		if what, err := b.adapter.Free(context.Background()); err != nil || !strings.Contains(what, want) {
			t.Errorf("try %d: %q, %v", i+1, what, err)
		}
	}
}

func TestFree_WithoutMeansItSaysSo(t *testing.T) {
	b := newBoard(t)
	b.plug(1, "virtual", "soc/x")
	bus := b.open(number(1))
	_ = stick(b, bus)
	err := tx(bus)
	if !errors.Is(err, drivers.ErrBusStuck) || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("got %v", err)
	}
}
