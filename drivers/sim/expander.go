package sim

import (
	"fmt"

	"github.com/tidehold/tidehold/drivers/sim/chip"
)

// expanders is the table of simulated chips with pins.
var expanders = map[string]func() Chip{
	"mcp23017": func() Chip { return chip.MCP23017() },
	"pcf8574":  func() Chip { return chip.NewPCF8574() },
	"pca9685":  func() Chip { return chip.PCA9685() },
}

// AddExpander puts an expander on a bus, once for all parts on its pins. Its
// outputs are read back as on a board; nothing outside moves its inputs.
func (w *World) AddExpander(bus string, addr uint16, kind string) error {
	b, err := w.find(bus)
	if err != nil {
		return fmt.Errorf("simulate expander: %w", err)
	}
	if expanders[kind] == nil {
		return fmt.Errorf("simulate expander %s/0x%02x: no simulated chip for %q", bus, addr, kind)
	}
	name := fmt.Sprintf("%s/0x%02x", bus, addr)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pins[name] == kind {
		return nil
	}
	if err := b.Attach(addr, expanders[kind]()); err != nil {
		return fmt.Errorf("simulate expander: %w", err)
	}
	w.pins[name] = kind
	return nil
}
