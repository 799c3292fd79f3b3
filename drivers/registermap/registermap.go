// Package registermap drives chips that nobody wrote a driver for: a part's
// options list the transactions of identity, set-up and poll, and how values
// are taken out of the bytes (drivers.md section 7).
//
// Options are compiled once, with every fault at its place. A poll makes at
// most transactionsMax transactions and ends within the time that its waits
// add up to. There are no loops but `until`, which has a time-out. A value that
// is no finite number is an error.
package registermap

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

// Limits of a program.
const (
	transactionsMax = 256
	bytesMax        = 256
	untilPause      = 5 * time.Millisecond
	waitsMax        = 20 * time.Second
	// transactionTime is what one transaction may take on a slow bus, retries
	// not counted.
	transactionTime = 10 * time.Millisecond
)

// Driver is the driver `register-map`.
type Driver struct{}

var _ drivers.Shaped = Driver{}

// Describe tells the form of the options.
func (Driver) Describe() drivers.Info { return describe(nil) }

func describe(channels []drivers.Channel) drivers.Info {
	return drivers.Info{
		Name: "register-map", Bus: "i2c", Identify: "by its option `identify`", MaxRead: time.Second, Channels: channels,
		Options: []drivers.Option{
			{Name: "identify", Kind: drivers.Free, Doc: "a read and what it equals"},
			{Name: "init", Kind: drivers.Free, Doc: "list of steps after identify"},
			{Name: "poll", Kind: drivers.Free, Doc: "list of steps of each read"},
			{Name: "values", Kind: drivers.Free, Doc: "map of values: where in the bytes, and the formula"},
		},
	}
}

// Open needs a part's options: Shape gives the driver to open.
func (Driver) Open(context.Context, *drivers.Handle, drivers.Options) (drivers.Device, error) {
	return nil, fmt.Errorf("register-map: opened without its options")
}

// Shape compiles a part's options.
func (Driver) Shape(options map[string]any) (drivers.Driver, []drivers.Problem) {
	p, problems := compile(options)
	if len(problems) > 0 {
		return nil, problems
	}
	s := sheet.Sheet{Info: describe(p.channels()), Sample: p.sample}
	s.Info.MaxRead = p.maxRead()
	for range p.values {
		s.Spans = append(s.Spans, sheet.Span{Min: -math.MaxFloat32, Max: math.MaxFloat32})
	}
	if p.identify != nil {
		s.Identify = p.check
	}
	if len(p.init) > 0 {
		s.SetUp = func(c *sheet.Chip) error { return p.run(c, p.init, map[string][]byte{}) }
	}
	return s, nil
}

// program is a compiled part.
type program struct {
	identify   *condition
	init, poll []step
	values     []value // in an order in which each comes after what it uses
}

// step is one of write, read, wait and until.
type step struct {
	write []byte
	read  *read
	into  string
	wait  time.Duration
	until *condition
}

// read takes bytes from a register, or without one.
type read struct {
	reg  []byte
	n    int
	crc8 *checksum
}

// checksum follows every so many bytes.
type checksum struct {
	poly, start byte
	every       int
}

// condition compares what is read, high byte first.
type condition struct {
	read         read
	mask, equals uint64
	timeout      time.Duration
}

func (p *program) channels() (list []drivers.Channel) {
	for _, v := range p.values {
		list = append(list, v.Channel)
	}
	return list
}

// maxRead is the sum of waits, of time-outs and of transactions.
func (p *program) maxRead() time.Duration {
	transactions, waits := cost(append(append([]step{{until: p.identify}}, p.init...), p.poll...))
	return waits + time.Duration(transactions)*transactionTime + 100*time.Millisecond
}

// cost bounds what steps take.
func cost(steps []step) (transactions int, waits time.Duration) {
	for _, s := range steps {
		waits += s.wait
		switch {
		case s.until != nil:
			waits += s.until.timeout
			transactions += 1 + int(s.until.timeout/untilPause)
		case s.write != nil, s.read != nil:
			transactions++
		}
	}
	return transactions, waits
}

func (p *program) run(c *sheet.Chip, steps []step, buffers map[string][]byte) error {
	for i, s := range steps {
		if err := s.run(c, buffers); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (s step) run(c *sheet.Chip, buffers map[string][]byte) (err error) {
	switch {
	case s.write != nil:
		return c.Tx(s.write, nil)
	case s.read != nil:
		buffers[s.into], err = s.read.take(c)
		return err
	case s.until != nil:
		return s.until.await(c)
	}
	return c.Wait(s.wait)
}

// take reads and checks; checksums stay in the bytes.
func (r *read) take(c *sheet.Chip) ([]byte, error) {
	b := make([]byte, r.n)
	if err := c.Tx(r.reg, b); err != nil {
		return nil, err
	}
	if r.crc8 == nil {
		return b, nil
	}
	for at := 0; at+r.crc8.every < len(b); at += r.crc8.every + 1 {
		end := at + r.crc8.every
		if want := sheet.CRC8(r.crc8.poly, r.crc8.start, b[at:end]); b[end] != want {
			return nil, fmt.Errorf("byte %d is 0x%02x, want 0x%02x: %w", end, b[end], want, drivers.ErrCRC)
		}
	}
	return b, nil
}

func (k *condition) holds(c *sheet.Chip) (got uint64, ok bool, err error) {
	b, err := k.read.take(c)
	for _, v := range b {
		got = got<<8 | uint64(v)
	}
	return got, got&k.mask == k.equals, err
}

func (k *condition) await(c *sheet.Chip) error {
	_, ok, err := k.holds(c)
	if ok || err != nil {
		return err
	}
	return c.Poll(untilPause, int(k.timeout/untilPause), func() (bool, error) {
		_, ok, err := k.holds(c)
		return ok, err
	})
}

// check is the identity.
func (p *program) check(c *sheet.Chip) error {
	got, ok, err := p.identify.holds(c)
	if err == nil && !ok {
		err = sheet.Wrong("identity reads 0x%x, want 0x%x", got&p.identify.mask, p.identify.equals)
	}
	return err
}

// sample makes a poll and computes the values.
func (p *program) sample(c *sheet.Chip) ([]float64, error) {
	buffers := map[string][]byte{}
	if err := p.run(c, p.poll, buffers); err != nil {
		return nil, err
	}
	return p.compute(buffers)
}

// compute takes the values out of the bytes of one poll, in SI units.
func (p *program) compute(buffers map[string][]byte) ([]float64, error) {
	known := map[string]float64{}
	var out []float64
	for _, v := range p.values {
		x := v.decode(buffers[v.from])
		known[v.Name] = v.formula.Eval(func(name string) float64 {
			if name == "x" {
				return x
			}
			return known[name]
		})
		si, err := drivers.ToSI(v.Quantity, known[v.Name], v.Unit)
		if err != nil {
			return nil, fmt.Errorf("value %s: %w", v.Name, err)
		}
		if math.IsNaN(si) || math.IsInf(si, 0) {
			return nil, fmt.Errorf("value %s is %v: %w", v.Name, si, drivers.ErrOutOfRange)
		}
		out = append(out, si)
	}
	return out, nil
}
