package tail

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
)

var t0 = time.Unix(1_700_000_000, 0)

func isCloud(name string) bool { return name == "cloud" }

// push appends one record, early when wait is not 0.
func push(t *Tail, seq uint64, class uint8, wait time.Duration, to ...string) *Entry {
	e := &Entry{Records: []block.Record{{Seq: seq, Class: class, To: to}}, First: seq, Last: seq, Early: wait > 0, Until: t0.Add(wait)}
	t.Push(e, isCloud)
	return e
}

func firsts(list []*Entry) (out []uint64) {
	for _, e := range list {
		out = append(out, e.First)
	}
	return out
}

func TestReady_IsInOrderWhateverCameFirst(t *testing.T) {
	var q Tail
	a, b := push(&q, 1, 1, time.Second, "cloud", "spare"), push(&q, 2, 1, time.Second, "cloud")
	q.Settle(b, 0, 0)
	if got := q.Ready(); len(got) != 0 {
		t.Errorf("ready before the first one: %v", firsts(got))
	}
	q.Settle(a, 0, 0) // the spare is not needed
	if got := fmt.Sprint(firsts(q.Ready())); got != "[1 2]" {
		t.Errorf("ready %s", got)
	}
	if got := q.Pop(); len(got) != 0 {
		t.Errorf("popped %v while the spare waits", firsts(got))
	}
	q.Settle(a, 0, 1)
	q.Settle(a, 0, 1) // once more changes nothing
	if got := fmt.Sprint(firsts(q.Pop())); got != "[1 2]" || q.Len() != 0 || q.Load() != (Load{}) {
		t.Errorf("popped %s, left %d, %+v", got, q.Len(), q.Load())
	}
}

func TestCommit_KeepsItsEntriesInPlaceWhetherItFailsOrNot(t *testing.T) {
	var q Tail
	a := push(&q, 1, 1, time.Second, "cloud")
	push(&q, 2, 1, 0, "cloud")
	if n := len(q.Take()); n != 2 {
		t.Fatalf("took %d", n)
	}
	c := push(&q, 3, 1, time.Second, "cloud")
	q.Settle(a, 0, 0)
	q.Settle(c, 0, 0)
	if got := q.Pop(); len(got) != 0 {
		t.Errorf("popped %v under a commit", firsts(got))
	}
	q.Kept()
	if got := fmt.Sprint(firsts(q.Pop())); got != "[1]" {
		t.Errorf("popped %s after it failed", got)
	}
	n := len(q.Take())
	q.Committed(n)
	if got := fmt.Sprint(firsts(q.Ready())); got != "[1 2 3]" || q.Len() != 0 {
		t.Errorf("ready %s, left %d", got, q.Len())
	}
}

func TestNext_NothingOvertakesWhatMayNotLeaveYet(t *testing.T) {
	var q Tail
	push(&q, 1, 0, time.Second, "cloud")
	push(&q, 2, 1, time.Second, "plant")
	push(&q, 3, 1, 0, "cloud")
	push(&q, 4, 1, time.Second, "cloud")
	var after uint64
	e, _, _ := q.Next(&after, "cloud", 1, 2)
	if e == nil || e.First != 3 || e.Early || after != 2 {
		t.Fatalf("next is %+v, after %d", e, after)
	}
	q.Committed(len(q.Take()[:3]))
	e, i, share := q.Next(&after, "cloud", 1, 2)
	if e == nil || e.First != 4 || !e.Give(i, share) || e.Give(i, share) {
		t.Errorf("next is %+v", e)
	}
	if e, _, _ = q.Next(&after, "cloud", 1, 2); e != nil || after != 4 {
		t.Errorf("one too many: %+v, after %d", e, after)
	}
}

func TestUntil_IsTheEarliestOfThoseThatWait(t *testing.T) {
	var q Tail
	a := push(&q, 1, 1, time.Second, "cloud")
	push(&q, 2, 1, 3*time.Second, "plant")
	if got := q.Until(t0); !got.Equal(t0.Add(time.Second)) {
		t.Errorf("until %v", got)
	}
	if got := fmt.Sprint(q.Late(t0.Add(time.Second))); got != "[cloud]" {
		t.Errorf("late: %s", got)
	}
	q.Settle(a, 0, 0)
	if got := q.Until(t0.Add(time.Second)); !got.Equal(t0.Add(3 * time.Second)) {
		t.Errorf("until %v", got)
	}
	q.Hurry(t0.Add(time.Second), "cloud") // has everything
	if got := q.Until(t0.Add(2 * time.Second)); !got.Equal(t0.Add(3 * time.Second)) {
		t.Errorf("until %v", got)
	}
	q.Hurry(t0.Add(2*time.Second), "plant")
	if got := q.Until(t0.Add(2 * time.Second)); !got.Equal(t0.Add(2 * time.Second)) {
		t.Errorf("until %v", got)
	}
}
