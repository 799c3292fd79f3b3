package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// The tests of this package run the built program as its users do.

// binary is built once by TestMain.
var binary = filepath.Join(os.TempDir(), fmt.Sprintf("tidehold-test-%d", os.Getpid()))

func TestMain(m *testing.M) {
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.Remove(binary)
	os.Exit(code)
}

// verb runs one verb to its end and gives what it wrote and its exit code.
func verb(t testing.TB, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("tidehold %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// must runs a verb that has to succeed.
func must(t testing.TB, args ...string) string {
	t.Helper()
	out, code := verb(t, args...)
	if code != 0 {
		t.Fatalf("tidehold %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// ask runs a verb with -o json and decodes its answer.
func ask[T any](t testing.TB, args ...string) (answer T) {
	t.Helper()
	out := must(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("tidehold %v: %v in\n%s", args, err, out)
	}
	return answer
}

// status is the part of `tidehold status -o json` that tests look at.
type status struct {
	Gateway, State string
	Listeners      []struct{ Name, Address string }
	Components     map[string]struct{ State, Error string }
}

// spoolStats is `tidehold spool stats -o json` (contract section 3).
type spoolStats struct {
	State   string
	Uplinks []struct {
		Name                                                 string
		Allocated, Delivered, Pending, Lost, Folded, Skipped int64
	}
}

// site is a gateway with a configuration file and a folder of its own.
type site struct {
	t       testing.TB
	dir     string
	config  string
	socket  string
	port    int
	process *gwtest.Process
}

// at is HOST:PORT of the site's MQTT listener.
func (s *site) at() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// newSite writes a configuration: one loopback listener on a free port, no
// HTTP, and what the test adds.
func newSite(t testing.TB, id, more string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "th")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{t: t, dir: dir, port: gwtest.FreePort(t)}
	s.config, s.socket = filepath.Join(s.dir, "tidehold.yaml"), filepath.Join(s.dir, "ctl.sock")
	s.write(fmt.Sprintf(`version: 1
gateway: {id: %s}
storage: {dir: %s}
mqtt: {listeners: [{name: local, bind: "127.0.0.1:%d", auth: loopback}]}
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
%s`, id, filepath.Join(s.dir, "state"), s.port, more))
	return s
}

func (s *site) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start runs the gateway until it answers.
func (s *site) start() {
	s.t.Helper()
	s.process = gwtest.Start(s.t, binary, "run", "--config", s.config, "--socket", s.socket)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("log of the gateway:\n%s", tail(s.process.Output(), 4000))
		}
	})
	gwtest.Eventually(s.t, "the gateway answers", func() bool {
		_, code := verb(s.t, "status", "--socket", s.socket)
		return code == 0
	})
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// stop ends the gateway by SIGTERM, which must succeed.
func (s *site) stop() {
	s.t.Helper()
	s.process.Signal(syscall.SIGTERM)
	if code := s.process.Wait(15 * time.Second); code != 0 {
		s.t.Fatalf("exit %d after SIGTERM:\n%s", code, s.process.Output())
	}
}

// do runs a verb against the site.
func (s *site) do(args ...string) string { return must(s.t, append(args, "--socket", s.socket)...) }
