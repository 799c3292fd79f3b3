package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// listener keeps a persistent session whatever happens to the gateway, and
// remembers what it heard.
type listener struct {
	t  testing.TB
	at string

	mu    sync.Mutex
	heard map[string]int
	last  map[string]int // the highest number heard of a publisher
	holes []string
}

func (l *listener) hear(m gwtest.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var p string
	var n int
	if _, err := fmt.Sscanf(string(m.Payload), `{"p":%q,"n":%d}`, &p, &n); err != nil {
		l.t.Errorf("heard %q", m.Payload)
		return
	}
	key := fmt.Sprintf("%s/%d", p, n)
	l.heard[key]++
	// What comes for the first time comes in order: only repetitions go back.
	if n < l.last[p] && l.heard[key] == 1 {
		l.holes = append(l.holes, fmt.Sprintf("%s after %d", key, l.last[p]))
	}
	l.last[p] = max(l.last[p], n)
}

// run connects again and again; now and then it is away for a while.
func (l *listener) run(random *rand.Rand, subscribed func(), stop <-chan struct{}) {
	for {
		client, err := gwtest.Dial(l.t, l.at, "listener", gwtest.ClientOptions{Persistent: true, Hear: l.hear})
		if err == nil && client.TrySubscribe("dt/#") == nil {
			subscribed()
		}
		if err == nil {
			away := time.After(time.Duration(200+random.IntN(1000)) * time.Millisecond)
			for here := true; here && client.Connected(); {
				select {
				case <-stop:
					here = false
				case <-away:
					here = false
				case <-time.After(20 * time.Millisecond):
				}
			}
			client.Drop()
			client.Close()
		}
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestKill_APersistentSessionGetsEveryAcknowledgedMessage kills the gateway at
// random while two devices publish and a client with a persistent session comes
// and goes. The client gets every message that was acknowledged, in order.
func TestKill_APersistentSessionGetsEveryAcknowledgedMessage(t *testing.T) {
	gwtest.Slow(t, "takes a quarter of a minute")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, "gw", "")
	s.write(fmt.Sprintf(`version: 1
gateway: {id: gw}
storage: {dir: %s/state}
mqtt:
  listeners: [{name: local, bind: "127.0.0.1:%d", auth: loopback}]
  queue: {max_messages: 0, max_bytes: 0}
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
`, s.dir, s.port))
	s.start()

	l := &listener{t: t, at: s.at(), heard: make(map[string]int), last: make(map[string]int)}
	stopListening, subscribed := make(chan struct{}), make(chan struct{})
	var listening, devices sync.WaitGroup
	ready := sync.OnceFunc(func() { close(subscribed) })
	ways := rand.New(rand.NewPCG(seed, 1))
	listening.Go(func() { l.run(ways, ready, stopListening) })
	<-subscribed
	stop := make(chan struct{})
	var publishers []*publisher
	for _, name := range []string{"one", "two"} {
		p := &publisher{t: t, at: s.at(), name: name, acked: make(map[int]bool)}
		publishers = append(publishers, p)
		devices.Go(func() { p.run(stop) })
	}
	kills := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); kills++ {
		time.Sleep(time.Duration(200+random.IntN(800)) * time.Millisecond)
		s.process.Kill()
		s.start()
	}
	close(stop)
	devices.Wait()
	l.settle(publishers)
	close(stopListening)
	listening.Wait()
	if len(l.holes) > 0 {
		t.Errorf("out of order: %v", l.holes[:min(20, len(l.holes))])
	}
	total, again := 0, 0
	for _, n := range l.heard {
		total, again = total+1, again+n-1
	}
	t.Logf("%d messages, %d again, %d kills", total, again, kills)
	if total < 1000 {
		t.Errorf("only %d messages: the test proves little", total)
	}
	s.stop()
}

// settle waits until everything acknowledged was heard.
func (l *listener) settle(publishers []*publisher) {
	l.t.Helper()
	var missing []string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		missing = nil
		l.mu.Lock()
		for _, p := range publishers {
			for n := range p.acked {
				if key := fmt.Sprintf("%s/%d", p.name, n); l.heard[key] == 0 {
					missing = append(missing, key)
				}
			}
		}
		l.mu.Unlock()
		if len(missing) == 0 {
			return
		}
	}
	l.t.Fatalf("%d acknowledged messages were never heard: %v", len(missing), missing[:min(20, len(missing))])
}

// A retained message is there after kill -9, as soon as it was acknowledged.
func TestKill_RetainedMessagesStay(t *testing.T) {
	s := newSite(t, "gw", "")
	s.start()
	for round := range 5 {
		c := gwtest.Connect(t, s.at(), "c", gwtest.ClientOptions{})
		text := fmt.Sprint(round)
		if err := c.TryPublishRetain("state/lamp", []byte(text), 1, true); err != nil {
			t.Fatal(err)
		}
		s.process.Kill()
		s.start()
		sub := gwtest.Connect(t, s.at(), "sub", gwtest.ClientOptions{})
		sub.Subscribe("state/#")
		if m := sub.Next("state/lamp"); string(m.Payload) != text || !m.Retained {
			t.Errorf("round %d: %+v %s", round, m, m.Payload)
		}
		sub.Close()
	}
	s.stop()
}
