package local

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/tidehold/tidehold/gateway/pki"
)

// SystemNames gives the names and addresses of this host of now, and the extra
// names: the host name with and without `.local`, `localhost`, and every address
// that is not link-local. What the host does not tell is left out.
func SystemNames(extra []string) pki.Names {
	names := pki.Names{DNS: append([]string{"localhost"}, extra...)}
	if host, err := os.Hostname(); err == nil {
		names.DNS = append(names.DNS, host, strings.TrimSuffix(host, ".local")+".local")
	}
	names.Addresses = append(names.Addresses, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return names
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			names.Addresses = append(names.Addresses, prefix.Addr())
		}
	}
	return names
}
