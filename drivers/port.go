package drivers

import (
	"strconv"
	"strings"
)

// SplitPort takes the name of a multiplexer's port apart: BUS/ADDRESS/PORT,
// like main/0x70/3. The bus may be a port itself. False when name is not one.
func SplitPort(name string) (bus string, addr uint16, port int, ok bool) {
	rest, last, ok := cutLast(name)
	if !ok {
		return "", 0, 0, false
	}
	port, err := strconv.Atoi(last)
	if err != nil || port < 0 || port > 7 {
		return "", 0, 0, false
	}
	bus, last, ok = cutLast(rest)
	a, err := strconv.ParseUint(last, 0, 16)
	if err != nil || a > 0x7f || !ok || bus == "" {
		return "", 0, 0, false
	}
	return bus, uint16(a), port, true
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// RootBus is the configured bus under a chain of ports; name itself when it is
// no port.
func RootBus(name string) string {
	for {
		bus, _, _, ok := SplitPort(name)
		if !ok {
			return name
		}
		name = bus
	}
}
