// Package farwire is a long way to a near broker: a relay on 127.0.0.1 that
// holds every byte back for half a round trip, in both directions, and counts
// the acknowledgements that come back; and what the scenario `uplink` sends over it.
//
// Order: bytes stay in order. Limits: queueBytes wait in each direction of a
// connection; beyond that its sender finds a full socket, as on a real line.
// Blocking: Listen does not block; Close waits for everything it began.
package farwire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

const (
	chunk      = 32 << 10
	queueBytes = 16 << 20
	dialMax    = 5 * time.Second
)

// Wire is a relay to one broker. It begins down. Make one with Listen.
type Wire struct {
	to    string
	delay time.Duration
	l     net.Listener
	up    atomic.Bool
	acked atomic.Int64

	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]bool
}

// Listen makes a wire of a round trip to HOST:PORT on a free port.
func Listen(to string, roundTrip time.Duration) (*Wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("wire to %s: %w", to, err)
	}
	w := &Wire{to: to, delay: roundTrip / 2, l: l, conns: make(map[net.Conn]bool)}
	w.running.Go(w.accept)
	return w, nil
}

// Address is where it listens, HOST:PORT.
func (w *Wire) Address() string { return w.l.Addr().String() }

// Up lets connections through from now on; before, they are closed at once.
func (w *Wire) Up() { w.up.Store(true) }

// Acked is how many PUBACK packets came back through it.
func (w *Wire) Acked() int64 { return w.acked.Load() }

// Close cuts every connection and waits for their end.
func (w *Wire) Close() error {
	err := w.l.Close()
	w.mu.Lock()
	w.closed = true
	for c := range w.conns {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.running.Wait()
	return err
}

func (w *Wire) accept() {
	for {
		near, err := w.l.Accept()
		if err != nil {
			return
		}
		if !w.up.Load() {
			_ = near.Close()
			continue
		}
		far, err := net.DialTimeout("tcp", w.to, dialMax)
		if err != nil {
			_ = near.Close()
			continue
		}
		if !w.keep(near, far) {
			return
		}
		seen, acks := io.Pipe()
		w.running.Go(func() { w.count(seen) })
		w.running.Go(func() { w.relay(near, far, nil) })
		w.running.Go(func() { w.relay(far, near, acks) })
	}
}

// keep notes connections for Close; false when that has come.
func (w *Wire) keep(pair ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range pair {
		if w.closed {
			_ = c.Close()
			continue
		}
		w.conns[c] = true
	}
	return !w.closed
}

// count reads what the broker said.
func (w *Wire) count(from *io.PipeReader) {
	for r := load.NewReader(from); ; {
		p, err := r.Next()
		if err != nil {
			_ = from.CloseWithError(err)
			return
		}
		if p.Type == load.Puback {
			w.acked.Add(1)
		}
	}
}

// late is what may leave at a time.
type late struct {
	at   time.Time
	data []byte
}

// relay hands on what comes from one side, late; at the end both sides end. What
// is handed on is shown to seen, nil is nobody.
func (w *Wire) relay(from, to net.Conn, seen *io.PipeWriter) {
	queue := make(chan late, queueBytes/chunk)
	var sending sync.WaitGroup
	sending.Go(func() { send(queue, from, to, seen) })
	for {
		data := make([]byte, chunk)
		n, err := from.Read(data)
		if n > 0 {
			queue <- late{time.Now().Add(w.delay), data[:n]}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	sending.Wait()
	_, _ = from.Close(), to.Close()
	w.mu.Lock()
	delete(w.conns, from)
	w.mu.Unlock()
}

// send empties the queue; when it can no more, its reader is ended too.
func send(queue <-chan late, from, to net.Conn, seen *io.PipeWriter) {
	var failed error
	for l := range queue {
		if failed != nil {
			continue
		}
		time.Sleep(time.Until(l.at))
		if _, failed = to.Write(l.data); failed == nil && seen != nil {
			_, failed = seen.Write(l.data)
		}
		if failed != nil {
			_ = from.Close()
		}
	}
	if seen != nil {
		_ = seen.CloseWithError(errors.Join(io.EOF, failed))
	}
}
