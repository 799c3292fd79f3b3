package main

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// TestSockets_ListenOnWhatSystemdOpened passes an open socket as systemd does.
func TestSockets_ListenOnWhatSystemdOpened(t *testing.T) {
	s := newSite(t, "gw", "")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write(strings.Replace(string(text), "listeners: [", "listeners: [{name: https, socket: tidehold-443, tls: on, auth: certificate, protocol: auto}, ", 1))
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := socket.Addr().String()
	file, err := socket.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" run --config "$1" --socket "$2"`, binary, s.config, s.socket)
	cmd.ExtraFiles = []*os.File{file}
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=tidehold-443")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	socket.Close()
	file.Close()
	gwtest.Eventually(t, "the gateway answers", func() bool {
		_, code := verb(t, "status", "--socket", s.socket)
		return code == 0
	})
	if out, _ := verb(t, "status", "--socket", s.socket, "-o", "json"); !strings.Contains(out, address) {
		t.Errorf("status does not tell %s: %s", address, out)
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("TLS on the socket: %v", err)
	}
	defer conn.Close()
	if name := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; name != "Tidehold gateway" {
		t.Errorf("served by %q", name)
	}
}
