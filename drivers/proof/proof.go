// Package proof is what every driver of a chip must pass, on the simulated chip
// of its name: for tests only.
//
// Run reads the world over the chip's range, breaks the wire in every way and
// takes the supply away. Fuzz answers with arbitrary bytes. All waiting happens
// in a bubble of testing/synctest.
package proof

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
	"github.com/tidehold/tidehold/drivers/sim"
)

// Case says how a driver is proven.
type Case struct {
	Driver  drivers.Driver
	Options map[string]any
	// Points are states of the world by channel, in the channel's own unit, and
	// Within how near to them the driver must come.
	Points []map[string]float64
	Within map[string]float64
	// Anonymous chips have no identity that could be wrong.
	Anonymous bool
	// Unchecked answers have no checksum: a flipped bit is not noticed.
	Unchecked bool
	// Restarts: after a loss of supply the next read may fail; the one after it
	// is right.
	Restarts bool
	// Refused are options that must be refused.
	Refused []map[string]any
}

// part is the name of the part in the world.
const part = "part"

func (c Case) board(t *testing.T) (*sim.World, *drivers.Handle) {
	t.Helper()
	w := sim.NewWorld()
	bus, err := w.AddBus(drivers.BusConfig{Name: "board", Type: "sim"})
	if err != nil {
		t.Fatal(err)
	}
	sheet := c.Driver.Describe()
	if err := w.AddSensor(drivers.SensorConfig{Name: part, Driver: sheet.Name, Bus: "board"}, sheet); err != nil {
		t.Fatal(err)
	}
	return w, drivers.NewHandle(bus, sheet.Addresses[0])
}

// Checked gives options with their defaults; a problem ends the test.
func Checked(t *testing.T, d drivers.Driver, raw map[string]any) drivers.Options {
	t.Helper()
	o, problems := drivers.CheckOptions(d.Describe().Options, raw)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return o
}

func (c Case) open(t *testing.T, h *drivers.Handle) drivers.Device {
	t.Helper()
	d, err := c.Driver.Open(t.Context(), h, Checked(t, c.Driver, c.Options))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Values reads once and gives the values by channel; an error ends the test.
func Values(t *testing.T, d drivers.Device) map[string]float64 {
	t.Helper()
	list, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, r := range list {
		values[r.Channel] = r.Value
	}
	return values
}

// Run proves the driver.
func Run(t *testing.T, c Case) {
	name := c.Driver.Describe().Name
	for what, f := range map[string]func(*testing.T){
		"values": c.values, "causes": c.causes, "flip": c.flip, "retries": c.retries,
		"supply": c.supply, "deadline": c.deadline, "rest": c.rest,
	} {
		t.Run(name+"/"+what, func(t *testing.T) { synctest.Test(t, f) })
	}
	t.Run(name+"/options", c.refused)
}

// values reads every point of the world.
func (c Case) values(t *testing.T) {
	w, h := c.board(t)
	d := c.open(t, h)
	for _, point := range c.Points {
		c.place(t, w, point)
		c.compare(t, d, point)
	}
}

func (c Case) place(t *testing.T, w *sim.World, point map[string]float64) {
	t.Helper()
	for channel, v := range point {
		if err := w.Set(part, channel, fmt.Sprint(v)); err != nil {
			t.Fatal(err)
		}
	}
}

func (c Case) compare(t *testing.T, d drivers.Device, point map[string]float64) {
	t.Helper()
	got := Values(t, d)
	for channel, want := range point {
		ch, _ := c.Driver.Describe().Channel(channel)
		v, err := drivers.Convert(ch.Quantity, got[channel], ch.Unit)
		if _, read := got[channel]; !read || err != nil || !(math.Abs(v-want) <= c.Within[channel]) {
			t.Errorf("%s in a world of %v: got %v, want %v within %v (%v)", channel, point, v, want, c.Within[channel], err)
		}
	}
}

// causes breaks the wire while the chip is opened and while it is read.
func (c Case) causes(t *testing.T) {
	wrong := map[string][]error{"nack": {drivers.ErrNACK}, "stuck": {drivers.ErrBusStuck, drivers.ErrTimeout}}
	if !c.Anonymous {
		wrong["wrong-id"] = []error{drivers.ErrWrongChip}
	}
	for fault, want := range wrong {
		w, h := c.board(t)
		c.must(t, w.Fault(part, fault, ""))
		_, err := c.Driver.Open(t.Context(), h, Checked(t, c.Driver, c.Options))
		if !slices.ContainsFunc(want, func(e error) bool { return errors.Is(err, e) }) {
			t.Errorf("open, fault %s: got %v, want %v", fault, err, want)
		}
	}
	w, h := c.board(t)
	d := c.open(t, h)
	c.must(t, w.Fault("board", "unplug", ""))
	if _, err := d.Read(t.Context()); !errors.Is(err, drivers.ErrUnplugged) {
		t.Errorf("read, unplugged: got %v", err)
	}
}

func (c Case) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flip turns a bit in every answer: the checksum notices, or the value stays
// one the chip can have.
func (c Case) flip(t *testing.T) {
	w, h := c.board(t)
	d := c.open(t, h)
	c.must(t, w.Fault(part, "flip", ""))
	list, err := d.Read(t.Context())
	if !c.Unchecked && !errors.Is(err, drivers.ErrCRC) {
		t.Errorf("got %v and %v; want a wrong checksum", list, err)
	}
	Sane(t, c.Driver, list)
}

// retries lets every third transaction fail: nobody notices.
func (c Case) retries(t *testing.T) {
	w, h := c.board(t)
	d := c.open(t, h)
	c.place(t, w, c.Points[0])
	c.must(t, w.Fault(part, "nack", "3"))
	for range 10 {
		c.compare(t, d, c.Points[0])
	}
}

// supply takes the chip's supply away between two reads.
func (c Case) supply(t *testing.T) {
	w, h := c.board(t)
	d := c.open(t, h)
	c.place(t, w, c.Points[0])
	c.compare(t, d, c.Points[0])
	c.must(t, w.Fault(part, "power-loss", ""))
	if c.Restarts {
		if _, err := d.Read(t.Context()); err == nil {
			t.Error("the first read after the loss must fail, as the case says")
		}
		d = c.open(t, h) // as the sampler does after a failure
	}
	c.compare(t, d, c.Points[0])
}

// deadline: a slow chip costs its deadline and no more.
func (c Case) deadline(t *testing.T) {
	w, h := c.board(t)
	d := c.open(t, h)
	c.must(t, w.Fault(part, "slow", "1m"))
	most := c.Driver.Describe().MaxRead
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	start := time.Now()
	if _, err := d.Read(ctx); !errors.Is(err, drivers.ErrTimeout) || time.Since(start) > most {
		t.Errorf("got %v after %v; want a time-out within %v", err, time.Since(start), most)
	}
}

func (c Case) rest(t *testing.T) {
	w, h := c.board(t)
	d := c.open(t, h)
	c.place(t, w, c.Points[0])
	Values(t, d)
	c.must(t, d.Close())
}

func (c Case) refused(t *testing.T) {
	for _, raw := range append(c.Refused, map[string]any{"no_such_option": 1}) {
		if _, problems := drivers.CheckOptions(c.Driver.Describe().Options, raw); len(problems) == 0 {
			t.Errorf("options %v must be refused", raw)
		}
	}
}

// Sane fails the test when a value is none that the chip can measure.
func Sane(t *testing.T, d drivers.Driver, list []drivers.Reading) {
	t.Helper()
	s, _ := d.(sheet.Sheet)
	for _, r := range list {
		i := slices.IndexFunc(d.Describe().Channels, func(c drivers.Channel) bool { return c.Name == r.Channel })
		if i < 0 || math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
			t.Fatalf("%s is %v", r.Channel, r.Value)
		}
		if i < len(s.Spans) && (r.Value < s.Spans[i].Min || r.Value > s.Spans[i].Max) {
			t.Fatalf("%s is %v, outside %v", r.Channel, r.Value, s.Spans[i])
		}
	}
}

// Fuzz answers every transaction of every driver with arbitrary bytes: no
// panic, and no value that the chip cannot measure. Of the replies every other
// one has its checksums repaired, so that values get through.
func Fuzz(f *testing.F, list ...drivers.Driver) {
	for which := range list {
		f.Add(which, byte(0), []byte{0})
		f.Add(which, byte(1), []byte{0x66, 0x66, 0, 0x80, 0, 0})
		f.Add(which, byte(2), []byte{0xff})
	}
	f.Fuzz(func(t *testing.T, which int, mode byte, replies []byte) {
		if which < 0 || which >= len(list) || len(replies) == 0 {
			return
		}
		synctest.Test(t, func(t *testing.T) { Answer(t, list[which], mode, replies) })
	})
}

// Answer opens a device and reads it once while every transaction is answered
// from replies, over and over. With mode 1 every third byte is a checksum that
// starts with 0xff, with mode 2 one that starts with 0.
func Answer(t *testing.T, d drivers.Driver, mode byte, replies []byte) {
	t.Helper()
	h := drivers.NewHandle(&babble{replies: replies, mode: mode}, address(d))
	dev, err := d.Open(t.Context(), h, Checked(t, d, nil))
	if err != nil {
		return
	}
	if list, err := dev.Read(t.Context()); err == nil {
		Sane(t, d, list)
	}
	_ = dev.Close()
}

// address is the usual one of a chip, or any when it has none.
func address(d drivers.Driver) uint16 {
	if list := d.Describe().Addresses; len(list) > 0 {
		return list[0]
	}
	return 0x44
}

// babble is a bus that answers from a list of bytes, over and over.
type babble struct {
	replies []byte
	mode    byte
	at      int
}

func (b *babble) Name() string    { return "babble" }
func (b *babble) Simulated() bool { return true }

// Tx answers, with checksums by mode; 3 has one over all of seven bytes.
func (b *babble) Tx(_ context.Context, _ uint16, _, r []byte) error {
	for i := range r {
		r[i] = b.replies[b.at%len(b.replies)]
		b.at++
	}
	start := map[byte]byte{1: 0xff}[b.mode]
	for i := 2; b.mode > 0 && i < len(r); i += 3 {
		r[i] = sheet.CRC8(sheet.Sensirion, start, r[i-2:i])
	}
	if b.mode == 3 && len(r) == 7 { // one checksum over all
		r[6] = sheet.CRC8(sheet.Sensirion, 0xff, r[:6])
	}
	return nil
}

// Wire is a bus that answers transactions from a script and keeps what was
// written, for the vectors of datasheets.
type Wire struct {
	// Answers are given to the reads, in turn; a read beyond them is not
	// acknowledged.
	Answers [][]byte
	Written [][]byte
}

// Name is the bus's name.
func (w *Wire) Name() string { return "wire" }

// Simulated is true.
func (w *Wire) Simulated() bool { return true }

// Tx keeps what is written and answers from the script.
func (w *Wire) Tx(_ context.Context, _ uint16, out, in []byte) error {
	if len(out) > 0 {
		w.Written = append(w.Written, slices.Clone(out))
	}
	if len(in) == 0 {
		return nil
	}
	if len(w.Answers) == 0 {
		return drivers.ErrNACK
	}
	copy(in, w.Answers[0])
	w.Answers = w.Answers[1:]
	return nil
}

// OnWire opens a device on a script.
func OnWire(t *testing.T, d drivers.Driver, raw map[string]any, answers ...[]byte) (drivers.Device, *Wire) {
	t.Helper()
	w := &Wire{Answers: answers}
	dev, err := d.Open(t.Context(), drivers.NewHandle(w, address(d)), Checked(t, d, raw))
	if err != nil {
		t.Fatal(err)
	}
	return dev, w
}
