package main

import (
	"bufio"
	bits "encoding/binary"
	"encoding/json"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// witness stands between a gateway and its upstream, hands every byte on, and
// notes which messages the upstream acknowledged: what it did with them after
// that is its own affair.
type witness struct {
	t       testing.TB
	l       net.Listener
	to      string
	mu      sync.Mutex
	acked   map[string]bool // keys of arrivals
	running sync.WaitGroup
}

// stand listens until the test ends.
func stand(t testing.TB, to string) *witness {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{t: t, l: l, to: to, acked: make(map[string]bool)}
	w.running.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.running.Wait()
	})
	return w
}

func (w *witness) address() string { return w.l.Addr().String() }

// count is how many of the publishers' messages the upstream acknowledged.
func (w *witness) count(numbers map[string]map[int]bool) (n int) {
	if w == nil {
		return 0 // nobody stood between
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, all := range numbers {
		for number := range all {
			if w.acked[arrival{P: name, N: number}.key()] {
				n++
			}
		}
	}
	return n
}

func (w *witness) accept() {
	for {
		near, err := w.l.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", w.to, time.Second)
		if err != nil {
			near.Close()
			continue
		}
		var mu sync.Mutex
		open := make(map[uint16]string)
		w.running.Go(func() {
			pass(near, far, func(first byte, body []byte) {
				if first>>4 != 3 || first&6 == 0 || len(body) < 2 {
					return
				}
				if at := 2 + int(bits.BigEndian.Uint16(body)); len(body) >= at+2 {
					mu.Lock()
					open[bits.BigEndian.Uint16(body[at:])] = string(body[at+2:])
					mu.Unlock()
				}
			})
		})
		w.running.Go(func() {
			pass(far, near, func(first byte, body []byte) {
				if first>>4 != 4 || len(body) < 2 {
					return
				}
				mu.Lock()
				payload := open[bits.BigEndian.Uint16(body)]
				mu.Unlock()
				var a arrival
				if json.Unmarshal([]byte(payload), &a) != nil {
					return // none of the publishers'
				}
				w.mu.Lock()
				w.acked[a.key()] = true
				w.mu.Unlock()
			})
		})
	}
}

// pass hands packets on, each after it was looked at, until one side ends; then
// both do.
func pass(from, to net.Conn, look func(first byte, body []byte)) {
	defer from.Close()
	defer to.Close()
	r := bufio.NewReader(from)
	for {
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		size, err := bits.ReadUvarint(r) // MQTT's lengths are of this form
		if err != nil || size > 1<<20 {
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		look(first, body)
		head := bits.AppendUvarint([]byte{first}, size)
		if _, err := to.Write(append(head, body...)); err != nil {
			return
		}
	}
}
