package session

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// room is a Keeper over real files.
type room struct {
	*Keeper
	t    *testing.T
	dir  string
	stop func()
}

func openRoom(t *testing.T, dir string, cfg Config, fault func(store.FaultPoint, uint64) error) *room {
	t.Helper()
	file := func(name string, schema store.Schema) *store.DB {
		db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, name), Schemas: []store.Schema{schema}, Fault: fault})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	state, messages := file("state.db", StateSchema()), file("messages.db", MessagesSchema())
	k := New(cfg, state, messages, metrics.New(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := errors.Join(state.Close(), messages.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return &room{k, t, dir, stop}
}

// again closes the room in order and opens it again.
func (r *room) again() (*room, keep.State) {
	r.t.Helper()
	r.stop()
	next := openRoom(r.t, r.dir, Config{}, nil)
	s, err := next.Load(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return next, s
}

// must keeps a change and waits for its commit.
func (r *room) must(c keep.Change) {
	r.t.Helper()
	if err := r.try(c); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) try(c keep.Change) error {
	done := make(chan error, 1)
	r.Keep(c, func(err error) { done <- err })
	return <-done
}

// full is a message in which everything is set.
func full(id int64) *keep.Message {
	at := time.UnixMilli(1_790_000_000_123)
	return &keep.Message{
		ID: id, At: at, Expires: at.Add(time.Hour), Refs: []keep.Ref{{Session: 7, N: 3, QoS: 2, Retain: true, IDs: []int{1, 9}}},
		Message: iot.Message{
			Topic: "a/b", Payload: []byte{0, 255, 'x'}, QoS: 2, Retain: true, Arrived: at,
			Origin: iot.Origin{ClientID: "c", Principal: iot.Principal{Kind: iot.UserKind, ID: "u"}, Source: "dev/c", Protocol: 5, Will: true},
			Properties: &iot.Properties{ContentType: "t", ResponseTopic: "r", CorrelationData: []byte{1}, HasPayloadFormat: true,
				MessageExpiry: 9, User: []iot.UserProperty{{Key: "k", Value: "v"}}},
		},
	}
}

// position is a session whose progress is fixed.
type position struct{ p keep.Progress }

func (p position) Number() int64           { return p.p.Session }
func (p position) Progress() keep.Progress { return p.p }

func TestKeeper_GivesBackWhatItWasGiven(t *testing.T) {
	r := openRoom(t, t.TempDir(), Config{}, nil)
	m, kept := full(5), full(0)
	kept.Refs = nil
	s := keep.Session{Number: 7, Client: "c", Owner: iot.Principal{Kind: iot.Local}, Expiry: time.Hour, Away: time.UnixMilli(1_790_000_000_000).UTC(),
		Will: &keep.Will{Message: full(0).Message, At: time.UnixMilli(1_790_000_000_000).UTC()},
		Subs: []keep.Subscription{{Filter: "$share/g/a/#", QoS: 1, AsPublished: true, RetainHandling: 2, Identifier: 4}}}
	s.Will.Message.Arrived = time.Time{}
	p := keep.Progress{Session: 7, Next: 9, Low: 3, Done: [][2]uint64{{4, 6}}, Received: []uint64{3}}
	x := keep.Exchange{Session: 7, PacketID: 65535}
	r.must(keep.Change{Session: &s, Retained: kept})
	r.Keep(keep.Change{Moved: position{p}}, nil) // nobody waits, and it is there all the same
	r.must(keep.Change{Message: m, Opened: x})
	_, got := r.again()
	m.Message.Origin.Exchange = 0
	want := keep.State{Retained: []keep.Message{*kept}, Sessions: []keep.Session{s}, Messages: []keep.Message{*m},
		Progress: []keep.Progress{p}, Inbound: []keep.Exchange{x}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestKeeper_EndingAndDroppingLeaveNothing(t *testing.T) {
	r := openRoom(t, t.TempDir(), Config{}, nil)
	r.must(keep.Change{Session: &keep.Session{Number: 7}, Retained: full(0)})
	r.must(keep.Change{Message: full(5), Opened: keep.Exchange{Session: 7, PacketID: 1}, Moved: position{keep.Progress{Session: 7, Next: 4}}})
	r.must(keep.Change{Message: full(6), Opened: keep.Exchange{Session: 7, PacketID: 2}})
	r.must(keep.Change{Released: keep.Exchange{Session: 7, PacketID: 1}, Dropped: 5})
	r, s := r.again()
	if len(s.Messages) != 1 || len(s.Inbound) != 1 {
		t.Errorf("%+v", s)
	}
	gone := full(0)
	gone.Message.Payload = nil
	r.must(keep.Change{Ended: 7, Dropped: 6, Retained: gone})
	if _, s = r.again(); !reflect.DeepEqual(s, keep.State{}) {
		t.Errorf("left: %+v", s)
	}
}

// A message that everybody has before its commit began is never written, and
// its publisher is told all the same; what came with it is written.
func TestKeeper_AMessageDroppedBeforeItsCommitIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	r := openRoom(t, dir, Config{}, nil)
	begun, free := make(chan struct{}), make(chan struct{})
	r.Keep(keep.Change{Message: full(1), Moved: waiter{begun, free}}, func(error) {})
	<-begun
	told := make(chan error, 2)
	x := keep.Exchange{Session: 7, PacketID: 1}
	r.Keep(keep.Change{Message: full(2), Opened: x}, func(err error) { told <- err })
	r.Keep(keep.Change{Dropped: 2}, nil)
	r.Keep(keep.Change{Message: full(3)}, func(err error) { told <- err })
	close(free)
	if err := errors.Join(<-told, <-told); err != nil {
		t.Fatal(err)
	}
	r.must(keep.Change{Session: &keep.Session{Number: 7}})
	_, s := r.again()
	var ids []int64
	for _, m := range s.Messages {
		ids = append(ids, m.ID)
	}
	if !slices.Equal(ids, []int64{1, 3}) || !slices.Contains(s.Inbound, x) {
		t.Errorf("messages %v, exchanges %v", ids, s.Inbound)
	}
}

// waiter holds the commit that asks it.
type waiter struct{ begun, free chan struct{} }

func (w waiter) Number() int64 { return 99 }
func (w waiter) Progress() keep.Progress {
	close(w.begun)
	<-w.free
	return keep.Progress{}
}

// Everything is tried until it is on disk. Who waits for a message waits until
// then, all others are told at once.
func TestKeeper_AFailedCommitIsTriedAgain(t *testing.T) {
	var mu sync.Mutex
	broken := true
	r := openRoom(t, t.TempDir(), Config{}, func(p store.FaultPoint, _ uint64) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && p == store.FaultCommit {
			return fmt.Errorf("test: %w", store.ErrDiskFull)
		}
		return nil
	})
	told := make(chan error, 3)
	tell := func(err error) { told <- err }
	r.Keep(keep.Change{Message: full(5), Opened: keep.Exchange{Session: 7, PacketID: 2}}, tell)
	r.Keep(keep.Change{Message: full(6)}, tell)
	r.Keep(keep.Change{Retained: &keep.Message{Message: iot.Message{Topic: "r", Payload: []byte("x")}}}, tell)
	for _, c := range []keep.Change{
		{Moved: position{keep.Progress{Session: 7, Next: 4}}},
		{Session: &keep.Session{Number: 7, Client: "c"}},
	} {
		if err := r.try(c); !errors.Is(err, store.ErrDiskFull) {
			t.Fatalf("got %v", err)
		}
	}
	r.Keep(keep.Change{Dropped: 6}, nil) // everybody has it meanwhile
	select {
	case err := <-told:
		t.Errorf("told %v before the commit", err)
	default:
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	if err := errors.Join(<-told, <-told, <-told); err != nil {
		t.Error(err)
	}
	_, s := r.again()
	if len(s.Messages) != 1 || s.Messages[0].ID != 5 || len(s.Inbound) != 1 || len(s.Retained) != 1 || len(s.Progress) != 1 || len(s.Sessions) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestKeeper_RowsOfUnknownSessionsAreRemoved(t *testing.T) {
	r := openRoom(t, t.TempDir(), Config{}, nil)
	r.must(keep.Change{Opened: keep.Exchange{Session: 8, PacketID: 1}, Moved: position{keep.Progress{Session: 8, Next: 1}}})
	r, s := r.again()
	if len(s.Progress) != 1 || len(s.Inbound) != 1 {
		t.Errorf("numbers in use are not told: %+v", s)
	}
	if _, s = r.again(); !reflect.DeepEqual(s, keep.State{}) {
		t.Errorf("left: %+v", s)
	}
}

func TestKeeper_VolatileFilesAreNoPromise(t *testing.T) {
	why := errors.New("read-only")
	r := openRoom(t, t.TempDir(), Config{Volatile: why}, nil)
	if err := r.try(keep.Change{Message: full(1)}); !errors.Is(err, keep.ErrVolatile) || !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// Everything given before the end is committed, and nobody waits for ever.
func TestKeeper_TheEndCommitsWhatWaits(t *testing.T) {
	r := openRoom(t, t.TempDir(), Config{}, nil)
	const n = 3 * commitOps
	var told sync.WaitGroup
	for i := range n {
		told.Add(1)
		m := full(int64(i + 1))
		m.Refs[0].N = uint64(i)
		r.Keep(keep.Change{Message: m, Retained: full(0)}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			told.Done()
		})
	}
	next, s := r.again()
	told.Wait()
	if len(s.Messages) != n || len(s.Retained) != 1 {
		t.Errorf("%d messages, %d retained", len(s.Messages), len(s.Retained))
	}
	next.stop()
	if err := next.try(keep.Change{Message: full(1)}); err == nil {
		t.Error("a change after the end is promised")
	}
}

func BenchmarkKeep(b *testing.B) {
	dir := b.TempDir()
	state, err := store.Open(b.Context(), store.Options{Path: filepath.Join(dir, "state.db"), Schemas: []store.Schema{StateSchema()}})
	if err != nil {
		b.Fatal(err)
	}
	messages, err := store.Open(b.Context(), store.Options{Path: filepath.Join(dir, "messages.db"), Schemas: []store.Schema{MessagesSchema()}})
	if err != nil {
		b.Fatal(err)
	}
	k := New(Config{}, state, messages, metrics.New(), nil)
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = k.Run(ctx) })
	window := make(chan struct{}, 1000)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		window <- struct{}{}
		m := &keep.Message{ID: int64(i + 1), At: time.Now(), Refs: []keep.Ref{{Session: 1, N: uint64(i), QoS: 1}},
			Message: iot.Message{Topic: "dt/device/temperature", Payload: make([]byte, 256), QoS: 1}}
		k.Keep(keep.Change{Message: m}, func(error) {
			k.Keep(keep.Change{Dropped: m.ID}, nil)
			<-window
		})
	}
	b.StopTimer()
	cancel()
	running.Wait()
	_ = errors.Join(state.Close(), messages.Close())
}
