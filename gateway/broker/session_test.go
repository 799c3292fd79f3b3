package broker

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/iot"
)

func (w *world) say(topic, payload string, qos byte) {
	w.Route(iot.Message{Topic: topic, Payload: []byte(payload), QoS: qos})
}

// away disconnects without a word and waits until the broker knows.
func (w *world) away(p *peer, id iot.ClientID) {
	w.t.Helper()
	_ = p.nc.Close()
	eventually(w.t, "connection gone", func() bool { return w.sessions.connected(id) == nil })
}

func TestSession_MessagesWaitInOrderAndObeyReceiveMaximum(t *testing.T) {
	w := serve(t, nil, nil)
	sub, _ := w.persistent(5, "sub", nil)
	sub.subscribe(1, "t")
	w.away(sub, "sub")
	for i := range 200 {
		w.say("t", name(i), 1)
	}
	w.say("t", "QoS 0 does not wait", 0)
	sub, connack := w.persistent(5, "sub", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 10 })
	if !connack.SessionPresent {
		t.Fatal("no session")
	}
	var ids []uint16
	for i := range 10 {
		pk := sub.want(packets.Publish)
		if string(pk.Payload) != name(i) {
			t.Fatalf("message %d is %s", i, pk.Payload)
		}
		ids = append(ids, pk.PacketID)
	}
	sub.silent(50 * time.Millisecond)
	for _, id := range ids {
		sub.send(ack(packets.Puback, id))
	}
	for i := 10; i < 200; i++ {
		sub.receive("t", name(i))
	}
	sub.silent(20 * time.Millisecond)
	eventually(t, "all bytes given back", func() bool { return w.budget.Used() == 0 })
}

func TestSession_UnacknowledgedIsSentAgainFirstAndInOrder(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, func(c *Config) { c.Limits.MaxInflight = 3 }, nil)
		sub, _ := w.persistent(version, "sub", nil)
		sub.subscribe(2, "t")
		for i := range 5 {
			w.say("t", name(i), 1+byte(i%2))
		}
		first := sub.want(packets.Publish)
		second := sub.want(packets.Publish)
		sub.want(packets.Publish)
		sub.send(ack(packets.Pubrec, second.PacketID)) // QoS 2, half way
		sub.want(packets.Pubrel)
		w.away(sub, "sub")

		sub, _ = w.persistent(version, "sub", nil)
		again := sub.want(packets.Publish)
		if again.PacketID != first.PacketID || !again.FixedHeader.Dup || string(again.Payload) != name(0) {
			t.Errorf("first is %q id %d dup %v", again.Payload, again.PacketID, again.FixedHeader.Dup)
		}
		if pk := sub.want(packets.Pubrel); pk.PacketID != second.PacketID {
			t.Errorf("PUBREL %d, want %d", pk.PacketID, second.PacketID)
		}
		third := sub.want(packets.Publish)
		if string(third.Payload) != name(2) || !third.FixedHeader.Dup {
			t.Errorf("third is %q", third.Payload)
		}
		sub.send(ack(packets.Puback, first.PacketID))
		sub.send(ack(packets.Pubcomp, second.PacketID))
		sub.send(ack(packets.Puback, third.PacketID))
		fourth := sub.want(packets.Publish)
		fifth := sub.want(packets.Publish)
		if string(fourth.Payload) != name(3) || string(fifth.Payload) != name(4) {
			t.Errorf("then %q, %q", fourth.Payload, fifth.Payload)
		}
	})
}

func TestSession_QueueIsBoundedByItsPolicy(t *testing.T) {
	for _, oldest := range []bool{false, true} {
		w := serve(t, func(c *Config) { c.Queue = Queue{MaxMessages: 3, MaxBytes: 4 << 20, DropOldest: oldest} }, nil)
		sub, _ := w.persistent(4, "sub", nil)
		sub.subscribe(1, "t")
		w.away(sub, "sub")
		for i := range 5 {
			w.say("t", name(i), 1)
		}
		sub, _ = w.persistent(4, "sub", nil)
		first := 0
		if oldest {
			first = 2
		}
		for i := range 3 {
			sub.receive("t", name(first+i))
		}
		sub.silent(20 * time.Millisecond)
	}
}

func TestSession_MessagesExpireInTheQueue(t *testing.T) {
	w := serve(t, nil, nil)
	sub, _ := w.persistent(5, "sub", nil)
	sub.subscribe(1, "t")
	w.away(sub, "sub")
	w.Route(iot.Message{Topic: "t", Payload: []byte("short"), QoS: 1, Properties: &iot.Properties{MessageExpiry: 1}})
	w.Route(iot.Message{Topic: "t", Payload: []byte("long"), QoS: 1, Properties: &iot.Properties{MessageExpiry: 100}})
	time.Sleep(1100 * time.Millisecond)
	sub, _ = w.persistent(5, "sub", nil)
	if pk := sub.receive("t", "long"); pk.Properties.MessageExpiryInterval >= 100 || pk.Properties.MessageExpiryInterval < 95 {
		t.Errorf("expiry left is %d, want a little under 100", pk.Properties.MessageExpiryInterval)
	}
}

func TestSession_CleanStartForgetsEverything(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		sub, _ := w.persistent(version, "sub", nil)
		sub.subscribe(1, "t")
		w.away(sub, "sub")
		w.say("t", "x", 1)
		sub, connack := w.connect(version, "sub", nil)
		if connack.SessionPresent {
			t.Error("session present after a clean start")
		}
		w.say("t", "y", 1)
		sub.silent(20 * time.Millisecond)
		if n := w.index.len(); n != 0 {
			t.Errorf("%d subscriptions left", n)
		}
	})
}

func TestSession_EndsWithItsExpiry(t *testing.T) {
	w := serve(t, func(c *Config) { c.SessionExpiry = time.Second }, nil)
	sub, connack := w.persistent(5, "sub", nil)
	if got := connack.Properties.SessionExpiryInterval; got != 1 {
		t.Errorf("CONNACK says session expiry %d, want 1", got)
	}
	sub.subscribe(1, "t")
	w.away(sub, "sub")
	w.say("t", "x", 1)
	eventually(t, "session over", func() bool { return w.sessions.len() == 0 && w.index.len() == 0 })
	if w.budget.Used() != 0 || w.count.Queued.Load() != 0 {
		t.Error("its queue is still counted")
	}
}

// A session belongs to a client id and a principal: another principal never
// sees what was queued for the first.
func TestSession_AnotherPrincipalGetsAFreshOne(t *testing.T) {
	w := serve(t, nil, &gatekeeper{connect: func(c *Client, _ []byte) error {
		c.Principal = iot.Principal{Kind: iot.UserKind, ID: c.Username}
		return nil
	}})
	as := func(user string) func(*packets.Packet) {
		return func(pk *packets.Packet) { pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte(user) }
	}
	sub, _ := w.persistent(4, "sub", as("ann"))
	sub.subscribe(1, "t")
	w.away(sub, "sub")
	w.say("t", "for ann", 1)
	sub, connack := w.persistent(4, "sub", as("bob"))
	if connack.SessionPresent {
		t.Error("bob has ann's session")
	}
	sub.silent(20 * time.Millisecond)
}

func TestSession_ReceiveIsCheckedWhenItIsSent(t *testing.T) {
	var mu sync.Mutex
	allowed := true
	w := serve(t, nil, &gatekeeper{receive: func(iot.ClientID, string) bool { mu.Lock(); defer mu.Unlock(); return allowed }})
	sub, _ := w.persistent(4, "sub", nil)
	sub.subscribe(1, "t")
	w.say("t", "in flight", 1)
	sub.want(packets.Publish)
	w.away(sub, "sub")
	w.say("t", "queued", 1)
	mu.Lock()
	allowed = false
	mu.Unlock()
	sub, _ = w.persistent(4, "sub", nil)
	w.say("t", "now", 1)
	w.say("t", "now", 0)
	sub.silent(50 * time.Millisecond)
	eventually(t, "nothing held", func() bool { return w.budget.Used() == 0 })
}

func TestTakeover_TheNewConnectionWins(t *testing.T) {
	w := serve(t, nil, nil)
	old, _ := w.persistent(5, "c", nil)
	old.subscribe(1, "t")
	fresh, connack := w.persistent(5, "c", nil)
	if !connack.SessionPresent {
		t.Error("the session was not taken over")
	}
	if pk := old.want(packets.Disconnect); pk.ReasonCode != 0x8e {
		t.Errorf("old connection got %#x, want 0x8e", pk.ReasonCode)
	}
	w.say("t", "x", 1)
	fresh.receive("t", "x")
	last := ""
	for _, m := range w.house.topics("$aws/events/presence/disconnected/c") {
		last = string(m.Payload)
	}
	if !contains(last, `"disconnectReason":"DUPLICATE_CLIENTID"`) {
		t.Errorf("event: %s", last)
	}
	silent, _ := w.persistent(4, "c", nil) // and one of 3.1.1 hears nothing of a DISCONNECT
	_, _ = w.persistent(4, "c", nil)
	silent.closed()
}

// Many connections fight for one client id: one is left, and it works.
func TestTakeover_Storm(t *testing.T) {
	w := serve(t, nil, nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			p := w.dial(4)
			p.send(greeting(4, "same", nil))
			_, _ = p.next(5 * time.Second)
		})
	}
	all.Wait()
	last := w.client(4, "same")
	last.subscribe(1, "t")
	w.say("t", "x", 1)
	last.receive("t", "x")
	if n := len(w.Clients()); n != 1 {
		t.Errorf("%d clients connected, want 1", n)
	}
	eventually(t, "one counted", func() bool { return w.count.Connections.Load() == 1 })
}

// A subscriber that reads nothing holds up nobody, and loses QoS 0 only.
func TestSlow_StuckSubscriberHoldsUpNobody(t *testing.T) {
	const n = 20000
	w := serve(t, func(c *Config) { c.WriteBufferBytes = 64 << 10 }, nil)
	stuck, good, pub := w.client(4, "stuck"), w.client(4, "good"), w.client(4, "pub")
	stuck.subscribe(1, "t/#")
	good.subscribe(1, "t/#")
	payload := string(make([]byte, 1000))
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		for i := range n {
			if i%64 == 63 {
				time.Sleep(time.Millisecond / 4)
			}
			_, _ = pub.nc.Write(pub.bytes(message("t/"+name(i), payload, byte(i%2), uint16(i%60000+1))))
		}
	})
	sender.Go(func() {
		for range n / 2 {
			if _, err := pub.next(5 * time.Second); err != nil {
				t.Errorf("acknowledgements stop: %v", err)
				return
			}
		}
	})
	for range n / 2 {
		pk := good.want(packets.Publish)
		for pk.FixedHeader.Qos == 0 {
			pk = good.want(packets.Publish)
		}
		good.send(ack(packets.Puback, pk.PacketID))
	}
	if w.sessions.connected("stuck") == nil {
		t.Error("stuck was disconnected at once; it has 20 s")
	}
	if used := w.budget.Used(); used > 64<<20 {
		t.Errorf("%d bytes are buffered", used)
	}
}

// Subscribers that acknowledge nothing may fill what they leave for others:
// nobody else loses a message by them.
func TestSlow_StuckSessionsLeaveRoomForTheOthers(t *testing.T) {
	w := serve(t, func(c *Config) { c.BufferedBytes = 1 << 20; c.Limits.MaxInflight = 10 }, nil)
	for i := range 5 {
		w.client(4, "stuck"+strconv.Itoa(i)).subscribe(1, "t")
	}
	good := w.client(4, "good")
	good.subscribe(1, "t")
	payload := string(make([]byte, 1000))
	const n = 2000 // 2 MB for each of six, where 1 MiB is there for all
	for i := range n {
		w.say("t", name(i)+payload, 1)
		pk := good.want(packets.Publish)
		if string(pk.Payload[:6]) != name(i) {
			t.Fatalf("message %d is %s", i, pk.Payload[:6])
		}
		good.send(ack(packets.Puback, pk.PacketID))
	}
	if used := w.budget.Used(); used > 1<<20 || used < 1<<19 {
		t.Errorf("%d bytes are held, want most of 1 MiB and not more", used)
	}
}

// The queue of a client that reads but acknowledges nothing is not fed for ever.
// FL-072: what is in flight to a connected client cannot stay for ever, and the
// count of it comes back to zero.
func TestSlow_FL_072_ClientThatAcknowledgesNothingIsDisconnected(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxInflight = 2 }, nil)
	c := w.client(5, "c")
	c.subscribe(1, "t")
	for range 3 {
		w.say("t", "x", 1)
	}
	s := w.sessions.get("c")
	s.mu.Lock()
	s.heard = s.heard.Add(-ackPatience - time.Second)
	s.mu.Unlock()
	w.say("t", "x", 1)
	c.want(packets.Publish)
	c.want(packets.Publish)
	if pk := c.want(packets.Disconnect); pk.ReasonCode != 0x97 {
		t.Errorf("DISCONNECT %#x, want 0x97", pk.ReasonCode)
	}
	eventually(t, "nothing is in flight", func() bool { return w.count.Inflight.Load() == 0 && w.count.Queued.Load() == 0 })
}

// A QoS 1 message that finds the write buffer full is not lost: it goes when
// the client reads again.
func TestSlow_QueuedMessagesGoOnWhenTheClientReadsAgain(t *testing.T) {
	w := serve(t, func(c *Config) { c.WriteBufferBytes = 16 << 10; c.Limits.MaxInflight = 1000 }, nil)
	c := w.client(4, "c")
	c.subscribe(1, "t")
	payload := string(make([]byte, 60<<10))
	for i := range 300 {
		w.say("t", name(i)+payload, 1)
	}
	for i := range 300 {
		pk := c.want(packets.Publish)
		if string(pk.Payload[:6]) != name(i) {
			t.Fatalf("message %d is %s", i, pk.Payload[:6])
		}
	}
}

// FL-062: a session whose queue is full, by count or by bytes, connects, gets what
// it holds and goes on.
func TestSession_FL_062_AFullQueueNeverPreventsTheReturn(t *testing.T) {
	for what, q := range map[string]Queue{"count": {MaxMessages: 5}, "bytes": {MaxBytes: 5 * (1 + 6 + 128)}} {
		w := serve(t, func(c *Config) { c.Queue = q }, nil)
		sub, _ := w.persistent(4, "sub", nil)
		sub.subscribe(1, "t")
		w.away(sub, "sub")
		for i := range 50 {
			w.say("t", name(i), 1)
		}
		held := int(w.count.Queued.Load())
		if held == 0 || held == 50 {
			t.Fatalf("%s: %d of 50 are held: the queue was to be full", what, held)
		}
		sub, connack := w.persistent(4, "sub", nil)
		if !connack.SessionPresent {
			t.Fatalf("%s: no session", what)
		}
		for i := range held {
			sub.receive("t", name(i))
		}
		w.say("t", "new", 1)
		sub.receive("t", "new")
	}
}
