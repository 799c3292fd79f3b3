package expander

import (
	"fmt"
	"math"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// The registers of the PCA9685 (datasheet, section 7.3).
const (
	pcaMode     = 0x00
	pcaFirst    = 0x06 // of channel 0: on and off, each low byte first
	pcaPrescale = 0xfe
	pcaSleep    = 0x10
	pcaCountUp  = 0x20
	pcaFull     = 0x1000
	pcaChannels = 16
	pcaClock    = 25e6
	pcaSteps    = 4096
)

// level is one PWM channel.
type level struct {
	*chip
	channel int
}

var _ drivers.LevelLine = (*level)(nil)

// PWM takes a channel. A chip that runs with this frequency already is left
// alone, so that a restart is not seen at its pins. All channels of a chip have
// one frequency.
func (s *Set) PWM(cfg drivers.PWMConfig, initial *float64) (drivers.LevelLine, error) {
	c, err := s.chip(cfg.Chip)
	if err != nil {
		return nil, err
	}
	if c.port != nil || cfg.Channel < 0 || cfg.Channel >= pcaChannels {
		return nil, fmt.Errorf("expander %s has no PWM channel %d: %w", cfg.Chip, cfg.Channel, drivers.ErrUnplugged)
	}
	if p := prescale(cfg.Frequency); p < 3 || p > 255 {
		return nil, fmt.Errorf("expander %s: %d Hz: a pca9685 has 24 to 1526 Hz: %w", cfg.Chip, cfg.Frequency, drivers.ErrOutOfRange)
	}
	l := &level{c, cfg.Channel}
	err = c.do(drivers.OutputWrite, func() error {
		if c.frequency != 0 && c.frequency != cfg.Frequency {
			return fmt.Errorf("%d Hz: another channel has %d Hz, and a chip has only one: %w", cfg.Frequency, c.frequency, drivers.ErrNotClaimed)
		}
		if err := c.wake(cfg.Frequency); err != nil {
			return err
		}
		c.frequency = cfg.Frequency
		return nil
	})
	if err == nil && initial != nil {
		err = l.Set(*initial)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// prescale is the divider of a frequency (section 7.3.5).
func prescale(frequency int64) int {
	if frequency <= 0 {
		return 0
	}
	return int(math.Round(pcaClock/(pcaSteps*float64(frequency)))) - 1
}

// wake gives a chip its frequency, which it takes only asleep, unless it runs
// with it.
func (c *chip) wake(frequency int64) error {
	mode, err := c.register(pcaMode)
	if err != nil {
		return err
	}
	divider, err := c.register(pcaPrescale)
	if err != nil {
		return err
	}
	want := byte(prescale(frequency))
	if mode&(pcaSleep|pcaCountUp) == pcaCountUp && divider == want {
		return nil
	}
	for _, b := range [][]byte{{pcaMode, pcaSleep | pcaCountUp}, {pcaPrescale, want}, {pcaMode, pcaCountUp}} {
		if err := c.write(b...); err != nil {
			return err
		}
	}
	return c.handle.Rest(time.Millisecond) // the oscillator needs half of it
}

// Set gives the channel a level, and the chip its frequency back when it lost
// its supply.
func (l *level) Set(v float64) error {
	if !(v >= 0 && v <= 100) {
		return fmt.Errorf("expander %s channel %d: level %v is outside 0 to 100: %w", l.name, l.channel, v, drivers.ErrOutOfRange)
	}
	on, off := uint16(0), uint16(math.Round(v/100*pcaSteps))
	switch off {
	case 0:
		off = pcaFull
	case pcaSteps:
		on, off = pcaFull, 0
	}
	return l.do(drivers.OutputWrite, func() error {
		if err := l.wake(l.frequency); err != nil {
			return err
		}
		return l.write(pcaFirst+4*byte(l.channel), byte(on), byte(on>>8), byte(off), byte(off>>8))
	})
}

// Level reads it back.
func (l *level) Level() (v float64, err error) {
	err = l.do(drivers.Poll, func() error {
		mode, err := l.register(pcaMode)
		if err != nil || mode&pcaSleep != 0 {
			return err // asleep the outputs are off
		}
		var b [4]byte
		if err := l.read(pcaFirst+4*byte(l.channel), b[:]); err != nil {
			return err
		}
		on, off := uint16(b[1])<<8|uint16(b[0]), uint16(b[3])<<8|uint16(b[2])
		v = share(on, off)
		return nil
	})
	return v, err
}

// share is the level of a channel's two words; full off wins (section 7.3.3).
func share(on, off uint16) float64 {
	switch {
	case off&pcaFull != 0:
		return 0
	case on&pcaFull != 0:
		return 100
	}
	return float64((off-on)&(pcaSteps-1)) / pcaSteps * 100
}

// Close gives the channel back; the chip keeps its level.
func (l *level) Close() error { return nil }
