package function

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Limits of a process besides memory.
const (
	filesMax     = 256
	fileBytesMax = 64 << 20
	tailMax      = 2 << 10 // bytes of its complaints that are kept
)

// process is one child that answers line by line. It belongs to one call at a
// time.
type process struct {
	cmd    *exec.Cmd
	in     *os.File
	out    *os.File
	reader *bufio.Reader
	once   bool
	used   time.Time
	ended  chan struct{}
	said   *tail // on its standard error
	// spoiled is set when its pipes may hold leftovers of a call.
	spoiled bool
}

func newProcess(r *Runner, f Function, c Call) (*process, error) {
	p := &process{once: f.Once, used: time.Now(), ended: make(chan struct{}), said: new(tail)}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	p.in, p.out, p.reader = in, out, bufio.NewReaderSize(out, 64<<10)
	p.cmd = exec.Command(f.Command[0], f.Command[1:]...)
	p.cmd.Dir, p.cmd.Env = f.Dir, f.environment(c)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, p.said
	p.cmd.WaitDelay = time.Second // for grandchildren that hold the pipe of complaints
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = p.cmd.Start()
	childIn.Close()
	childOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("cannot start: %w", err)
	}
	r.alive.Add(1)
	go p.reap(r)
	if err := limit(p.cmd.Process.Pid, f.Memory); err != nil {
		p.kill()
		return nil, fmt.Errorf("cannot limit its process: %w", err)
	}
	return p, nil
}

// environment holds what a program needs and nothing of the daemon's.
func (f Function) environment(c Call) []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + f.Dir, "TIDEHOLD_FUNCTION=" + f.Name}
	if f.Once { // of a warm process they would be those of its first call
		env = append(env, "TIDEHOLD_RULE="+c.Rule, "TIDEHOLD_TOPIC="+c.Topic, "TIDEHOLD_TRACE_ID="+c.TraceID, "TIDEHOLD_CLIENT_ID="+c.ClientID)
	}
	for key, value := range f.Env {
		env = append(env, key+"="+value)
	}
	return env
}

// limit sets the child's limits from outside: it has got no event yet.
func limit(pid int, memory int64) error {
	for _, l := range []struct {
		which int
		max   uint64
	}{
		{unix.RLIMIT_DATA, uint64(memory)}, {unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, filesMax}, {unix.RLIMIT_FSIZE, fileBytesMax},
	} {
		if err := unix.Prlimit(pid, l.which, &unix.Rlimit{Cur: l.max, Max: l.max}, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func (p *process) reap(r *Runner) {
	defer r.alive.Done()
	err := p.cmd.Wait()
	close(p.ended)
	r.log.Debug("function ended", "function", p.cmd.Path, "err", err, "said", p.said.text())
}

// over reports whether the process cannot take another call.
func (p *process) over() bool { return p.spoiled || p.gone() }

// gone reports whether the process has ended by itself.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// kill ends the process and all it started; it does not wait for the end.
func (p *process) kill() {
	if !p.gone() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // gone already is fine
	}
	p.in.Close()
	p.out.Close()
}

// exchange sends a line and waits for the answer until ctx ends. A process
// that may not be used again is spoiled afterwards.
func (p *process) exchange(ctx context.Context, line []byte) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0) // wakes the calls below; a closed file is awake
		_, _ = p.in.SetDeadline(past), p.out.SetDeadline(past)
	})
	sent := make(chan error, 1)
	go func() { sent <- p.send(line) }()
	answer, err := p.read()
	if err == nil && len(sent) == 0 {
		_ = p.in.SetWriteDeadline(time.Now().Add(time.Second)) // it answers and does not listen
	}
	if err != nil {
		_ = p.in.SetWriteDeadline(time.Unix(1, 0))
	}
	if errSend := <-sent; errSend != nil || !stop() {
		p.spoiled = true
	}
	p.used = time.Now()
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return nil, p.why(err)
}

func (p *process) send(line []byte) error {
	_, err := p.in.Write(line)
	if p.once {
		p.in.Close()
	}
	return err
}

// why waits a moment for the end of a process that failed, to tell how.
func (p *process) why(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	end := "it closed its output without an answer"
	select {
	case <-p.ended:
		end = "it ended without an answer: " + p.cmd.ProcessState.String()
	case <-time.After(100 * time.Millisecond):
	}
	if said := p.said.text(); said != "" {
		end += ": " + said
	}
	return errors.New(end)
}

// read takes one line, or all until the end from a process that runs once.
func (p *process) read() ([]byte, error) {
	var answer []byte
	for {
		part, err := p.reader.ReadSlice('\n')
		answer = append(answer, part...)
		switch {
		case len(answer) > PayloadMax+1:
			return nil, iot.Errorf(iot.TooLarge, "it answered more than %d bytes", PayloadMax)
		case errors.Is(err, bufio.ErrBufferFull), err == nil && p.once:
			continue
		case errors.Is(err, io.EOF) && p.once:
			return answer, p.exit()
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(answer)) > 0:
			return answer, nil
		}
		return answer, err
	}
}

// exit waits for the end of a process that has closed its output.
func (p *process) exit() error {
	select {
	case <-p.ended:
	case <-time.After(time.Second):
		return errors.New("it closed its output and did not end")
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s", p.cmd.ProcessState, p.said.text())
	}
	return nil
}

// spokeTooMuch reports whether more than the answer came: the next answer
// could not be told from it.
func (p *process) spokeTooMuch() bool { return p.reader.Buffered() > 0 }

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	last []byte
}

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if extra := len(t.last) - tailMax; extra > 0 {
		t.last = append(t.last[:0], t.last[extra:]...)
	}
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
