package broker

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/wire"
)

// FuzzConnection feeds arbitrary bytes after a valid CONNECT, and instead of
// it: no panic, no hang, nothing left behind.
func FuzzConnection(f *testing.F) {
	p := &peer{t: f, version: 5}
	var all []byte
	for _, pk := range []packets.Packet{
		message("a/b", "x", 0, 0), message("a/b", "x", 1, 1), message("a/b", "x", 2, 2), ack(packets.Pubrel, 2),
		{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 3, Filters: packets.Subscriptions{{Filter: "a/#", Qos: 2}, {Filter: "$share/g/a"}}},
		{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 4, Filters: packets.Subscriptions{{Filter: "a/#"}}},
		{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}, ack(packets.Puback, 1), ack(packets.Pubrec, 2), ack(packets.Pubcomp, 2), goodbye,
	} {
		b := p.bytes(pk)
		all = append(all, b...)
		f.Add(b, byte(5), true)
	}
	f.Add(all, byte(5), true)
	f.Add(p.bytes(greeting(5, "c", withWill(1))), byte(5), false)
	w := serve(f, nil, nil)
	f.Fuzz(func(t *testing.T, raw []byte, version byte, greet bool) {
		version = 4 + version%2
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		served := make(chan struct{})
		go func() {
			defer close(served)
			w.serve(w.listeners[0], wire.Accepted{Conn: ours})
		}()
		if greet {
			p := &peer{t: t, version: version}
			_, _ = theirs.Write(p.bytes(greeting(version, "fuzz", nil)))
		}
		_, _ = theirs.Write(raw)
		_ = theirs.Close()
		select {
		case <-served:
		case <-time.After(5 * time.Second):
			t.Fatal("the connection is still being served")
		}
	})
}
