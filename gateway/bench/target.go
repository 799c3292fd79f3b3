package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// upMax and downMax bound the start and the orderly end of a target.
	upMax   = 20 * time.Second
	downMax = 20 * time.Second
	// tellMax bounds what is kept of a child's output.
	tellMax = 16 << 10
	// tick is the unit of the kernel's CPU times: USER_HZ is 100 on every Linux.
	tick = 10 * time.Millisecond
)

// target is a running broker.
type target struct {
	name, address string
	metrics       string // HOST:PORT of its figures; empty is none
	socket        string // of its command line; empty is none
	pid           int    // 0: not a process of its own
	said          *tail
	stopped       func(kill bool) error
}

// stop ends it in order and waits; kill by SIGKILL. Later calls do nothing.
func (t *target) stop(kill bool) error {
	if t.stopped == nil {
		return nil
	}
	f := t.stopped
	t.stopped = nil
	if err := f(kill); err != nil {
		return fmt.Errorf("stop %s: %w", t.name, err)
	}
	return nil
}

// trouble is what a child said, when something went wrong.
func (t *target) trouble() error {
	if t.said == nil || t.said.String() == "" {
		return nil
	}
	return fmt.Errorf("%s said: %s", t.name, t.said)
}

// cpu is the CPU time of the process so far.
func (t *target) cpu() (used time.Duration, known bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", t.pid))
	if t.pid == 0 || err != nil {
		return 0, false
	}
	// The name in brackets may hold anything; utime and stime are the 12th and
	// 13th field after it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err1 == nil && err2 == nil
}

// memory is the resident memory of the process in bytes.
func (t *target) memory() (size int64, known bool) {
	n, known := t.proc("status", "VmRSS:")
	return n << 10, known
}

// written is what the process has made the kernel write, in bytes.
func (t *target) written() (size int64, known bool) { return t.proc("io", "write_bytes:") }

// proc reads one figure of the process.
func (t *target) proc(file, key string) (int64, bool) {
	if t.pid == 0 {
		return 0, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", t.pid, file))
	if err != nil {
		return 0, false
	}
	return figureAfter(string(text), key)
}

// figure reads one of the target's own metrics.
func (t *target) figure(name string) (float64, bool) {
	if t.metrics == "" {
		return 0, false
	}
	answer, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + t.metrics + "/metrics")
	if err != nil {
		return 0, false
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return v, err == nil
		}
	}
	return 0, false
}

func figureAfter(text, key string) (int64, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key)
		if fields := strings.Fields(rest); ok && len(fields) > 0 {
			n, err := strconv.ParseInt(fields[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// meter is the CPU time between two calls.
type meter struct {
	t     *target
	from  time.Duration
	used  time.Duration
	known bool
}

func (m *meter) begin() { m.from, _ = m.t.cpu() }
func (m *meter) end() {
	var now time.Duration
	now, m.known = m.t.cpu()
	m.used = now - m.from
}

// tail keeps the end of what a child said.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (s *tail) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	if over := len(s.text) - tellMax; over > 0 {
		s.text = append(s.text[:0], s.text[over:]...)
	}
	return len(p), nil
}

func (s *tail) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(string(s.text))
}

// spawn starts a program that will listen on address.
func spawn(ctx context.Context, name, address, program string, args ...string) (*target, error) {
	t := &target{name: name, address: address, said: &tail{}}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = t.said, t.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	t.pid = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.stopped = func(kill bool) error { return end(cmd.Process, ended, kill) }
	if err := awaitListening(ctx, address, ended); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, t.trouble(), t.stop(true)))
	}
	return t, nil
}

// end stops a child and waits for it.
func end(p *os.Process, ended chan error, kill bool) error {
	signal := syscall.SIGTERM
	if kill {
		signal = syscall.SIGKILL
	}
	_ = p.Signal(signal)
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if kill || errors.As(err, &exit) && !exit.Exited() {
			return nil // by the signal
		}
		return err
	case <-time.After(downMax):
		_ = p.Kill()
		<-ended
		return fmt.Errorf("did not end within %v and was killed", downMax)
	}
}

// awaitListening waits until somebody accepts connections on address.
func awaitListening(ctx context.Context, address string, ended chan error) error {
	ctx, cancel := context.WithTimeout(ctx, upMax)
	defer cancel()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			return conn.Close()
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("ended at once: %v", err)
		case <-ctx.Done():
			return fmt.Errorf("does not listen on %s within %v", address, upMax)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// freeAddress is a port of 127.0.0.1 that was free a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
