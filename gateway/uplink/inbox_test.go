package uplink

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tidehold/tidehold/gateway/iot"
)

// send writes a PUBLISH; QoS 1 when id is not 0.
func (s *session) send(topic string, id uint16) error {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.MessageID, p.Payload = topic, id, []byte(topic)
	if id > 0 {
		p.Qos = 1
	}
	return p.Write(s.Conn)
}

// taken collects messages and their acks.
type taken struct {
	mu   sync.Mutex
	msgs []iot.Message
	acks []func()
}

func (k *taken) take(m iot.Message, ack func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.msgs = append(k.msgs, m)
	k.acks = append(k.acks, ack)
}

func (k *taken) topics() (all []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.msgs {
		all = append(all, m.Topic)
	}
	return all
}

// ackRecorder reads PUBACKs after the given messages were sent.
type ackRecorder struct {
	mu  sync.Mutex
	ids []uint16
}

func (r *ackRecorder) serve(messages func(*session)) func(int, *session) {
	return func(_ int, s *session) {
		s.accept(0, true)
		s.suback(1)
		go messages(s)
		for {
			switch p := s.read().(type) {
			case nil:
				return
			case *packets.PubackPacket:
				r.mu.Lock()
				r.ids = append(r.ids, p.MessageID)
				r.mu.Unlock()
			}
		}
	}
}

func (r *ackRecorder) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.ids)
}

// started runs the link with subscriptions made before Run.
func started(t *testing.T, serve func(int, *session), subscribe func(*Link), body func(*Link)) {
	t.Helper()
	inBubble(t, serve, nil, func(l *Link, _ *fakeUpstream) {
		l.Cut()
		subscribe(l)
		synctest.Wait()
		l.Restore()
		synctest.Wait()
		body(l)
	})
}

func TestSubscribe_AcknowledgesAfterTheTakerInOrderOfArrival(t *testing.T) {
	var r ackRecorder
	var k taken
	serve := r.serve(func(s *session) {
		s.send("cmd/a", 1)
		s.send("cmd/b", 2)
		s.send("cmd/q0", 0)
		s.send("cmd/c", 3)
	})
	started(t, serve, func(l *Link) { l.Subscribe("cmd/#", 1, k.take) }, func(l *Link) {
		if got := fmt.Sprint(k.topics()); got != "[cmd/a cmd/b cmd/q0 cmd/c]" {
			t.Fatalf("took %s", got)
		}
		if m := k.msgs[0]; m.Origin.Uplink != "cloud" || string(m.Payload) != "cmd/a" || m.QoS != 1 || m.Arrived.IsZero() {
			t.Errorf("message %+v", m)
		}
		if got := r.got(); got != "[]" {
			t.Errorf("PUBACKs before any ack: %s", got)
		}
		for i, want := range map[int]string{3: "[]", 1: "[]"} {
			k.acks[i]()
			synctest.Wait()
			if got := r.got(); got != want {
				t.Errorf("after ack %d: PUBACKs %s, want %s", i, got, want)
			}
		}
		k.acks[2]()
		k.acks[0]()
		k.acks[0]()
		synctest.Wait()
		if got := r.got(); got != "[1 2 3]" {
			t.Errorf("PUBACKs %s, want [1 2 3]", got)
		}
	})
}

func TestSubscribe_EveryTakerMustAcknowledge(t *testing.T) {
	var r ackRecorder
	var a, b taken
	serve := r.serve(func(s *session) { s.send("cmd/a", 1) })
	started(t, serve, func(l *Link) {
		l.Subscribe("cmd/#", 1, a.take)
		l.Subscribe("cmd/+", 0, b.take)
		l.Subscribe("other", 1, b.take)
	}, func(l *Link) {
		if len(a.topics()) != 1 || len(b.topics()) != 1 {
			t.Fatalf("took %v and %v", a.topics(), b.topics())
		}
		a.acks[0]()
		a.acks[0]()
		synctest.Wait()
		if got := r.got(); got != "[]" {
			t.Errorf("PUBACKs %s after one of two acks", got)
		}
		b.acks[0]()
		synctest.Wait()
		if got := r.got(); got != "[1]" {
			t.Errorf("PUBACKs %s, want [1]", got)
		}
	})
}

func TestSubscribe_NobodysMessagesAreAcknowledgedAndDropped(t *testing.T) {
	var r ackRecorder
	var k taken
	serve := r.serve(func(s *session) { s.send("$JS/API/x", 1); s.send("elsewhere", 2) })
	started(t, serve, func(l *Link) { l.Subscribe("cmd/#", 1, k.take) }, func(l *Link) {
		if got := r.got(); got != "[1 2]" || len(k.topics()) != 0 {
			t.Errorf("PUBACKs %s, taken %v", got, k.topics())
		}
	})
}

// A taker that never acknowledges stops the reading at the limit, and a cut
// ends the epoch all the same.
func TestSubscribe_BoundsWhatIsNotAcknowledged(t *testing.T) {
	var most int // messages read from one connection
	var mu sync.Mutex
	var r ackRecorder
	var k taken
	serve := r.serve(func(s *session) {
		for i := range 3 * inboundMax {
			if s.send("cmd/a", uint16(i+1)) != nil {
				return // a connection from before the cut
			}
			mu.Lock()
			most = max(most, i+1)
			mu.Unlock()
		}
	})
	started(t, serve, func(l *Link) { l.Subscribe("cmd/#", 1, k.take) }, func(l *Link) {
		if n := len(k.topics()); n != inboundMax {
			t.Errorf("%d messages taken, want %d", n, inboundMax)
		}
		mu.Lock()
		if most > inboundMax+8 {
			t.Errorf("%d messages read from one connection", most)
		}
		mu.Unlock()
		l.Cut()
		wantState(t, l, Severed)
		for _, ack := range k.acks {
			ack() // late: dropped, and not blocking
		}
	})
}

func TestSubscribe_ABlockedTakerDoesNotHoldTheEpoch(t *testing.T) {
	var r ackRecorder
	serve := r.serve(func(s *session) {
		for i := range 2 * deliveryQueueMax {
			s.send("cmd/a", uint16(i+1))
		}
	})
	inBubble(t, serve, nil, func(l *Link, _ *fakeUpstream) {
		gate := make(chan struct{})
		l.Cut()
		l.Subscribe("cmd/#", 1, func(_ iot.Message, ack func()) { <-gate; ack() })
		synctest.Wait()
		l.Restore()
		wantState(t, l, Online)
		l.Cut()
		wantState(t, l, Severed)
		close(gate)
	})
}

func TestOnOnline_EpochRisesWithANewSessionAlone(t *testing.T) {
	var fresh atomic.Bool
	serve := func(_ int, s *session) {
		s.accept(0, !fresh.Load())
		s.idle()
	}
	type told struct {
		present bool
		epoch   uint64
	}
	var mu sync.Mutex
	var got []told
	inBubble(t, serve, func(c *Config) { c.LastEpoch = 7 }, func(l *Link, _ *fakeUpstream) {
		l.Cut()
		synctest.Wait()
		l.OnOnline(func(p bool, e uint64) { mu.Lock(); got = append(got, told{p, e}); mu.Unlock() })
		for i := range 4 {
			fresh.Store(i == 1)
			l.Restore()
			wantState(t, l, Online)
			l.Cut()
			wantState(t, l, Severed)
		}
		mu.Lock()
		defer mu.Unlock()
		if want := "[{true 7} {false 8} {true 8} {true 8}]"; fmt.Sprint(got) != want {
			t.Errorf("told %v, want %s", got, want)
		}
	})
}

func TestThrottle_IsAStateThatStillTakesMessages(t *testing.T) {
	serve := func(_ int, s *session) {
		s.accept(0, false)
		for p := s.publish(); p != nil; p = s.publish() {
			s.puback(p)
		}
	}
	inBubble(t, serve, nil, func(l *Link, _ *fakeUpstream) {
		wantState(t, l, Online)
		l.Throttle(true)
		wantState(t, l, Throttled)
		var a after
		l.Publish(Outgoing{Topic: "a", QoS: 1}, a.done)
		time.Sleep(time.Second)
		if got := a.all(); len(got) != 1 || got[0] != nil {
			t.Errorf("done got %v", got)
		}
		l.Throttle(false)
		wantState(t, l, Online)
	})
}

func TestReconnect_ClosesAndComesBack(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(0, true); s.idle() }
	inBubble(t, serve, nil, func(l *Link, f *fakeUpstream) {
		wantState(t, l, Online)
		l.Reconnect(fmt.Errorf("no acknowledgement for 20s"))
		time.Sleep(time.Second)
		wantState(t, l, Online)
		if n := len(f.gaps()); n != 1 {
			t.Errorf("%d reconnects, want 1", n)
		}
	})
}

func TestOnState_TellsEveryChangeInOrder(t *testing.T) {
	serve := func(_ int, s *session) { s.accept(0, true); s.idle() }
	var mu sync.Mutex
	var states []State
	inBubble(t, serve, nil, func(l *Link, _ *fakeUpstream) {
		l.Cut()
		synctest.Wait()
		l.OnState(func(s Status) { mu.Lock(); states = append(states, s.State); mu.Unlock() })
		l.Restore()
		wantState(t, l, Online)
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(states); got != "[backoff resolving connecting authenticating subscribing resuming online]" {
			t.Errorf("told %s", got)
		}
	})
}
