package uplink

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// Endpoint is where the upstream broker listens.
type Endpoint struct {
	// Scheme is tcp, tls, ws or wss.
	Scheme string
	Host   string
	Port   int
	// Path is the WebSocket's, `/mqtt` by default.
	Path string
}

var defaultPorts = map[string]int{"tcp": 1883, "tls": 8883, "ws": 80, "wss": 443}

// ParseEndpoint reads `host`, or `tcp://`, `tls://`, `ws://`, `wss://` with
// `host[:port]`. A bare host means TLS. port > 0 is uplinks[].port; a port in
// the text wins.
func ParseEndpoint(text string, port int) (Endpoint, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		if u, err = url.Parse("tls://" + text); err != nil {
			return Endpoint{}, fmt.Errorf("uplink endpoint %q: want HOST or tcp|tls|ws|wss://HOST[:PORT]", text)
		}
	}
	standard, ok := defaultPorts[u.Scheme]
	webSocket := u.Scheme == "ws" || u.Scheme == "wss"
	if !ok || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || !webSocket && u.Path != "" && u.Path != "/" {
		return Endpoint{}, fmt.Errorf("uplink endpoint %q: want HOST or tcp|tls|ws|wss://HOST[:PORT]", text)
	}
	e := Endpoint{Scheme: u.Scheme, Host: u.Hostname(), Port: standard}
	if port > 0 {
		e.Port = port
	}
	if u.Port() != "" {
		e.Port, err = strconv.Atoi(u.Port())
	}
	if err != nil || e.Port < 1 || e.Port > 65535 {
		return Endpoint{}, fmt.Errorf("uplink endpoint %q: the port must be 1 to 65535", text)
	}
	if webSocket {
		e.Path = "/mqtt"
		if u.Path != "" && u.Path != "/" {
			e.Path = u.Path
		}
	}
	return e, nil
}

// Address is HOST:PORT.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// Secure reports whether the endpoint speaks TLS.
func (e Endpoint) Secure() bool { return e.Scheme == "tls" || e.Scheme == "wss" }

// String is the URL.
func (e Endpoint) String() string { return e.Scheme + "://" + e.Address() + e.Path }
