package messages

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/messages/audit"
	"github.com/tidehold/tidehold/gateway/messages/tail"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// fixture is a log over a real file that a test can crash.
type fixture struct {
	t    testing.TB
	path string
	cfg  Config
	db   *store.DB
	l    *Log
	o    store.Options
}

func start(t testing.TB, cfg Config, cursors ...CursorConfig) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "messages.db"), cfg: cfg}
	f.open(cursors...)
	return f
}

func (f *fixture) open(cursors ...CursorConfig) Opened {
	f.t.Helper()
	o := f.o
	o.Path, o.Metrics = f.path, metrics.New()
	db, opened, err := Open(context.Background(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { db.Close() })
	l, err := New(f.cfg, db, ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := l.Declare(context.Background(), cursors); err != nil {
		f.t.Fatal(err)
	}
	f.db, f.l = db, l
	return opened
}

// crash goes on with a copy of the files as they are now: everything in memory
// is gone.
func (f *fixture) crash(cursors ...CursorConfig) Opened {
	f.t.Helper()
	to := filepath.Join(f.t.TempDir(), "messages.db")
	for _, suffix := range []string{"", "-wal"} {
		in, err := os.Open(f.path + suffix)
		if err != nil {
			continue
		}
		out, err := os.Create(to + suffix)
		if err != nil {
			f.t.Fatal(err)
		}
		io.Copy(out, in)
		in.Close()
		out.Close()
	}
	f.db.Close()
	f.path = to
	return f.open(cursors...)
}

// commit writes what waits, without progress unless that is due.
func (f *fixture) commit() error {
	w := f.l.beginWrite()
	<-w.ended
	return w.err
}

func (f *fixture) append(recs ...Record) {
	f.t.Helper()
	f.l.Append(Batch{Records: recs}, func(error) {})
}

func (f *fixture) flush() {
	f.t.Helper()
	if err := f.l.Flush(context.Background()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) reader(name string, order Order) *Cursor {
	f.t.Helper()
	k, err := f.l.Cursor(name)
	if err != nil {
		f.t.Fatal(err)
	}
	k.Begin(order)
	return k
}

// check proves the sum check of every cursor: in memory, and in the file
// against a count of every record.
func (f *fixture) check() {
	f.t.Helper()
	f.flush()
	f.flush() // what was to be lost and waited for its commit
	found, err := audit.Verify(context.Background(), f.db)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range f.l.Stats(context.Background()).Cursors {
		if int64(c.Allocated) != int64(c.Accounted())+c.Pending {
			f.t.Fatalf("sum check of %s: allocated %d, delivered %d + pending %d + lost %d + skipped %d",
				c.Name, c.Allocated, c.Delivered, c.Pending, c.Lost, c.Skipped)
		}
		if found.Pending[c.Name] != c.Pending {
			f.t.Fatalf("cursor %s has %d pending, counted record by record %d", c.Name, c.Pending, found.Pending[c.Name])
		}
	}
}

// next gives the next item or fails.
func next(t testing.TB, k *Cursor) *Item {
	t.Helper()
	it, err := k.Next(context.Background(), true)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func rec(topic string, class uint8, to ...string) Record {
	return Record{Topic: topic, Payload: []byte("payload of " + topic), QoS: 1, Source: "dev/a", ClientID: "a", Class: class,
		Boot: "abcdef", Up: time.Second, Wall: time.UnixMilli(1_700_000_000_000).UTC(), To: to}
}

func drain(t testing.TB, k *Cursor) (seqs []uint64) {
	t.Helper()
	for it := next(t, k); it != nil; it = next(t, k) {
		seqs = append(seqs, it.Record.Seq)
		k.Ack(it)
	}
	return seqs
}

var cloud = CursorConfig{Name: "cloud", Required: true}

func TestAppend_IsDurableWhenDoneAndInOrder(t *testing.T) {
	f := start(t, Config{}, cloud)
	var order []int
	for i := range 3 {
		f.l.Append(Batch{Records: []Record{rec(fmt.Sprint("t/", i), Normal, "cloud")}}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			order = append(order, i)
		})
	}
	if len(order) != 0 {
		t.Fatal("done before the commit")
	}
	if err := f.commit(); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(order) != "[0 1 2]" {
		t.Errorf("done in order %v", order)
	}
	f.crash(cloud)
	k := f.reader("cloud", FIFO)
	for i := range 3 {
		it := next(t, k)
		if it == nil || it.Record.Topic != fmt.Sprint("t/", i) || it.Record.Seq != uint64(i+1) || !it.Back {
			t.Fatalf("item %d: %+v", i, it)
		}
		k.Ack(it)
	}
	if it := next(t, k); it != nil {
		t.Errorf("one too many: %+v", it.Record)
	}
	f.check()
	if s := f.l.Stats(context.Background()).Cursors[0]; s.Delivered != 3 || s.Pending != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCrash_NumbersAreNeverUsedAgainAndTheRestIsSkipped(t *testing.T) {
	f := start(t, Config{}, cloud)
	inc := f.l.Started().Inc
	if !f.l.Started().Fresh || f.l.Started().FirstSeq != 1 {
		t.Fatalf("first start %+v", f.l.Started())
	}
	f.append(rec("a", Normal, "cloud"))
	f.commit()
	f.append(rec("never committed", Normal, "cloud"))
	f.crash(cloud)
	s := f.l.Started()
	if s.Inc != inc || s.Fresh || s.FirstSeq != 1025 || len(s.Skips) != 1 || s.Skips[0] != (Range{From: 2, To: 1024}) {
		t.Errorf("start after the crash %+v", s)
	}
	f.check()
	c := f.l.Stats(context.Background()).Cursors[0]
	if c.Allocated != 1+1023 || c.Skipped != 1023 || c.Pending != 1 {
		t.Errorf("stats %+v", c)
	}
	f.crash(cloud) // the skip was not announced: it is kept, and the new rest comes with it
	if s := f.l.Started(); len(s.Skips) != 2 || s.Skips[1] != (Range{From: 1025, To: 2048}) {
		t.Errorf("skips %v", s.Skips)
	}
	f.l.Append(Batch{Records: []Record{rec("sys", Critical, "cloud")}, StartSent: true}, func(error) {})
	f.commit()
	f.crash(cloud)
	if s := f.l.Started(); len(s.Skips) != 1 {
		t.Errorf("skips after they were announced: %v", s.Skips)
	}
}

func TestStop_LeavesNoNumberOpenAndNothingWaiting(t *testing.T) {
	f := start(t, Config{}, cloud)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.l.Run(ctx) }()
	committed := make(chan error, 1)
	f.l.Append(Batch{Records: []Record{rec("a", Normal, "cloud")}}, func(err error) { committed <- err })
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	f.l.Append(Batch{Records: []Record{rec("b", Normal, "cloud")}}, func(err error) { committed <- err })
	if err := <-committed; !errors.Is(err, ErrStopped) {
		t.Errorf("append after the stop: %v", err)
	}
	f.crash(cloud)
	if s := f.l.Started(); s.FirstSeq != 2 || len(s.Skips) != 0 {
		t.Errorf("start after a clean stop %+v", s)
	}
}

func TestGap_CommitsAtOnceAfterQuietAndThenNotBeforeTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{Pace: tail.Pace{Least: 100 * time.Millisecond}}, cloud)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.l.Run(ctx) }()
		time.Sleep(time.Second)
		began := time.Now()
		var waits []time.Duration
		appendOne := func(urgent bool) {
			f.l.Append(Batch{Records: []Record{rec("a", Normal, "cloud")}, Urgent: urgent}, func(error) { waits = append(waits, time.Since(began)) })
			synctest.Wait()
		}
		appendOne(false)
		appendOne(false)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		appendOne(true)
		if len(waits) != 3 || waits[0] != 0 || waits[1] != 50*time.Millisecond || waits[2] != 50*time.Millisecond {
			t.Errorf("commits at %v: want at once, and both others with the urgent one", waits)
		}
		appendOne(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(waits) != 4 || waits[3] != 150*time.Millisecond {
			t.Errorf("commits at %v: want the last one a gap later", waits)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		f.db.Close()
	})
}

func TestProgress_IsWrittenAfterFiveSecondsOrManyAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{}, cloud)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.l.Run(ctx) }()
		time.Sleep(time.Minute)
		f.append(rec("a", Normal, "cloud"), rec("b", Normal, "cloud"))
		synctest.Wait()
		k := f.reader("cloud", LiveFirst)
		k.Ack(next(t, k))
		pendingInFile := func() int64 {
			found, err := audit.Verify(t.Context(), f.db)
			if err != nil {
				t.Fatal(err)
			}
			return found.Pending["cloud"]
		}
		time.Sleep(progressEvery + time.Millisecond)
		synctest.Wait()
		if n := pendingInFile(); n != 1 {
			t.Errorf("%v after the acknowledgement the file has %d pending, want 1", progressEvery, n)
		}
		cancel()
		<-ended
		f.db.Close()
	})
}

// T-04.
func TestCommit_FailureKeepsEverythingUnacknowledgedUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		f := &fixture{t: t, path: filepath.Join(t.TempDir(), "messages.db"), cfg: Config{TailRecords: 5}}
		f.o.Fault = func(p store.FaultPoint, n uint64) error {
			if p == store.FaultCommit && n > 2 && broken.Load() {
				return fmt.Errorf("injected: %w", store.ErrDiskFull)
			}
			return nil
		}
		f.open(cloud)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.l.Run(ctx) }()
		done, refused := 0, 0
		var full interface{ Room() <-chan struct{} }
		for i := range 7 {
			f.l.Append(Batch{Records: []Record{rec(fmt.Sprint(i), Normal, "cloud")}}, func(err error) {
				if err == nil {
					done++
				} else if errors.Is(err, ErrTailFull) && errors.As(err, &full) {
					refused++
				}
			})
			synctest.Wait()
		}
		select {
		case <-full.Room():
			t.Error("a full tail says that it has room")
		default:
		}
		if done != 0 || refused != 2 {
			t.Errorf("with a full disk %d done, %d refused; want 0 and 2", done, refused)
		}
		s := f.l.Stats(ctx)
		if !errors.Is(s.Err, store.ErrDiskFull) || s.Waiting != 5 {
			t.Errorf("stats %+v", s)
		}
		broken.Store(false)
		time.Sleep(retryEvery + time.Millisecond)
		<-full.Room()
		synctest.Wait()
		if done != 5 || f.l.Stats(ctx).Err != nil {
			t.Errorf("%v after space came back %d are done, err %v", retryEvery, done, f.l.Stats(ctx).Err)
		}
		f.check()
		cancel()
		<-ended
		f.db.Close()
	})
}

// T-26, with the two tests behind it: the exact order of every lane.
func TestNext_NewestFirstGivesBlocksFromTheNewestAndEachInItsOrder(t *testing.T) {
	f := start(t, Config{}, cloud)
	var blocks [][]uint64
	for i := range 60 {
		var block []uint64
		for range 1 + i%3 {
			f.append(rec("old", uint8(1+i%2), "cloud"))
			block = append(block, f.l.LastSeq())
		}
		blocks = append(blocks, block)
		f.commit()
	}
	f.crash(cloud) // half of it is not in memory any more
	for range 3 {
		f.append(rec("old", Normal, "cloud"))
		blocks = append(blocks, []uint64{f.l.LastSeq()})
		f.commit()
	}
	k := f.reader("cloud", NewestFirst)
	f.append(rec("new", Normal, "cloud"))
	f.flush()
	live := f.l.LastSeq()
	slices.Reverse(blocks)
	want := append([]uint64{live}, slices.Concat(blocks...)...)
	if got := drain(t, k); !slices.Equal(got, want) {
		t.Errorf("order\n%v, want\n%v", got, want)
	}
	f.check()
	if found, err := audit.Verify(context.Background(), f.db); err != nil || found.Blocks != 0 {
		t.Errorf("%d blocks are left, %v", found.Blocks, err)
	}
}

// T-26 for live-first.
func TestNext_LiveComesAtOnceAndTheBacklogInOrderBesideIt(t *testing.T) {
	f := start(t, Config{}, cloud)
	for i := range 10 {
		f.append(rec(fmt.Sprint("old/", i), uint8(1+i%2), "cloud"))
	}
	f.append(rec("alarm", Critical, "cloud"))
	f.flush()
	k := f.reader("cloud", LiveFirst)
	f.append(rec("new/0", Normal, "cloud"), rec("new/1", Bulk, "cloud"))
	f.flush()
	var got []string
	for it := next(t, k); it != nil; it = next(t, k) {
		if it.Back == strings.HasPrefix(it.Record.Topic, "new/") {
			t.Errorf("%s has Back=%v", it.Record.Topic, it.Back)
		}
		got = append(got, it.Record.Topic)
		k.Ack(it)
	}
	want := "alarm new/0 old/0 new/1 old/1 old/2 old/3 old/4 old/5 old/6 old/7 old/8 old/9"
	if strings.Join(got, " ") != want {
		t.Errorf("order\n%s, want\n%s", strings.Join(got, " "), want)
	}
	f.check()
}

// T-26 for fifo.
func TestNext_FIFOIsStrictlyByNumberOverAllClasses(t *testing.T) {
	f := start(t, Config{}, cloud)
	for i := range 300 {
		f.append(rec(fmt.Sprint(i), uint8(i%3), "cloud"))
		if i%7 == 0 {
			f.commit()
		}
	}
	f.flush()
	got := drain(t, f.reader("cloud", FIFO))
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("item %d has number %d", i, seq)
		}
	}
	if len(got) != 300 {
		t.Errorf("%d items", len(got))
	}
}

func TestBegin_GivesOpenItemsAgainFirstAndUnchanged(t *testing.T) {
	f := start(t, Config{}, cloud)
	for i := range 10 {
		f.append(rec(fmt.Sprint(i), Normal, "cloud"))
	}
	f.flush()
	k := f.reader("cloud", LiveFirst)
	var items []*Item
	for range 5 {
		items = append(items, next(t, k))
	}
	k.Ack(items[1])
	k.Ack(items[1]) // a repeated one is ignored
	k.Begin(LiveFirst)
	k.Ack(items[4]) // a late one of the old connection counts
	var got []uint64
	for it := next(t, k); it != nil; it = next(t, k) {
		got = append(got, it.Record.Seq)
		if it.Again != (it.Record.Seq <= 5) {
			t.Errorf("number %d: again=%v", it.Record.Seq, it.Again)
		}
		k.Ack(it)
	}
	if fmt.Sprint(got) != "[1 3 4 6 7 8 9 10]" {
		t.Errorf("given %v", got)
	}
	f.check()
}

func TestTwoCursors_BlockStaysUntilBothRequiredOnesHaveIt(t *testing.T) {
	plant := CursorConfig{Name: "plant", Required: true}
	f := start(t, Config{}, cloud, plant)
	for i := range 50 {
		to := [][]string{{"cloud"}, {"plant"}, {"cloud", "plant"}}[i%3]
		f.append(rec(fmt.Sprint(i), Normal, to...))
		f.commit()
	}
	blocks := func() int {
		f.flush()
		found, err := audit.Verify(context.Background(), f.db)
		if err != nil {
			t.Fatal(err)
		}
		return found.Blocks
	}
	drain(t, f.reader("cloud", FIFO))
	if n := blocks(); n != 33 {
		t.Errorf("%d blocks after one cursor had everything, want 33", n)
	}
	f.check()
	f.crash(cloud, plant)
	if got := drain(t, f.reader("cloud", FIFO)); len(got) != 0 {
		t.Errorf("cloud got %v again", got)
	}
	if got := drain(t, f.reader("plant", FIFO)); len(got) != 33 {
		t.Errorf("plant got %d", len(got))
	}
	if n := blocks(); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
	f.check()
}

func TestOptionalCursor_LosesWhatEveryRequiredOneHasButKeepsItsOwn(t *testing.T) {
	spare := CursorConfig{Name: "spare"}
	f := start(t, Config{}, cloud, spare)
	f.append(rec("both", Normal, "cloud", "spare"))
	f.commit()
	f.append(rec("mine", Normal, "spare"))
	f.commit()
	drain(t, f.reader("cloud", FIFO))
	f.flush()
	f.check()
	k := f.reader("spare", FIFO)
	if it := next(t, k); it == nil || it.Record.Topic != "mine" {
		t.Fatalf("spare got %+v", it)
	}
	losses, err := f.l.Losses(context.Background(), "spare", true)
	if err != nil || len(losses) != 1 || losses[0].Reason != ReasonReleased || losses[0].Count != 1 {
		t.Errorf("losses %+v, %v", losses, err)
	}
}

func TestForget_FreesWhatOnlyTheOldCursorHeld(t *testing.T) {
	f := start(t, Config{}, cloud, CursorConfig{Name: "old", Required: true})
	f.append(rec("a", Normal, "old"))
	f.commit()
	f.append(rec("b", Normal, "old", "cloud"))
	f.commit()
	f.crash(cloud) // no longer declared, not forgotten
	f.append(rec("c", Normal, "old", "cloud"))
	f.flush()
	f.check()
	if s := f.l.Stats(context.Background()); len(s.Cursors) != 2 || s.Cursors[1].Active || s.Cursors[1].Pending < 2 {
		t.Fatalf("stats %+v", s.Cursors)
	}
	if err := f.l.Forget(context.Background(), "old"); err != nil {
		t.Fatal(err)
	}
	f.check()
	if got := drain(t, f.reader("cloud", FIFO)); len(got) != 2 {
		t.Errorf("cloud got %v", got)
	}
}

func TestConfig_TheWriteAheadLogIsASmallPartOfTheBound(t *testing.T) {
	for limit, want := range map[int64]int{0: 1000, 1 << 20: 200, 32 << 20: 512, 64 << 20: 1000, 1 << 40: 1000} {
		if got := (Config{MaxBytes: limit}).CheckpointPages(); got != want {
			t.Errorf("%d bytes: %d pages, want %d", limit, got, want)
		}
	}
}

func TestBound_OldestOfTheLeastClassGoWithALossRecord(t *testing.T) {
	f := start(t, Config{MaxBytes: 4 << 20}, cloud)
	payload := make([]byte, 900)
	for i := range 9000 {
		r := rec(fmt.Sprint("t/", i), uint8(1+i%2), "cloud")
		mrand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(payload)
		r.Payload = append([]byte(nil), payload...)
		if i%500 == 0 {
			r.Class = Critical
		}
		f.append(r)
		if i%20 == 19 {
			if err := f.commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.check()
	s := f.l.Stats(context.Background())
	if s.Bytes > s.LimitBytes+(1<<20) || f.db.Size() > 6<<20 {
		t.Errorf("used %d, file %d, limit %d", s.Bytes, f.db.Size(), s.LimitBytes)
	}
	losses, err := f.l.Losses(context.Background(), "cloud", true)
	if err != nil {
		t.Fatal(err)
	}
	var lost uint64
	for _, x := range losses {
		if x.Class == Critical || x.Reason != ReasonEvicted {
			t.Errorf("loss %+v", x)
		}
		lost += x.Count
	}
	c := s.Cursors[0]
	if lost == 0 || lost != c.Lost || c.Allocated != 9000 {
		t.Errorf("losses say %d, stats %+v", lost, c)
	}
	if got := drain(t, f.reader("cloud", LiveFirst)); uint64(len(got)) != 9000-lost {
		t.Errorf("%d delivered, want %d", len(got), 9000-lost)
	}
}

func TestDrop_IsALossOfTheOperator(t *testing.T) {
	f := start(t, Config{}, cloud)
	for range 3 {
		f.append(rec("log", Bulk, "cloud"))
		f.commit()
	}
	n, err := f.l.Drop(context.Background(), Bulk, time.Now())
	if err != nil || n != 3 {
		t.Fatalf("dropped %d, %v", n, err)
	}
	f.check()
	losses, _ := f.l.Losses(context.Background(), "", true)
	if len(losses) != 1 || losses[0].Reason != ReasonOperator || losses[0].Count != 3 || losses[0].From != 1 || losses[0].To != 3 {
		t.Errorf("losses %+v", losses)
	}
}

func TestLose_QuarantineKeepsThePoisonMessage(t *testing.T) {
	f := start(t, Config{}, cloud)
	f.append(rec("bad", Normal, "cloud"), rec("good", Normal, "cloud"))
	f.flush()
	k := f.reader("cloud", FIFO)
	k.Lose(next(t, k), ReasonQuarantine, "topic has 9 levels")
	k.Ack(next(t, k))
	f.check()
	quar, err := f.l.Quarantine(context.Background())
	if err != nil || len(quar) != 1 || quar[0].Record.Topic != "bad" || quar[0].Record.Seq != 1 || quar[0].Why == "" || quar[0].Record.Inc == "" {
		t.Errorf("quarantine %+v, %v", quar, err)
	}
	if c := f.l.Stats(context.Background()).Cursors[0]; c.Lost != 1 || c.Delivered != 1 {
		t.Errorf("stats %+v", c)
	}
}
