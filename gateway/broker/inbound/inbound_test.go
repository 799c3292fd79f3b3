package inbound

import (
	"bytes"
	"errors"
	"strconv"
	"testing"

	"github.com/tidehold/tidehold/gateway/broker/keep"
)

func TestLine_AcknowledgementsLeaveInTheOrderOfTheirMessages(t *testing.T) {
	var out []byte
	line := NewLine(0, 4, func(acks []byte) { out = append(out, acks...) })
	first, second, third := line.Pending(1, 1), line.Pending(2, 2), line.Pending(1, 3)
	for _, p := range []*Pending{first, second, third} {
		if !line.Join(p) {
			t.Fatal("an open line refuses")
		}
	}
	third.Finish(nil)
	second.Finish(nil)
	if len(out) != 0 {
		t.Errorf("% x before the first is safe", out)
	}
	first.Finish(errors.New("not stored")) // 3.1.1 has no word for it
	if want := []byte{0x50, 2, 0, 2, 0x40, 2, 0, 3}; !bytes.Equal(out, want) {
		t.Errorf("% x, want % x", out, want)
	}
	line.Close()
	if line.Join(line.Pending(1, 4)) {
		t.Error("a closed line takes messages")
	}
}

func TestExchanges_AnIDIsFreshOnce(t *testing.T) {
	var out []byte
	line := NewLine(0, 4, func(acks []byte) { out = append(out, acks...) })
	begin := func(x *Exchanges, id uint16) (*Exchange, bool) {
		p := line.Pending(2, id)
		line.Join(p)
		return x.Begin(p)
	}
	x := &Exchanges{}
	x.Restore(7)
	if _, fresh := begin(x, 7); fresh || len(out) != 4 {
		t.Errorf("an exchange from disk is fresh, or has no PUBREC: % x", out)
	}
	ex, fresh := begin(x, 8)
	if _, again := begin(x, 8); !fresh || again {
		t.Error("an id is fresh twice, or never")
	}
	x.Finish(ex, 8, nil)
	if len(out) != 12 {
		t.Errorf("% x, want a PUBREC for each PUBLISH", out)
	}
	if kept, ok := x.Release(7); !kept || !ok {
		t.Error("an exchange from disk is not said to be there")
	}
	if kept, ok := x.Release(8); kept || !ok {
		t.Error("an exchange in memory is said to be on disk")
	}
	if _, ok := x.Release(8); ok || len(x.open) != 0 {
		t.Error("an exchange can be released twice")
	}
}

func TestArrivals_AMarkIsTakenOnceAndOnlyWhileBeingAccepted(t *testing.T) {
	a, x := &Arrivals{}, &Exchanges{}
	want := keep.Exchange{Session: 3, PacketID: 9}
	mark, forget := a.Bring(x, want)
	if got := a.Take(mark); got != want {
		t.Errorf("got %v", got)
	}
	if got := a.Take(mark); got != (keep.Exchange{}) {
		t.Errorf("taken twice: %v", got)
	}
	forget()
	mark, forget = a.Bring(x, want)
	forget()
	if got := a.Take(mark); got != (keep.Exchange{}) || a.Take(0) != got {
		t.Errorf("taken after it was forgotten: %v", got)
	}
}

// BenchmarkLine takes a message in and acknowledges it, with so many before it.
func BenchmarkLine(b *testing.B) {
	for _, waiting := range []int{0, 1000} {
		b.Run(strconv.Itoa(waiting), func(b *testing.B) {
			line := NewLine(0, 4, func([]byte) {})
			var before []*Pending
			for i := range waiting {
				before = append(before, line.Pending(1, uint16(i)))
				line.Join(before[i])
			}
			at := 0
			b.ReportAllocs()
			for b.Loop() {
				p := line.Pending(1, 1)
				line.Join(p)
				if waiting > 0 {
					p, before[at] = before[at], p
					at = (at + 1) % waiting
				}
				p.Finish(nil)
			}
		})
	}
}

// A message costs its place in the line and nothing else.
func TestLine_AMessageCostsOneAllocation(t *testing.T) {
	line := NewLine(0, 4, func([]byte) {})
	if n := testing.AllocsPerRun(1000, func() {
		p := line.Pending(1, 1)
		line.Join(p)
		p.Finish(nil)
	}); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}
