package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus/i2cdev"
	"github.com/tidehold/tidehold/drivers/bus/shared"
)

// reopenWait is the least time between two looks for an absent adapter.
const reopenWait = time.Second

// kernelErrors gives the causes of what adapter drivers answer (drivers.md
// 4.3). EIO and ETIMEDOUT may also mean an absent chip on some controllers:
// presence is decided by Identify.
var kernelErrors = []struct {
	errno syscall.Errno
	cause error
}{
	{syscall.ENXIO, drivers.ErrNACK}, {syscall.EREMOTEIO, drivers.ErrNACK},
	{syscall.ETIMEDOUT, drivers.ErrTimeout}, {syscall.EIO, drivers.ErrTimeout}, {syscall.EAGAIN, drivers.ErrTimeout},
	{syscall.ENODEV, drivers.ErrUnplugged}, {syscall.ESHUTDOWN, drivers.ErrUnplugged},
	{syscall.EACCES, drivers.ErrPermission}, {syscall.EPERM, drivers.ErrPermission}, {syscall.EBUSY, drivers.ErrNotClaimed},
}

// adapter is an I2C adapter as the kernel shows it.
type adapter struct {
	number int
	name   string
	real   string // its folder below /sys/devices
}

func (a adapter) String() string { return fmt.Sprintf("i2c-%d, %s", a.number, a.name) }

// conn is an open adapter.
type conn interface {
	Tx(addr uint16, w, r []byte) error
	Close() error
}

// timeoutDefault bounds one transaction in the kernel when the configuration
// names nothing.
const timeoutDefault = 200 * time.Millisecond

// claimFor is how long it is believed that a kernel driver has, or has not, an
// address: people load and unload them.
const claimFor = 10 * time.Second

// i2cBus is the adapter of one configured I2C bus. It serves one goroutine at a
// time.
type i2cBus struct {
	cfg      drivers.BusConfig
	sys, dev string
	log      *slog.Logger
	// dial opens an adapter, wire a line for the freeing; other ones in tests.
	dial func(number int) (conn, error)
	wire func(line string) (drivers.OutputLine, error)

	conn    conn
	number  int
	epoch   atomic.Uint64
	claimed map[uint16]claim // kernel drivers found at addresses since the open
	lastTry time.Time
	lastErr error
	pulsed  bool // freed by pulses since the last answer
}

// claim is what was found at an address.
type claim struct {
	err error
	at  time.Time
}

var _ shared.Adapter = (*i2cBus)(nil)

func newI2C(c drivers.BusConfig, sys, dev string, log *slog.Logger) (*i2cBus, error) {
	given := 0
	for _, there := range []bool{c.Match.Number != nil, c.Match.Path != "", c.Match.Adapter != ""} {
		if there {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("match: want exactly one of number, path and adapter")
	}
	if _, err := path.Match(c.Match.Adapter, ""); err != nil {
		return nil, fmt.Errorf("match.adapter %q: %w", c.Match.Adapter, err)
	}
	if c.Timeout <= 0 {
		c.Timeout = timeoutDefault
	}
	b := &i2cBus{cfg: c, sys: sys, dev: dev, log: log, wire: openDrain(dev)}
	b.dial = func(number int) (conn, error) { return i2cdev.Open(b.node(number), c.Timeout) }
	return b, nil
}

// Epoch counts the openings of the adapter.
func (b *i2cBus) Epoch() uint64 { return b.epoch.Load() }

// Tx makes one transaction, opening the adapter when needed. It ends within
// the bus's `timeout`, whatever the context says.
func (b *i2cBus) Tx(_ context.Context, addr uint16, w, r []byte) error {
	if err := b.ensure(); err != nil {
		return err
	}
	if err := b.bound(addr); err != nil {
		return err
	}
	if err := b.conn.Tx(addr, w, r); err != nil {
		return b.failed(err)
	}
	b.pulsed = false
	return nil
}

// ensure opens the bus, at most once per reopenWait while it is absent.
func (b *i2cBus) ensure() error {
	if b.conn != nil {
		return nil
	}
	if b.lastErr != nil && time.Since(b.lastTry) < reopenWait {
		return b.lastErr
	}
	b.lastTry = time.Now()
	b.lastErr = b.connect()
	return b.lastErr
}

func (b *i2cBus) connect() error {
	a, err := b.locate()
	if err != nil {
		return err
	}
	if err := b.permitted(a); err != nil {
		return err
	}
	conn, err := b.dial(a.number)
	if err != nil {
		return fmt.Errorf("bus %s: open %s: %w", b.cfg.Name, a, causeOf(err))
	}
	b.conn, b.number, b.claimed = conn, a.number, map[uint16]claim{}
	b.epoch.Add(1)
	b.log.Info("bus opened", "part", b.cfg.Name, "channel", a.String())
	return nil
}

// failed gives an error its cause, and lets go of an adapter that is gone.
func (b *i2cBus) failed(err error) error {
	cause := causeOf(err)
	if _, statErr := os.Stat(b.node(b.number)); errors.Is(statErr, fs.ErrNotExist) && !errors.Is(cause, drivers.ErrNACK) {
		cause = fmt.Errorf("adapter removed: %w", drivers.ErrUnplugged)
	}
	if errors.Is(cause, drivers.ErrUnplugged) {
		b.letGo()
		b.log.Warn("bus lost", "part", b.cfg.Name, "err", err)
	}
	return cause
}

// letGo closes the adapter: one that is gone leaves the kernel only then.
func (b *i2cBus) letGo() {
	if b.conn != nil {
		_ = b.conn.Close() // nothing was written that could be lost
		b.conn = nil
	}
}

// bound refuses an address that a kernel driver has: I2C_RDWR does not, and the
// two would talk across each other.
func (b *i2cBus) bound(addr uint16) error {
	if c, known := b.claimed[addr]; known && time.Since(c.at) < claimFor {
		return c.err
	}
	link := filepath.Join(b.sys, "bus/i2c/devices", fmt.Sprintf("%d-%04x", b.number, addr), "driver")
	var err error
	if target, linkErr := os.Readlink(link); linkErr == nil {
		err = fmt.Errorf("bus %s: address 0x%02x belongs to the kernel driver %q; unbind it or remove its overlay: %w",
			b.cfg.Name, addr, filepath.Base(target), drivers.ErrNotClaimed)
	}
	b.claimed[addr] = claim{err, time.Now()}
	return err
}

func (b *i2cBus) node(number int) string { return filepath.Join(b.dev, fmt.Sprintf("i2c-%d", number)) }

// permitted opens the adapter's node for a moment: an error says what to do.
func (b *i2cBus) permitted(a adapter) error {
	f, err := os.OpenFile(b.node(a.number), os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("bus %s: %s: %w; add the service user to group i2c", b.cfg.Name, b.node(a.number), drivers.ErrPermission)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("bus %s: %s does not exist: %w; load the module i2c-dev", b.cfg.Name, b.node(a.number), drivers.ErrUnplugged)
	}
	return fmt.Errorf("bus %s: %w", b.cfg.Name, causeOf(err))
}

// locate finds the adapter by `match`.
func (b *i2cBus) locate() (adapter, error) {
	all := adapters(b.sys)
	var hits []adapter
	for _, a := range all {
		if b.matches(a) {
			hits = append(hits, a)
		}
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		return adapter{}, fmt.Errorf("bus %s: %s fits %s and %s; use path", b.cfg.Name, b.wanted(), hits[0], hits[1])
	case len(all) == 0:
		return adapter{}, fmt.Errorf("bus %s: this host has no I2C adapter: %w; enable I2C (on a Raspberry Pi dtparam=i2c_arm=on) or plug one in", b.cfg.Name, drivers.ErrUnplugged)
	}
	var there []string
	for _, a := range all {
		there = append(there, a.String())
	}
	return adapter{}, fmt.Errorf("bus %s: no adapter with %s: %w; there are %s", b.cfg.Name, b.wanted(), drivers.ErrUnplugged, strings.Join(there, "; "))
}

func (b *i2cBus) matches(a adapter) bool {
	m := b.cfg.Match
	switch {
	case m.Number != nil:
		return a.number == *m.Number
	case m.Adapter != "":
		fits, err := path.Match(m.Adapter, a.name)
		return fits && err == nil
	}
	want := m.Path
	if !filepath.IsAbs(want) {
		want = filepath.Join(b.sys, want)
	}
	if real, err := filepath.EvalSymlinks(want); err == nil {
		want = real
	}
	return a.real == want || strings.HasPrefix(a.real, want+"/")
}

func (b *i2cBus) wanted() string {
	m := b.cfg.Match
	switch {
	case m.Number != nil:
		return "number " + strconv.Itoa(*m.Number)
	case m.Adapter != "":
		return fmt.Sprintf("adapter name %q", m.Adapter)
	}
	return "path " + m.Path
}

// Adapters are the I2C adapters of this host as buses, named like i2c-1: for
// people who have no configuration yet.
func Adapters() (all []drivers.BusConfig) {
	for _, a := range adapters("/sys") {
		all = append(all, drivers.BusConfig{Name: fmt.Sprintf("i2c-%d", a.number), Type: "i2c", Match: drivers.Match{Number: &a.number}})
	}
	return all
}

// adapters lists the I2C adapters by number.
func adapters(sys string) []adapter {
	links, err := filepath.Glob(filepath.Join(sys, "bus/i2c/devices/i2c-*"))
	if err != nil {
		return nil
	}
	var all []adapter
	for _, link := range links {
		number, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(link), "i2c-"))
		if err != nil {
			continue
		}
		name, err := os.ReadFile(filepath.Join(link, "name"))
		if err != nil {
			continue // it went away while we looked
		}
		a := adapter{number: number, name: strings.TrimSpace(string(name)), real: link}
		if real, err := filepath.EvalSymlinks(link); err == nil {
			a.real = real
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(x, y adapter) int { return x.number - y.number })
	return all
}

// unserved is a bus of a type without backend.
type unserved struct{ cfg drivers.BusConfig }

func (u unserved) refusal() error {
	return fmt.Errorf("bus %s: %s chips are read through the kernel; use the driver w1_therm without a bus", u.cfg.Name, u.cfg.Type)
}

// Tx refuses.
func (u unserved) Tx(context.Context, uint16, []byte, []byte) error { return u.refusal() }

// Free refuses.
func (u unserved) Free(context.Context) (string, error) { return "", u.refusal() }

// Epoch is 0: it is never opened.
func (u unserved) Epoch() uint64 { return 0 }
