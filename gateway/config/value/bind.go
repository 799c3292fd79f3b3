package value

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Bind is an address to listen on, HOST:PORT or :PORT as net.Listen takes it;
// the empty Bind is off.
type Bind string

// Off says that nothing listens there.
const Off Bind = ""

// ParseBind reads HOST:PORT, :PORT, HOST:0 or off.
func ParseBind(text string) (Bind, error) {
	if text == "off" || text == "false" {
		return Off, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Off, fmt.Errorf("%q is no address: want HOST:PORT, :PORT or off", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return Off, fmt.Errorf("%q: port %q is outside 0 to 65535", text, port)
	}
	if host != "" && !ValidHost(host) {
		return Off, fmt.Errorf("%q: %q is neither a host name nor an address", text, host)
	}
	return Bind(net.JoinHostPort(host, port)), nil
}

// Host is the part before the port, without brackets; empty is every address.
func (b Bind) Host() string {
	host, _, _ := net.SplitHostPort(string(b))
	return host
}

// Port is the port; 0 is a free one.
func (b Bind) Port() int {
	_, port, _ := net.SplitHostPort(string(b))
	n, _ := strconv.Atoi(port)
	return n
}

// Loopback reports whether only this host can reach b. An address that is off
// is reached by nobody.
func (b Bind) Loopback() bool {
	host := b.Host()
	if b == Off || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// Clashes reports whether b and other cannot both be opened.
func (b Bind) Clashes(other Bind) bool {
	if b == Off || other == Off || b.Port() == 0 || b.Port() != other.Port() {
		return false
	}
	h, o := canonicalHost(b.Host()), canonicalHost(other.Host())
	return h == o || everywhere(h, o) || everywhere(o, h)
}

// everywhere reports whether listening on host takes other's address too.
func everywhere(host, other string) bool {
	switch host {
	case "", "::":
		return true
	case "0.0.0.0":
		return !strings.Contains(other, ":")
	}
	return false
}

func canonicalHost(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return strings.ToLower(host)
}

// hostBytesMax is DNS's.
const hostBytesMax = 253

// ValidHost reports whether s is an IP address or a host name.
func ValidHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > hostBytesMax {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range label {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
