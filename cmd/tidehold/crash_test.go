package main

import (
	"bufio"
	bits "encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/store"
)

// bare is an MQTT client that keeps its own session over every connection, to
// the letter: what it has been told is not forgotten, what it has not is sent
// again. No library that is at hand does that at QoS 2.
type bare struct {
	nc net.Conn
	r  *bufio.Reader
}

func text(s string) []byte { return append(bits.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// dialBare sends a CONNECT and wants it accepted.
func dialBare(at string, connect []byte) (*bare, error) {
	nc, err := net.DialTimeout("tcp", at, 5*time.Second)
	if err != nil {
		return nil, err
	}
	b := &bare{nc, bufio.NewReader(nc)}
	b.send(0x10, connect)
	first, body, err := b.next()
	if err == nil && (first != 0x20 || body[1] != 0) {
		err = fmt.Errorf("CONNACK %x %x", first, body)
	}
	return b, err
}

// persistent is a CONNECT of MQTT 3.1.1 whose session stays.
func persistent(id string) []byte {
	return join(text("MQTT"), []byte{4, 0, 0, 60}, text(id))
}

func (b *bare) send(first byte, body []byte) {
	head := bits.AppendUvarint([]byte{first}, uint64(len(body))) // the same form as a remaining length
	_, _ = b.nc.Write(append(head, body...))                     // an error is seen at the next read
}

func (b *bare) next() (first byte, body []byte, err error) {
	_ = b.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if first, err = b.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := bits.ReadUvarint(b.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(b.r, body)
	return first, body, err
}

// speaker publishes numbers, odd ones at QoS 1 and even ones at QoS 2, each
// under an id of its own until it is acknowledged.
type speaker struct {
	last     int
	open     map[uint16]int  // number by id
	released map[uint16]bool // PUBREC came
	acked    []int
}

const (
	puback  = 0x40
	pubrec  = 0x50
	pubrel  = 0x62
	pubcomp = 0x70
)

func (s *speaker) publish(b *bare, id uint16, dup byte) {
	n := s.open[id]
	qos := byte(1 + (n+1)%2)
	b.send(0x30|dup|qos<<1, join(text("n/"+strconv.Itoa(int(qos))), bits.BigEndian.AppendUint16(nil, id), []byte(strconv.Itoa(n))))
}

// run takes up what is open and publishes on until the connection ends.
func (s *speaker) run(at string) {
	b, err := dialBare(at, persistent("speaker"))
	if err != nil {
		return
	}
	defer b.nc.Close()
	for id := range s.open {
		if s.released[id] {
			b.send(pubrel, bits.BigEndian.AppendUint16(nil, id))
		} else {
			s.publish(b, id, 0x08)
		}
	}
	for {
		for id := uint16(1); id <= 8; id++ {
			if _, busy := s.open[id]; !busy {
				s.last++
				s.open[id] = s.last
				s.publish(b, id, 0)
			}
		}
		first, body, err := b.next()
		if err != nil {
			return
		}
		id := bits.BigEndian.Uint16(body)
		if first == pubrec {
			s.released[id] = true
			b.send(pubrel, body[:2])
			continue
		}
		s.acked = append(s.acked, s.open[id])
		delete(s.open, id)
		delete(s.released, id)
	}
}

// hearer is a session that hears them; it counts QoS 2 once for each id.
type hearer struct {
	mu    sync.Mutex
	held  map[uint16]bool
	heard map[int]int
}

func (h *hearer) run(at string) {
	b, err := dialBare(at, persistent("hearer"))
	if err != nil {
		return
	}
	defer b.nc.Close()
	for {
		first, body, err := b.next()
		if err != nil {
			return
		}
		switch {
		case first == pubrel:
			delete(h.held, bits.BigEndian.Uint16(body))
			b.send(pubcomp, body[:2])
		case first>>4 == 3:
			h.take(b, first>>1&3, body[2+len("n/1"):])
		}
	}
}

func (h *hearer) take(b *bare, qos byte, rest []byte) {
	id := bits.BigEndian.Uint16(rest)
	n, _ := strconv.Atoi(string(rest[2:]))
	h.mu.Lock()
	if !h.held[id] {
		h.heard[n]++
	}
	h.mu.Unlock()
	if qos == 1 {
		b.send(puback, rest[:2])
		return
	}
	h.held[id] = true
	b.send(pubrec, rest[:2])
}

// missing lists what was acknowledged and not heard.
func (h *hearer) missing(acked []int) (all []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range acked {
		if h.heard[n] == 0 {
			all = append(all, n)
		}
	}
	return all
}

// intact checks every database of a gateway that was killed.
func (s *site) intact() {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "state", "*.db"))
	if err != nil || len(files) < 2 {
		s.t.Fatalf("databases: %v, %v", files, err)
	}
	for _, file := range files {
		db, err := store.OpenReadOnly(s.t.Context(), file)
		if err != nil {
			s.t.Fatalf("open %s: %v", file, err)
		}
		if err := db.Verify(s.t.Context()); err != nil {
			s.t.Errorf("after kill -9: %v", err)
		}
		_ = db.Close()
	}
}

// FL-060, FL-064: kill -9 at random points, while messages of QoS 1 and 2 are in
// every state. Nothing that was acknowledged is missing, QoS 2 comes exactly
// once, and the databases are intact each time.
func TestKill_FL_064_RandomPointsLoseNothingAndRepeatNoQoS2(t *testing.T) {
	gwtest.Slow(t, "starts the gateway twenty times")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, "gw", "")
	s.write(fmt.Sprintf(`version: 1
gateway: {id: gw}
storage: {dir: %s/state}
mqtt:
  listeners: [{name: local, bind: "127.0.0.1:%d", auth: loopback}]
  queue: {max_messages: 0, max_bytes: 0}
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
`, s.dir, s.port))
	s.start()
	b, err := dialBare(s.at(), persistent("hearer"))
	if err != nil {
		t.Fatal(err)
	}
	b.send(0x82, join([]byte{0, 1}, text("n/1"), []byte{1}, text("n/2"), []byte{2}))
	if first, body, err := b.next(); err != nil || first != 0x90 || body[2] != 1 || body[3] != 2 {
		t.Fatalf("SUBACK %x %x, %v", first, body, err)
	}
	_ = b.nc.Close()
	out := &speaker{open: make(map[uint16]int), released: make(map[uint16]bool)}
	in := &hearer{held: make(map[uint16]bool), heard: make(map[int]int)}
	for range gwtest.Rounds(20, 200) {
		var both sync.WaitGroup
		both.Go(func() { out.run(s.at()) })
		if random.IntN(4) > 0 { // else it is away
			both.Go(func() { in.run(s.at()) })
		}
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		s.process.Kill()
		both.Wait()
		s.intact()
		s.start()
	}
	go in.run(s.at())
	gwtest.Eventually(t, "everything acknowledged is heard", func() bool { return len(in.missing(out.acked)) == 0 })
	in.mu.Lock()
	defer in.mu.Unlock()
	for n, times := range in.heard {
		if n%2 == 0 && times > 1 {
			t.Errorf("message %d of QoS 2 came %d times", n, times)
		}
	}
	t.Logf("%d acknowledged, %d heard", len(out.acked), len(in.heard))
	if len(out.acked) < 100 {
		t.Errorf("only %d messages: the test proves little", len(out.acked))
	}
}

// A will that waits for its delay survives kill -9, and so does the session that
// waits for it.
func TestKill_ADelayedWillIsSentAfterTheRestart(t *testing.T) {
	s := newSite(t, "gw", "")
	s.start()
	sub, err := gwtest.Dial(t, s.at(), "sub", gwtest.ClientOptions{Persistent: true})
	if err != nil {
		t.Fatal(err)
	}
	sub.Subscribe("last/word", "$aws/events/presence/disconnected/c")
	c, err := dialBare(s.at(), join(text("MQTT"), []byte{5, 0x0c, 0, 60},
		[]byte{5, 0x11, 0, 0, 2, 0}, text("c"), // session expiry
		[]byte{5, 0x18, 0, 0, 0, 3}, text("last/word"), text("gone"))) // will delay
	if err != nil {
		t.Fatal(err)
	}
	_ = c.nc.Close()
	sub.Next("$aws/events/presence/disconnected/c")
	time.Sleep(1200 * time.Millisecond) // state of sessions is written within 1 s
	sub.Drop()
	s.process.Kill()
	s.start()
	back := gwtest.Connect(t, s.at(), "sub", gwtest.ClientOptions{Persistent: true})
	if m := back.Next("last/word"); string(m.Payload) != "gone" {
		t.Errorf("will %q", m.Payload)
	}
	s.stop()
}

// FL-063: QoS 1 through an outage of the receiver and of the gateway needs no
// setting: this is the smallest configuration.
func TestKill_FL_063_DefaultsKeepQoS1(t *testing.T) {
	s := newSite(t, "gw", "")
	s.start()
	sub, err := gwtest.Dial(t, s.at(), "sub", gwtest.ClientOptions{Persistent: true})
	if err != nil {
		t.Fatal(err)
	}
	sub.Subscribe("t")
	sub.Drop()
	s.process.Kill()
	s.start()
	const n = 200
	pub := gwtest.Connect(t, s.at(), "pub", gwtest.ClientOptions{})
	for i := range n {
		pub.Publish("t", strconv.Itoa(i), 1)
	}
	s.process.Kill()
	s.start()
	back := gwtest.Connect(t, s.at(), "sub", gwtest.ClientOptions{Persistent: true})
	for i := range n {
		if m := back.Next("t"); string(m.Payload) != strconv.Itoa(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
	}
	s.stop()
}
