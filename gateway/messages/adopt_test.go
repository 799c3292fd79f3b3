package messages

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/audit"
)

// foreign are records of another incarnation with numbers from a to b.
func foreign(a, b uint64, to ...string) (recs []Record) {
	for n := a; n <= b; n++ {
		recs = append(recs, Record{Inc: "elsewhere:abc", Seq: n, Topic: "t/x", Payload: []byte("x"), QoS: 1, Class: Normal, Wall: time.Unix(int64(n), 0), To: to})
	}
	return recs
}

func TestAdopt_RecordsKeepTheirNumbersAndAreAcknowledgedOnce(t *testing.T) {
	f := start(t, Config{}, CursorConfig{Name: "a", Required: true})
	if err := f.l.Adopt(context.Background(), foreign(7, 9, "a", "nobody")); err != nil {
		t.Fatal(err)
	}
	f.check()
	f.crash(CursorConfig{Name: "a", Required: true})
	k := f.reader("a", LiveFirst)
	var got []uint64
	for {
		it, err := k.Next(context.Background(), true)
		if err != nil {
			t.Fatal(err)
		}
		if it == nil {
			break
		}
		if it.Record.Inc != "elsewhere:abc" {
			t.Fatalf("incarnation %q", it.Record.Inc)
		}
		got = append(got, it.Record.Seq)
		k.Ack(it)
	}
	if !slices.Equal(got, []uint64{7, 8, 9}) {
		t.Fatalf("got %v", got)
	}
	f.flush()
	f.check()
	if c := f.l.Stats(context.Background()).Cursors[0]; c.Delivered != 3 || c.Inherited != 3 || c.Pending != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestRelease_SendsAQuarantinedMessageOnceMoreUnderItsId(t *testing.T) {
	f := start(t, Config{}, CursorConfig{Name: "a", Required: true})
	f.append(Record{Topic: "t", Payload: []byte("poison"), Class: Normal, To: []string{"a"}}, Record{Topic: "t", Payload: []byte("bad"), Class: Normal, To: []string{"a"}})
	f.flush()
	k := f.reader("a", LiveFirst)
	for range 2 {
		it, _ := k.Next(context.Background(), true)
		k.Lose(it, ReasonQuarantine, "too large")
	}
	f.flush()
	ctx := context.Background()
	list, err := f.l.Quarantine(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v %v", list, err)
	}
	if found, err := f.l.Release(ctx, list[0]); err != nil || !found {
		t.Fatal(found, err)
	}
	if found, err := f.l.Discard(ctx, list[1].ID); err != nil || !found {
		t.Fatal(found, err)
	}
	if found, _ := f.l.Release(ctx, list[0]); found {
		t.Fatal("released twice")
	}
	f.check()
	it, err := k.Next(ctx, true)
	if err != nil || it == nil || it.Record.Seq != list[0].Record.Seq || string(it.Record.Payload) != "poison" {
		t.Fatalf("%+v %v", it, err)
	}
	k.Ack(it)
	if it, _ := k.Next(ctx, true); it != nil {
		t.Fatalf("again: %+v", it)
	}
}

func TestScan_NamesWhoStillWaits(t *testing.T) {
	f := start(t, Config{}, CursorConfig{Name: "a", Required: true}, CursorConfig{Name: "b", Required: true})
	f.append(Record{Topic: "1", Class: Normal, To: []string{"a", "b"}}, Record{Topic: "2", Class: Bulk, To: []string{"a"}})
	f.flush()
	k := f.reader("a", FIFO)
	it, _ := k.Next(context.Background(), true)
	k.Ack(it)
	f.flush()
	var got []string
	err := audit.Scan(context.Background(), f.db, func(r *Record) error {
		got = append(got, r.Topic+" "+r.To[0])
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"1 b", "2 a"}) {
		t.Fatalf("got %q, %v", got, err)
	}
}

// T-15: an acknowledgement that comes again counts once, in whatever order.
func TestAck_ASecondOneChangesNothing(t *testing.T) {
	f := start(t, Config{}, CursorConfig{Name: "a", Required: true})
	for _, name := range []string{"1", "2", "3"} {
		f.append(Record{Topic: name, Class: Normal, To: []string{"a"}})
	}
	f.flush()
	k := f.reader("a", FIFO)
	items := []*Item{next(t, k), next(t, k), next(t, k)}
	for _, i := range []int{2, 0, 2, 0, 1, 1} {
		k.Ack(items[i])
	}
	f.check()
	if c := f.l.Stats(context.Background()).Cursors[0]; c.Delivered != 3 || c.Pending != 0 {
		t.Fatalf("%+v", c)
	}
}
