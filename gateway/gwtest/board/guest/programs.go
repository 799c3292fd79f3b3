package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Request is what the test asks of the board: one of run, start, signal and
// write.
type Request struct {
	// Run runs a program to its end, at most a minute.
	Run []string `json:"run,omitempty"`
	// Start starts Run's arguments under this name and does not wait.
	Start string `json:"start,omitempty"`
	// Signal sends Number to the program of this name and waits for its end
	// when Wait says so, at most ten seconds.
	Signal string `json:"signal,omitempty"`
	Number int    `json:"number,omitempty"`
	Wait   bool   `json:"wait,omitempty"`
	// Write makes the file with Content.
	Write   string `json:"write,omitempty"`
	Content string `json:"content,omitempty"`
}

// Answer is what came of it.
type Answer struct {
	Output string `json:"output,omitempty"`
	Code   int    `json:"code"`
	Error  string `json:"error,omitempty"`
}

type program struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// programs are those that were started, by name.
type programs struct {
	mu   sync.Mutex
	list map[string]*program
}

func newPrograms() *programs { return &programs{list: map[string]*program{}} }

const (
	runMost  = time.Minute
	waitMost = 10 * time.Second
)

func (p *programs) do(q Request) Answer {
	switch {
	case q.Write != "":
		return failed(os.WriteFile(q.Write, []byte(q.Content), 0o644))
	case q.Signal != "":
		return p.signal(q)
	case q.Start != "" && len(q.Run) > 0:
		return p.start(q)
	case len(q.Run) > 0:
		return run(q.Run)
	}
	return Answer{Error: "nothing asked"}
}

func failed(err error) Answer {
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{}
}

func command(args []string) *exec.Cmd {
	c := exec.Command(args[0], args[1:]...)
	c.Env = []string{"PATH=/", "HOME=/tmp", "TMPDIR=/tmp"}
	return c
}

func run(args []string) Answer {
	c := command(args)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		return failed(err)
	}
	late := time.AfterFunc(runMost, func() { _ = c.Process.Kill() })
	defer late.Stop()
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return failed(err)
	}
	return Answer{Output: out.String(), Code: c.ProcessState.ExitCode()}
}

func (p *programs) start(q Request) Answer {
	c := command(q.Run)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return failed(err)
	}
	r := &program{cmd: c, done: make(chan struct{})}
	go func() {
		_ = c.Wait() // its state is read after done
		close(r.done)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list[q.Start] = r
	return Answer{}
}

func (p *programs) signal(q Request) Answer {
	p.mu.Lock()
	r := p.list[q.Signal]
	p.mu.Unlock()
	if r == nil {
		return Answer{Error: fmt.Sprintf("no program %q", q.Signal)}
	}
	if err := r.cmd.Process.Signal(syscall.Signal(q.Number)); err != nil {
		return failed(err)
	}
	if !q.Wait {
		return Answer{}
	}
	select {
	case <-r.done:
		return Answer{Code: r.cmd.ProcessState.ExitCode()}
	case <-time.After(waitMost):
		return Answer{Error: fmt.Sprintf("%q did not end in %s", q.Signal, waitMost)}
	}
}
