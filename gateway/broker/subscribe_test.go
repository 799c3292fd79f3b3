package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/iot"
)

func TestSubscribe_LeadingWildcardNeverSeesReservedTopics(t *testing.T) {
	w := serve(t, nil, nil)
	w.Route(iot.Message{Topic: "$GW/health", Payload: []byte("kept"), Retain: true})
	w.Route(iot.Message{Topic: "plain", Payload: []byte("kept"), Retain: true})
	wild, named := w.client(4, "wild"), w.client(4, "named")
	wild.subscribe(0, "#", "+/health", "$share/g/#")
	named.subscribe(0, "$GW/#", "$aws/things/#")
	w.say("$aws/things/t/shadow/update/accepted", "{}", 0)
	named.receive("$GW/health", "kept")
	named.receive("$aws/things/t/shadow/update/accepted", "{}")
	wild.receive("plain", "kept")
	wild.silent(50 * time.Millisecond)
}

func TestSubscribe_MalformedFiltersAndLimitsAreRefusedOneByOne(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxSubscriptionsPerClient = 3 }, &gatekeeper{subscribe: func(f string) error {
		if f == "secret" {
			return iot.Errorf(iot.Forbidden, "no")
		}
		return nil
	}})
	filters := []packets.Subscription{
		{Filter: "a/#/b"}, {Filter: "a+"}, {Filter: "$share/g"}, {Filter: "$share/+/a"}, {Filter: "1/2/3/4/5/6/7/8/9"},
		{Filter: strings.Repeat("x", 257)}, {Filter: "secret"}, {Filter: "good", Qos: 1},
	}
	five := w.client(5, "five").subscribeWith(filters...)
	if want := []byte{0x8f, 0x8f, 0x8f, 0x8f, 0x8f, 0x8f, 0x87, 1}; !slices.Equal(five, want) {
		t.Errorf("MQTT 5: got %x, want %x", five, want)
	}
	four := w.client(4, "four").subscribeWith(filters...)
	if want := []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}; !slices.Equal(four, want) {
		t.Errorf("3.1.1: got %x, want %x", four, want)
	}
	many := w.client(5, "many")
	var nine []packets.Subscription
	for i := range 9 {
		nine = append(nine, packets.Subscription{Filter: name(i)})
	}
	if got := many.subscribeWith(nine...); got[0] != 0x97 || got[8] != 0x97 {
		t.Errorf("nine filters in one packet: %x", got)
	}
	if got := many.subscribeWith(nine[:4]...); !slices.Equal(got, []byte{0, 0, 0, 0x97}) {
		t.Errorf("four subscriptions where three are allowed: %x", got)
	}
	if got := many.subscribeWith(nine[0]); got[0] != 0 {
		t.Errorf("the same again takes no new place: %x", got)
	}
}

func TestSubscribe_TotalIsBounded(t *testing.T) {
	w := serve(t, func(c *Config) { c.MaxSubscriptions = 2 }, nil)
	got := w.client(5, "c").subscribeWith(packets.Subscription{Filter: "a"}, packets.Subscription{Filter: "b"}, packets.Subscription{Filter: "c"})
	if !slices.Equal(got, []byte{0, 0, 0x97}) {
		t.Errorf("got %x", got)
	}
}

func TestUnsubscribe_EndsDeliveryAndTellsWhatDidNotExist(t *testing.T) {
	w := serve(t, nil, nil)
	c := w.client(5, "c")
	c.subscribe(0, "a", "$share/g/b")
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 5,
		Filters: packets.Subscriptions{{Filter: "a"}, {Filter: "never"}, {Filter: "$share/g/b"}}})
	if pk := c.want(packets.Unsuback); !slices.Equal(pk.ReasonCodes, []byte{0, 0x11, 0}) {
		t.Errorf("UNSUBACK %x", pk.ReasonCodes)
	}
	w.say("a", "x", 0)
	w.say("b", "x", 0)
	c.silent(30 * time.Millisecond)
	if n := w.index.len(); n != 0 {
		t.Errorf("%d subscriptions left", n)
	}
}

func TestSubscribe_OverlappingFiltersGiveOneMessage(t *testing.T) {
	w := serve(t, nil, nil)
	c := w.client(5, "c")
	c.subscribeWith(packets.Subscription{Filter: "a/b", Qos: 0, Identifier: 7})
	c.subscribeWith(packets.Subscription{Filter: "a/#", Qos: 2, Identifier: 9})
	c.subscribeWith(packets.Subscription{Filter: "+/b", Qos: 1})
	w.say("a/b", "x", 2)
	pk := c.receive("a/b", "x")
	ids := pk.Properties.SubscriptionIdentifier
	slices.Sort(ids)
	if pk.FixedHeader.Qos != 2 || !slices.Equal(ids, []int{7, 9}) {
		t.Errorf("QoS %d, identifiers %v", pk.FixedHeader.Qos, ids)
	}
	c.silent(30 * time.Millisecond)
}

// The same with more subscribers than twins are sought by comparison.
func TestSubscribe_OverlappingFiltersOfManyClients(t *testing.T) {
	w := serve(t, nil, nil)
	var all []*peer
	for i := range mergeByMap {
		p := w.client(4, name(i))
		p.subscribe(0, "a/b", "a/+")
		all = append(all, p)
	}
	w.say("a/b", "1", 0)
	w.say("a/b", "2", 0)
	for _, p := range all {
		p.receive("a/b", "1")
		p.receive("a/b", "2")
	}
}

func TestSubscribe_OptionsOfMQTT5(t *testing.T) {
	w := serve(t, nil, nil)
	c, other := w.client(5, "c"), w.client(5, "other")
	c.subscribeWith(packets.Subscription{Filter: "t", NoLocal: true, RetainAsPublished: true})
	c.publish("t", "own", 1, 1)
	other.send(retainedMessage("t", "other", 0, 0))
	if pk := c.receive("t", "other"); !pk.FixedHeader.Retain {
		t.Error("retain as published: the flag is gone")
	}
	plain := w.client(5, "plain")
	plain.subscribe(0, "t")
	if pk := plain.receive("t", "other"); !pk.FixedHeader.Retain {
		t.Error("a retained message must say so")
	}
	w.Route(iot.Message{Topic: "t", Payload: []byte("live"), Retain: true})
	if pk := plain.receive("t", "live"); pk.FixedHeader.Retain {
		t.Error("a live message must not say retained")
	}
	c.receive("t", "live")
	if got := c.subscribeWith(packets.Subscription{Filter: "t", RetainHandling: 2}); got[0] != 0 {
		t.Errorf("SUBACK %x", got)
	}
	c.subscribeWith(packets.Subscription{Filter: "t", RetainHandling: 1})
	c.silent(30 * time.Millisecond)
	c.subscribeWith(packets.Subscription{Filter: "t", RetainHandling: 0})
	c.receive("t", "live")
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1,
		Filters: packets.Subscriptions{{Filter: "$share/g/t", NoLocal: true}}})
	if pk := c.want(packets.Disconnect); pk.ReasonCode != 0x82 {
		t.Errorf("no local on a shared subscription: %#x", pk.ReasonCode)
	}
}

func TestShared_EachMessageGoesToOneMember(t *testing.T) {
	w := serve(t, nil, &gatekeeper{receive: func(id iot.ClientID, _ string) bool { return id != "barred" }})
	a, b, barred, alone := w.client(4, "a"), w.client(4, "b"), w.client(4, "barred"), w.client(4, "alone")
	for _, p := range []*peer{a, b, barred} {
		p.subscribe(1, "$share/g/t/+")
	}
	alone.subscribe(1, "$share/h/t/+", "t/1")
	for i := range 10 {
		w.say("t/1", name(i), 1)
	}
	got := 0
	for _, p := range []*peer{a, b} {
		for range 5 {
			pk := p.want(packets.Publish)
			p.send(ack(packets.Puback, pk.PacketID))
			got++
		}
		p.silent(20 * time.Millisecond)
	}
	barred.silent(20 * time.Millisecond)
	for range 20 { // its group, and its own subscription
		pk := alone.want(packets.Publish)
		alone.send(ack(packets.Puback, pk.PacketID))
	}
	alone.silent(20 * time.Millisecond)
}

func TestShared_AMemberThatIsAwayQueuesWhenNobodyIsThere(t *testing.T) {
	w := serve(t, nil, nil)
	p, _ := w.persistent(4, "p", nil)
	p.subscribe(1, "$share/g/t")
	w.away(p, "p")
	w.say("t", "x", 1)
	p, _ = w.persistent(4, "p", nil)
	p.receive("t", "x")
}

func TestRetained_LastValueUntilAnEmptyOne(t *testing.T) {
	w := serve(t, nil, nil)
	pub := w.client(4, "pub")
	for _, m := range []packets.Packet{
		retainedMessage("a/1", "old", 1, 1), retainedMessage("a/1", "new", 1, 2), retainedMessage("a/2", "gone", 1, 3),
		retainedMessage("a/2", "", 1, 4), retainedMessage("$aws/things/t/shadow/update", "{}", 1, 5),
	} {
		pub.send(m)
		pub.want(packets.Puback)
	}
	sub := w.client(4, "sub")
	sub.subscribe(1, "a/+", "$aws/things/#")
	if pk := sub.receive("a/1", "new"); pk.FixedHeader.Qos != 1 {
		t.Errorf("QoS %d", pk.FixedHeader.Qos)
	}
	sub.silent(30 * time.Millisecond)
	if m, ok := w.Retained("a/1"); !ok || string(m.Payload) != "new" {
		t.Errorf("Retained: %v %q", ok, m.Payload)
	}
	if all := w.RetainedAfter("", 10); len(all) != 1 {
		t.Errorf("RetainedAfter lists %d", len(all))
	}
}

func TestRetained_LimitsAreToldToMQTT5(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxRetained = 2 }, nil)
	sub, pub, old := w.client(4, "sub"), w.client(5, "pub"), w.client(4, "old")
	sub.subscribe(0, "#")
	for i := range 2 {
		pub.send(retainedMessage(name(i), "x", 1, 1))
		pub.want(packets.Puback)
		sub.receive(name(i), "x")
	}
	pub.send(retainedMessage("third", "x", 1, 1))
	if pk := pub.want(packets.Puback); pk.ReasonCode != 0x97 {
		t.Errorf("PUBACK %#x, want 0x97", pk.ReasonCode)
	}
	old.send(retainedMessage("fourth", "x", 1, 1)) // 3.1.1: delivered, not kept
	old.want(packets.Puback)
	sub.receive("fourth", "x")
	pub.send(retainedMessage(name(0), "y", 1, 1)) // a place it has already
	if pk := pub.want(packets.Puback); pk.ReasonCode != 0 {
		t.Errorf("replacing: PUBACK %#x", pk.ReasonCode)
	}
	if n, _ := w.retained.Size(); n != 2 {
		t.Errorf("%d retained, want 2", n)
	}
}

// The last message a subscriber sees is the one that is kept, however many
// publish at once.
func TestRetained_TheKeptValueIsTheLastOneSeen(t *testing.T) {
	w := serve(t, nil, nil)
	sub := w.client(4, "sub")
	sub.subscribe(0, "t")
	done := make(chan struct{})
	for g := range 4 {
		go func() {
			for i := range 200 {
				w.Route(iot.Message{Topic: "t", Payload: fmt.Appendf(nil, "%d-%d", g, i), Retain: true})
			}
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	last := ""
	for range 800 {
		last = string(sub.want(packets.Publish).Payload)
	}
	if kept, _ := w.Retained("t"); string(kept.Payload) != last {
		t.Errorf("kept %q, last seen %q", kept.Payload, last)
	}
}

func TestRoute_MessageLargerThanTheClientTakesIsSkipped(t *testing.T) {
	w := serve(t, nil, nil)
	c, _ := w.connect(5, "c", func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 100 })
	c.subscribe(1, "t")
	w.say("t", strings.Repeat("x", 200), 1)
	w.say("t", strings.Repeat("x", 200), 0)
	w.say("t", "small", 1)
	c.receive("t", "small")
}
