// Package survey finds out what hardware is there, for people who wire it
// (drivers.md section 9): which addresses of a bus answer, which chips they are,
// and what a host lacks.
//
// Scan and Identify only read; they never write a setting. Both give way to
// outputs and go before polls, and end with their context. They keep nothing.
package survey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/drivers"
)

// The addresses that chips can have; those below and above have other meanings
// (I2C specification, section 3.1.12).
const (
	first = 0x08
	last  = 0x77
)

// Found is an address where something is.
type Found struct {
	Bus     string `json:"bus"`
	Address string `json:"address"` // like 0x76
	// Kernel says that a kernel driver has the address, and which; nothing was
	// asked there.
	Kernel string `json:"kernel,omitempty"`
	// Chip is what it certainly is, with the rule that tells it.
	Chip string `json:"chip,omitempty"`
	Rule string `json:"rule,omitempty"`
	// Candidates are drivers whose chips can be here and have no identity.
	Candidates []string `json:"candidates,omitempty"`

	addr uint16
}

// Scan reads one byte from each address, which is harmless on any chip, unlike
// a quick write. Silence is not listed, although a few chips answer a read only
// after a command: Identify finds these. An error that is not about an address
// ends the scan.
func Scan(ctx context.Context, b drivers.Bus) ([]Found, error) {
	ctx = drivers.WithPriority(ctx, drivers.ByHand)
	var all []Found
	for addr := uint16(first); addr <= last; addr++ {
		var one [1]byte
		err := b.Tx(ctx, addr, nil, one[:])
		f := at(b, addr)
		switch {
		case err == nil:
			all = append(all, f)
		case errors.Is(err, drivers.ErrNotClaimed):
			f.Kernel = err.Error()
			all = append(all, f)
		case ctx.Err() != nil:
			return all, fmt.Errorf("scan %s: stopped at 0x%02x: %w", b.Name(), addr, context.Cause(ctx))
		case errors.Is(err, drivers.ErrNACK), errors.Is(err, drivers.ErrTimeout):
			// Nobody there; some controllers say so by a time-out.
		default:
			return all, fmt.Errorf("scan %s: %w", b.Name(), err)
		}
	}
	return all, nil
}

// Table is what this program can drive.
type Table interface {
	Driver(name string) (drivers.Driver, bool)
	Names() []string
}

// Identify asks, at each address found, every driver whose chips can be there.
// A chip that one of them recognises is Chip; else all without identity are
// candidates. Drivers are asked at silent addresses of their chips, too: some
// chips answer a read only after a command (SHT3x datasheet, section 4.3).
func Identify(ctx context.Context, b drivers.Bus, found []Found, table Table) []Found {
	ctx = drivers.WithPriority(ctx, drivers.ByHand)
	all := slices.Clone(found)
	for addr := uint16(first); addr <= last; addr++ {
		i := slices.IndexFunc(all, func(f Found) bool { return f.addr == addr })
		if i >= 0 && all[i].Kernel == "" {
			all[i].identify(ctx, b, table)
		}
		if i >= 0 || ctx.Err() != nil {
			continue
		}
		if f := at(b, addr); f.identify(ctx, b, table) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(x, y Found) int { return int(x.addr) - int(y.addr) })
	return all
}

func at(b drivers.Bus, addr uint16) Found {
	return Found{Bus: b.Name(), Address: fmt.Sprintf("0x%02x", addr), addr: addr}
}

// identify reports whether a driver recognised its chip.
func (f *Found) identify(ctx context.Context, b drivers.Bus, table Table) bool {
	for _, name := range table.Names() {
		d, ok := table.Driver(name)
		if !ok {
			continue
		}
		sheet := d.Describe()
		if sheet.Bus != "i2c" || !slices.Contains(sheet.Addresses, f.addr) {
			continue
		}
		r, ok := d.(drivers.Recognizer)
		if !ok || !r.Distinct() {
			f.Candidates = append(f.Candidates, name)
			continue
		}
		within, cancel := context.WithTimeout(ctx, sheet.MaxRead)
		err := r.Recognize(within, drivers.NewHandle(b, f.addr))
		cancel()
		if err == nil {
			f.Chip, f.Rule, f.Candidates = name, sheet.Identify, nil
			return true
		}
	}
	return false
}

// YAML is a configuration of what was found, ready to paste: chips that are
// certain, and the others as comments to choose from.
func YAML(buses []drivers.BusConfig, found []Found) string {
	var s strings.Builder
	s.WriteString("buses:\n")
	for _, b := range buses {
		switch {
		case b.Type == "sim":
			fmt.Fprintf(&s, "  - {name: %s, type: sim}\n", b.Name)
		case b.Match.Number != nil:
			fmt.Fprintf(&s, "  - {name: %s, type: %s, match: {number: %d}}\n", b.Name, b.Type, *b.Match.Number)
		case b.Match.Path != "":
			fmt.Fprintf(&s, "  - {name: %s, type: %s, match: {path: %q}}\n", b.Name, b.Type, b.Match.Path)
		default:
			fmt.Fprintf(&s, "  - {name: %s, type: %s, match: {adapter: %q}}\n", b.Name, b.Type, b.Match.Adapter)
		}
	}
	s.WriteString("sensors:\n")
	for _, f := range found {
		entry := func(chip string) string {
			return fmt.Sprintf("- {name: %s-%s, driver: %s, bus: %s, address: %s}", chip, strings.TrimPrefix(f.Address, "0x"), chip, f.Bus, f.Address)
		}
		switch {
		case f.Chip != "":
			fmt.Fprintf(&s, "  %s\n", entry(f.Chip))
		case f.Kernel != "":
			fmt.Fprintf(&s, "  # %s on %s: in use by the kernel\n", f.Address, f.Bus)
		case len(f.Candidates) == 0:
			fmt.Fprintf(&s, "  # %s on %s: no driver knows this chip; register-map can read it\n", f.Address, f.Bus)
		}
		for _, chip := range f.Candidates {
			fmt.Fprintf(&s, "  # %s   # if it is one\n", entry(chip))
		}
	}
	return s.String()
}
