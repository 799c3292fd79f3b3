package broker

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// BenchmarkRoute measures publish to delivery over loopback TCP with a closed
// loop of 64 messages. TIDEHOLD_AGAINST=HOST:PORT measures another broker.
func BenchmarkRoute(b *testing.B) {
	for _, shape := range []struct{ pubs, subs int }{{1, 1}, {50, 1}, {1, 50}} {
		for qos := byte(0); qos <= 2; qos++ {
			b.Run(fmt.Sprintf("%dto%d/qos%d", shape.pubs, shape.subs, qos), func(b *testing.B) {
				addr := os.Getenv("TIDEHOLD_AGAINST")
				if addr == "" {
					addr = serve(b, func(c *Config) { c.Limits = Limits{MaxQoS: 2, MaxInflight: 1000} }, nil).addr
				}
				load(b, addr, shape.pubs, shape.subs, qos)
			})
		}
	}
}

// BenchmarkDeliver routes one message into so many queues of sessions that are
// away, without a network.
func BenchmarkDeliver(b *testing.B) {
	for _, sessions := range []int{0, 1, 50} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			w := serve(b, func(c *Config) { c.Queue = Queue{MaxMessages: 100, DropOldest: true} }, nil)
			filter, err := wire.ParseFilter("dt/+/temperature")
			if err != nil {
				b.Fatal(err)
			}
			for i := range sessions {
				s := newSession(w.Broker, iot.ClientID(strconv.Itoa(i)), iot.Principal{})
				w.index.replace(filter, nil, &entry{session: s, opt: options{qos: 1}})
			}
			m := iot.Message{Topic: "dt/device/temperature", Payload: make([]byte, 256), QoS: 1}
			b.ReportAllocs()
			for b.Loop() {
				w.Route(m)
			}
		})
	}
}

const window = 64

// load sends b.N messages through pubs publishers and waits until every
// subscriber has all of them.
func load(b *testing.B, addr string, pubs, subs int, qos byte) {
	credit := make(chan struct{}, window*pubs)
	for range cap(credit) {
		credit <- struct{}{}
	}
	var receivers sync.WaitGroup
	var delivered atomic.Int64 // by all subscribers: the slowest must not fall far behind
	for i := range subs {
		nc := benchConnect(b, addr, "sub"+strconv.Itoa(i))
		defer nc.Close()
		benchSubscribe(b, nc, qos)
		receivers.Go(func() {
			benchReceive(b, nc, b.N/pubs*pubs, func() {
				if delivered.Add(1)%int64(subs) == 0 {
					credit <- struct{}{}
				}
			})
		})
	}
	payload := make([]byte, 256)
	b.ResetTimer()
	var senders sync.WaitGroup
	for i := range pubs {
		nc := benchConnect(b, addr, "pub"+strconv.Itoa(i))
		defer nc.Close()
		senders.Go(func() { benchSend(b, nc, b.N/pubs, qos, payload, credit) })
	}
	senders.Wait()
	receivers.Wait()
}

func benchConnect(b *testing.B, addr, id string) net.Conn {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	p := &peer{t: b, nc: nc, r: bufio.NewReader(nc), version: 4}
	p.send(greeting(4, id, nil))
	p.want(packets.Connack)
	_ = nc.SetDeadline(time.Time{})
	return nc
}

func benchSubscribe(b *testing.B, nc net.Conn, qos byte) {
	p := &peer{t: b, nc: nc, r: bufio.NewReader(nc), version: 4}
	p.subscribe(qos, "bench/#")
	_ = nc.SetDeadline(time.Time{})
}

// benchReceive reads n messages and does its part of their QoS.
func benchReceive(b *testing.B, nc net.Conn, n int, got func()) {
	r, w := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriterSize(nc, 64<<10)
	for done := 0; done < n; {
		first, body, err := benchRead(r)
		if err != nil {
			b.Errorf("receive: %v", err)
			return
		}
		switch first >> 4 {
		case packets.Publish:
			qos := first >> 1 & 3
			if qos > 0 {
				at := 2 + int(binary.BigEndian.Uint16(body))
				kind := byte(packets.Puback)
				if qos == 2 {
					kind = packets.Pubrec
				}
				_, _ = w.Write([]byte{kind << 4, 2, body[at], body[at+1]})
			}
			if qos < 2 {
				done++
				got()
			}
		case packets.Pubrel:
			_, _ = w.Write([]byte{packets.Pubcomp << 4, 2, body[0], body[1]})
			done++
			got()
		}
		if r.Buffered() == 0 {
			_ = w.Flush()
		}
	}
	_ = w.Flush()
}

// benchSend sends n messages, as many at once as there are credits.
func benchSend(b *testing.B, nc net.Conn, n int, qos byte, payload []byte, credit chan struct{}) {
	var mu sync.Mutex
	w := bufio.NewWriterSize(nc, 64<<10)
	free := make(chan struct{}, window)
	var acks sync.WaitGroup
	if qos > 0 {
		acks.Go(func() {
			r := bufio.NewReaderSize(nc, 16<<10)
			for done := 0; done < n; {
				first, body, err := benchRead(r)
				if err != nil {
					b.Errorf("acks: %v", err)
					return
				}
				mu.Lock()
				if first>>4 == packets.Pubrec {
					_, _ = w.Write([]byte{packets.Pubrel<<4 | 2, 2, body[0], body[1]})
				} else {
					done++
					<-free
				}
				if r.Buffered() == 0 {
					_ = w.Flush()
				}
				mu.Unlock()
			}
		})
	}
	topic := "bench/topic"
	for i := range n {
		select {
		case <-credit:
		default:
			mu.Lock()
			_ = w.Flush()
			mu.Unlock()
			<-credit
		}
		if qos > 0 {
			select {
			case free <- struct{}{}:
			default:
				mu.Lock()
				_ = w.Flush()
				mu.Unlock()
				free <- struct{}{}
			}
		}
		remaining := 2 + len(topic) + len(payload)
		if qos > 0 {
			remaining += 2
		}
		var space [512]byte
		pk := wire.AppendPublish(space[:0], 0x30|qos<<1, remaining, topic, uint16(i%65000+1), nil, payload)
		mu.Lock()
		_, _ = w.Write(pk)
		mu.Unlock()
	}
	mu.Lock()
	_ = w.Flush()
	mu.Unlock()
	acks.Wait()
}

func benchRead(r *bufio.Reader) (first byte, body []byte, err error) {
	if first, err = r.ReadByte(); err != nil {
		return
	}
	n, _, err := packets.DecodeLength(r)
	if err != nil {
		return
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return
}
