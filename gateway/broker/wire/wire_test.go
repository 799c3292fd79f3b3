package wire

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/ban"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// pair is a Conn over TCP and its peer.
func pair(t *testing.T, opt Options) (*Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if opt.Writer == nil {
		opt.Writer = &sync.WaitGroup{}
	}
	if opt.Budget == nil {
		opt.Budget = NewBudget(0)
	}
	if opt.Room == nil {
		opt.Room = func() {}
	}
	if opt.Idle == nil {
		opt.Idle = func(int) {}
	}
	c := NewConn(ours, opt)
	t.Cleanup(func() {
		_ = peer.Close()
		c.Close()
		opt.Writer.Wait()
		if used := opt.Budget.Used(); used != 0 {
			t.Errorf("%d bytes of the budget were not given back", used)
		}
	})
	return c, peer
}

func TestConn_PacketsArriveInOrderAndWhole(t *testing.T) {
	c, peer := pair(t, Options{Limit: 1 << 20})
	var want bytes.Buffer
	for i := range 1000 {
		p := bytes.Repeat([]byte{byte(i)}, i)
		want.Write(p)
		if !c.Send(p, May) {
			t.Fatalf("packet %d was refused", i)
		}
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the stream differs, err %v", err)
	}
}

// stuff fills the socket and the buffer of c with a class until it is refused.
func stuff(t *testing.T, c *Conn, class Class) (sent int) {
	t.Helper()
	packet := make([]byte, 32<<10)
	for refused := 0; refused < 3; {
		if c.Send(packet, class) {
			sent++
			refused = 0
		} else {
			refused++
			time.Sleep(20 * time.Millisecond) // the writer may still fill the socket
		}
		if sent > 10000 {
			t.Fatal("no limit")
		}
	}
	return sent
}

func TestConn_AboveTheLimitDropsMayButAnswersStillGo(t *testing.T) {
	c, peer := pair(t, Options{Limit: 256 << 10})
	sent := stuff(t, c, May)
	if !c.Send([]byte{0xd0, 0}, Must) {
		t.Fatal("an answer found no place")
	}
	got, err := io.ReadAll(io.LimitReader(peer, int64(sent*32<<10+2)))
	if err != nil || len(got) != sent*32<<10+2 || !bytes.HasSuffix(got, []byte{0xd0, 0}) {
		t.Errorf("got %d bytes, err %v", len(got), err)
	}
}

func TestConn_PeerThatReadsNoAnswersIsClosed(t *testing.T) {
	c, _ := pair(t, Options{Limit: 256 << 10})
	stuff(t, c, May)
	packet := make([]byte, 32<<10)
	for range 4 {
		c.Send(packet, Must)
	}
	if !c.Closed() {
		t.Error("still open above the limit and a quarter")
	}
}

// What a session would send later stays with it, however much may be buffered.
func TestConn_DeliveriesAreNotEncodedFarAhead(t *testing.T) {
	budget := NewBudget(0)
	c, _ := pair(t, Options{Limit: 8 << 20, Budget: budget})
	stuff(t, c, Later)
	if used := budget.Used(); used == 0 || used > laterMax {
		t.Errorf("%d bytes are encoded, want up to %d", used, laterMax)
	}
	if !c.Send(make([]byte, 32<<10), May) {
		t.Error("QoS 0 does not find the room that is left")
	}
}

func TestConn_RoomIsToldOnceThereIsSpace(t *testing.T) {
	room := make(chan struct{}, 10)
	c, peer := pair(t, Options{Limit: 256 << 10, Room: func() { room <- struct{}{} }})
	stuff(t, c, Later)
	for len(room) > 0 {
		<-room // of the time before the socket was full
	}
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	select {
	case <-room:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody told")
	}
	if !c.Send([]byte("x"), Later) {
		t.Error("and there was no room")
	}
}

func TestConn_BudgetIsShared(t *testing.T) {
	budget := NewBudget(100 << 10)
	c, _ := pair(t, Options{Limit: 1 << 30, Budget: budget})
	stuff(t, c, May)
	if used := budget.Used(); used > 100<<10 {
		t.Errorf("%d bytes are held, budget is %d", used, 100<<10)
	}
}

func TestConn_CloseLetsTheLastPacketOut(t *testing.T) {
	c, peer := pair(t, Options{Limit: 1 << 20})
	_, _ = peer.Write(make([]byte, 64<<10)) // unread: a reset would follow a plain close
	c.Send([]byte("goodbye"), Must)
	c.Close()
	got, err := io.ReadAll(peer)
	if string(got) != "goodbye" || err != nil {
		t.Errorf("got %q, err %v", got, err)
	}
	if c.Send([]byte("x"), Must) || c.SetReadDeadline(time.Now()) == nil {
		t.Error("a closed Conn still works")
	}
}

// MQTT 5, 4.13.1: the reason of a DISCONNECT is for a client that is still busy
// with what came before it, and answers that.
func TestConn_CloseLetsABusyPeerReadTheLastPacket(t *testing.T) {
	c, peer := pair(t, Options{Limit: 1 << 20})
	c.Send([]byte("goodbye"), Must)
	c.Close()
	for range 5 {
		time.Sleep(4 * closeFlush / 5)
		if _, err := peer.Write([]byte("answer")); err != nil {
			t.Fatalf("an answer to an earlier packet: %v", err)
		}
	}
	got, err := io.ReadAll(peer)
	if string(got) != "goodbye" || err != nil {
		t.Errorf("got %q, err %v", got, err)
	}
}

// The one who reads must not be held up by that: a takeover waits for it.
func TestConn_CloseEndsTheReaderAtOnce(t *testing.T) {
	r, _ := reader(t, 100)
	ended := make(chan time.Time, 1)
	go func() {
		_, _, _ = r.Next(func(byte) bool { return true })
		ended <- time.Now()
	}()
	time.Sleep(closeFlush) // it reads
	start := time.Now()
	r.out.Close()
	if d := (<-ended).Sub(start); d >= closeLinger {
		t.Errorf("the reader ended after %v", d)
	}
}

func TestConn_CloseDoesNotWaitForAPeerThatReadsNothing(t *testing.T) {
	var writer sync.WaitGroup
	c, _ := pair(t, Options{Limit: 256 << 10, Writer: &writer})
	stuff(t, c, May)
	start := time.Now()
	c.Close()
	writer.Wait()
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v, want 50 ms", d)
	}
}

// The write deadline: a peer that takes nothing for 20 s is gone.
func TestConn_StuckPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer peer.Close()
		var writer sync.WaitGroup
		c := NewConn(ours, Options{Limit: 1 << 20, Budget: NewBudget(0), Writer: &writer, Room: func() {}, Idle: func(int) {}})
		start := time.Now()
		c.Send([]byte("x"), May)
		writer.Wait()
		if d := time.Since(start); d != writeTimeout || !c.Closed() {
			t.Errorf("given up after %v, closed %v", d, c.Closed())
		}
	})
}

func reader(t *testing.T, limit int) (*Reader, net.Conn) {
	c, peer := pair(t, Options{Limit: 1 << 20})
	r := NewReader(c.net, c, limit)
	return r, peer
}

func TestReader_PacketsOfAllSizes(t *testing.T) {
	r, peer := reader(t, 1<<20)
	sizes := []int{0, 1, 2, 127, 128, 2000, 2048, 2049, 16383, 16384, 40000, 300000, 5}
	go func() {
		for i, n := range sizes {
			b := []byte{0x30}
			for ; n >= 0x80; n >>= 7 {
				b = append(b, byte(n)|0x80)
			}
			b = append(b, byte(n))
			_, _ = peer.Write(append(b, bytes.Repeat([]byte{byte(i)}, sizes[i])...))
		}
		_, _ = peer.Write([]byte{0x30, 9, 1})
		_ = peer.Close()
	}()
	for i, n := range sizes {
		_, body, err := r.Next(func(byte) bool { return i%2 == 0 })
		if err != nil || len(body) != n || bytes.Count(body, []byte{byte(i)}) != n {
			t.Fatalf("packet %d of %d bytes: got %d, err %v", i, n, len(body), err)
		}
	}
	if _, _, err := r.Next(func(byte) bool { return true }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a packet: %v", err)
	}
}

func TestReader_TooLargeAndMalformedLengths(t *testing.T) {
	for what, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"256 MiB":     {[]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, ErrTooLarge},
		"one over":    {[]byte{0x30, 101}, ErrTooLarge},
		"five bytes":  {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0}, ErrMalformed},
		"end at once": {nil, io.EOF},
	} {
		r, peer := reader(t, 100)
		_, _ = peer.Write(c.raw)
		_ = peer.Close()
		if _, _, err := r.Next(func(byte) bool { return false }); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// from is a connection that claims an address.
type from struct {
	net.Conn
	addr   string
	closed bool
}

func (f *from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.addr)) }
func (f *from) Close() error         { f.closed = true; return nil }

func TestLobby_TheOldestMakesRoom(t *testing.T) {
	l := NewLobby(4, 2)
	a1, a2, a3 := &from{addr: "10.0.0.1:1"}, &from{addr: "10.0.0.1:2"}, &from{addr: "10.0.0.1:3"}
	local := []*from{{addr: "127.0.0.1:1"}, {addr: "127.0.0.1:2"}, {addr: "127.0.0.1:3"}}
	l.Enter(a1)
	g2 := l.Enter(a2)
	l.Enter(a3)
	if !a1.closed || a2.closed || a3.closed || l.Len() != 2 {
		t.Errorf("third of one address: closed %v %v %v, %d inside", a1.closed, a2.closed, a3.closed, l.Len())
	}
	g2.Leave()
	g2.Leave()
	for _, c := range local {
		l.Enter(c)
	}
	if local[0].closed || l.Len() != 4 {
		t.Errorf("loopback knows no limit per address; %d inside", l.Len())
	}
	l.Enter(&from{addr: "10.0.0.2:1"})
	if !a3.closed || l.Len() != 4 {
		t.Errorf("the oldest of all must go; %d inside", l.Len())
	}
	l.Close()
	if !local[2].closed {
		t.Error("Close left somebody")
	}
}

func TestGate_HandshakesAreLimitedPerAddressAndInTotal(t *testing.T) {
	g, now := newGate(), time.Unix(1000, 0)
	a := netip.MustParseAddr("10.0.0.1")
	passed := 0
	for range 100 {
		if g.Handshake(a, now) {
			passed++
		}
	}
	if passed != handshakeBurst {
		t.Errorf("%d at once of one address, want %d", passed, handshakeBurst)
	}
	if now = now.Add(time.Second); !g.Handshake(a, now) {
		t.Error("after a second there is room again")
	}
	passed = 0
	for i := range 200 {
		if g.Handshake(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), now) {
			passed++
		}
	}
	if passed > handshakesTotal {
		t.Errorf("%d at once in total, want %d", passed, handshakesTotal)
	}
	if !g.Handshake(netip.MustParseAddr("127.0.0.1"), now) {
		t.Error("loopback must pass")
	}
}

func TestGate_BansAreCountedAndAddressesForgotten(t *testing.T) {
	g, now := newGate(), time.Unix(1000, 0)
	a := netip.MustParseAddr("10.0.0.1")
	for range ban.FailuresMax {
		if g.Banned(a, now) {
			t.Fatal("banned too early")
		}
		g.Failed(a, now)
		g.Failed(netip.MustParseAddr("127.0.0.1"), now)
	}
	if !g.Banned(a, now) || g.Banned(a, now.Add(ban.Min)) || g.Banned(netip.MustParseAddr("127.0.0.1"), now) {
		t.Error("the address is banned for a minute, this host never")
	}
	for i := range 3 * addressesMax {
		g.Handshake(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), now)
	}
	if n := g.seen.Len(); n > addressesMax {
		t.Errorf("%d addresses remembered", n)
	}
	g.Handshake(a, now.Add(time.Minute))
	if n := g.seen.Len(); n != 1 {
		t.Errorf("%d addresses remembered after all had their time", n)
	}
}

func newGate() *Gate { return NewGate(metrics.New(), slog.New(slog.DiscardHandler)) }

func TestPacer_HoldsBackThenGivesUp(t *testing.T) {
	var p Pacer
	now := time.Unix(1000, 0)
	p = Pacer{Rate: 10, Bytes: 1000}
	for range 20 { // the burst
		if wait, _ := p.Take(now, 10); wait > 0 {
			t.Fatalf("waits %v inside the burst", wait)
		}
	}
	if wait, _ := p.Take(now, 10); wait != 100*time.Millisecond {
		t.Errorf("wait %v, want 100ms", wait)
	}
	over := false
	for start := now; !over && now.Sub(start) < 20*time.Second; {
		var wait time.Duration
		wait, over = p.Take(now, 10)
		now = now.Add(wait)
	}
	if !over {
		t.Error("20 s over the rate and still connected")
	}
	if wait, over := p.Take(now.Add(time.Minute), 10); wait > 0 || over {
		t.Error("a pause must clear the debt")
	}
	if wait, _ := p.Take(now.Add(time.Minute), 4000); wait <= 0 {
		t.Error("bytes are not limited")
	}
}

func TestConnectionsFor_MemoryOfTheBoard(t *testing.T) {
	for mib, want := range map[uint64]int{480: 500, 970: 2000, 3900: 10000} {
		if got := ConnectionsFor(mib << 20); got != want {
			t.Errorf("%d MiB: %d connections, want %d", mib, got, want)
		}
	}
	if MemoryBytes() == 0 {
		t.Error("the memory of this host is unknown")
	}
}

func TestParsePublish_RoundTrip(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for qos := byte(0); qos <= 2; qos++ {
			props := []byte(nil)
			if version == 5 {
				props = []byte{0}
			}
			payload := bytes.Repeat([]byte("p"), 200)
			total, remaining := PublishSize("a/b", qos, props, payload)
			b := AppendPublish(nil, 0x30|qos<<1, remaining, "a/b", 7, props, payload)
			if len(b) != total {
				t.Errorf("size says %d, %d written", total, len(b))
			}
			p, err := ParsePublish(b[3:], qos, version)
			if err != nil || string(p.Topic) != "a/b" || !bytes.Equal(p.Payload, payload) || qos > 0 && p.ID != 7 {
				t.Errorf("version %d QoS %d: %+v, %v", version, qos, p, err)
			}
		}
	}
}

// FuzzParsePublish: no panic, and what both we and the codec accept is the same.
func FuzzParsePublish(f *testing.F) {
	f.Add([]byte{0, 1, 't', 0, 7, 0, 'x'}, byte(1), byte(5))
	f.Add([]byte{0, 1, 't', 5, 8, 0, 2, 'r', 't', 'x'}, byte(0), byte(5))
	f.Add([]byte{0, 1, 't', 'x'}, byte(0), byte(4))
	f.Fuzz(func(t *testing.T, body []byte, qos, version byte) {
		qos, version = qos%3, 4+version%2
		ours, err := ParsePublish(body, qos, version)
		theirs := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos, Remaining: len(body)}}
		if Decode(theirs.PublishDecode, body) != nil || err != nil {
			return
		}
		if string(ours.Topic) != theirs.TopicName || !bytes.Equal(ours.Payload, theirs.Payload) || ours.ID != theirs.PacketID {
			t.Errorf("ours %+v, the codec's %q %x %d", ours, theirs.TopicName, theirs.Payload, theirs.PacketID)
		}
	})
}
