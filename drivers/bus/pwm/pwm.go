// Package pwm drives the PWM channels that the kernel shows below
// /sys/class/pwm (Linux, Documentation/driver-api/pwm.rst).
//
// A channel is adopted as it stands: one that runs keeps its duty cycle until
// somebody sets another, so that a restart is not seen at the pin. Closing
// leaves it running for the same reason; the kernel would stop one that is
// given back. Chips are found by their name or their device's, because their
// numbers change from boot to boot.
//
// A Line belongs to one goroutine at a time and blocks for some file writes.
package pwm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/tidehold/tidehold/drivers"
)

// full is the level of a line that is always on.
const full = 100

// Line is one channel of a chip.
type Line struct {
	dir    string
	period int64 // ns
}

var _ drivers.LevelLine = (*Line)(nil)

// Open takes the channel of c below dir, /sys/class/pwm in production, and
// gives it its frequency. initial is its first level; nil keeps the level of a
// channel that runs and is 0 for one that does not.
func Open(dir string, c drivers.PWMConfig, initial *float64) (*Line, error) {
	if c.Frequency <= 0 || c.Frequency > 1_000_000_000 {
		return nil, fmt.Errorf("pwm %s channel %d: frequency %d Hz: want 1 Hz to 1 GHz", c.Chip, c.Channel, c.Frequency)
	}
	chip, err := find(dir, c.Chip)
	if err != nil {
		return nil, err
	}
	l := &Line{dir: filepath.Join(chip, "pwm"+strconv.Itoa(c.Channel)), period: 1_000_000_000 / c.Frequency}
	if err := l.export(chip, c.Channel); err != nil {
		return nil, err
	}
	level := 0.0
	if initial != nil {
		level = *initial
	} else if level, err = l.Level(); err != nil {
		return nil, err
	}
	return l, l.begin(level)
}

// export asks the kernel for the channel, unless it was asked before.
func (l *Line) export(chip string, channel int) error {
	if _, err := os.Stat(l.dir); err == nil {
		return nil
	}
	err := os.WriteFile(filepath.Join(chip, "export"), []byte(strconv.Itoa(channel)), 0o200)
	if err != nil {
		return fmt.Errorf("pwm %s channel %d: %w", filepath.Base(chip), channel, classify(err))
	}
	if _, err := os.Stat(l.dir); err != nil {
		return fmt.Errorf("pwm %s has no channel %d: %w", filepath.Base(chip), channel, classify(err))
	}
	return nil
}

// begin sets period and duty cycle in the order in which the duty cycle is
// never longer than the period, which the kernel refuses.
func (l *Line) begin(level float64) error {
	duty, err := l.number("duty_cycle")
	if err != nil {
		return err
	}
	if duty > l.period {
		if err := l.Set(0); err != nil {
			return err
		}
	}
	if now, err := l.number("period"); err != nil || now != l.period {
		if err := l.write("period", l.period); err != nil {
			return err
		}
	}
	if err := l.Set(level); err != nil {
		return err
	}
	return l.write("enable", 1)
}

// Set gives the channel a level from 0 to 100.
func (l *Line) Set(level float64) error {
	return l.write("duty_cycle", int64(float64(l.period)*min(max(level, 0), full)/full+0.5))
}

// Level reads the level back; a channel that does not run has level 0.
func (l *Line) Level() (float64, error) {
	on, err := l.number("enable")
	if err != nil || on == 0 {
		return 0, err
	}
	duty, err := l.number("duty_cycle")
	if err != nil {
		return 0, err
	}
	period, err := l.number("period")
	if err != nil || period == 0 {
		return 0, err
	}
	return full * float64(duty) / float64(period), nil
}

// Close lets the channel run on.
func (l *Line) Close() error { return nil }

func (l *Line) number(name string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		return 0, fmt.Errorf("pwm read: %w", classify(err))
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("pwm read %s: %w", filepath.Join(l.dir, name), err)
	}
	return n, nil
}

func (l *Line) write(name string, n int64) error {
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("pwm write: %w", classify(err))
	}
	_, err = f.WriteString(strconv.FormatInt(n, 10))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("pwm write: %w", classify(err))
	}
	return nil
}

// find looks for a chip by pwmchipN, its device's name, or its name in the
// device tree. An empty name is the only chip.
func find(dir, name string) (string, error) {
	chips, err := filepath.Glob(filepath.Join(dir, "pwmchip*"))
	if err != nil {
		return "", err
	}
	var hits, all []string
	for _, chip := range chips {
		names := namesOf(chip)
		all = append(all, strings.Join(names, " = "))
		for _, n := range names {
			if name == "" || n == name {
				hits = append(hits, chip)
				break
			}
		}
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		return "", fmt.Errorf("pwm chip %q: %d chips fit: %s; name one", name, len(hits), strings.Join(all, "; "))
	case len(all) == 0:
		return "", fmt.Errorf("pwm chip %q: this host has no hardware PWM: %w; enable it (on a Raspberry Pi dtoverlay=pwm)", name, drivers.ErrUnplugged)
	}
	return "", fmt.Errorf("pwm chip %q: %w; there are %s", name, drivers.ErrUnplugged, strings.Join(all, "; "))
}

func namesOf(chip string) []string {
	names := []string{filepath.Base(chip)}
	if device, err := filepath.EvalSymlinks(filepath.Join(chip, "device")); err == nil {
		names = append(names, filepath.Base(device))
	}
	for _, file := range []string{"label", "name"} {
		if text, err := os.ReadFile(filepath.Join(chip, "device/of_node", file)); err == nil {
			names = append(names, strings.TrimRight(string(text), "\x00\n"))
		}
	}
	return names
}

// classify gives an error of the kernel its cause and what to do.
func classify(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w (%v); let the service write to /sys/class/pwm (ReadWritePaths of the unit, group of the files)", drivers.ErrPermission, err)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("%w (%v)", drivers.ErrNotClaimed, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("%w (%v)", drivers.ErrUnplugged, err)
	}
	return err
}
