package gwtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program under test.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *safeBuffer
	done chan struct{}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Start runs a program until the test ends.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(name, args...), out: &safeBuffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.Kill)
	return p
}

// Output is everything the program has written.
func (p *Process) Output() string { return p.out.String() }

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the program by SIGKILL and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) { p.cmd.Process.Signal(s) }

// Wait waits for the program's end and gives its exit code.
func (p *Process) Wait(d time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		p.t.Fatalf("%s did not end within %v:\n%s", p.cmd.Path, d, p.Output())
		return -1
	}
}

// Eventually waits until f is true, looked at every 20 ms.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * wait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// Listening reports whether somebody accepts connections on HOST:PORT.
func Listening(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// FreePort is a port of 127.0.0.1 that was free a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Mosquitto is a real plain broker.
type Mosquitto struct {
	t       testing.TB
	config  string
	Address string
	process *Process
}

// StartMosquitto starts a persistent Mosquitto on a free port of 127.0.0.1.
// Without the program the test is skipped, with CI=true it fails.
func StartMosquitto(t testing.TB) *Mosquitto {
	t.Helper()
	if _, err := mosquittoPath(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, port := t.TempDir(), FreePort(t)
	m := &Mosquitto{t: t, config: filepath.Join(dir, "mosquitto.conf"), Address: fmt.Sprintf("127.0.0.1:%d", port)}
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\n"+
		"autosave_interval 0\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n", port, dir)
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Start()
	return m
}

func mosquittoPath() (string, error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("mosquitto is missing (Debian package mosquitto)")
}

// Start starts it, again after Kill.
func (m *Mosquitto) Start() {
	m.t.Helper()
	path, err := mosquittoPath()
	if err != nil {
		m.t.Fatal(err)
	}
	m.process = Start(m.t, path, "-c", m.config)
	Eventually(m.t, "mosquitto listens on "+m.Address, func() bool { return Listening(m.Address) })
}

// Save makes it write its database now: sessions and subscriptions of this
// moment outlive every kill. Messages need no saving as long as their
// subscriber is connected: they are in its socket before the PUBACK leaves.
func (m *Mosquitto) Save() {
	m.t.Helper()
	m.process.Signal(syscall.SIGUSR1)
	Eventually(m.t, "mosquitto has saved", func() bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(m.config), "mosquitto.db"))
		return err == nil
	})
}

// Kill ends it by SIGKILL.
func (m *Mosquitto) Kill() { m.process.Kill() }
