package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/telemetry/desk"
	"github.com/tidehold/tidehold/gateway/telemetry/judge"
)

// publisher keeps publishing numbered messages at QoS 1 whatever happens to the
// gateway, and remembers which ones were acknowledged.
type publisher struct {
	t    *testing.T
	at   string
	name string
	// every is the time between two messages; 0 is pace.
	every time.Duration

	mu    sync.Mutex
	acked map[int]bool
	last  int // acknowledged
	next  int
	// heard is told of every acknowledgement: when the message went, and when
	// its answer came. nil: nobody asks.
	heard func(sent, acked time.Time)
}

// run publishes until stop is closed, a window of messages at a time.
func (p *publisher) run(stop <-chan struct{}) {
	for session := 0; ; session++ {
		select {
		case <-stop:
			return
		default:
		}
		client, err := gwtest.Dial(p.t, p.at, fmt.Sprintf("%s-%d", p.name, session), gwtest.ClientOptions{})
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		p.session(client, stop)
		client.Close()
	}
}

const (
	window = 50
	// pace keeps the flow below what the consumer takes: a plain broker that is
	// killed forgets what it has acknowledged and not yet written to a slow
	// subscriber, and that would be its loss, not ours.
	pace      = time.Millisecond
	drainRate = 6000
)

func (p *publisher) session(client *gwtest.Client, stop <-chan struct{}) {
	type sent struct {
		n    int
		at   time.Time
		done <-chan error
	}
	var line []sent
	for client.Connected() {
		select {
		case <-stop:
			if len(line) == 0 {
				return
			}
		default:
			if len(line) < window {
				time.Sleep(max(pace, p.every))
				p.next++
				text := fmt.Sprintf(`{"p":%q,"n":%d}`, p.name, p.next)
				line = append(line, sent{p.next, time.Now(), client.TryPublish("dt/"+p.name+"/count", []byte(text), 1)})
				continue
			}
		}
		select {
		case err := <-line[0].done:
			if err != nil || !client.Connected() {
				return // a token that ends with the connection proves nothing
			}
			p.mu.Lock()
			p.acked[line[0].n], p.last = true, line[0].n
			p.mu.Unlock()
			if p.heard != nil {
				p.heard(line[0].at, time.Now())
			}
			line = line[1:]
		case <-time.After(time.Second):
			if !client.Connected() {
				return
			}
		}
	}
}

// arrival is one message as the upstream consumer saw it.
type arrival struct {
	P       string
	N       int
	Payload []byte `json:"-"`
}

func (a arrival) key() string { return fmt.Sprintf("%s/%d", a.P, a.N) }

// startWatched starts a Mosquitto, a witness before it, and a gateway with these
// routes of telemetry.
func startWatched(t *testing.T, routes string) (*gwtest.Mosquitto, *witness, *site) {
	t.Helper()
	upstream := gwtest.StartMosquitto(t)
	seen := stand(t, upstream.Address)
	s := newSite(t, "gw", fmt.Sprintf(`uplinks:
  - name: plant
    profile: mosquitto
    endpoint: "tcp://%s"
    reconnect_max: 1s
    drain: {rate: %d, bytes: 0, inflight: 0, start_jitter: 0s}
    telemetry: [%s]
`, seen.address(), drainRate, routes))
	s.start()
	return upstream, seen, s
}

// TestKill_EveryAcknowledgedMessageArrivesUpstream kills the gateway and the
// upstream and cuts the link at random while three devices publish. Every
// message that the gateway acknowledged must arrive upstream at least once; an
// injected id always names the same message.
//
// T-01, in as many rounds as fit half a minute.
func TestKill_EveryAcknowledgedMessageArrivesUpstream(t *testing.T) {
	gwtest.Slow(t, "takes half a minute")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	upstream, seen, s := startWatched(t, `{name: ids, from: "dt/inject/#", form: inject}, {name: all, from: "dt/#"}`)

	arrivals, pings, end := startConsumer(t, upstream.Address)
	defer end()
	upstream.Save()

	publishers, leave := startPublishers(t, s.at(), "raw1", "raw2", "inject")
	kills := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); kills++ {
		time.Sleep(time.Duration(300+random.IntN(1200)) * time.Millisecond)
		was := positions(publishers)
		what := disturb(t, random, s, upstream, pings)
		t.Logf("disturbance %d: %s, from %s to %s", kills, what, was, positions(publishers))
	}
	time.Sleep(time.Second)
	leave()
	if _, code := verb(t, "uplink", "restore", "--socket", s.socket); code != 0 {
		t.Error("uplink restore fails at the end")
	}
	settle(t, publishers, arrivals, kills, seen)
	s.stop()
}

// positions tell how far each publisher is, so that a missing number can be laid
// beside the disturbance that took it.
func positions(publishers []*publisher) string {
	var all []string
	for _, p := range publishers {
		p.mu.Lock()
		all = append(all, fmt.Sprintf("%s/%d", p.name, p.last))
		p.mu.Unlock()
	}
	return strings.Join(all, " ")
}

// disturb does one cruel thing and says which.
func disturb(t *testing.T, random *rand.Rand, s *site, upstream *gwtest.Mosquitto, pings <-chan string) string {
	switch random.IntN(3) {
	case 0:
		s.process.Kill()
		s.start()
		return "gateway killed"
	case 1:
		if !caughtUp(t, upstream.Address, fmt.Sprintf("gw/gw/ping/%d", random.Uint64()), pings) {
			return "none: the consumer is behind"
		}
		upstream.Kill()
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
		upstream.Start()
		return "upstream killed"
	default:
		verb(t, "uplink", "cut", "--socket", s.socket)
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		verb(t, "uplink", "restore", "--socket", s.socket)
		return "link cut"
	}
}

// caughtUp sends the consumer a message behind all others and waits for it. A
// plain broker that is killed forgets what it acknowledged while its subscriber
// was away or behind; with the subscriber up to date, what it acknowledges is in
// the subscriber's socket.
func caughtUp(t *testing.T, address, topic string, pings <-chan string) bool {
	client, err := gwtest.Dial(t, address, "ping", gwtest.ClientOptions{})
	if err != nil {
		return false
	}
	defer client.Close()
	if client.TryPublishRetain(topic, []byte("{}"), 1, false) != nil {
		return false
	}
	for patience := time.After(10 * time.Second); ; {
		select {
		case heard := <-pings:
			if heard == topic {
				return true
			}
		case <-patience:
			return false
		}
	}
}

// startConsumer has a consumer listen until end is called.
func startConsumer(t *testing.T, address string) (arrivals chan arrival, pings chan string, end func()) {
	arrivals, pings = make(chan arrival, 1<<20), make(chan string, 64)
	stop, subscribed := make(chan struct{}), make(chan struct{})
	var consumer sync.WaitGroup
	consumer.Go(func() {
		consume(t, address, arrivals, pings, stop, sync.OnceFunc(func() { close(subscribed) }))
	})
	<-subscribed
	return arrivals, pings, func() {
		close(stop)
		consumer.Wait()
	}
}

// startPublishers has devices publish until end is called, and answered.
func startPublishers(t *testing.T, at string, names ...string) (all []*publisher, end func()) {
	var devices sync.WaitGroup
	stop := make(chan struct{})
	for _, name := range names {
		p := &publisher{t: t, at: at, name: name, acked: make(map[int]bool)}
		all = append(all, p)
		devices.Go(func() { p.run(stop) })
	}
	return all, func() {
		close(stop)
		devices.Wait()
	}
}

// acknowledged is how many messages of all publishers were.
func acknowledged(publishers []*publisher) (n int) {
	for _, p := range publishers {
		p.mu.Lock()
		n += len(p.acked)
		p.mu.Unlock()
	}
	return n
}

// consume keeps a persistent session at the upstream and collects.
func consume(t *testing.T, address string, out chan<- arrival, pings chan<- string, stop <-chan struct{}, subscribed func()) {
	for {
		client, err := gwtest.Dial(t, address, "consumer", gwtest.ClientOptions{Persistent: true})
		if err == nil {
			err = client.TrySubscribe("gw/gw/#")
		}
		if err == nil {
			subscribed()
		}
		for err == nil && client.Connected() {
			m, ok := client.Poll(100 * time.Millisecond)
			if ok && strings.HasPrefix(m.Topic, "gw/gw/ping/") {
				select {
				case pings <- m.Topic:
				default: // nobody waits any more
				}
				continue
			}
			if ok {
				a := arrival{Payload: m.Payload}
				if err := json.Unmarshal(m.Payload, &a); err != nil {
					t.Errorf("%s is no JSON: %v", m.Payload, err)
				}
				out <- a
				continue
			}
			select {
			case <-stop:
				client.Close()
				return
			default:
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settle waits until everything acknowledged has arrived and counts; the
// reference consumer judges the ids.
func settle(t *testing.T, publishers []*publisher, arrivals <-chan arrival, kills int, upstream *witness) *judge.Judge {
	t.Helper()
	reference, _ := judged(t, publishers, arrivals, kills, 1000, upstream)
	return reference
}

// judged is settle for at least so many messages; it gives the number of
// duplicates, too. upstream is nil where nobody stands between.
func judged(t *testing.T, publishers []*publisher, arrivals <-chan arrival, kills, least int, upstream *witness) (reference *judge.Judge, doubles int) {
	t.Helper()
	missing := make(map[string]map[int]bool)
	total := 0
	for _, p := range publishers {
		missing[p.name] = p.acked
		total += len(p.acked)
	}
	reference, seen := judge.New(), make(map[string]bool)
	left, patience := total, time.After(60*time.Second)
	for left > 0 {
		select {
		case a := <-arrivals:
			reference.Add(a.Payload)
			key := a.key()
			if seen[key] && a.P != "" {
				doubles++
			}
			seen[key] = true
			if missing[a.P][a.N] {
				delete(missing[a.P], a.N)
				left--
			}
		case <-patience:
			t.Fatalf("%d of %d acknowledged messages never arrived (%d disturbances), of them the upstream had acknowledged %d: %v",
				left, total, kills, upstream.count(missing), firstFew(missing))
		}
	}
	for source, v := range reference.Verdicts() {
		if v.Changed > 0 {
			t.Errorf("%s: %d ids came back with another payload", source, v.Changed)
		}
		t.Logf("%s: %d with ids, %d again, %d skipped by crashes", source, v.Received, v.Duplicates, v.Skipped)
	}
	t.Logf("%d acknowledged, all arrived, %d duplicates, %d disturbances", total, doubles, kills)
	if total < least {
		t.Errorf("only %d messages were acknowledged: the test proves little", total)
	}
	return reference, doubles
}

// TestKill_WithWritesElidedNoNumberIsMissingAndNoneComesTwice kills the gateway
// while most messages are never written, because the upstream has them first.
// The reference consumer accounts for every number: received, or skipped by a
// crash and announced so.
//
// T-28 and T-29 with the program itself; both are in virtual time too.
func TestKill_WithWritesElidedNoNumberIsMissingAndNoneComesTwice(t *testing.T) {
	gwtest.Slow(t, "takes a quarter of a minute")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	upstream, seen, s := startWatched(t, `{name: ids, from: "dt/#", form: inject}`)
	arrivals, _, end := startConsumer(t, upstream.Address)
	defer end()
	publishers, leave := startPublishers(t, s.at(), "one", "two")
	kills, elided := gwtest.Rounds(8, 300), 0
	for range kills {
		before := acknowledged(publishers)
		time.Sleep(time.Duration(300+random.IntN(900)) * time.Millisecond)
		s.process.Kill()
		file := ask[desk.Report](t, "spool", "verify", "--file", filepath.Join(s.dir, "state", "messages.db"), "--gateway", "gw")
		elided += max(0, acknowledged(publishers)-before-file.Records)
		s.start()
	}
	leave()
	reference := settle(t, publishers, arrivals, kills, seen)
	for patience := time.After(10 * time.Second); unaccounted(reference) > 0; {
		select {
		case a := <-arrivals:
			reference.Add(a.Payload)
		case <-patience:
			t.Fatalf("not every number is accounted for: %+v", reference.Verdicts())
		}
	}
	for source, v := range reference.Verdicts() {
		if v.Skipped == 0 {
			t.Errorf("%s: no crash skipped a number: %+v", source, v)
		}
	}
	t.Logf("%d messages at least were acknowledged and never written", elided)
	if elided == 0 {
		t.Error("nothing was elided: the test proves nothing")
	}
	s.stop()
}

// unaccounted are the numbers that neither came nor are known to be skipped or
// lost.
func unaccounted(reference *judge.Judge) (n uint64) {
	for _, v := range reference.Verdicts() {
		for _, r := range v.Holes {
			n += r.To - r.From + 1
		}
	}
	return n
}

func firstFew(missing map[string]map[int]bool) (few []string) {
	for name, numbers := range missing {
		for n := range numbers {
			if len(few) < 20 {
				few = append(few, fmt.Sprintf("%s/%d", name, n))
			}
		}
	}
	return few
}
