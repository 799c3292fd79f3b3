package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus/shared"
	"github.com/tidehold/tidehold/drivers/bus/spidev"
)

// spiSpeed is that of a bus whose configuration names none: every chip in the
// list of drivers can follow.
const spiSpeed = 500_000

// port is an open chip select.
type port interface {
	Tx(w, r []byte) error
	Close() error
}

// spiBus is the adapter of one configured SPI bus; an address is a chip select.
// It serves one goroutine at a time.
type spiBus struct {
	cfg   drivers.BusConfig
	dev   string
	log   *slog.Logger
	dial  func(addr uint16, mode drivers.SPIMode) (port, error) // another one in tests
	epoch atomic.Uint64
	ports map[uint16]chipPort
}

type chipPort struct {
	port
	mode drivers.SPIMode
}

var _ shared.Adapter = (*spiBus)(nil)

func newSPI(c drivers.BusConfig, dev string, log *slog.Logger) (*spiBus, error) {
	if c.Match.Number == nil {
		return nil, errors.New("match: an SPI bus is found by number, that of /dev/spidevNUMBER.CHIP")
	}
	if c.Speed <= 0 {
		c.Speed = spiSpeed
	}
	b := &spiBus{cfg: c, dev: dev, log: log, ports: map[uint16]chipPort{}}
	b.dial = b.connect
	return b, nil
}

// Epoch counts the openings of chip selects.
func (b *spiBus) Epoch() uint64 { return b.epoch.Load() }

// Free has nothing to free: nobody but the host drives the lines of SPI.
func (b *spiBus) Free(context.Context) (string, error) {
	return "", errors.New("an SPI bus cannot be held by a chip")
}

// Tx makes one transfer while the chip is selected. Of the same length, w and r
// run at the same time; else w is written first, then r is read.
func (b *spiBus) Tx(ctx context.Context, addr uint16, w, r []byte) error {
	p, err := b.open(addr, drivers.SPIModeOf(ctx))
	if err != nil {
		return err
	}
	out, in := duplex(w, r)
	if err := p.Tx(out, in); err != nil {
		return b.failed(addr, err)
	}
	copy(r, in[len(in)-len(r):])
	return nil
}

// duplex gives the buffers of one transfer that does what w and r mean.
func duplex(w, r []byte) (out, in []byte) {
	n := len(w)
	if len(r) != len(w) {
		n += len(r)
	}
	out, in = make([]byte, n), make([]byte, n)
	copy(out, w)
	return out, in
}

func (b *spiBus) open(addr uint16, mode drivers.SPIMode) (port, error) {
	if p, known := b.ports[addr]; known && p.mode == mode {
		return p, nil
	}
	b.letGo(addr)
	if err := b.permitted(addr); err != nil {
		return nil, err
	}
	p, err := b.dial(addr, mode)
	if err != nil {
		return nil, fmt.Errorf("bus %s: open %s: %w", b.cfg.Name, b.node(addr), causeOf(err))
	}
	b.ports[addr] = chipPort{p, mode}
	b.epoch.Add(1)
	b.log.Info("chip select opened", "part", b.cfg.Name, "channel", b.node(addr))
	return p, nil
}

func (b *spiBus) connect(addr uint16, mode drivers.SPIMode) (port, error) {
	c, err := spidev.Open(b.node(addr), uint8(mode), uint32(b.cfg.Speed))
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (b *spiBus) node(addr uint16) string {
	return filepath.Join(b.dev, fmt.Sprintf("spidev%d.%d", *b.cfg.Match.Number, addr))
}

// permitted opens the node for a moment: an error says what to do.
func (b *spiBus) permitted(addr uint16) error {
	f, err := os.OpenFile(b.node(addr), os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("bus %s: %s: %w; add the service user to group spi", b.cfg.Name, b.node(addr), drivers.ErrPermission)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("bus %s: %s does not exist: %w; enable SPI (on a Raspberry Pi dtparam=spi=on); there are %s", b.cfg.Name, b.node(addr), drivers.ErrUnplugged, b.there())
	}
	return fmt.Errorf("bus %s: %w", b.cfg.Name, causeOf(err))
}

// there names the chip selects of the host.
func (b *spiBus) there() string {
	nodes, err := filepath.Glob(filepath.Join(b.dev, "spidev*"))
	if err != nil || len(nodes) == 0 {
		return "no SPI devices"
	}
	for i := range nodes {
		nodes[i] = filepath.Base(nodes[i])
	}
	return strings.Join(nodes, ", ")
}

// failed lets go of a chip select that is gone.
func (b *spiBus) failed(addr uint16, err error) error {
	if _, statErr := os.Stat(b.node(addr)); errors.Is(statErr, fs.ErrNotExist) {
		b.letGo(addr)
		return fmt.Errorf("bus %s: %s removed: %w", b.cfg.Name, b.node(addr), drivers.ErrUnplugged)
	}
	return fmt.Errorf("bus %s: chip select %d: %w", b.cfg.Name, addr, causeOf(err))
}

func (b *spiBus) letGo(addr uint16) {
	if p, known := b.ports[addr]; known {
		_ = p.Close() // nothing was written that could be lost
		delete(b.ports, addr)
	}
}

// report says what is there of the bus.
func (b *spiBus) report() Finding {
	f := Finding{Kind: "bus", Name: b.cfg.Name}
	nodes, err := filepath.Glob(filepath.Join(b.dev, fmt.Sprintf("spidev%d.*", *b.cfg.Match.Number)))
	if err != nil || len(nodes) == 0 {
		f.Error = fmt.Sprintf("no SPI bus %d: %v; there are %s", *b.cfg.Match.Number, drivers.ErrUnplugged, b.there())
		return f
	}
	f.Detail = fmt.Sprintf("SPI bus %d, %d chip selects", *b.cfg.Match.Number, len(nodes))
	return f
}
