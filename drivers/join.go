package drivers

import (
	"errors"
	"fmt"
)

// Join searches several Buses in turn; the first that knows a name serves it.
func Join(list ...Buses) Buses { return joined(list) }

type joined []Buses

func (j joined) Bus(name string) (Bus, error) {
	for _, b := range j {
		if bus, err := b.Bus(name); !errors.Is(err, ErrNoBus) {
			return bus, err
		}
	}
	return nil, fmt.Errorf("bus %q: %w", name, ErrNoBus)
}

func (j joined) Simulated(pin PinConfig) bool {
	for _, b := range j {
		if b.Simulated(pin) {
			return true
		}
	}
	return false
}

func (j joined) Input(pin PinConfig, pull Pull, edges Edges) (InputLine, error) {
	for _, b := range j {
		if line, err := b.Input(pin, pull, edges); !errors.Is(err, ErrNoBus) {
			return line, err
		}
	}
	return nil, fmt.Errorf("pin %s: no such chip: %w", pin, ErrNoBus)
}

func (j joined) Output(pin PinConfig, initial Level) (OutputLine, error) {
	for _, b := range j {
		if line, err := b.Output(pin, initial); !errors.Is(err, ErrNoBus) {
			return line, err
		}
	}
	return nil, fmt.Errorf("pin %s: no such chip: %w", pin, ErrNoBus)
}
