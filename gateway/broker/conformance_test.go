package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/iot"
)

// What MQTT demands and no other file of this room proves; each test names the
// section of MQTT 5 (or of 3.1.1) that it is about.

func withAliases(n uint16) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum = n }
}

// 3.3.2.3.4: the first message names topic and alias, the next ones the alias
// alone, at every QoS.
func TestMQTT5_3_3_2_3_4_ServerUsesTopicAliases(t *testing.T) {
	w := serve(t, nil, nil)
	c, _ := w.connect(5, "c", withAliases(1))
	c.subscribe(2, "long/topic", "other/topic")
	for i, qos := range []byte{0, 1, 2} {
		w.say("long/topic", "x", qos)
		pk := c.want(packets.Publish)
		want := ""
		if i == 0 {
			want = "long/topic"
		}
		if pk.TopicName != want || pk.Properties.TopicAlias != 1 {
			t.Errorf("message %d: topic %q alias %d, want %q and 1", i, pk.TopicName, pk.Properties.TopicAlias, want)
		}
	}
	w.say("other/topic", "x", 0) // one alias was allowed, and it is given
	if pk := c.want(packets.Publish); pk.TopicName != "other/topic" || pk.Properties.TopicAliasFlag {
		t.Errorf("topic %q alias %d, want no alias", pk.TopicName, pk.Properties.TopicAlias)
	}
}

// 3.1.2.11.5: absent or 0 means that the server must not send any alias; nor
// does one outlive the connection.
func TestMQTT5_3_1_2_11_5_NoAliasesUnlessAsked(t *testing.T) {
	w := serve(t, nil, nil)
	c, _ := w.persistent(5, "c", withAliases(10))
	c.subscribe(1, "t/t")
	w.say("t/t", "x", 1)
	if pk := c.want(packets.Publish); pk.Properties.TopicAlias != 1 {
		t.Fatalf("alias %d, want 1", pk.Properties.TopicAlias)
	}
	w.away(c, "c")
	c, _ = w.persistent(5, "c", nil)
	if pk := c.want(packets.Publish); pk.TopicName != "t/t" || pk.Properties.TopicAliasFlag || !pk.FixedHeader.Dup {
		t.Errorf("sent again with topic %q, alias %d", pk.TopicName, pk.Properties.TopicAlias)
	}
}

// 3.1.2.11.4: a message that fits only without its alias goes without.
func TestMQTT5_3_1_2_11_4_AnAliasNeverCostsTheMessage(t *testing.T) {
	w := serve(t, nil, nil)
	c, _ := w.connect(5, "c", func(pk *packets.Packet) {
		pk.Properties.TopicAliasMaximum, pk.Properties.MaximumPacketSize = 1, 40
	})
	c.subscribe(0, "topic")
	w.say("topic", strings.Repeat("x", 40-2-2-5-1), 0)
	if pk := c.want(packets.Publish); pk.TopicName != "topic" || pk.Properties.TopicAliasFlag {
		t.Errorf("topic %q alias %d", pk.TopicName, pk.Properties.TopicAlias)
	}
}

// 3.2.2.3.3: one QoS 2 message more than our Receive Maximum ends the connection
// with 0x93; what is released makes room, and a repetition takes none.
func TestMQTT5_3_2_2_3_3_ReceiveMaximumOfTheServer(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxInflight = 3 }, nil)
	c := w.client(5, "c")
	for id := range uint16(3) {
		c.send(message("t", "x", 2, id+1))
		c.want(packets.Pubrec)
	}
	again := message("t", "x", 2, 3)
	again.FixedHeader.Dup = true
	c.send(again)
	c.want(packets.Pubrec)
	c.send(ack(packets.Pubrel, 1))
	c.want(packets.Pubcomp)
	c.send(message("t", "x", 2, 4))
	c.want(packets.Pubrec)
	c.send(message("t", "x", 2, 5))
	if pk := c.want(packets.Disconnect); pk.ReasonCode != 0x93 {
		t.Errorf("DISCONNECT %#x, want 0x93", pk.ReasonCode)
	}
}

// 4.9: the quota starts afresh on a new connection; exchanges of an earlier one,
// which the client may have forgotten, do not lock it out.
func TestMQTT5_4_9_TheQuotaIsOfTheConnection(t *testing.T) {
	w := serve(t, func(c *Config) { c.Limits.MaxInflight = 2 }, nil)
	for visit := range uint16(3) {
		c, _ := w.persistent(5, "c", nil)
		for i := range uint16(2) {
			c.send(message("t", "x", 2, 10*visit+i+1))
			c.want(packets.Pubrec)
		}
		w.away(c, "c")
	}
}

// 3.2.2.3.14: the keep alive of the server is told and holds; one below it is the
// client's own.
func TestMQTT5_3_2_2_3_14_ServerKeepAlive(t *testing.T) {
	w := serve(t, func(c *Config) { c.MaxKeepAlive = time.Minute }, nil)
	for asked, want := range map[uint16]string{120: "60 true", 60: "0 false", 10: "0 false", 0: "0 false"} {
		_, connack := w.connect(5, "c", func(pk *packets.Packet) { pk.Connect.Keepalive = asked })
		if got := fmt.Sprint(connack.Properties.ServerKeepAlive, connack.Properties.ServerKeepAliveFlag); got != want {
			t.Errorf("asked %d: got %s, want %s", asked, got, want)
		}
	}
}

// 3.9.3: a denied filter of MQTT 5 has 0x87, or 0x80 where the configuration says
// so; of 3.1.1 always 0x80.
func TestMQTT5_3_9_3_CodeOfADeniedFilter(t *testing.T) {
	for _, code := range []byte{0, 0x80, 0x87} {
		w := serve(t, func(c *Config) { c.SubackDenied = code }, &gatekeeper{subscribe: func(filter string) error {
			if filter == "no" {
				return iot.Errorf(iot.Forbidden, "no")
			}
			return nil
		}})
		want := max(code, 0x80)
		if code == 0 {
			want = 0x87
		}
		if got := w.client(5, "five").subscribeWith(packets.Subscription{Filter: "no"}, packets.Subscription{Filter: "yes"}); got[0] != want || got[1] != 0 {
			t.Errorf("configured %#x: %#x", code, got)
		}
		if got := w.client(4, "four").subscribeWith(packets.Subscription{Filter: "no"}); got[0] != 0x80 {
			t.Errorf("MQTT 3.1.1: %#x", got)
		}
	}
}

// 4.8.2: what a member of a shared subscription leaves unacknowledged at QoS 1 or
// was not sent yet goes to another when its session ends; QoS 2 that it may have
// does not (MQTT-4.8.2-5).
func TestMQTT5_4_8_2_WhatAMemberLeavesGoesToAnother(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		w := serve(t, nil, nil)
		gone, _ := w.connect(5, "gone", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 2 })
		gone.subscribe(qos, "$share/g/t")
		for i := range 4 {
			w.say("t", name(i), qos)
		}
		gone.want(packets.Publish)
		gone.want(packets.Publish)
		other, _ := w.connect(5, "other", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 })
		other.subscribe(qos, "$share/g/t")
		w.away(gone, "gone")
		first := 0
		if qos == 2 {
			first = 2
		}
		for i := first; i < 4; i++ {
			if pk := other.receive("t", name(i)); pk.FixedHeader.Dup {
				t.Errorf("QoS %d: message %d says that it was sent to this client before", qos, i)
			}
		}
		other.silent(20 * time.Millisecond)
		eventually(t, "all bytes given back", func() bool { return w.budget.Used() == 0 })
	}
}

// A member with a persistent session that is away gets its own when it returns
// (4.8.2: "MAY wait"); when its session ends instead, another does.
func TestMQTT5_4_8_2_AMemberThatReturnsGetsItsOwn(t *testing.T) {
	w := serve(t, nil, nil)
	c, _ := w.persistent(5, "c", nil)
	c.subscribe(1, "$share/g/t")
	w.say("t", "a", 1)
	c.want(packets.Publish)
	other := w.client(5, "other")
	other.subscribe(1, "$share/g/t")
	w.away(c, "c")
	other.silent(20 * time.Millisecond)
	c, _ = w.persistent(5, "c", nil)
	if pk := c.want(packets.Publish); string(pk.Payload) != "a" || !pk.FixedHeader.Dup {
		t.Errorf("got %q, dup %v", pk.Payload, pk.FixedHeader.Dup)
	}
	w.away(c, "c")
	w.client(5, "c") // a clean start ends the session
	other.receive("t", "a")
}

// 3.14.2.2.3 and 3.1.2.11.7: a DISCONNECT says why in words, unless the client
// asked for no problem information.
func TestMQTT5_3_1_2_11_7_ReasonStringsForWhoWantsThem(t *testing.T) {
	w := serve(t, nil, nil)
	for want, change := range map[bool]func(*packets.Packet){
		true:  nil,
		false: func(pk *packets.Packet) { pk.Properties.RequestProblemInfoFlag = true },
	} {
		c, _ := w.connect(5, "c", change)
		c.send(message("a/+", "x", 0, 0))
		if pk := c.want(packets.Disconnect); (pk.Properties.ReasonString != "") != want || pk.ReasonCode != 0x90 {
			t.Errorf("DISCONNECT %#x %q, reason wanted: %v", pk.ReasonCode, pk.Properties.ReasonString, want)
		}
	}
}

// 3.3.2.3.3 and 3.1.3.2.4: what is left of a message's life is what its receiver
// is told, and a will takes its own with it.
func TestMQTT5_3_3_2_3_3_TheRestOfItsLifeTravelsWithAMessage(t *testing.T) {
	w := serve(t, nil, nil)
	sub, _ := w.persistent(5, "sub", nil)
	sub.subscribe(1, "t", "will")
	w.away(sub, "sub")
	pub := w.client(5, "pub")
	pk := message("t", "short", 1, 1)
	pk.Properties.MessageExpiryInterval = 1
	pub.send(pk)
	pub.want(packets.Puback)
	pk.Payload, pk.PacketID, pk.Properties.MessageExpiryInterval = []byte("long"), 2, 100
	pub.send(pk)
	pub.want(packets.Puback)
	dying, _ := w.connect(5, "dying", func(pk *packets.Packet) {
		withWill(0)(pk)
		pk.Connect.WillProperties.MessageExpiryInterval = 100
		pk.Connect.WillProperties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
	})
	w.away(dying, "dying")
	time.Sleep(1100 * time.Millisecond)
	sub, _ = w.persistent(5, "sub", nil)
	for _, want := range []string{"long", "gone"} {
		pk := sub.want(packets.Publish)
		if left := pk.Properties.MessageExpiryInterval; string(pk.Payload) != want || left < 90 || left > 99 {
			t.Errorf("%s: %d s are left, got %q", want, left, pk.Payload)
		}
		if want == "gone" && len(pk.Properties.User) != 1 {
			t.Error("the will lost its user property")
		}
	}
}
