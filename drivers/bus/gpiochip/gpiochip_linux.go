// Package gpiochip speaks to the kernel's GPIO character device, version 2.
//
// It exists beside periph's gpioioctl because outputs are not safe there: that
// package drives an output low before it drives it high, and turns an output
// into an input when somebody reads it. Here an output has its
// level in the request itself, reading never touches the direction, and edges
// keep the kernel's time and sequence number.
//
// Lines are found by name, or by the chip's label and the line's offset; global
// numbers do not exist. A line that somebody else has is ErrNotClaimed with the
// other's name. Nothing here starts a goroutine. Wait serves one caller at a
// time; the kernel's queue holds eventsMax edges, a gap in their numbers shows
// lost ones. Close ends a Wait.
package gpiochip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidehold/tidehold/drivers"
)

const (
	consumer = "tidehold"
	// eventsMax is the kernel's queue of edges of one line.
	eventsMax = 1024
	eventSize = 48
)

// Chip is what the kernel tells about a GPIO chip.
type Chip struct {
	Path, Name, Label string
	Lines             int
}

// Chips lists the chips below dir, /dev in production, sorted. Chips that
// cannot be opened come as errors, joined.
func Chips(dir string) ([]Chip, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "gpiochip*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var chips []Chip
	var errs []error
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			errs = append(errs, classify("open "+path, err))
			continue
		}
		var r chipRecord
		err = ioctl(int(f.Fd()), getChip, &r)
		f.Close()
		if err != nil {
			errs = append(errs, classify("ask "+path, err))
			continue
		}
		chips = append(chips, Chip{Path: path, Name: text(r.Name), Label: text(r.Label), Lines: int(r.Lines)})
	}
	return chips, errors.Join(errs...)
}

// found is one line of one chip.
type found struct {
	chip   Chip
	offset uint32
	record lineRecord
}

// find looks for pin below dir.
func find(dir string, pin drivers.PinConfig) (found, error) {
	chips, err := Chips(dir)
	var hits []found
	for _, c := range chips {
		if pin.Chip != "" && pin.Chip != c.Label && pin.Chip != c.Name {
			continue
		}
		lines, lineErr := search(c, pin)
		if lineErr != nil {
			err = errors.Join(err, lineErr)
		}
		hits = append(hits, lines...)
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		return found{}, fmt.Errorf("pin %s: %d lines have this name; name the chip too, like {chip: %q, line: %s}", pin, len(hits), hits[0].chip.Label, pin.Line)
	case err != nil:
		return found{}, fmt.Errorf("pin %s: %w", pin, err)
	}
	return found{}, fmt.Errorf("pin %s: no GPIO chip has it: %w", pin, drivers.ErrUnplugged)
}

// search gives the lines of a chip that pin means: by name, and by offset when
// the chip is named.
func search(c Chip, pin drivers.PinConfig) ([]found, error) {
	f, err := os.OpenFile(c.Path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, classify("open "+c.Path, err)
	}
	defer f.Close()
	offset, numeric := -1, false
	if n, err := strconv.Atoi(pin.Line); err == nil && pin.Chip != "" {
		offset, numeric = n, true
	}
	var hits []found
	for i := range c.Lines {
		r := lineRecord{Offset: uint32(i)}
		if err := ioctl(int(f.Fd()), unix.GPIO_V2_GET_LINEINFO_IOCTL, &r); err != nil {
			return hits, classify(fmt.Sprintf("ask line %d of %s", i, c.Path), err)
		}
		if text(r.Name) == pin.Line || numeric && i == offset {
			hits = append(hits, found{c, uint32(i), r})
		}
	}
	return hits, nil
}

// request takes one line with its configuration.
func request(dir string, pin drivers.PinConfig, config lineConfig) (*os.File, error) {
	hit, err := find(dir, pin)
	if err != nil {
		return nil, err
	}
	if hit.record.Flags&flagUsed != 0 {
		return nil, fmt.Errorf("pin %s: line %d of %s is in use by %q: %w", pin, hit.offset, hit.chip.Label, text(hit.record.Consumer), drivers.ErrNotClaimed)
	}
	f, err := os.OpenFile(hit.chip.Path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, classify("open "+hit.chip.Path, err)
	}
	defer f.Close()
	r := lineRequest{Config: config, NumLines: 1, EventBufferSize: eventsMax}
	r.Offsets[0] = hit.offset
	copy(r.Consumer[:], consumer)
	if err := ioctl(int(f.Fd()), unix.GPIO_V2_GET_LINE_IOCTL, &r); err != nil {
		return nil, classify(fmt.Sprintf("request pin %s", pin), err)
	}
	if err := unix.SetNonblock(int(r.FD), true); err != nil {
		unix.Close(int(r.FD))
		return nil, classify(fmt.Sprintf("request pin %s", pin), err)
	}
	unix.CloseOnExec(int(r.FD))
	return os.NewFile(uintptr(r.FD), "gpio line "+pin.String()), nil
}

// Line is a requested line. As drivers.InputLine or drivers.OutputLine it
// gives what it was requested for.
type Line struct {
	pin  drivers.PinConfig
	file *os.File
	// flags are those of an input's request.
	flags uint64
}

var _ drivers.Debouncer = (*Line)(nil)

// Input requests pin below dir as input that tells edges.
func Input(dir string, pin drivers.PinConfig, pull drivers.Pull, edges drivers.Edges) (*Line, error) {
	flags := uint64(flagInput)
	if edges != drivers.FallingEdges {
		flags |= flagEdgeRising
	}
	if edges != drivers.RisingEdges {
		flags |= flagEdgeFalling
	}
	switch pull {
	case drivers.PullUp:
		flags |= flagPullUp
	case drivers.PullDown:
		flags |= flagPullDown
	case "none":
		flags |= flagBiasDisabled
	}
	f, err := request(dir, pin, lineConfig{Flags: flags})
	if err != nil {
		return nil, err
	}
	return &Line{pin: pin, file: f, flags: flags}, nil
}

// Debounce lets the kernel tell a change once the level was stable: by the
// chip's hardware where it can, else by a timer of the kernel. It is for
// inputs; kernels before 5.10 refuse.
func (l *Line) Debounce(stable time.Duration) error {
	config := debounceConfig(l.flags, stable)
	return l.control("debounce", func(fd int) error { return ioctl(fd, lineSetConfig, &config) })
}

// Output requests pin below dir as output. Its level is part of the request;
// for Keep the line is first taken as it is and read.
func Output(dir string, pin drivers.PinConfig, initial drivers.Level) (*Line, error) {
	if initial != drivers.Keep {
		f, err := request(dir, pin, outputConfig(initial == drivers.High))
		if err != nil {
			return nil, err
		}
		return &Line{pin: pin, file: f}, nil
	}
	f, err := request(dir, pin, lineConfig{})
	if err != nil {
		return nil, err
	}
	l := &Line{pin: pin, file: f}
	high, err := l.Read()
	if err == nil {
		config := outputConfig(high)
		err = l.control("keep", func(fd int) error { return ioctl(fd, lineSetConfig, &config) })
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// OpenDrain requests pin below dir as output that only pulls down: high lets
// the line go, and Read shows whether somebody else holds it.
func OpenDrain(dir string, pin drivers.PinConfig) (*Line, error) {
	config := outputConfig(true)
	config.Flags |= flagOpenDrain
	f, err := request(dir, pin, config)
	if err != nil {
		return nil, err
	}
	return &Line{pin: pin, file: f}, nil
}

// control runs one ioctl on the line without giving up its non-blocking mode,
// as File.Fd would.
func (l *Line) control(what string, f func(fd int) error) error {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return classify(what+" pin "+l.pin.String(), err)
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return classify(what+" pin "+l.pin.String(), err)
	}
	if inner != nil {
		return classify(what+" pin "+l.pin.String(), inner)
	}
	return nil
}

// Read gives the level at the pin. It never changes the direction.
func (l *Line) Read() (bool, error) {
	v := lineValues{Mask: 1}
	err := l.control("read", func(fd int) error { return ioctl(fd, unix.GPIO_V2_LINE_GET_VALUES_IOCTL, &v) })
	return v.Bits&1 != 0, err
}

// Write sets the level.
func (l *Line) Write(high bool) error {
	v := lineValues{Mask: 1}
	if high {
		v.Bits = 1
	}
	return l.control("write", func(fd int) error { return ioctl(fd, unix.GPIO_V2_LINE_SET_VALUES_IOCTL, &v) })
}

// Wait blocks until the next edge, or ctx ends.
func (l *Line) Wait(ctx context.Context) (drivers.LineEdge, error) {
	// An earlier Wait's cancellation may still fire: it is told apart below.
	stop := context.AfterFunc(ctx, func() { _ = l.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [eventSize]byte
	for {
		if err := l.file.SetReadDeadline(time.Time{}); err != nil {
			return drivers.LineEdge{}, classify("wait for pin "+l.pin.String(), err)
		}
		if ctx.Err() != nil {
			return drivers.LineEdge{}, ctx.Err()
		}
		n, err := l.file.Read(b[:])
		switch {
		case err == nil && n == eventSize:
			return edgeOf(b[:], time.Now(), monotonic()), nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err == nil:
			err = fmt.Errorf("%d bytes of an event of %d", n, eventSize)
		}
		return drivers.LineEdge{}, classify("wait for pin "+l.pin.String(), err)
	}
}

// edgeOf reads an event. Its time is on the kernel's monotonic clock; now and
// mono are the same moment on both clocks.
func edgeOf(b []byte, now time.Time, mono time.Duration) drivers.LineEdge {
	e := lineEvent{
		TimestampNS: binary.NativeEndian.Uint64(b), ID: binary.NativeEndian.Uint32(b[8:]), LineSeqNo: binary.NativeEndian.Uint32(b[20:]),
	}
	return drivers.LineEdge{
		High: e.ID == unix.GPIO_V2_LINE_EVENT_RISING_EDGE,
		Time: now.Add(time.Duration(e.TimestampNS) - mono),
		Seq:  uint64(e.LineSeqNo),
	}
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Close gives the line back. Most chips keep an output's level.
func (l *Line) Close() error { return l.file.Close() }

// classify gives an error of the kernel its cause and what to do.
func classify(what string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w; add the service user to group gpio", what, drivers.ErrPermission)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s: %w", what, drivers.ErrNotClaimed)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s: %w", what, drivers.ErrUnplugged)
	}
	return fmt.Errorf("%s: %w", what, err)
}
