package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// talk answers a client with lines of a script: what it must say, and the answer.
func talk(t *testing.T, script ...string) (Opener, chan string) {
	t.Helper()
	said := make(chan string, 10)
	return func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer close(said)
			for i := 0; i < len(script); i += 2 {
				got := make([]byte, len(script[i]))
				if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, []byte(script[i])) {
					t.Errorf("the proxy got %q, %v; want %q", got, err, script[i])
					far.Close()
					return
				}
				io.WriteString(far, script[i+1])
			}
			rest, _ := io.ReadAll(far)
			said <- string(rest)
		}()
		return near, nil
	}, said
}

func parse(t *testing.T, text string) Proxy {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDial_OpensAWayThatCarriesBytes(t *testing.T) {
	for url, script := range map[string][]string{
		"http://p:3128": {"CONNECT broker.test:443 HTTP/1.1\r\nHost: broker.test:443\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n\r\nfirst"},
		"http://u:s%20p@p:3128": {"CONNECT broker.test:443 HTTP/1.1\r\nHost: broker.test:443\r\nProxy-Authorization: Basic dTpzIHA=\r\n\r\n",
			"HTTP/1.1 200 Connection established\r\n\r\nfirst"},
		"socks5://p:1080": {"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x0bbroker.test\x01\xbb", "\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50first"},
		"socks5://u:pw@p:1080": {"\x05\x01\x02", "\x05\x02", "\x01\x01u\x02pw", "\x01\x00", "\x05\x01\x00\x03\x0bbroker.test\x01\xbb",
			"\x05\x00\x00\x03\x01x\x00\x50first"},
	} {
		open, said := talk(t, script...)
		conn, err := parse(t, url).Dial(t.Context(), open, "broker.test:443")
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		first := make([]byte, 5)
		if _, err := io.ReadFull(conn, first); err != nil || string(first) != "first" {
			t.Fatalf("%s: read %q, %v", url, first, err)
		}
		io.WriteString(conn, "mqtt")
		conn.Close()
		if got := <-said; got != "mqtt" {
			t.Fatalf("%s: the far side got %q", url, got)
		}
	}
}

func TestDial_RefusalsSayWhy(t *testing.T) {
	for want, at := range map[string][]string{
		"407":               {"http://p:1", "CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"},
		"too long":          {"http://p:1", "CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n", strings.Repeat("x", headMax+1)},
		"another way":       {"socks5://p:1", "\x05\x01\x00", "\x05\xff"},
		"password refused":  {"socks5://u:w@p:1", "\x05\x01\x02", "\x05\x02", "\x01\x01u\x01w", "\x01\x01"},
		"host unreachable":  {"socks5://p:1", "\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x01b\x00\x01", "\x05\x04\x00\x01"},
		"unknown reason":    {"socks5://p:1", "\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x01b\x00\x01", "\x05\x63\x00\x01"},
		"address of kind 9": {"socks5://p:1", "\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x01b\x00\x01", "\x05\x00\x00\x09"},
	} {
		open, _ := talk(t, at[1:]...)
		conn, err := parse(t, at[0]).Dial(t.Context(), open, "b:1")
		if err == nil || !strings.Contains(err.Error(), want) || conn != nil {
			t.Errorf("%v: got %v, want %q", at[0], err, want)
		}
	}
}

func TestDial_SilentProxyEndsWithTheContext(t *testing.T) {
	for _, url := range []string{"http://p:1", "socks5://p:1"} {
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := parse(t, url).Dial(ctx, func(context.Context, string, string) (net.Conn, error) { return near, nil }, "b:1")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", url, err)
		}
		far.Close()
	}
}

func TestParse_RefusesWithoutShowingTheText(t *testing.T) {
	for _, text := range []string{"p:1", "ftp://p:1", "http://p", "http://secret:word@", "socks5://p:1/x", "http://p:1?x=y", "http://" + strings.Repeat("u", 256) + ":secret@p:1"} {
		if _, err := Parse(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if p, err := Parse(""); err != nil || p.IsSet() {
		t.Errorf("%v %v", p, err)
	}
	if got := parse(t, "socks5://u:secret@p:1").String(); got != "socks5://p:1" {
		t.Error(got)
	}
}

func FuzzDial(f *testing.F) {
	f.Add(true, []byte("\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50"))
	f.Add(false, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Fuzz(func(t *testing.T, socks bool, answer []byte) {
		url := "http://p:1"
		if socks {
			url = "socks5://p:1"
		}
		p, _ := Parse(url)
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		go func() { far.Write(answer); far.Close() }()
		if conn, err := p.Dial(context.Background(), func(context.Context, string, string) (net.Conn, error) { return near, nil }, "b:1"); err == nil {
			conn.Close()
		}
		near.Close()
		far.Close()
	})
}
