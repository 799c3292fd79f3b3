package board

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// controller is the GPIO controller of QEMU's virt machines: a PL061 with
// eight lines.
const controller = "/machine/unattached/device[6]"

// answerMost bounds one question to QEMU.
const answerMost = 10 * time.Second

// Lines are the GPIO lines of the board, seen and driven from outside through
// QEMU's qtest protocol.
type Lines struct {
	t       testing.TB
	conn    net.Conn
	replies chan string
	asking  sync.Mutex

	mu    sync.Mutex
	moves []string
}

// watchLines connects and begins to watch the outputs.
func watchLines(t testing.TB, c net.Conn) *Lines {
	t.Helper()
	l := &Lines{t: t, conn: c, replies: make(chan string, 16)}
	go l.read()
	l.do("irq_intercept_out " + controller)
	return l
}

func (l *Lines) read() {
	defer close(l.replies)
	for s := bufio.NewScanner(l.conn); s.Scan(); {
		move, ok := strings.CutPrefix(s.Text(), "IRQ ")
		if !ok {
			l.replies <- s.Text()
			continue
		}
		l.mu.Lock()
		l.moves = append(l.moves, move)
		l.mu.Unlock()
	}
}

func (l *Lines) do(command string) string {
	l.t.Helper()
	l.asking.Lock()
	defer l.asking.Unlock()
	if _, err := fmt.Fprintln(l.conn, command); err != nil {
		l.t.Fatalf("qtest %s: %v", command, err)
	}
	select {
	case r := <-l.replies:
		if !strings.HasPrefix(r, "OK") {
			l.t.Fatalf("qtest %s: %s", command, r)
		}
		return r
	case <-time.After(answerMost):
		l.t.Fatalf("qtest %s: no answer", command)
	}
	return ""
}

// Drive sets the level of an input line from outside.
func (l *Lines) Drive(line int, high bool) {
	l.t.Helper()
	level := 0
	if high {
		level = 1
	}
	l.do(fmt.Sprintf("set_irq_in %s unnamed-gpio-in %d %d", controller, line, level))
}

// pendingRegister is the PL061's masked interrupt status.
const pendingRegister = 0x09030000 + 0x418

// taken waits until the kernel has taken the interrupt of the last edge.
func (l *Lines) taken() {
	l.t.Helper()
	for end := time.Now().Add(answerMost); ; {
		if strings.HasSuffix(l.do(fmt.Sprintf("readl %#x", pendingRegister)), "0x0000000000000000") {
			return
		}
		if time.Now().After(end) {
			l.t.Fatal("board: an interrupt is pending and nobody takes it")
		}
	}
}

// Moves are the changes of outputs seen since the last question, as `raise 5`
// and `lower 5`.
func (l *Lines) Moves() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	moves := l.moves
	l.moves = nil
	return moves
}
