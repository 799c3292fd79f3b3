// Package proxy opens connections through an HTTP CONNECT or a SOCKS5 proxy,
// with credentials when it wants them (upstream.md 1.9). Names are resolved by
// the proxy: behind one, a gateway often has no resolver.
//
// Dial blocks until its context ends, the proxy refuses, or the way is open.
// An answer of a proxy is bounded; nothing is read beyond it.
package proxy

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Proxy is where to go first. The zero Proxy is none.
type Proxy struct {
	socks          bool
	address        string
	user, password string
}

// Opener opens a plain connection.
type Opener func(ctx context.Context, network, address string) (net.Conn, error)

// Parse reads http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before
// HOST when the proxy wants them. An empty text is no proxy.
func Parse(text string) (Proxy, error) {
	if text == "" {
		return Proxy{}, nil
	}
	u, err := url.Parse(text)
	bad := errors.New("proxy: want http://[USER:PASSWORD@]HOST:PORT or socks5://[USER:PASSWORD@]HOST:PORT") // never the text: it may hold a password
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" || u.Scheme != "http" && u.Scheme != "socks5" {
		return Proxy{}, bad
	}
	p := Proxy{socks: u.Scheme == "socks5", address: u.Host, user: u.User.Username()}
	p.password, _ = u.User.Password()
	if len(p.user) > 255 || len(p.password) > 255 {
		return Proxy{}, errors.New("proxy: user name and password have at most 255 bytes each")
	}
	return p, nil
}

// IsSet reports whether there is a proxy.
func (p Proxy) IsSet() bool { return p.address != "" }

// String is the proxy without its credentials.
func (p Proxy) String() string {
	if p.socks {
		return "socks5://" + p.address
	}
	return "http://" + p.address
}

// Dial opens a way to an address through the proxy, which open connects to.
func (p Proxy) Dial(ctx context.Context, open Opener, address string) (net.Conn, error) {
	conn, err := open(ctx, "tcp", p.address)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", p, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if p.socks {
		err = p.greet(conn, address)
	} else {
		err = p.connect(conn, address)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("proxy %s to %s: %w", p, address, errors.Join(err, ctx.Err()))
	}
	return conn, nil
}

// headMax bounds the head of an HTTP answer.
const headMax = 16 << 10

// connect is HTTP's CONNECT (RFC 9110, 9.3.6).
func (p Proxy) connect(conn net.Conn, address string) error {
	head := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if p.user != "" {
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return err
	}
	answer, err := readHead(conn)
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("refused with %s", resp.Status)
	}
	return nil
}

// readHead reads byte by byte up to the empty line: what follows belongs to the
// way that is open now.
func readHead(conn net.Conn) (string, error) {
	var head strings.Builder
	one := make([]byte, 1)
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		if head.Len() >= headMax {
			return "", errors.New("the answer is too long")
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			return "", err
		}
		head.WriteByte(one[0])
	}
	return head.String(), nil
}

// The words of SOCKS5 (RFC 1928, RFC 1929).
const (
	socksVersion  = 5
	methodNone    = 0
	methodUser    = 2
	methodRefused = 0xff
	commandOpen   = 1
	addressIPv4   = 1
	addressName   = 3
	addressIPv6   = 4
)

// refusals are the answers of RFC 1928 section 6.
var refusals = []string{1: "general failure", 2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
	5: "connection refused", 6: "time to live expired", 7: "command not supported", 8: "address type not supported"}

// greet is SOCKS5.
func (p Proxy) greet(conn net.Conn, address string) error {
	method := byte(methodNone)
	if p.user != "" {
		method = methodUser
	}
	answer, err := exchange(conn, []byte{socksVersion, 1, method}, 2)
	if err != nil {
		return err
	}
	if answer[0] != socksVersion || answer[1] == methodRefused || answer[1] != method {
		return errors.New("it wants another way to prove who we are (user name and password in the proxy's URL?)")
	}
	if method == methodUser {
		if err := p.prove(conn); err != nil {
			return err
		}
	}
	request, err := openRequest(address)
	if err != nil {
		return err
	}
	if answer, err = exchange(conn, request, 4); err != nil {
		return err
	}
	if code := int(answer[1]); code != 0 {
		why := "unknown reason"
		if code < len(refusals) {
			why = refusals[code]
		}
		return fmt.Errorf("refused: %s", why)
	}
	return skipAddress(conn, answer[3])
}

func (p Proxy) prove(conn net.Conn) error {
	request := append([]byte{1, byte(len(p.user))}, p.user...)
	request = append(append(request, byte(len(p.password))), p.password...)
	answer, err := exchange(conn, request, 2)
	if err == nil && answer[1] != 0 {
		err = errors.New("user name or password refused")
	}
	return err
}

func openRequest(address string) ([]byte, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || len(host) > 255 {
		return nil, fmt.Errorf("address %q is none for SOCKS5", address)
	}
	request := []byte{socksVersion, commandOpen, 0}
	switch ip := net.ParseIP(host); {
	case ip == nil:
		request = append(append(request, addressName, byte(len(host))), host...)
	case ip.To4() != nil:
		request = append(append(request, addressIPv4), ip.To4()...)
	default:
		request = append(append(request, addressIPv6), ip...)
	}
	return append(request, byte(port>>8), byte(port)), nil
}

// skipAddress reads the address that the proxy speaks from.
func skipAddress(conn net.Conn, kind byte) error {
	n := 0
	switch kind {
	case addressIPv4:
		n = net.IPv4len
	case addressIPv6:
		n = net.IPv6len
	case addressName:
		length := make([]byte, 1)
		if _, err := io.ReadFull(conn, length); err != nil {
			return err
		}
		n = int(length[0])
	default:
		return fmt.Errorf("its answer has an address of kind %d", kind)
	}
	_, err := io.ReadFull(conn, make([]byte, n+2)) // and the port
	return err
}

func exchange(conn net.Conn, request []byte, n int) ([]byte, error) {
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	answer := make([]byte, n)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}
