package messages

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/store"
)

// filled is a log with n small blocks, half of the first block acknowledged,
// closed cleanly.
func filled(t *testing.T, n int) *fixture {
	f := start(t, Config{}, cloud)
	for i := range n {
		f.append(rec(fmt.Sprint("t/", i), Normal, "cloud"), rec(fmt.Sprint("u/", i), Normal, "cloud"))
		if err := f.commit(); err != nil {
			t.Fatal(err)
		}
	}
	k := f.reader("cloud", FIFO)
	k.Ack(next(t, k))
	f.flush()
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// damage overwrites part of the closed file.
func damage(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// A file that SQLite refuses is set aside, a fresh one with a new incarnation
// takes its place, and what can be read is delivered with its old numbers.
func TestOpen_DamagedFileIsSetAsideAndSalvaged(t *testing.T) {
	for name, c := range map[string]struct {
		at      int64
		b       []byte
		min     int // records that must survive
		counted bool
	}{
		"header":      {0, bytes.Repeat([]byte{0xee}, 100), 0, false},
		"foreign":     {0, bytes.Repeat([]byte("no database "), 400), 0, false},
		"marked only": {-1, nil, 399, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := filled(t, 200)
			inc := f.l.Started().Inc
			if c.at >= 0 {
				damage(t, f.path, c.at, c.b)
			} else if err := f.db.MarkDamaged(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			opened := f.open(cloud)
			if time.Since(began) > 5*time.Second {
				t.Errorf("took %v", time.Since(began))
			}
			if opened.SetAside == "" || f.l.Started().Inc == inc || !f.l.Started().Fresh || f.l.Started().FirstSeq != 1 {
				t.Errorf("%+v, %+v", opened, f.l.Started())
			}
			if _, err := os.Stat(opened.SetAside); err != nil {
				t.Error(err)
			}
			f.append(rec("later", Normal, "cloud"))
			f.check()
			k, got := f.reader("cloud", FIFO), 0
			for it := next(t, k); it != nil; it = next(t, k) {
				if it.Record.Topic != "later" && it.Record.Inc != inc {
					t.Errorf("%s has incarnation %s, want the old one", it.Record.Topic, it.Record.Inc)
				}
				got++
				k.Ack(it)
			}
			if got-1 < c.min {
				t.Errorf("%d of the old records came, want %d", got-1, c.min)
			}
			f.check()
			if s := f.l.Stats(context.Background()).Cursors[0]; c.counted && s.Inherited != 400 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// Whatever page is damaged: the log starts, takes messages and delivers them,
// its sums hold, and no record comes back changed (T-06).
func TestOpen_AnyDamagedPageLeavesAWorkingLog(t *testing.T) {
	pages := int64(40)
	if testing.Short() {
		pages = 12
	}
	for page := range pages {
		f := filled(t, 60)
		if st, err := os.Stat(f.path); err != nil || page*4096 >= st.Size() {
			break
		}
		damage(t, f.path, page*4096, bytes.Repeat([]byte{0xff}, 4096))
		opened := f.open(cloud)
		f.append(rec("later", Normal, "cloud"))
		if err := f.l.Flush(context.Background()); err != nil { // found while running: the next start salvages
			f.db.Close()
			opened = f.open(cloud)
			f.append(rec("later", Normal, "cloud"))
			f.flush()
		}
		k, got, later := f.reader("cloud", FIFO), 0, false
		for {
			it, err := k.Next(context.Background(), true)
			if err != nil {
				f.db.Close()
				opened = f.open(cloud)
				f.append(rec("later", Normal, "cloud"))
				f.flush()
				k = f.reader("cloud", FIFO)
				continue
			}
			if it == nil {
				break
			}
			if want := "payload of " + it.Record.Topic; string(it.Record.Payload) != want {
				t.Errorf("page %d: %s came back as %q", page, it.Record.Topic, it.Record.Payload)
			}
			later = later || it.Record.Topic == "later"
			got++
			k.Ack(it)
		}
		if !later {
			t.Errorf("page %d: the message after the damage did not come; %d others did, %+v", page, got, opened)
		}
		f.check()
		f.db.Close()
	}
}

// Bodies are damaged while nobody looks: the readable records come and the
// others are accounted for.
func TestNext_DamagedBodiesAreLostAndTheRestComes(t *testing.T) {
	f := start(t, Config{}, cloud)
	src := rand.NewChaCha8([32]byte{7})
	payloads := make([][]byte, 60)
	for i := range payloads {
		payloads[i] = make([]byte, 9000)
		src.Read(payloads[i])
		r := rec(fmt.Sprint("t/", i), Normal, "cloud")
		r.Payload = payloads[i]
		f.append(r)
		f.commit()
	}
	f.flush()
	f.db.Close()
	data, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	hit := uint64(0)
	for i := 0; i < len(payloads); i += 5 {
		at := bytes.Index(data, payloads[i][5000:5100])
		if at < 0 {
			continue
		}
		damage(t, f.path, int64(at), []byte("garbage"))
		hit++
	}
	if hit == 0 {
		t.Fatal("no body found in the file")
	}
	f.open(cloud)
	k, got := f.reader("cloud", FIFO), uint64(0)
	for it := next(t, k); it != nil; it = next(t, k) {
		var i int
		fmt.Sscanf(it.Record.Topic, "t/%d", &i)
		if !bytes.Equal(it.Record.Payload, payloads[i]) {
			t.Errorf("%s came back changed", it.Record.Topic)
		}
		got++
		k.Ack(it)
	}
	f.check()
	s := f.l.Stats(context.Background()).Cursors[0]
	if s.Lost != hit || got+s.Lost != 60 {
		t.Errorf("%d came, %d lost, %d damaged", got, s.Lost, hit)
	}
	losses, _ := f.l.Losses(context.Background(), "cloud", true)
	if len(losses) != 1 || losses[0].Reason != ReasonUnreadable || losses[0].Count != s.Lost {
		t.Errorf("losses %+v", losses)
	}
}

// The tail of the write-ahead log is cut at many places (T-03): the log starts
// and has lost nothing but what was not committed.
func TestCrash_TornTailKeepsWholeCommits(t *testing.T) {
	f := start(t, Config{}, cloud)
	for i := range 12 {
		f.append(rec(fmt.Sprint("t/", i), Normal, "cloud"))
		f.commit()
	}
	wal, err := os.ReadFile(f.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	before := -1
	for cut := 0; cut < 60_000; cut += 1511 {
		to := filepath.Join(t.TempDir(), "messages.db")
		os.WriteFile(to, file, 0o600)
		os.WriteFile(to+"-wal", wal[:len(wal)-cut], 0o600)
		g := &fixture{t: t, path: to}
		g.open(cloud)
		g.check()
		seqs := drain(t, g.reader("cloud", FIFO))
		for i, seq := range seqs {
			if seq != uint64(i+1) {
				t.Fatalf("cut %d: numbers %v", cut, seqs)
			}
		}
		if cut == 0 && len(seqs) != 12 || before >= 0 && len(seqs) > before {
			t.Errorf("cut %d: %d records, before %d", cut, len(seqs), before)
		}
		before = len(seqs)
		g.db.Close()
	}
}

func TestOpen_ForeignTablesAndEmptyFilesAreNoDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, opened, err := Open(context.Background(), store.Options{Path: path})
	if err != nil || opened.SetAside != "" {
		t.Fatalf("%+v, %v", opened, err)
	}
	db.Close()
}

// T-30.
func TestRenew_GivesARestoredFileANewIncarnation(t *testing.T) {
	f := filled(t, 3)
	inc := f.l.Started().Inc
	db, _, err := Open(context.Background(), store.Options{Path: f.path})
	if err != nil {
		t.Fatal(err)
	}
	if err := Renew(context.Background(), db); err != nil {
		t.Fatal(err)
	}
	db.Close()
	f.open(cloud)
	if s := f.l.Started(); s.Inc == inc || s.FirstSeq != 1 || !s.Fresh || len(s.Skips) != 0 {
		t.Errorf("start %+v", s)
	}
	f.append(rec("later", Normal, "cloud"))
	f.check()
	var got []string
	k := f.reader("cloud", FIFO)
	for it := next(t, k); it != nil; it = next(t, k) {
		got = append(got, fmt.Sprint(it.Record.Inc == inc, it.Record.Seq))
		k.Ack(it)
	}
	if want := "[true 2 true 3 true 4 true 5 true 6 false 1]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if s := f.l.Stats(context.Background()).Cursors[0]; s.Allocated-s.Inherited != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Starting reads nothing of the backlog: accepting works at once, however large
// it is (T-31). MIB sets the size.
func TestStart_DoesNotDependOnTheBacklog(t *testing.T) {
	mib := 64
	if testing.Short() {
		mib = 4
	}
	if n, err := strconv.Atoi(os.Getenv("MIB")); err == nil {
		mib = n
	}
	f := start(t, Config{MaxBytes: 1 << 40}, cloud)
	src := rand.NewChaCha8([32]byte{7})
	for range mib << 10 {
		r := rec("t", Normal, "cloud")
		r.Payload = make([]byte, 1<<10)
		src.Read(r.Payload)
		f.append(r)
		if f.l.tail.Load().Records >= 50 {
			f.commitEach()
		}
	}
	f.flush()
	f.db.Close()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	f.open(cloud)
	done := make(chan error, 1)
	f.l.Append(Batch{Records: []Record{rec("a", Normal, "cloud")}}, func(err error) { done <- err })
	f.commit()
	if err := <-done; err != nil || time.Since(began) > time.Second {
		t.Errorf("accepting after %v, %v", time.Since(began), err)
	}
	accepting := time.Since(began)
	began = time.Now()
	if it := next(t, f.reader("cloud", LiveFirst)); it == nil || time.Since(began) > time.Second {
		t.Errorf("first item after %v", time.Since(began))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if grown > 10<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	t.Logf("file of %d MiB: accepting after %v, first item %v later, heap grown by %d KiB", f.db.Size()>>20, accepting, time.Since(began), grown>>10)
}

func (f *fixture) commitEach() {
	if err := f.commit(); err != nil {
		f.t.Fatal(err)
	}
}
