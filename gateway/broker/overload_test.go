package broker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The overload: so many publishers, each as fast as it may, and one subscriber
// that may hold half of overloadBytes, a thirtieth of what they send.
const (
	overloadPublishers = 50
	overloadEach       = 200
	overloadBytes      = 256 << 10
)

const bufferDrops = `tidehold_mqtt_messages_dropped_total{reason="buffers_full"}`

// overload runs it in virtual time; take says, after so many messages, how long
// the subscriber thinks before it acknowledges the last one, negative for ever.
func overload(t *testing.T, take func(n int) time.Duration) (b *bubble, got []string, took time.Duration) {
	b = newBubble(t, func(c *Config) { c.BufferedBytes, c.WriteBufferBytes = overloadBytes, 8<<10 })
	sub := b.connect("sub", nil)
	sub.subscribe(1, "load/+")
	var reading, publishing sync.WaitGroup
	reading.Go(func() {
		for len(got) < overloadPublishers*overloadEach {
			pk, err := sub.next(10 * time.Second)
			if err != nil || pk.FixedHeader.Type != packets.Publish {
				return
			}
			got = append(got, string(pk.Payload[:13]))
			pause := take(len(got))
			if pause < 0 {
				return
			}
			time.Sleep(pause)
			_, _ = sub.nc.Write(sub.bytes(ack1(pk)))
		}
	})
	start := time.Now()
	for i := range overloadPublishers {
		publishing.Go(func() { b.publishAll(i) })
	}
	publishing.Wait()
	took = time.Since(start)
	reading.Wait()
	_ = sub.nc.Close()
	return b, got, took
}

// publishAll sends everything of one publisher, pipelined, and wants all of it
// acknowledged.
func (b *bubble) publishAll(i int) {
	p := b.connect(fmt.Sprintf("pub%d", i), nil)
	defer func(nc net.Conn) { _ = nc.Close() }(p.nc)
	var acks sync.WaitGroup
	acks.Go(func() {
		for n := range overloadEach {
			if pk, err := p.next(time.Minute); err != nil || pk.FixedHeader.Type != packets.Puback {
				b.t.Errorf("publisher %d: acknowledgement %d: %v", i, n, err)
				return
			}
		}
	})
	payload := strings.Repeat("x", 256)
	for n := range overloadEach {
		p.send(message("load/"+name(i), name(i)+"/"+name(n)+payload, 1, uint16(n+1)))
	}
	acks.Wait()
}

// Publishers faster than their subscriber are held back to what it takes:
// nothing is lost, nothing comes twice or out of order (broker-storage.md 4).
func TestOverload_PublishersWaitForASubscriberThatIsSlower(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			b, got, _ := overload(t, func(int) time.Duration { return time.Duration(rnd.IntN(400)) * time.Microsecond })
			defer b.end()
			next := make(map[string]int)
			for _, m := range got {
				from, n, _ := strings.Cut(m, "/")
				if n != name(next[from]) {
					t.Fatalf("seed %d: publisher %s: got %s, want %s", seed, from, n, name(next[from]))
				}
				next[from]++
			}
			if lost := overloadPublishers*overloadEach - len(got); lost != 0 {
				t.Errorf("seed %d: %d of %d messages lost", seed, lost, overloadPublishers*overloadEach)
			}
			if dropped, held := b.figure(bufferDrops), b.figure(`tidehold_mqtt_publishes_held_total{reason="subscriber"}`); dropped != 0 || held == 0 {
				t.Errorf("seed %d: %d counted as dropped, %d publishes held back", seed, dropped, held)
			}
		})
	}
}

// One that stops taking costs its publishers a moment, once; what finds it full
// is dropped, and each is counted.
func TestOverload_NobodyWaitsForASubscriberThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const taken = 2000
		b, got, took := overload(t, func(n int) time.Duration {
			if n == taken {
				return -1
			}
			return 100 * time.Microsecond
		})
		defer b.end()
		if most := taken*100*time.Microsecond + time.Second; took > most {
			t.Errorf("the publishers were held for %v, want less than %v", took, most)
		}
		dropped := b.figure(bufferDrops)
		if left := overloadPublishers*overloadEach - taken - dropped; len(got) != taken || left <= 0 || left*256 > overloadBytes {
			t.Errorf("%d taken, %d dropped, %d left, want the rest of %d to be counted", len(got), dropped, left, overloadPublishers*overloadEach)
		}
	})
}

// Two that publish to each other as fast as they may are not held for ever: a
// client that is not read cannot acknowledge.
func TestOverload_TwoThatFloodEachOtherGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(c *Config) { c.BufferedBytes = overloadBytes })
		defer b.end()
		var both sync.WaitGroup
		for i, id := range []string{"a", "b"} {
			p := b.connect(id, nil)
			p.subscribe(1, "to/"+id)
			both.Go(func() { b.flood(p, "to/"+[]string{"b", "a"}[i]) })
		}
		start := time.Now()
		both.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// flood publishes without a pause and acknowledges what comes, until all of its
// own is acknowledged.
func (b *bubble) flood(p *peer, to string) {
	const total = 3000
	defer func(nc net.Conn) { _ = nc.Close() }(p.nc)
	out := make(chan []byte, 2*total)
	go func() {
		for packet := range out {
			if _, err := p.nc.Write(packet); err != nil {
				return
			}
		}
	}()
	defer close(out)
	payload := strings.Repeat("x", 256)
	for n := range total {
		out <- p.bytes(message(to, payload, 1, uint16(n+1)))
	}
	for acked := 0; acked < total; {
		pk, err := p.next(time.Minute)
		switch {
		case err != nil:
			b.t.Errorf("%s: after %d acknowledgements: %v", to, acked, err)
			return
		case pk.FixedHeader.Type == packets.Disconnect:
			b.t.Errorf("%s: DISCONNECT %#x %s", to, pk.ReasonCode, pk.Properties.ReasonString)
		case pk.FixedHeader.Type == packets.Puback:
			acked++
		case pk.FixedHeader.Type == packets.Publish:
			out <- p.bytes(ack1(pk))
		}
	}
}
