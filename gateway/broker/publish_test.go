package broker

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/iot"
)

func TestPublish_EveryQoSReachesASubscriber(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		sub, pub := w.client(version, "sub"), w.client(version, "pub")
		sub.subscribe(2, "a/+")
		for qos := byte(0); qos <= 2; qos++ {
			pub.publish("a/b", "x", qos, 10+uint16(qos))
			if got := sub.receive("a/b", "x"); got.FixedHeader.Qos != qos {
				t.Errorf("QoS %d arrived as %d", qos, got.FixedHeader.Qos)
			}
		}
	})
}

// holding keeps the done of every message to topic t.
func holding(w *world) chan func(error) {
	hold := make(chan func(error), 200)
	w.house.set(func(m iot.Message, done func(error)) bool {
		if m.Topic == "t" {
			hold <- done
		}
		return m.Topic == "t"
	})
	return hold
}

// The acknowledgement is withheld until the house says that the message is
// safe, and leaves in the order of the messages.
func TestPublish_AcknowledgedOnlyWhenSafeAndInOrder(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		hold := holding(w)
		pub := w.client(version, "pub")
		pub.send(message("t", "1", 1, 1))
		pub.send(message("t", "2", 2, 2))
		pub.send(message("t", "3", 1, 3))
		first, second, third := <-hold, <-hold, <-hold
		third(nil)
		second(nil)
		pub.silent(50 * time.Millisecond)
		first(nil)
		if pk := pub.want(packets.Puback); pk.PacketID != 1 {
			t.Errorf("first acknowledgement is for %d", pk.PacketID)
		}
		pub.want(packets.Pubrec)
		if pk := pub.want(packets.Puback); pk.PacketID != 3 {
			t.Errorf("third acknowledgement is for %d", pk.PacketID)
		}
	})
}

// MQTT 3.1.1 has no word for a refusal: no acknowledgement; MQTT 5 gets the
// reason code.
func TestPublish_RefusedByTheHouseIsNotAcknowledged(t *testing.T) {
	refuse := func(m iot.Message, done func(error)) bool {
		if m.Topic == "full" {
			done(iot.Errorf(iot.Unavailable, "disk is full"))
		}
		return m.Topic == "full"
	}
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		w.house.set(refuse)
		pub := w.client(version, "pub")
		pub.send(message("full", "1", 1, 1))
		if version == 5 {
			if pk := pub.want(packets.Puback); pk.ReasonCode != 0x97 {
				t.Errorf("reason %#x, want 0x97", pk.ReasonCode)
			}
		} else {
			pub.silent(50 * time.Millisecond)
		}
		pub.publish("ok", "2", 1, 2)
	})
}

type fullHouse struct{ room chan struct{} }

func (fullHouse) Error() string           { return "too much waits for the disk" }
func (f fullHouse) Room() <-chan struct{} { return f.room }

// A house that is full holds back who publishes, and nobody else; every
// acknowledgement comes when there is room, in order, and nothing comes twice.
func TestPublish_AFullHouseHoldsThePublisherBack(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		full := fullHouse{make(chan struct{})}
		var open atomic.Bool
		w.house.set(func(m iot.Message, done func(error)) bool {
			if m.Topic != "stored" || open.Load() {
				return false
			}
			done(fmt.Errorf("append: %w", full))
			return true
		})
		sub := w.client(version, "sub")
		sub.subscribe(1, "stored")
		pub := w.client(version, "pub")
		for i := range 4 {
			pub.send(message("stored", name(i), byte(1+i%2), uint16(i+1)))
		}
		eventually(t, "a publisher is held", func() bool { return w.count.Held.Load() == 1 })
		other := w.client(version, "other")
		other.publish("else", "x", 1, 1)
		other.publish("else", "x", 2, 2)
		pub.silent(20 * time.Millisecond)
		gone := w.client(version, "gone")
		gone.send(message("stored", "x", 1, 1))
		eventually(t, "two publishers are held", func() bool { return w.count.Held.Load() == 2 })
		w.client(version, "gone") // takes over from a held one at once
		eventually(t, "one publisher is held", func() bool { return w.count.Held.Load() == 1 })

		open.Store(true)
		close(full.room)
		for i, kind := range []byte{packets.Puback, packets.Pubrec, packets.Puback, packets.Pubrec} {
			if pk := pub.want(kind); int(pk.PacketID) != i+1 {
				t.Errorf("acknowledgement %d is for %d", i+1, pk.PacketID)
			}
		}
		for i := range 4 {
			sub.receive("stored", name(i))
		}
		if n := w.count.Held.Load(); n != 0 {
			t.Errorf("%d publishers are held after there was room", n)
		}
	})
}

func TestPublish_UnacknowledgedMessagesAreBounded(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxInflight = 3 }, nil)
	hold := holding(w)
	pub := w.client(4, "pub")
	for i := range 5 {
		pub.send(message("t", "x", 1, uint16(i+1)))
	}
	eventually(t, "three messages in the house", func() bool { return len(hold) == 3 })
	time.Sleep(50 * time.Millisecond)
	if len(hold) != 3 {
		t.Fatalf("%d messages taken in, want 3", len(hold))
	}
	(<-hold)(nil)
	pub.want(packets.Puback)
	eventually(t, "the fourth", func() bool { return len(hold) == 3 })
	other := w.client(4, "other")
	other.publish("else", "x", 1, 1) // only the slow publisher waits
}

// FIFO per publisher under load, with acknowledgements from another goroutine.
func TestPublish_OrderUnderLoad(t *testing.T) {
	const n = 50000
	w := serve(t, nil, nil)
	w.house.mu.Lock()
	w.house.accepted = make([]iot.Message, 1000) // remember no more
	w.house.mu.Unlock()
	commits := make(chan func(), 4096)
	var committer sync.WaitGroup
	committer.Go(func() {
		for f := range commits {
			f()
		}
	})
	t.Cleanup(func() { close(commits); committer.Wait() })
	w.house.set(func(m iot.Message, done func(error)) bool {
		if m.Topic == "load" {
			commits <- func() { done(nil); w.Route(m) }
		}
		return m.Topic == "load"
	})
	sub, pub := w.client(4, "sub"), w.client(4, "pub")
	sub.subscribe(1, "load")
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		var b bytes.Buffer
		for i := range n {
			b.Write(pub.bytes(message("load", name(i), 1, uint16(i%60000+1))))
			if b.Len() > 16<<10 || i == n-1 {
				_, _ = pub.nc.Write(b.Bytes())
				b.Reset()
			}
		}
	})
	sender.Go(func() {
		for i := range n {
			if pk, err := pub.next(10 * time.Second); err != nil || pk.PacketID != uint16(i%60000+1) {
				t.Errorf("acknowledgement %d is for %d, err %v", i, pk.PacketID, err)
				return
			}
		}
	})
	for i := range n {
		sub.receive("load", name(i))
	}
}

func TestPublish_ClientsCannotSpeakForTheHouse(t *testing.T) {
	forged := []string{
		"$aws/things/t/shadow/update/accepted", "$aws/things/t/shadow/update/delta", "$aws/things/t/shadow/name/n/get/rejected",
		"$aws/events/presence/connected/x", "$aws/things/bad name/shadow/update", "$aws/jobs/x", "$SYS/x", "$GW/health", "$other", "$aws",
	}
	for _, lenient := range []bool{false, true} {
		w := serve(t, func(c *Config) {
			if lenient {
				c.OnDenied = "lenient"
			}
		}, nil)
		for _, topic := range forged {
			pub := w.client(4, "forger")
			pub.send(message(topic, "x", 1, 1))
			if lenient {
				pub.want(packets.Puback)
			} else {
				pub.closed()
			}
			for _, m := range w.house.topics(topic) {
				if m.Topic == topic {
					t.Errorf("%q was accepted", topic)
				}
			}
		}
		pub := w.client(4, "honest")
		pub.publish("$aws/things/t/shadow/update", "{}", 1, 1)
		pub.publish("$aws/rules/r/a", "{}", 1, 2)
	}
}

// The table of security.md 1.6.
func TestPublish_Denied(t *testing.T) {
	auth := &gatekeeper{publish: func(name string) error {
		if name == "secret" {
			return iot.Errorf(iot.Forbidden, "no")
		}
		return nil
	}}
	aws := serve(t, nil, auth)
	p := aws.client(5, "a")
	p.send(message("secret", "x", 1, 9))
	if pk := p.want(packets.Puback); pk.ReasonCode != 0x87 {
		t.Errorf("PUBACK %#x, want 0x87", pk.ReasonCode)
	}
	if pk := p.want(packets.Disconnect); pk.ReasonCode != 0x87 {
		t.Errorf("DISCONNECT %#x, want 0x87", pk.ReasonCode)
	}
	p.closed()
	p = aws.client(4, "a")
	p.send(message("secret", "x", 0, 0))
	p.closed() // without a DISCONNECT, which 3.1.1 servers do not send

	lenient := serve(t, func(c *Config) { c.OnDenied = "lenient" }, auth)
	p = lenient.client(5, "a")
	p.send(message("secret", "x", 1, 9))
	if pk := p.want(packets.Puback); pk.ReasonCode != 0x87 {
		t.Errorf("lenient PUBACK %#x, want 0x87", pk.ReasonCode)
	}
	p.publish("open", "x", 1, 10)
	p = lenient.client(4, "b")
	p.send(message("secret", "x", 1, 9))
	p.want(packets.Puback)
	if got := lenient.house.topics("secret"); len(got) > 0 {
		t.Error("a denied message was accepted")
	}
}

func TestPublish_OverTheLimitsIsRefused(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxQoS = 1; c.Limits.MaxPayload = 1000 }, nil)
	for what, c := range map[string]struct {
		pk   packets.Packet
		code byte
	}{
		"payload": {message("t", strings.Repeat("x", 1001), 0, 0), 0x95},
		"packet":  {message("t", strings.Repeat("x", 20000), 0, 0), 0x95},
		"QoS":     {message("t", "x", 2, 1), 0x9b},
		"levels":  {message("1/2/3/4/5/6/7/8/9", "x", 0, 0), 0x90},
		"bytes":   {message(strings.Repeat("x", 257), "x", 0, 0), 0x90},
		"wild":    {message("a/+", "x", 0, 0), 0x90},
	} {
		p := w.client(5, "c")
		p.send(c.pk)
		if pk := p.want(packets.Disconnect); pk.ReasonCode != c.code {
			t.Errorf("%s: DISCONNECT %#x, want %#x", what, pk.ReasonCode, c.code)
		}
	}
	p := w.client(5, "c") // the prefix of Basic Ingest does not count
	p.publish("$aws/rules/"+strings.Repeat("r", 100)+"/1/2/3/4/5/6/7/8", "x", 1, 1)
}

func TestPublish_RateSlowsOnlyThisPublisher(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.PublishRate = 50; c.Listeners[0].RateFree = false }, nil)
	pub := w.client(4, "pub")
	start := time.Now()
	for i := range 110 {
		pub.send(message("t", "x", 1, uint16(i+1)))
	}
	for range 110 {
		pub.want(packets.Puback)
	}
	if d := time.Since(start); d < 150*time.Millisecond {
		t.Errorf("110 messages at 50/s with a burst of 100 took %v", d)
	}
}

// A packet id of a client and one of ours are different things, whatever their
// number; SUBSCRIBE too may use any.
func TestPublish_PacketIDsOfTheTwoSidesDoNotClash(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		c := w.client(version, "c")
		c.subscribe(1, "in")
		w.Route(iot.Message{Topic: "in", Payload: []byte("1"), QoS: 1})
		first := c.want(packets.Publish)
		c.publish("out", "x", 1, first.PacketID)
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: first.PacketID,
			Filters: packets.Subscriptions{{Filter: "more", Qos: 1}}})
		if pk := c.want(packets.Suback); pk.ReasonCodes[0] != 1 {
			t.Errorf("SUBACK %#x", pk.ReasonCodes[0])
		}
		c.publish("out", "x", 2, first.PacketID)
		c.send(ack(packets.Puback, first.PacketID))
		eventually(t, "nothing in flight", func() bool { return w.count.Inflight.Load() == 0 })
	})
}

func TestPublish_QoS2IsDeliveredOnce(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		sub := w.client(version, "sub")
		sub.subscribe(2, "t")
		pub, _ := w.persistent(version, "pub", nil)
		again := message("t", "once", 2, 7)
		again.FixedHeader.Dup = true

		pub.send(message("t", "once", 2, 7))
		pub.want(packets.Pubrec)
		pub.send(again)
		pub.want(packets.Pubrec)
		_ = pub.nc.Close() // before PUBREL
		pub, greeting := w.persistent(version, "pub", nil)
		if !greeting.SessionPresent {
			t.Error("session is not present")
		}
		pub.send(again)
		pub.want(packets.Pubrec)
		pub.send(ack(packets.Pubrel, 7))
		pub.want(packets.Pubcomp)
		pub.send(ack(packets.Pubrel, 7)) // the PUBCOMP was lost
		if pk := pub.want(packets.Pubcomp); version == 5 && pk.ReasonCode != 0x92 {
			t.Errorf("PUBCOMP of an unknown id: %#x, want 0x92", pk.ReasonCode)
		}
		sub.receive("t", "once")
		pub.publish("t", "twice", 2, 7) // the id is free again
		sub.receive("t", "twice")
	})
}

// The house has the first copy when the client comes back and repeats it: one
// delivery, and the answer goes to the new connection.
func TestPublish_QoS2RepeatedWhileTheFirstIsStillBeingStored(t *testing.T) {
	w := serve(t, nil, nil)
	hold := holding(w)
	pub, _ := w.persistent(4, "pub", nil)
	pub.send(message("t", "x", 2, 7))
	done := <-hold
	_ = pub.nc.Close()
	pub, _ = w.persistent(4, "pub", nil)
	again := message("t", "x", 2, 7)
	again.FixedHeader.Dup = true
	pub.send(again)
	pub.silent(50 * time.Millisecond)
	done(nil)
	pub.want(packets.Pubrec)
	if len(hold) != 0 {
		t.Error("delivered twice")
	}
}

func TestPublish_TopicAliasIsResolvedBeforeAnythingIsDecided(t *testing.T) {
	w := serve(t, nil, &gatekeeper{publish: func(name string) error {
		if name != "long/topic" {
			return iot.Errorf(iot.Forbidden, "asked about %q", name)
		}
		return nil
	}})
	sub, pub := w.client(5, "sub"), w.client(5, "pub")
	sub.subscribe(0, "#")
	pk := message("long/topic", "1", 0, 0)
	pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 3, true
	pub.send(pk)
	pk.TopicName, pk.Payload = "", []byte("2")
	pub.send(pk)
	sub.receive("long/topic", "1")
	sub.receive("long/topic", "2")
	pk.Properties.TopicAlias = 999
	pub.send(pk)
	if pk := pub.want(packets.Disconnect); pk.ReasonCode != 0x94 {
		t.Errorf("DISCONNECT %#x, want 0x94", pk.ReasonCode)
	}
}

func TestPublish_PropertiesTravelUnchanged(t *testing.T) {
	w := serve(t, nil, nil)
	sub, pub, old := w.client(5, "sub"), w.client(5, "pub"), w.client(4, "old")
	old.subscribe(1, "t")
	sub.subscribe(1, "t")
	pk := message("t", "x", 1, 1)
	pk.Properties = packets.Properties{
		ContentType: "text/plain", ResponseTopic: "answer", CorrelationData: []byte{1, 2}, PayloadFormat: 1, PayloadFormatFlag: true,
		MessageExpiryInterval: 100, User: []packets.UserProperty{{Key: "a", Val: "1"}, {Key: "a", Val: "2"}},
	}
	pub.send(pk)
	pub.want(packets.Puback)
	got := sub.receive("t", "x").Properties
	if got.ContentType != "text/plain" || got.ResponseTopic != "answer" || !bytes.Equal(got.CorrelationData, []byte{1, 2}) ||
		!got.PayloadFormatFlag || got.PayloadFormat != 1 || got.MessageExpiryInterval != 100 ||
		len(got.User) != 2 || got.User[1].Val != "2" {
		t.Errorf("got %+v", got)
	}
	old.receive("t", "x")
}

func TestPublish_BrokenPacketsEndTheConnectionAndNothingElse(t *testing.T) {
	w := serve(t, nil, nil)
	for what, raw := range map[string][]byte{
		"QoS 3":                      {0x36, 5, 0, 1, 't', 0, 1},
		"topic longer than packet":   {0x30, 3, 0, 9, 't'},
		"packet id 0":                {0x32, 5, 0, 1, 't', 0, 0},
		"no packet id":               {0x32, 3, 0, 1, 't'},
		"topic not UTF-8":            {0x30, 4, 0, 1, 0xff, 0},
		"empty topic":                {0x30, 3, 0, 0, 0},
		"SUBSCRIBE without options":  {0x82, 6, 0, 1, 0, 0, 1, 't'},
		"SUBSCRIBE without filter":   {0x82, 3, 0, 1, 0},
		"SUBSCRIBE with wrong flags": {0x80, 6, 0, 1, 0, 0, 1, 't'},
		"five length bytes":          {0x30, 0x80, 0x80, 0x80, 0x80, 0x01},
		"CONNACK from a client":      {0x20, 2, 0, 0},
		"properties cut short":       {0x30, 5, 0, 1, 't', 9, 1},
		"second CONNECT":             {0x10, 0},
		"AUTH":                       {0xf0, 0},
	} {
		p := w.client(5, "c")
		_, _ = p.nc.Write(raw)
		if pk := p.want(packets.Disconnect); pk.ReasonCode != 0x81 && pk.ReasonCode != 0x82 {
			t.Errorf("%s: DISCONNECT %#x", what, pk.ReasonCode)
		}
		p.closed()
	}
}
