package output

import (
	"testing"
	"time"
)

// FL-011: a wish that came too late is not executed, is told as expired, and a
// new one ends that.
func TestFL_011_AnExpiredWishIsNotExecuted(t *testing.T) {
	b := newBench(t, Settings{Name: "valve"})
	b.do(Event{Kind: Wished, On: true, Cause: "desired", Expires: b.now - time.Minute})
	if len(b.writes) != 0 || b.st[0].Refused.Why != whyExpired {
		t.Errorf("writes %v, refused %+v; want none, expired", b.writes, b.st[0].Refused)
	}
	b.do(Event{Kind: Wished, On: true, Cause: "desired", Expires: b.now + time.Minute})
	if len(b.writes) != 1 || b.st[0].Refused.Why != "" {
		t.Errorf("writes %v, refused %+v; want the wish done", b.writes, b.st[0].Refused)
	}
	b.now += time.Hour
	b.do(Event{Kind: Tick})
	if !b.st[0].On || b.st[0].Refused.Why != "" {
		t.Errorf("a wish that was done in time does not stand: %+v", b.st[0])
	}
}

// FL-011: a wish that waits for something else ends while it waits.
func TestFL_011_AWishThatWaitsEndsWhenItExpires(t *testing.T) {
	b := newBench(t, Settings{Name: "valve", MinOff: time.Hour})
	b.st[0].Since = b.now // it went off just now
	b.do(Event{Kind: Wished, On: true, Cause: "desired", Expires: b.now + time.Minute})
	if b.st[0].Refused.Why != whyMinOff || b.next != b.now+time.Minute {
		t.Fatalf("refused %+v, next look in %v; want min_off, and a look after a minute", b.st[0].Refused, b.next-b.now)
	}
	b.now = b.next
	b.do(Event{Kind: Tick})
	b.now += 2 * time.Hour
	b.do(Event{Kind: Tick})
	if len(b.writes) != 0 || b.st[0].Refused.Why != whyExpired {
		t.Errorf("writes %v, refused %+v; want none, expired", b.writes, b.st[0].Refused)
	}
}
