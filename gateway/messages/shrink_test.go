package messages

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/audit"
	"github.com/tidehold/tidehold/gateway/store"
)

// tens makes one of each ten neighbours for the same cursors; its payload lists
// what it stands for.
func tens(recs []Record) (out []Record) {
	lots := map[string][]Record{}
	for _, r := range recs {
		if r.Fold != nil {
			out = append(out, r)
			continue
		}
		k := fmt.Sprint(r.Seq/10, r.To)
		lots[k] = append(lots[k], r)
	}
	for _, of := range lots {
		r := of[len(of)-1]
		r.Fold = &Folded{Level: 1, From: of[0].Seq, N: uint64(len(of))}
		r.Payload = nil
		for i := range of {
			r.Payload = binary.BigEndian.AppendUint64(r.Payload, of[i].Seq)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Record) int { return int(a.Seq) - int(b.Seq) })
	return out
}

// stands lists the numbers an aggregate stands for, or the record's own.
func stands(r *Record) (seqs []uint64) {
	if r.Fold == nil {
		return []uint64{r.Seq}
	}
	for b := r.Payload; len(b) > 0; b = b[8:] {
		seqs = append(seqs, binary.BigEndian.Uint64(b))
	}
	return seqs
}

// fill appends and commits n messages of classes from 1 that do not compress.
func (f *fixture) fill(rng *rand.Rand, n, classes int) {
	f.t.Helper()
	for range n {
		r := rec("t", uint8(1+rng.IntN(classes)), "cloud")
		r.Payload = noise(rng, 400+rng.IntN(400))
		f.append(r)
		if rng.IntN(3) == 0 {
			if err := f.commit(); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// waiting gives the ids of everything that waits.
func (f *fixture) waiting() (ids []string) {
	f.t.Helper()
	err := audit.Scan(context.Background(), f.db, func(r *Record) error { ids = append(ids, r.ID("gw")); return nil })
	if err != nil {
		f.t.Fatal(err)
	}
	return ids
}

func TestBound_FoldsTheOldestBeforeItDropsAnything(t *testing.T) {
	f := start(t, Config{MaxBytes: 1 << 20}, cloud)
	f.l.SetFold(tens)
	f.fill(rand.New(rand.NewPCG(1, 1)), 3000, 1)
	f.check()
	c := f.l.Stats(context.Background()).Cursors[0]
	if c.Lost != 0 || c.Folded < 1000 {
		t.Fatalf("lost %d, folded %d", c.Lost, c.Folded)
	}
	seen := map[uint64]bool{}
	k := f.reader("cloud", FIFO)
	for it := next(t, k); it != nil; it = next(t, k) {
		for _, seq := range stands(it.Record) {
			if seen[seq] {
				t.Fatalf("number %d came twice", seq)
			}
			seen[seq] = true
		}
		k.Ack(it)
	}
	if len(seen) != 3000 {
		t.Errorf("%d of 3000 messages are in what came", len(seen))
	}
	f.check()
}

// TestFold_AKillAtEachStepLeavesTheSameAggregates is T-24: a fold that failed, or
// that a crash cut off before or after its commit, is done again with the same ids,
// and nothing is counted twice or missing.
func TestFold_AKillAtEachStepLeavesTheSameAggregates(t *testing.T) {
	want, at := foldOnce(t, "", false, -1)
	for _, point := range []store.FaultPoint{store.FaultBegin, store.FaultCommit, ""} {
		for _, crash := range []bool{false, true} {
			got, _ := foldOnce(t, point, crash, at)
			// A start empties the write-ahead log, so that more fits before it folds.
			if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
				t.Errorf("killed at %q, crash %v:\n%v\nnot\n%v", point, crash, got, want)
			}
		}
	}
}

// foldOnce fills a file until something is folded, and gives the aggregates after
// how many messages. The message at makes the log fail at a point, and crash.
func foldOnce(t *testing.T, point store.FaultPoint, crash bool, at int) (ids []string, n int) {
	failing := false
	f := &fixture{t: t, path: t.TempDir() + "/messages.db", cfg: Config{MaxBytes: 600 << 10}}
	f.o.Fault = func(p store.FaultPoint, _ uint64) error {
		if failing && p == point {
			return fmt.Errorf("injected: %w", store.ErrDiskFull)
		}
		return nil
	}
	f.open(cloud)
	f.l.SetFold(tens)
	rng := rand.New(rand.NewPCG(3, 3))
	for ; f.l.Stats(context.Background()).Cursors[0].Folded == 0; n++ {
		r := rec("t", Normal, "cloud")
		r.Payload = noise(rng, 2000)
		f.append(r)
		if n == at && point != "" {
			failing = true
			if f.commit() == nil {
				t.Fatalf("the commit did not fail at %q", point)
			}
			failing = false
			if crash {
				f.crash(cloud)
				f.l.SetFold(tens)
				f.append(r)
			}
		}
		if err := f.commit(); err != nil || n > 1000 {
			t.Fatal(n, err)
		}
	}
	if crash {
		f.crash(cloud)
	}
	f.check()
	for _, id := range f.waiting() {
		if number := id[strings.LastIndexByte(id, ':')+1:]; number[0] == 'f' {
			ids = append(ids, number)
		}
	}
	return ids, n - 1
}

// witness remembers what came raw and what came in aggregates.
type witness struct {
	raw, within map[uint64]bool
	aggregates  map[string]bool
}

func (w *witness) take(t *testing.T, it *Item) {
	id := it.Record.ID("gw")
	for _, seq := range stands(it.Record) {
		switch {
		case it.Record.Fold == nil && w.within[seq]:
			t.Fatalf("number %d came in an aggregate before", seq)
		case it.Record.Fold != nil && w.raw[seq]:
			t.Fatalf("aggregate %s stands for %d, which was sent", id, seq)
		case it.Record.Fold != nil && w.within[seq] && !w.aggregates[id]:
			t.Fatalf("aggregate %s stands for %d, as another one does", id, seq)
		}
		if it.Record.Fold == nil {
			w.raw[seq] = true
		} else {
			w.within[seq] = true
		}
	}
	w.aggregates[id] = w.aggregates[id] || it.Record.Fold != nil
}

// TestFold_NeverTouchesWhatWasSent is T-25: over random sending, acknowledging,
// reconnecting and crashing no aggregate stands for a message that was given to
// anybody before.
func TestFold_NeverTouchesWhatWasSent(t *testing.T) {
	folded, sent := uint64(0), 0
	for seed := range uint64(6) {
		n, s := foldRun(t, rand.New(rand.NewPCG(seed, 25)))
		t.Logf("seed %d: %d folded, %d sent", seed, n, s)
		folded, sent = folded+n, sent+s
	}
	if folded < 1000 || sent < 1000 {
		t.Errorf("%d were folded, %d sent: that shows nothing", folded, sent)
	}
}

func foldRun(t *testing.T, rng *rand.Rand) (folded uint64, sent int) {
	f := start(t, Config{MaxBytes: 500 << 10}, cloud)
	f.l.SetFold(tens)
	w := &witness{map[uint64]bool{}, map[uint64]bool{}, map[string]bool{}}
	var k *Cursor
	var open []*Item
	for range 100 {
		switch n := rng.IntN(30); {
		case n < 18:
			f.fill(rng, 30, 2)
		case n < 24:
			if k == nil {
				k = f.reader("cloud", Order(rng.IntN(3)))
				k.Elide(time.Duration(rng.IntN(2))*time.Hour, time.Hour)
			}
			for range rng.IntN(40) {
				if it := next(t, k); it != nil {
					w.take(t, it)
					open = append(open, it)
				}
			}
		case n < 29:
			for _, it := range open {
				if rng.IntN(3) > 0 {
					k.Ack(it)
				}
			}
			if open = nil; k != nil {
				k.Release()
				k = nil
			}
		default:
			f.crash(cloud)
			f.l.SetFold(tens)
			k, open = nil, nil
		}
	}
	f.check()
	return f.l.Stats(context.Background()).Cursors[0].Folded, len(w.raw)
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
