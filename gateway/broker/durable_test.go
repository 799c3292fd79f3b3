package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/metrics"
	rooms "github.com/tidehold/tidehold/gateway/session"
	"github.com/tidehold/tidehold/gateway/store"
)

// disk is a Keeper over real files that can crash: what nobody waits for is
// committed together with the next change that somebody waits for, and lost in
// a crash: the worst that a kill can do. It can also hold commits back.
type disk struct {
	*rooms.Keeper
	state, messages *store.DB

	mu      sync.Mutex
	lazy    []keep.Change
	held    []func()
	holding bool
	dead    bool
}

func (d *disk) Keep(c keep.Change, done func(error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	session := c.Session != nil || c.Ended != 0 // somebody's goroutine waits
	switch {
	case d.dead && session && done != nil:
		go done(store.ErrClosed)
	case d.dead:
	case d.holding && done != nil && !session:
		d.held = append(d.held, func() { d.Keeper.Keep(c, done) })
	case done == nil:
		d.lazy = append(d.lazy, c)
	default:
		d.flush()
		d.Keeper.Keep(c, done)
	}
}

func (d *disk) flush() {
	for _, c := range d.lazy {
		d.Keeper.Keep(c, nil)
	}
	d.lazy = nil
}

func (d *disk) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holding = true
}

func (d *disk) free() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holding = false
	for _, f := range d.held {
		f()
	}
	d.held = nil
}

// durable is a broker with a disk; stop ends both, crash without a word.
type durable struct {
	*world
	disk *disk
	end  func(crash bool)
}

func (d *durable) stop()  { d.end(false) }
func (d *durable) crash() { d.end(true) }

func open(t *testing.T, dir, name string, schema store.Schema, fault func(store.FaultPoint, uint64) error) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, name), Schemas: []store.Schema{schema}, Fault: fault})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func serveOn(t *testing.T, dir string, fault func(store.FaultPoint, uint64) error) *durable {
	t.Helper()
	d := &disk{state: open(t, dir, "state.db", rooms.StateSchema(), fault), messages: open(t, dir, "messages.db", rooms.MessagesSchema(), fault)}
	d.Keeper = rooms.New(rooms.Config{}, d.state, d.messages, metrics.New(), nil)
	w := &world{t: t, auth: &gatekeeper{}, house: &household{}}
	cfg := Config{Listeners: []ListenerConfig{{Name: "local", Bind: "127.0.0.1:0", RateFree: true}}, Limits: edge,
		Queue: Queue{MaxMessages: 1000, MaxAge: time.Hour}, SessionExpiry: time.Hour, Keeper: d}
	b, err := New(cfg, w.auth, w.house, clock.NewSystem(), ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Broker, w.house.b = b, b
	if err := errors.Join(b.Load(t.Context()), b.Listen(t.Context())); err != nil {
		t.Fatal(err)
	}
	w.addr = b.Addresses()[0].Address
	keeping, stopKeeping := context.WithCancel(context.Background())
	serving, stopServing := context.WithCancel(context.Background())
	var keeper, broker sync.WaitGroup
	keeper.Go(func() { _ = d.Run(keeping) })
	broker.Go(func() {
		if err := b.Run(serving); err != nil {
			t.Error(err)
		}
	})
	var once sync.Once
	end := func(crash bool) {
		once.Do(func() {
			d.mu.Lock()
			d.dead = crash
			d.mu.Unlock()
			stopServing()
			broker.Wait()
			d.mu.Lock()
			if !crash {
				d.flush()
			}
			d.mu.Unlock()
			stopKeeping()
			keeper.Wait()
			if err := errors.Join(d.state.Close(), d.messages.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { end(false) })
	return &durable{world: w, disk: d, end: end}
}

// rows counts what is left in a table.
func (d *durable) rows(db *store.DB, table string) (n int) {
	d.t.Helper()
	err := db.Read(context.Background(), func(tx *store.Tx) error {
		_, err := tx.QueryRow("SELECT count(*) FROM "+table, nil, &n)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

func (d *durable) empty() bool {
	d.disk.mu.Lock()
	d.disk.flush()
	d.disk.mu.Unlock()
	return d.rows(d.disk.messages, "session_message") == 0
}

func TestDurable_RetainedMessagesSurviveACrash(t *testing.T) {
	dir := t.TempDir()
	w := serveOn(t, dir, nil)
	pub := w.client(5, "pub")
	for _, m := range []packets.Packet{
		retainedMessage("a", "old", 1, 1), retainedMessage("a", "new", 1, 2), retainedMessage("b", "gone", 1, 3), retainedMessage("b", "", 1, 4),
	} {
		pub.send(m)
		if pk := pub.want(packets.Puback); pk.ReasonCode != 0 {
			t.Fatalf("PUBACK %#x", pk.ReasonCode)
		}
	}
	pk := retainedMessage("c", "full", 2, 5)
	pk.Properties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
	pub.send(pk)
	pub.want(packets.Pubrec)
	w.crash()

	w = serveOn(t, dir, nil)
	if all := w.RetainedAfter("", 0); len(all) != 2 || string(all[0].Payload) != "new" || all[1].QoS != 2 || all[1].Properties.User[0].Value != "v" {
		t.Fatalf("retained after a crash: %+v", all)
	}
	sub := w.client(4, "sub")
	sub.subscribe(1, "#")
	sub.receive("a", "new")
	sub.receive("c", "full")
}

// FL-060: sessions are there before the first publish after a restart. Two share
// a message; one has it when the process dies.
func TestDurable_FL_060_QueuesSurviveACrashInOrder(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		dir := t.TempDir()
		w := serveOn(t, dir, nil)
		here, _ := w.persistent(version, "here", nil)
		here.subscribe(1, "t/#", "t/+")
		away, _ := w.persistent(version, "away", nil)
		away.subscribe(1, "t/#")
		away.send(goodbye)
		away.closed()
		pub := w.client(version, "pub")
		for i := range 20 {
			pub.publish("t/x", name(i), 1+byte(i%2), uint16(i+1))
			here.receive("t/x", name(i))
		}
		w.crash()

		w = serveOn(t, dir, nil)
		for i := 20; i < 30; i++ {
			w.client(version, name(i)).publish("t/x", name(i), 1, 7)
		}
		away, ack := w.persistent(version, "away", nil)
		if !ack.SessionPresent {
			t.Error("no session after the crash")
		}
		for i := range 30 {
			away.receive("t/x", name(i))
		}
		here, _ = w.persistent(version, "here", nil)
		for i := 20; i < 30; {
			pk := here.want(packets.Publish)
			here.send(ack1(pk))
			if string(pk.Payload) == name(i) {
				i++
			} else if !pk.FixedHeader.Dup || string(pk.Payload) >= name(20) {
				t.Fatalf("got %s with dup %v, want %s", pk.Payload, pk.FixedHeader.Dup, name(i))
			}
		}
		eventually(t, "nothing left in the file", w.empty)
	})
}

func ack1(pk packets.Packet) packets.Packet { return ack(packets.Puback, pk.PacketID) }

func TestDurable_AcknowledgementWaitsForTheCommit(t *testing.T) {
	w := serveOn(t, t.TempDir(), nil)
	keeper, _ := w.persistent(5, "keeper", nil)
	keeper.subscribe(2, "kept")
	fleeting := w.client(5, "fleeting")
	fleeting.subscribe(2, "kept", "free")
	pub, other := w.client(5, "pub"), w.client(5, "other")
	w.disk.hold()
	pub.send(message("kept", "x", 2, 1))
	fleeting.receive("kept", "x")
	other.publish("free", "y", 1, 1) // nobody durable wants it
	fleeting.receive("free", "y")
	pub.silent(50 * time.Millisecond)
	keeper.silent(50 * time.Millisecond)
	w.disk.free()
	pub.want(packets.Pubrec)
	keeper.receive("kept", "x")
}

// A client that has received a QoS 2 message gets no second one, wherever the
// exchange was when the process died; ids are those of before.
func TestDurable_QoS2TowardsASessionIsExactlyOnce(t *testing.T) {
	dir := t.TempDir()
	w := serveOn(t, dir, nil)
	sub, _ := w.persistent(5, "sub", nil)
	sub.subscribe(2, "t")
	pub := w.client(5, "pub")
	var id [4]uint16
	for i := range id {
		pub.publish("t", name(i), 2, uint16(i+1))
		id[i] = sub.want(packets.Publish).PacketID
	}
	sub.send(ack(packets.Pubrec, id[0])) // completed
	sub.want(packets.Pubrel)
	sub.send(ack(packets.Pubcomp, id[0]))
	sub.send(ack(packets.Pubrec, id[1])) // received: the PUBREL proves that it is on disk
	sub.want(packets.Pubrel)
	sub.send(ack(packets.Pubrec, id[3]))
	sub.want(packets.Pubrel)
	w.crash()

	w = serveOn(t, dir, nil)
	sub, _ = w.persistent(5, "sub", nil)
	for _, want := range []uint16{id[1], id[3]} {
		if pk := sub.want(packets.Pubrel); pk.PacketID != want {
			t.Fatalf("PUBREL %d, want %d", pk.PacketID, want)
		}
	}
	if pk := sub.want(packets.Publish); pk.PacketID != id[2] || string(pk.Payload) != name(2) || !pk.FixedHeader.Dup {
		t.Fatalf("PUBLISH %d %s, want %d %s again", pk.PacketID, pk.Payload, id[2], name(2))
	}
	for _, i := range id[1:] {
		if i == id[2] {
			sub.send(ack(packets.Pubrec, i))
			sub.want(packets.Pubrel)
		}
		sub.send(ack(packets.Pubcomp, i))
	}
	eventually(t, "nothing left in the file", w.empty)
	w.stop()

	w = serveOn(t, dir, nil)
	sub, _ = w.persistent(5, "sub", nil)
	w.client(5, "pub").publish("t", "next", 2, 1)
	if pk := sub.receive("t", "next"); pk.PacketID != id[3]+1 {
		t.Errorf("id %d after a restart, want %d: an id of before may be known to the client", pk.PacketID, id[3]+1)
	}
}

func TestDurable_QoS2FromAPublisherIsExactlyOnce(t *testing.T) {
	dir := t.TempDir()
	w := serveOn(t, dir, nil)
	sub, _ := w.persistent(4, "sub", nil)
	sub.subscribe(2, "t")
	sub.send(goodbye)
	sub.closed()
	pub, _ := w.persistent(4, "pub", nil)
	pub.send(message("t", "one", 2, 5))
	pub.want(packets.Pubrec)
	w.crash()

	w = serveOn(t, dir, nil)
	pub, _ = w.persistent(4, "pub", nil)
	again := message("t", "one", 2, 5)
	again.FixedHeader.Dup = true
	pub.send(again)
	pub.want(packets.Pubrec)
	pub.send(ack(packets.Pubrel, 5))
	pub.want(packets.Pubcomp)
	w.crash()

	w = serveOn(t, dir, nil)
	pub, _ = w.persistent(4, "pub", nil)
	pub.publish("t", "two", 2, 5) // the id is free again
	sub, _ = w.persistent(4, "sub", nil)
	for _, want := range []string{"one", "two"} {
		pk := sub.want(packets.Publish)
		if string(pk.Payload) != want {
			t.Errorf("got %q, want %q", pk.Payload, want)
		}
	}
	sub.silent(30 * time.Millisecond)
}

// FL-073: what nobody can ask for any more does not stay on the disk.
func TestDurable_FL_073_AnEndedSessionLeavesNothing(t *testing.T) {
	gwtest.Slow(t, "waits for sessions to expire")
	for what, end := range map[string]func(w *durable, dir string) *durable{
		"clean start": func(w *durable, dir string) *durable {
			w.client(5, "s")
			w.crash()
			return serveOn(w.t.(*testing.T), dir, nil)
		},
		"expired while running": func(w *durable, _ string) *durable {
			eventually(w.t, "session over", func() bool { return w.sessions.get("s") == nil })
			return w
		},
		"expired while stopped": func(w *durable, dir string) *durable {
			at := time.Now().Add(time.Second) // it expires before
			w.crash()
			time.Sleep(time.Until(at))
			return serveOn(w.t.(*testing.T), dir, nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			w := serveOn(t, dir, nil)
			s, _ := w.persistent(5, "s", func(pk *packets.Packet) { pk.Properties.SessionExpiryInterval = 1 })
			s.subscribe(2, "t")
			s.send(goodbye)
			s.closed()
			pub, _ := w.persistent(5, "pub", nil)
			pub.send(message("t", "x", 2, 1))
			pub.want(packets.Pubrec)
			w = end(w, dir)
			eventually(t, "its rows are gone", func() bool {
				return w.empty() && w.rows(w.disk.messages, "session_progress") == 0 && w.rows(w.disk.state, "session") == 1
			})
			if w.index.len() != 0 {
				t.Error("subscriptions are left")
			}
		})
	}
}

// FL-071: what was in flight goes to the client it was sent to, under its own id.
func TestDurable_FL_071_InFlightIsRestoredToTheRightClient(t *testing.T) {
	dir := t.TempDir()
	w := serveOn(t, dir, nil)
	ids := make(map[string]uint16)
	for i, id := range []string{"a", "b", "c"} {
		sub, _ := w.persistent(5, id, nil)
		sub.subscribe(1, "only/"+id, "all")
		for n := range i { // so that the three number apart
			w.say("only/"+id, name(n), 1)
			sub.receive("only/"+id, name(n))
		}
		w.client(5, "pub").publish("only/"+id, id, 1, 1)
		ids[id] = sub.want(packets.Publish).PacketID
	}
	w.client(5, "pub").publish("all", "x", 1, 2)
	w.crash()
	w = serveOn(t, dir, nil)
	for _, id := range []string{"c", "a", "b"} {
		sub, _ := w.persistent(5, id, nil)
		pk := sub.receive("only/"+id, id)
		for pk.PacketID != ids[id] { // those acknowledged just before the crash may come again
			if !pk.FixedHeader.Dup {
				t.Fatalf("%s: id %d, want %d", id, pk.PacketID, ids[id])
			}
			pk = sub.receive("only/"+id, id)
		}
		sub.receive("all", "x")
	}
}

func TestDurable_UnsubscribingSurvivesACrash(t *testing.T) {
	dir := t.TempDir()
	w := serveOn(t, dir, nil)
	s, _ := w.persistent(5, "s", nil)
	s.subscribeWith(packets.Subscription{Filter: "a", Qos: 1, Identifier: 9, RetainAsPublished: true})
	s.subscribe(1, "b", "$share/g/c")
	s.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 3, Filters: packets.Subscriptions{{Filter: "b"}}})
	s.want(packets.Unsuback)
	w.crash()

	w = serveOn(t, dir, nil)
	pub := w.client(5, "pub")
	pub.publish("b", "no", 1, 1)
	pub.publish("a", "yes", 1, 2)
	pub.publish("c", "shared", 1, 3)
	s, _ = w.persistent(5, "s", nil)
	if pk := s.receive("a", "yes"); len(pk.Properties.SubscriptionIdentifier) != 1 || pk.Properties.SubscriptionIdentifier[0] != 9 {
		t.Errorf("subscription identifiers %v", pk.Properties.SubscriptionIdentifier)
	}
	s.receive("c", "shared")
}

func TestDurable_ADelayedWillSurvivesACrash(t *testing.T) {
	dir := t.TempDir()
	w := serveOn(t, dir, nil)
	sub, _ := w.persistent(5, "sub", nil)
	sub.subscribe(1, "will")
	c, _ := w.persistent(5, "c", withWill(1))
	_ = c.nc.Close()
	eventually(t, "c is away", func() bool { return w.sessions.connected("c") == nil })
	s := w.sessions.get("c")
	saved := make(chan error, 1)
	s.mu.Lock()
	s.save(func(err error) { saved <- err }) // behind the one of its end
	s.mu.Unlock()
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	w.crash()

	w = serveOn(t, dir, nil)
	sub, _ = w.persistent(5, "sub", nil)
	if pk := sub.want(packets.Publish); pk.TopicName != "will" {
		t.Errorf("got %s", pk.TopicName)
	}
}

// A disk that fails takes acknowledgements, not the broker; when it works again
// they come.
func TestDurable_AFailedCommitIsAcknowledgedWhenItSucceeds(t *testing.T) {
	var mu sync.Mutex
	broken := false
	set := func(b bool) {
		mu.Lock()
		defer mu.Unlock()
		broken = b
	}
	w := serveOn(t, t.TempDir(), func(p store.FaultPoint, _ uint64) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && p == store.FaultCommit {
			return fmt.Errorf("test: %w", store.ErrDiskFull)
		}
		return nil
	})
	sub, _ := w.persistent(5, "sub", nil)
	sub.subscribe(2, "t")
	pub := w.client(4, "pub")
	set(true)
	pub.send(message("t", "first", 2, 1))
	pub.send(retainedMessage("r", "kept", 1, 2))
	pub.silent(50 * time.Millisecond)
	late, _ := w.persistent(5, "late", nil) // a sick disk locks nobody out
	late.subscribe(1, "t")
	set(false)
	if pk := pub.want(packets.Pubrec); pk.PacketID != 1 {
		t.Errorf("PUBREC of %d", pk.PacketID)
	}
	if pk := pub.want(packets.Puback); pk.PacketID != 2 {
		t.Errorf("PUBACK of %d", pk.PacketID)
	}
	sub.receive("t", "first")
	pub.send(ack(packets.Pubrel, 1))
	pub.want(packets.Pubcomp)
	pub.publish("t", "good", 2, 3)
	sub.receive("t", "good")
	late.receive("t", "good")
}

// exactly is one side's memory of its QoS 2 exchanges.
type exactly struct {
	t    *testing.T
	left int // messages the publisher has not begun

	mu   sync.Mutex
	open map[uint16]string // publisher: payload until PUBREC, then empty
	got  []string
	held map[uint16]bool // subscriber: ids received and not released
}

func (x *exactly) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.got)
}

// join connects a persistent client by hand; nil when the broker dies first.
func (x *exactly) join(w *durable, id string) *peer {
	p := w.dial(4)
	_, _ = p.nc.Write(p.bytes(greeting(4, id, func(pk *packets.Packet) { pk.Connect.Clean = false })))
	if _, err := p.next(10 * time.Second); err != nil {
		return nil
	}
	return p
}

// publish publishes all there is, five at a time, until the connection ends.
func (x *exactly) publish(p *peer, total int) {
	for id, payload := range x.open {
		pk := ack(packets.Pubrel, id)
		if payload != "" {
			pk = message("t", payload, 2, id)
			pk.FixedHeader.Dup = true
		}
		_, _ = p.nc.Write(p.bytes(pk))
	}
	for len(x.open) > 0 || x.left > 0 {
		for id := uint16(1); id <= 5 && x.left > 0; id++ {
			if _, busy := x.open[id]; !busy {
				x.open[id] = name(total - x.left)
				_, _ = p.nc.Write(p.bytes(message("t", x.open[id], 2, id)))
				x.left--
			}
		}
		pk, err := p.next(10 * time.Second)
		if err != nil {
			return
		}
		switch pk.FixedHeader.Type {
		case packets.Pubrec:
			x.open[pk.PacketID] = ""
			_, _ = p.nc.Write(p.bytes(ack(packets.Pubrel, pk.PacketID)))
		case packets.Pubcomp:
			delete(x.open, pk.PacketID)
		}
	}
}

func (x *exactly) subscribe(p *peer) {
	for {
		pk, err := p.next(10 * time.Second)
		if err != nil {
			return
		}
		switch pk.FixedHeader.Type {
		case packets.Publish:
			x.mu.Lock()
			if !x.held[pk.PacketID] {
				x.got = append(x.got, string(pk.Payload))
			}
			x.held[pk.PacketID] = true
			x.mu.Unlock()
			_, _ = p.nc.Write(p.bytes(ack(packets.Pubrec, pk.PacketID)))
		case packets.Pubrel:
			delete(x.held, pk.PacketID)
			_, _ = p.nc.Write(p.bytes(ack(packets.Pubcomp, pk.PacketID)))
		}
	}
}

// The broker dies again and again, with commits on their way and without:
// every message arrives exactly once.
func TestDurable_RandomCrashesLeaveQoS2ExactlyOnce(t *testing.T) {
	const total, rounds = 300, 12
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	dir := t.TempDir()
	x := &exactly{t: t, left: total, open: make(map[uint16]string), held: make(map[uint16]bool)}
	w := serveOn(t, dir, nil)
	first, _ := w.persistent(4, "sub", nil)
	first.subscribe(2, "t")
	w.crash()
	for round := range rounds {
		w = serveOn(t, dir, nil)
		var both sync.WaitGroup
		if sub := x.join(w, "sub"); sub != nil {
			both.Go(func() { x.subscribe(sub) })
		}
		if pub := x.join(w, "pub"); pub != nil {
			both.Go(func() { x.publish(pub, total) })
		}
		goal := total
		if round < rounds-1 {
			goal = min(total, x.count()+random.IntN(2*total/rounds))
		}
		for end := time.Now().Add(time.Minute); x.count() < goal; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("round %d: %d of %d messages within a minute", round, x.count(), goal)
			}
		}
		if random.IntN(2) == 0 {
			w.disk.hold()
			time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
		}
		w.crash()
		both.Wait()
	}
	slices.Sort(x.got)
	for i := range total {
		if i >= len(x.got) || x.got[i] != name(i) {
			t.Fatalf("message %d of %d is missing or came twice: %v", i, len(x.got), x.got[max(0, i-2):min(len(x.got), i+3)])
		}
	}
	if len(x.got) != total {
		t.Errorf("%d messages, want %d", len(x.got), total)
	}
}
