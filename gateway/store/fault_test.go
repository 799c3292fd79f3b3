package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/metrics"
)

// A failed commit may leave nothing of its group behind, and the store works
// again with the next one: the n-th commit fails for n = 1, 2, 3, ... until the
// scenario runs untouched.
//
// T-07: an I/O error is no commit; the next write has a handle of its own.
func TestCommit_FailedAtEveryPointLeavesNothingHalfDone(t *testing.T) {
	for _, point := range []FaultPoint{FaultBegin, FaultCommit} {
		for n := uint64(1); ; n++ {
			hit := false
			db := open(t, Options{Fault: func(p FaultPoint, at uint64) error {
				if p == point && at == n {
					hit = true
					return &failure{ErrIO, errors.New("injected")}
				}
				return nil
			}})
			done := 0
			for i := range 3 {
				err := db.Write(context.Background(), "insert", insert(fmt.Sprint(i)))
				if err == nil {
					done++
				} else if !errors.Is(err, ErrIO) {
					t.Fatalf("%s %d: write %d: %v", point, n, i, err)
				}
			}
			if got := count(t, db); got != done {
				t.Errorf("%s %d: %d rows, want %d", point, n, got, done)
			}
			db.Close()
			if !hit {
				break
			}
		}
	}
}

func TestCommit_FailureFailsEveryWriteOfTheGroup(t *testing.T) {
	db := open(t, Options{Fault: func(p FaultPoint, n uint64) error {
		if p == FaultCommit && n == 2 {
			return &failure{ErrDiskFull, errors.New("injected")}
		}
		return nil
	}})
	hold, got := stall(db), make(chan error, 2)
	for i := range 2 {
		db.WriteAsync("insert", insert(fmt.Sprint(i)), func(err error) { got <- err })
	}
	close(hold)
	for range 2 {
		if err := <-got; !errors.Is(err, ErrDiskFull) {
			t.Errorf("got %v, want ErrDiskFull", err)
		}
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
}

// SQLite itself says "full" here, by its page limit, in the middle of a
// statement.
func TestWrite_DiskFullIsTypedAndTheStoreRecovers(t *testing.T) {
	db := open(t, Options{})
	ctx := context.Background()
	limit := func(pages int) {
		db.Write(ctx, "limit", func(tx *Tx) error {
			_, err := tx.Exec(fmt.Sprintf("PRAGMA max_page_count=%d", pages))
			return err
		})
	}
	limit(8)
	err := db.Write(ctx, "insert", insert(strings.Repeat("x", 1<<20)))
	if !errors.Is(err, ErrDiskFull) {
		t.Fatalf("got %v, want ErrDiskFull", err)
	}
	if !strings.Contains(err.Error(), "store insert state.db") {
		t.Errorf("error %q does not say operation and file", err)
	}
	limit(1 << 20)
	if err := db.Write(ctx, "insert", insert("y")); err != nil {
		t.Errorf("after space came back: %v", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// One write among others that fills the disk takes the group down, even if its
// function hides the error; nobody is told that it worked.
func TestWrite_HiddenMediumFailureStillFailsTheGroup(t *testing.T) {
	db := open(t, Options{})
	ctx := context.Background()
	db.Write(ctx, "limit", func(tx *Tx) error { _, err := tx.Exec("PRAGMA max_page_count=8"); return err })
	hold, got := stall(db), make(chan error, 2)
	db.WriteAsync("a", insert("a"), func(err error) { got <- err })
	db.WriteAsync("b", func(tx *Tx) error { insert(strings.Repeat("x", 1<<20))(tx); return nil }, func(err error) { got <- err })
	close(hold)
	for range 2 {
		if err := <-got; !errors.Is(err, ErrDiskFull) {
			t.Errorf("got %v, want ErrDiskFull", err)
		}
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
}

func TestOpen_DamagedOrForeignFileIsCorrupt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), Options{Path: path})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	bad, err := SetAside(path)
	if err != nil || filepath.Base(bad) != "state.bad-1" {
		t.Errorf("set aside as %q, %v", bad, err)
	}
	open(t, Options{Path: path})
}

func TestOpen_FolderThatCannotBeWrittenIsReadOnlyAndSaysWhatToDo(t *testing.T) {
	for _, dir := range []string{"/proc/nowhere", "/sys"} {
		if _, err := os.Stat(filepath.Dir(dir)); err != nil {
			t.Fatalf("no %s here", dir)
		}
		_, err := Open(context.Background(), Options{Path: dir + "/state.db"})
		if err == nil {
			t.Fatalf("%s: opened", dir)
		}
		if !strings.Contains(err.Error(), "give it to uid") {
			t.Errorf("%s: error %q does not say what to do", dir, err)
		}
		t.Log(err)
	}
}

func TestOpen_NewerSchemaIsRefusedWithBothVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	later := Schema{Room: "notes", Steps: append(append([]string{}, notes.Steps...), "CREATE TABLE later(id INTEGER PRIMARY KEY) STRICT")}
	open(t, Options{Path: path, Schemas: []Schema{later}}).Close()
	_, err := Open(context.Background(), Options{Path: path, Schemas: []Schema{notes}})
	if !errors.Is(err, ErrNewerSchema) || !strings.Contains(err.Error(), "version 2, this program knows up to 1") {
		t.Errorf("got %v", err)
	}
	open(t, Options{Path: path, Schemas: []Schema{later}}) // unharmed
}

func TestOpen_FailedMigrationStepLeavesTheVersionBeforeIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	broken := Schema{Room: "notes", Steps: append(append([]string{}, notes.Steps...), "CREATE TABLE extra(id INTEGER PRIMARY KEY); SELECT nonsense FROM nowhere")}
	if _, err := Open(context.Background(), Options{Path: path, Schemas: []Schema{broken}}); err == nil || !strings.Contains(err.Error(), `room "notes": step 2`) {
		t.Fatalf("got %v", err)
	}
	db := open(t, Options{Path: path})
	if err := db.Write(context.Background(), "insert", insert("a")); err != nil {
		t.Error(err)
	}
}

func TestClose_FinishesTheQueueAndEmptiesTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, Options{Path: path})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		db.WriteAsync("insert", insert(fmt.Sprint(i)), func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if st, err := os.Stat(path + "-wal"); err == nil && st.Size() > 0 {
		t.Errorf("log has %d bytes after a clean stop", st.Size())
	}
	if err := db.Write(context.Background(), "insert", insert("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if err := db.Read(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if n := count(t, open(t, Options{Path: path})); n != 50 {
		t.Errorf("%d rows, want 50", n)
	}
}

// The crash model: the files as they are at some moment are all that is left.
func copyFiles(t testing.TB, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		in, err := os.Open(from + suffix)
		if err != nil {
			continue
		}
		out, err := os.Create(to + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
		in.Close()
		out.Close()
	}
}

func TestCrash_TornTailOfTheLogLosesOnlyWhatWasNotCommitted(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Path: filepath.Join(dir, "a.db")})
	ctx := context.Background()
	var sizes []int64 // of the log after each commit
	for i := range 20 {
		if err := db.Write(ctx, "insert", insert(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, db.LogBytes())
	}
	for cut := int64(0); cut < 3*pageBytes; cut += 509 {
		at := filepath.Join(dir, fmt.Sprintf("cut%d.db", cut))
		copyFiles(t, db.Path(), at)
		left := sizes[len(sizes)-1] - cut
		if err := os.Truncate(at+"-wal", left); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, s := range sizes {
			if s <= left {
				want++
			}
		}
		after := open(t, Options{Path: at})
		if n := count(t, after); n != want {
			t.Errorf("cut %d bytes: %d rows, want %d", cut, n, want)
		}
		after.Close()
	}
}

func TestWrite_EndedContextBeforeItsTurnDoesNothing(t *testing.T) {
	db := open(t, Options{})
	hold := stall(db)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(5*time.Millisecond, cancel)
	if err := db.Write(ctx, "insert", insert("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	close(hold)
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
}

func TestWriteAsync_DoneComesInTheOrderOfTheQueue(t *testing.T) {
	db := open(t, Options{MaxGroup: 7})
	var order []int
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Add(1)
		db.WriteAsync("insert", insert(fmt.Sprint(i)), func(error) { order = append(order, i); wg.Done() })
	}
	wg.Wait()
	for i, got := range order {
		if i != got {
			t.Fatalf("done number %d was of write %d", i, got)
		}
	}
}

func TestRead_IsASnapshotAndCannotWrite(t *testing.T) {
	db := open(t, Options{})
	ctx := context.Background()
	err := db.Read(ctx, func(tx *Tx) error {
		var before, after int
		tx.QueryRow("SELECT count(*) FROM note", nil, &before)
		if err := db.Write(ctx, "insert", insert("a")); err != nil {
			return err
		}
		tx.QueryRow("SELECT count(*) FROM note", nil, &after)
		if before != 0 || after != 0 {
			t.Errorf("snapshot saw %d, then %d rows", before, after)
		}
		_, err := tx.Exec("INSERT INTO note(text) VALUES('b')")
		return err
	})
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("write in a read: %v, want ErrReadOnly", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestIdle_EmptiesTheLogAfterAQuietWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "state.db"), Schemas: []Schema{notes}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Write(t.Context(), "insert", insert("a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(idleCheckpoint + time.Second)
		synctest.Wait()
		if n := db.LogBytes(); n != 0 {
			t.Errorf("log has %d bytes after %v of quiet", n, idleCheckpoint)
		}
	})
}

func TestBackup_IsACompleteFile(t *testing.T) {
	db := open(t, Options{})
	ctx := context.Background()
	db.Write(ctx, "insert", insert("a"))
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := db.Backup(ctx, to); err != nil {
		t.Fatal(err)
	}
	if err := db.Backup(ctx, to); err == nil {
		t.Error("an existing file was overwritten")
	}
	ro, err := OpenReadOnly(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if n := count(t, ro); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if err := ro.Write(ctx, "insert", insert("b")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	if err := errors.Join(db.Verify(ctx), db.Reclaim(ctx, 10)); err != nil {
		t.Error(err)
	}
}

func TestVerify_FindsADamagedPage(t *testing.T) {
	db := open(t, Options{})
	ctx := context.Background()
	for range 50 {
		db.Write(ctx, "insert", insert(strings.Repeat("x", 3000)))
	}
	db.Close()
	f, err := os.OpenFile(db.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte(strings.Repeat("\xff", pageBytes)), 20*pageBytes)
	f.Close()
	if err := open(t, Options{Path: db.Path()}).Verify(ctx); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

func TestFigures_AreNamedAfterTheFile(t *testing.T) {
	m := metrics.New()
	open(t, Options{Metrics: m})
	open(t, Options{Metrics: m, Path: filepath.Join(t.TempDir(), "messages.db")})
	for path, want := range map[string]string{"state.db": "state", "/x/My-File.db": "my_file"} {
		if got := metricName(path); got != want {
			t.Errorf("metricName(%q) = %q, want %q", path, got, want)
		}
	}
}
