package shared

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/metrics"
)

const ms = time.Millisecond

// wires is an adapter that records who was asked and answers as told.
type wires struct {
	mu     sync.Mutex
	took   map[uint16]time.Duration // of a transaction; default 1 ms
	fail   map[uint16]error
	held   bool // nobody answers
	frees  []time.Duration
	heals  bool // freeing helps
	noFree error
	epoch  uint64
	start  time.Time
	asked  []uint16
	writes [][]byte
	inside int
}

func newWires() *wires {
	return &wires{took: map[uint16]time.Duration{}, fail: map[uint16]error{}, start: time.Now()}
}

func (a *wires) Tx(ctx context.Context, addr uint16, w, r []byte) error {
	a.mu.Lock()
	a.inside++
	took, err, held := a.took[addr], a.fail[addr], a.held
	if a.inside > 1 {
		err = errors.New("two at once")
	}
	a.asked = append(a.asked, addr)
	a.writes = append(a.writes, slices.Clone(w))
	a.mu.Unlock()
	switch {
	case held:
		took, err = 200*ms, drivers.ErrTimeout
	case took == 0:
		took = ms
	}
	time.Sleep(took)
	for i := range r {
		r[i] = byte(addr)
	}
	a.mu.Lock()
	a.inside--
	a.mu.Unlock()
	return err
}

func (a *wires) Free(context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frees = append(a.frees, time.Since(a.start))
	if a.heals {
		a.held = false
	}
	return "pulses", a.noFree
}

func (a *wires) Epoch() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.epoch
}

func (a *wires) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func ask(b drivers.Bus, addr uint16) error {
	return b.Tx(context.Background(), addr, []byte{0}, make([]byte, 1))
}

func TestTx_AnOutputWriteGoesBeforeAScanAndAScanBeforePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		a.took[1] = 100 * ms
		b := New(a, Options{Name: "main"})
		var wg sync.WaitGroup
		launch := func(addr uint16, p drivers.Priority) {
			wg.Go(func() {
				if err := b.Tx(drivers.WithPriority(t.Context(), p), addr, []byte{0}, nil); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		launch(1, drivers.Poll)
		launch(2, drivers.Poll)
		launch(3, drivers.ByHand)
		launch(4, drivers.OutputWrite)
		launch(5, drivers.Poll)
		wg.Wait()
		if want := []uint16{1, 4, 3, 2, 5}; !slices.Equal(a.asked, want) {
			t.Errorf("served %v, want %v", a.asked, want)
		}
	})
}

func TestLease_OthersWaitBetweenTransactionsButNotLongerThanTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		b := New(a, Options{Name: "main"})
		l := b.Lease()
		use := func(pause time.Duration) {
			time.Sleep(pause)
			if err := l.Tx(t.Context(), 1, []byte{0}, nil); err != nil {
				t.Error(err)
			}
		}
		use(0)
		done := make(chan time.Time, 1)
		go func() {
			if err := ask(b, 2); err != nil {
				t.Error(err)
			}
			done <- time.Now()
		}()
		synctest.Wait()
		use(40 * ms)
		use(40 * ms)
		if len(done) != 0 {
			t.Error("another device went between two transactions of a lease")
		}
		use(60 * ms)
		if want := []uint16{1, 1, 1, 2, 1}; !slices.Equal(a.asked, want) {
			t.Errorf("served %v, want %v", a.asked, want)
		}
		<-done
	})
}

func TestLease_RestAndEndLetOthersGoInAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, leave := range map[string]func(drivers.Lease){"rest": drivers.Lease.Rest, "end": drivers.Lease.End} {
			b := New(newWires(), Options{Name: "main"})
			l := b.Lease()
			if err := l.Tx(t.Context(), 1, []byte{0}, nil); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- ask(b, 2) }()
			synctest.Wait()
			leave(l)
			began := time.Now()
			if err := <-done; err != nil || time.Since(began) > 2*ms {
				t.Errorf("%s: %v after %v", what, err, time.Since(began))
			}
		}
	})
}

func TestTx_ACallerThatGivesUpHasItsMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		a.took[1] = time.Second
		b := New(a, Options{Name: "main"})
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		w, r := []byte{7}, []byte{9}
		if err := b.Tx(ctx, 1, w, r); !errors.Is(err, drivers.ErrTimeout) {
			t.Fatalf("got %v", err)
		}
		w[0] = 0
		time.Sleep(2 * time.Second)
		a.change(func() {
			if r[0] != 9 || a.writes[0][0] != 7 {
				t.Errorf("the transaction wrote into memory of its caller: %v, %v", r, a.writes)
			}
		})
	})
}

func TestTx_WhoGaveUpWhileWaitingIsNeverServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		a.took[1] = time.Second
		b := New(a, Options{Name: "main"})
		go func() { _ = ask(b, 1) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		if err := b.Tx(ctx, 2, []byte{0}, nil); !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		a.change(func() {
			if !slices.Equal(a.asked, []uint16{1}) {
				t.Errorf("served %v", a.asked)
			}
		})
	})
}

func TestTx_AFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		a.took[1] = time.Hour
		b := New(a, Options{Name: "main"})
		ctx, cancel := context.WithCancel(t.Context())
		for range waitingMax + 1 {
			go func() { _ = b.Tx(ctx, 1, []byte{0}, nil) }()
		}
		synctest.Wait()
		began := time.Now()
		if err := ask(b, 2); !errors.Is(err, drivers.ErrTimeout) || time.Since(began) != 0 {
			t.Errorf("got %v after %v; want a refusal at once", err, time.Since(began))
		}
		cancel()
		time.Sleep(2 * time.Hour)
	})
}

// Goal: a chip that holds its clock costs its bus at most a hundredth of its
// time, a person may still ask it, and it is back after one answer.
func TestTx_ADeadChipIsRefusedUntilItCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		b := New(a, Options{Name: "main"})
		mustAsk(t, b, 2)
		a.took[1], a.fail[1] = 200*ms, drivers.ErrTimeout
		began, busy := time.Now(), time.Duration(0)
		for time.Since(began) < time.Hour {
			at := time.Now()
			if err := ask(b, 1); !errors.Is(err, drivers.ErrTimeout) {
				t.Fatalf("got %v", err)
			}
			busy += time.Since(at)
			mustAsk(t, b, 2)
			time.Sleep(time.Second)
		}
		if busy > 2*time.Second+time.Hour/100 {
			t.Errorf("it cost %v of an hour", busy)
		}
		at := time.Now()
		_ = b.Tx(drivers.WithPriority(t.Context(), drivers.ByHand), 1, []byte{0}, nil)
		if time.Since(at) != 200*ms {
			t.Errorf("a person's request took %v; want it asked", time.Since(at))
		}
		a.change(func() { a.fail[1], a.took[1] = nil, ms })
		_ = b.Tx(drivers.WithPriority(t.Context(), drivers.ByHand), 1, []byte{0}, nil)
		mustAsk(t, b, 1)
	})
}

func mustAsk(t *testing.T, b drivers.Bus, addr uint16) {
	t.Helper()
	if err := ask(b, addr); err != nil {
		t.Fatalf("0x%02x: %v", addr, err)
	}
}

func TestTx_AStuckBusIsFreedAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, m := newWires(), metrics.New()
		b := New(a, Options{Name: "main", Figures: NewFigures(m)})
		for addr := range uint16(4) {
			mustAsk(t, b, addr)
		}
		a.held, a.heals = true, true
		for addr := range uint16(3) {
			err := ask(b, addr)
			if want := addr == 2; errors.Is(err, drivers.ErrBusStuck) != want {
				t.Errorf("time-out %d: %v", addr+1, err)
			}
		}
		if c := m.Health.Components()["bus/main"]; c.State != metrics.Degraded {
			t.Errorf("the health of the bus is %+v", c)
		}
		mustAsk(t, b, 3)
		if len(a.frees) != 1 {
			t.Errorf("freed %d times", len(a.frees))
		}
		if c := m.Health.Components()["bus/main"]; c.State != metrics.OK {
			t.Errorf("after the repair the bus is %+v", c)
		}
	})
}

// Goal: a bus that cannot be freed costs nothing and is tried ever less often.
func TestTx_ABusThatStaysStuckIsTriedEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, noFree := range map[string]error{"freeing does not help": nil, "freeing is not possible": drivers.ErrNotClaimed} {
			a := newWires()
			a.noFree = noFree
			b := New(a, Options{Name: "main"})
			for addr := range uint16(4) {
				mustAsk(t, b, addr)
			}
			a.held = true
			began, busy := time.Now(), time.Duration(0)
			for addr := uint16(0); time.Since(began) < time.Hour; addr = (addr + 1) % 4 {
				at := time.Now()
				if err := ask(b, addr); err == nil {
					t.Fatalf("%s: an answer", what)
				}
				busy += time.Since(at)
				time.Sleep(100 * ms)
			}
			if n := len(a.frees); n < 15 || n > 25 { // 0 1 2 4 ... 256 s, then each 300 s
				t.Errorf("%s: freed %d times in an hour", what, n)
			}
			if busy > 10*time.Second {
				t.Errorf("%s: it cost %v of an hour", what, busy)
			}
		}
	})
}

func TestPort_TheWayIsOpenedAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		b := New(a, Options{Name: "main"})
		three, err := b.Port(0x70, 3)
		if err != nil || three.Name() != "main/0x70/3" {
			t.Fatalf("%s, %v", three.Name(), err)
		}
		other, err := b.Port(0x71, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, bus := range []drivers.Bus{three, three, other, b} {
			mustAsk(t, bus, 0x40)
		}
		if want := []uint16{0x70, 0x40, 0x40, 0x70, 0x71, 0x40, 0x71, 0x40}; !slices.Equal(a.asked, want) {
			t.Errorf("asked %x, want %x", a.asked, want)
		}
		masks := []byte{a.writes[0][0], a.writes[3][0], a.writes[4][0], a.writes[6][0]}
		if want := []byte{8, 0, 1, 0}; !slices.Equal(masks, want) {
			t.Errorf("masks %x, want %x", masks, want)
		}
	})
}

func TestPort_AfterAFailureTheWayIsOpenedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		port, err := New(a, Options{Name: "main"}).Port(0x70, 0)
		if err != nil {
			t.Fatal(err)
		}
		mustAsk(t, port, 0x40)
		a.fail[0x40] = drivers.ErrNACK // its multiplexer lost its supply
		if err := ask(port, 0x40); !errors.Is(err, drivers.ErrNACK) {
			t.Fatal(err)
		}
		a.change(func() { a.fail[0x40], a.asked = nil, nil })
		mustAsk(t, port, 0x40)
		if want := []uint16{0x70, 0x70, 0x40}; !slices.Equal(a.asked, want) {
			t.Errorf("asked %x, want %x", a.asked, want)
		}
	})
}

func TestPort_OutOfRangeIsAnError(t *testing.T) {
	b := New(newWires(), Options{Name: "main"})
	for _, port := range []int{-1, 8} {
		if _, err := b.Port(0x70, port); err == nil {
			t.Errorf("port %d was taken", port)
		}
	}
}

func TestTx_ANewEpochForgetsWhatWasLearnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWires()
		b := New(a, Options{Name: "main"})
		a.took[1], a.fail[1] = 3*time.Second, drivers.ErrTimeout
		_ = ask(b, 1)
		a.change(func() { a.fail[1], a.took[1] = nil, ms })
		if err := ask(b, 1); err == nil {
			t.Fatal("asked in spite of its debt")
		}
		a.change(func() { a.epoch++ })
		mustAsk(t, b, 1)
		if b.Epoch() != 1 {
			t.Errorf("epoch %d", b.Epoch())
		}
	})
}
