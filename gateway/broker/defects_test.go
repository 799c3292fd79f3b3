package broker

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// The defects of broker-storage.md section 2, in the order of its table. Each
// script runs against the server of the library, version 2.7.9, and shows the
// defect there, then against this broker.

// quiet is how long a script waits for what must not come.
const quiet = 100 * time.Millisecond

// A subscriber that stops reading holds the lock of its client: the library's
// server writes to sockets and gives out packet ids under it, so every
// publisher to that subscriber stops.
func TestDefect_StuckSubscriber(t *testing.T) {
	defect{
		script: func(s *site) string {
			s.client(4, "stuck").subscribe(1, "t") // and reads no more
			pub, payload := s.client(4, "pub"), string(make([]byte, 64<<10))
			for i := range 400 { // 25 MB are more than two sockets hold
				pub.send(message("t", payload, 1, uint16(i+1)))
				if pub.saw(s.patience) != "Puback" {
					return "publisher stops"
				}
			}
			return "publisher goes on"
		},
		wrong: "publisher stops", right: "publisher goes on",
	}.run(t)
}

// Packet ids of the two directions share one map there: a PUBLISH of the client
// takes away the delivery that has the same id, which then is never repeated.
func TestDefect_SharedPacketIDs(t *testing.T) {
	defect{
		script: func(s *site) string {
			c, _ := s.persistent(4, "c", nil)
			c.subscribe(1, "t")
			s.client(4, "pub").publish("t", "keep me", 1, 1)
			id := c.want(packets.Publish).PacketID // not acknowledged
			c.publish("other", "x", 1, id)
			_ = c.nc.Close()
			time.Sleep(quiet)
			c, _ = s.persistent(4, "c", nil)
			return c.saw(s.patience)
		},
		wrong: "nothing", right: "Publish",
	}.run(t)
}

// SUBSCRIBE with the id of an open delivery is refused with 0x91 there, which
// MQTT 3.1.1 does not even have.
func TestDefect_SubscribeIDClash(t *testing.T) {
	defect{
		script: func(s *site) string {
			c := s.client(4, "c")
			c.subscribe(1, "t")
			s.client(4, "pub").publish("t", "x", 1, 1)
			id := c.want(packets.Publish).PacketID
			c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: id,
				Filters: packets.Subscriptions{{Filter: "u", Qos: 1}}})
			return fmt.Sprintf("%#x", c.want(packets.Suback).ReasonCodes[0])
		},
		wrong: "0x91", right: "0x1",
	}.run(t)
}

// PUBACK leaves there before the message is routed and before copies for
// sessions that are away exist: a crash in between loses what was acknowledged.
func TestDefect_EarlyPUBACK(t *testing.T) {
	defect{
		script: func(s *site) string {
			release := s.hold()
			pub := s.client(4, "pub")
			pub.send(message("t", "x", 1, 1))
			saw := pub.saw(s.patience)
			release()
			return saw
		},
		wrong: "Puback", right: "nothing",
	}.run(t)
}

// At a full channel or 8,192 in flight QoS 1 is dropped for good there, although
// the subscriber is connected.
func TestDefect_DroppedUnderLoad(t *testing.T) {
	const n = 3000
	defect{
		stock: func(o *mqtt.Options) { o.Capabilities.MaximumInflight = 1000 },
		script: func(s *site) string {
			sub := s.client(4, "sub")
			sub.subscribe(1, "t")
			pub := s.client(4, "pub")
			for i := range n {
				pub.publish("t", name(i), 1, uint16(i+1))
			}
			for i := range n {
				pk, err := sub.next(s.patience)
				if err != nil {
					return "lost"
				}
				if string(pk.Payload) != name(i) {
					return "not in order"
				}
				sub.send(ack1(pk))
			}
			return "all in order"
		},
		wrong: "lost", right: "all in order",
	}.run(t)
}

// A session that returns gets everything at once there, whatever its Receive
// Maximum says, and in the order of a map.
func TestDefect_OfflineOrderAndReceiveMaximum(t *testing.T) {
	const n = 40
	defect{
		script: func(s *site) string {
			sub, _ := s.persistent(5, "sub", nil)
			sub.subscribe(1, "t")
			s.leave(sub)
			pub := s.client(4, "pub")
			for i := range n {
				pub.publish("t", name(i), 1, uint16(i+1))
			}
			sub, _ = s.persistent(5, "sub", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 5 })
			var open []packets.Packet
			for i := range n {
				for len(open) < 5 && i+len(open) < n {
					open = append(open, sub.want(packets.Publish))
				}
				if len(open) == 5 && sub.saw(20*time.Millisecond) != "nothing" {
					return "receive maximum ignored"
				}
				if string(open[0].Payload) != name(i) {
					return "not in order"
				}
				sub.send(ack1(open[0]))
				open = open[1:]
			}
			return "in order"
		},
		wrong: "receive maximum ignored", right: "in order",
	}.run(t)
}

// Two connections of one client id race there: the end of the old one can take
// the new one out of the map, which then is connected and gets nothing. It is a
// race, so it is not shown on the library's server; here the last of a storm
// must be served each time.
func TestDefect_Takeover(t *testing.T) {
	w := serve(t, nil, nil)
	for range 50 {
		var last *peer
		for range 4 {
			last, _ = w.connect(4, "c", nil)
		}
		last.subscribe(1, "t")
		w.say("t", "x", 1)
		last.receive("t", "x")
	}
}

// The access check sees the topic of the packet there, before an alias is
// resolved: an empty one. So a client that may publish may not by alias.
func TestDefect_TopicAliasBeforeAccessCheck(t *testing.T) {
	defect{
		only: "mine",
		script: func(s *site) string {
			c := s.client(5, "c")
			pk := message("mine", "x", 1, 1)
			pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 1, true
			c.send(pk)
			c.want(packets.Puback)
			pk.TopicName, pk.PacketID = "", 2
			c.send(pk)
			return fmt.Sprintf("%#x", c.want(packets.Puback).ReasonCode)
		},
		wrong: "0x87", right: "0x0",
	}.run(t)
}

// CONNACK does not announce there what the server takes.
func TestDefect_LimitsAreNotAnnounced(t *testing.T) {
	defect{
		stock: func(o *mqtt.Options) { o.Capabilities.MaximumPacketSize = 140 << 10 },
		script: func(s *site) string {
			_, connack := s.connect(5, "c", nil)
			p := connack.Properties
			return fmt.Sprintf("aliases %v, packet size %v", p.TopicAliasMaximum > 0, p.MaximumPacketSize > 0)
		},
		wrong: "aliases false, packet size false", right: "aliases true, packet size true",
	}.run(t)
}

// A will is published there without asking whether its client may publish.
func TestDefect_WillThroughAccessCheck(t *testing.T) {
	defect{
		refuse: "secret",
		script: func(s *site) string {
			watch := s.client(4, "watch")
			watch.subscribe(0, "secret")
			c := s.dial(4)
			c.send(greeting(4, "c", func(pk *packets.Packet) {
				pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "secret", []byte("forged")
			}))
			code := c.want(packets.Connack).ReasonCode
			_ = c.nc.Close()
			return fmt.Sprintf("CONNACK %d, then %s", code, watch.saw(s.patience))
		},
		wrong: "CONNACK 0, then Publish", right: "CONNACK 5, then nothing",
	}.run(t)
}

// A leading wildcard matches retained `$` topics there, and so do shared
// subscriptions live (MQTT-4.7.2-1).
func TestDefect_WildcardsAndReservedTopics(t *testing.T) {
	for what, c := range map[string]struct {
		live, stock bool
		filter      string
	}{
		"retained, #":      {filter: "#", stock: true},
		"retained, +/x":    {filter: "+/x", stock: true},
		"live, #":          {filter: "#", live: true},
		"live, +/x":        {filter: "+/x", live: true},
		"shared, #":        {filter: "$share/g/#", live: true, stock: true},
		"shared, +/x":      {filter: "$share/g/+/x", live: true, stock: true},
		"shared, retained": {filter: "$share/g/#"},
	} {
		t.Run(what, func(t *testing.T) {
			wrong := "nothing"
			if c.stock {
				wrong = "Publish"
			}
			defect{
				script: func(s *site) string {
					sub := s.client(5, "c")
					if !c.live {
						s.say("$GW/x", "1", !c.live)
					}
					sub.subscribe(0, c.filter)
					if c.live {
						s.say("$GW/x", "1", !c.live)
					}
					return sub.saw(s.patience)
				},
				wrong: wrong, right: "nothing",
			}.run(t)
		})
	}
}

// One and a half times a keep alive above 43,690 s overflows 16 bits there: this
// client is thrown out at once.
func TestDefect_KeepAliveOverflow(t *testing.T) {
	defect{
		script: func(s *site) string {
			c := s.dial(4)
			c.send(greeting(4, "c", func(pk *packets.Packet) { pk.Connect.Keepalive = 43691 }))
			if c.saw(10*time.Second) == "closed" { // even before CONNACK is out
				return "closed"
			}
			return c.saw(s.patience)
		},
		wrong: "closed", right: "nothing",
	}.run(t)
}

// Nobody asks there when CONNECT will come.
func TestDefect_CONNECTDeadline(t *testing.T) {
	for what, start := range map[string]string{"silent": "", "half a CONNECT": "\x10\x20\x00\x04MQ"} {
		t.Run(what, func(t *testing.T) {
			defect{
				setup: func(c *Config) { c.Limits.ConnectTimeout = quiet },
				script: func(s *site) string {
					p := s.dial(4)
					_, _ = p.nc.Write([]byte(start))
					return p.saw(4 * s.patience)
				},
				wrong: "nothing", right: "closed",
			}.run(t)
		})
	}
}

// Five bytes make the library's server allocate 256 MiB.
func TestDefect_HugeHeader(t *testing.T) {
	defect{
		script: func(s *site) string {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p := s.dial(4)
			_, _ = p.nc.Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
			p.saw(2 * quiet) // here it is closed at once
			runtime.ReadMemStats(&after)
			return fmt.Sprintf("allocates %v", after.TotalAlloc-before.TotalAlloc > 200<<20)
		},
		wrong: "allocates true", right: "allocates false",
	}.run(t)
}

// A QoS 2 message that comes again before PUBREL is answered with 0x91 there, so
// the client gives it up; 4.3.3 wants PUBREC, and no second delivery.
func TestDefect_QoS2Resend(t *testing.T) {
	defect{
		script: func(s *site) string {
			sub := s.client(4, "sub")
			sub.subscribe(0, "t")
			c := s.client(5, "c")
			pk := message("t", "x", 2, 1)
			c.send(pk)
			c.want(packets.Pubrec)
			pk.FixedHeader.Dup = true
			c.send(pk)
			code := c.want(packets.Pubrec).ReasonCode
			sub.want(packets.Publish)
			return fmt.Sprintf("PUBREC %#x, then %s", code, sub.saw(s.patience))
		},
		wrong: "PUBREC 0x91, then nothing", right: "PUBREC 0x0, then nothing",
	}.run(t)
}

// The subscriptions of a session stay in the library's index when its life is
// over: once for each client id that ever came.
func TestDefect_ExpiredSessionLeavesSubscriptions(t *testing.T) {
	server := mqtt.New(&mqtt.Options{Capabilities: mqtt.NewDefaultServerCapabilities()})
	client := server.NewClient(nil, "l", "c", false)
	server.Clients.Add(client)
	server.Topics.Subscribe("c", packets.Subscription{Filter: "t"})
	server.Clients.Delete("c") // all that clearExpiredClients does besides asking hooks
	if left := len(server.Topics.Subscribers("t").Subscriptions); left != 1 {
		t.Errorf("the library's server keeps %d subscriptions, its defect was 1", left)
	}
	w := serve(t, func(c *Config) { c.SessionExpiry = time.Second }, nil)
	c, _ := w.persistent(5, "c", nil)
	c.subscribe(1, "t", "u/#", "$share/g/v")
	w.away(c, "c")
	eventually(t, "session and subscriptions are gone", func() bool { return w.sessions.len() == 0 && w.index.len() == 0 })
}

// The server of MQTT 3.1.1 has no DISCONNECT to send; the library's sends one.
func TestDefect_DISCONNECTToOldClients(t *testing.T) {
	defect{
		script: func(s *site) string {
			c := s.client(4, "c")
			s.client(4, "c")
			return c.saw(s.patience)
		},
		wrong: "Disconnect", right: "closed",
	}.run(t)
}

// Any page may open a WebSocket to the library's server, and send frames of any
// size. The bound here is that of the largest packet.
func TestDefect_WebSocketOriginAndLimits(t *testing.T) {
	stock := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	_ = stock.AddHook(&rules{}, nil)
	ln := listen(t)
	addr := ln.Addr().String()
	_ = ln.Close()
	web := listeners.NewWebsocket(listeners.Config{ID: "ws", Address: addr})
	if err := stock.AddListener(web); err != nil {
		t.Fatal(err)
	}
	if err := stock.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { web.Close(func(string) {}) })
	evil := http.Header{"Origin": {"http://evil.example"}}
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	var ws *websocket.Conn
	eventually(t, "the library's server lets a foreign page in", func() (ok bool) {
		var err error
		ws, _, err = dialer.Dial("ws://"+addr+"/mqtt", evil)
		return err == nil
	})
	_ = ws.Close()
	w := serve(t, func(c *Config) { c.Listeners[0].Protocol = "ws" }, nil)
	if _, resp, err := dialer.Dial("ws://"+w.addr+"/mqtt", evil); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign page: %v", err)
	}
	if _, resp, err := dialer.Dial("ws://"+w.addr+"/other", nil); err == nil || resp == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %v", err)
	}
	dialer.WriteBufferSize = 1 << 20 // one frame
	ws, _, err := dialer.Dial("ws://"+w.addr+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	_ = ws.WriteMessage(websocket.BinaryMessage, make([]byte, w.packetMax()+6))
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a frame over the limit: %v", err)
	}
}

// An error of Accept, such as no file descriptors, ends the library's listener
// for good.
func TestDefect_ListenerSurvivesAcceptErrors(t *testing.T) {
	defect{
		wrap: func(ln net.Listener) net.Listener { return &flaky{Listener: ln} },
		script: func(s *site) string {
			c := s.dial(4)
			c.send(greeting(4, "c", nil))
			return c.saw(2 * s.patience)
		},
		wrong: "nothing", right: "Connack",
	}.run(t)
}
