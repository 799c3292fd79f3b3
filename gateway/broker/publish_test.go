package broker

import (
	"testing"

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

// The acknowledgement is withheld until the house says that the message is
// safe, and leaves in the order of the messages.
func TestPublish_AcknowledgedOnlyWhenSafeAndInOrder(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		w := serve(t, nil, nil)
		hold := make(chan func(error), 4)
		w.house.set(func(m iot.Message, done func(error)) bool {
			if m.Topic == "t" {
				hold <- done
			}
			return m.Topic == "t"
		})
		pub := w.client(version, "pub")
		pub.send(message("t", "1", 1, 1))
		pub.send(message("t", "2", 2, 2))
		pub.send(message("t", "3", 1, 3))
		first, second, third := <-hold, <-hold, <-hold
		third(nil)
		second(nil)
		pub.silent(50e6)
		first(nil)
		if pk := pub.want(4); pk.PacketID != 1 {
			t.Errorf("first acknowledgement is for %d", pk.PacketID)
		}
		pub.want(5)
		if pk := pub.want(4); pk.PacketID != 3 {
			t.Errorf("third acknowledgement is for %d", pk.PacketID)
		}
	})
}
