package uplink

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func most(limit time.Duration) time.Duration { return limit - 1 }

// run feeds events of one kind each, a second apart.
func run(m machine, kinds ...eventKind) machine {
	for _, k := range kinds {
		m = m.on(event{kind: k, draw: most, err: errors.New("x")})
	}
	return m
}

var goOnline = []eventKind{evBegin, evAddress, evOpened, evAccepted, evSubscribed, evResumed}

func TestBackoff_FullJitterDoublesToTheCap(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second,
		7: 60 * time.Second, 8: 60 * time.Second, 1000: 60 * time.Second,
	} {
		var limit time.Duration
		Backoff(failures, 60*time.Second, func(l time.Duration) time.Duration { limit = l; return 0 })
		if limit != want {
			t.Errorf("after %d failures: drawn below %v, want %v", failures, limit, want)
		}
	}
	if got := Backoff(1, 100*time.Millisecond, most); got >= 100*time.Millisecond {
		t.Errorf("got %v, want less than the cap", got)
	}
}

func TestMachine_GoesOnlineStepByStep(t *testing.T) {
	m := newMachine(time.Minute, time.Time{})
	want := []State{Resolving, Connecting, Authenticating, Subscribing, Resuming, Online}
	for i, k := range goOnline {
		if m = run(m, k); m.state != want[i] {
			t.Fatalf("after step %d: got %s, want %s", i, m.state, want[i])
		}
	}
	if m = run(m, evThrottled); m.state != Throttled || !m.state.Up() {
		t.Errorf("got %s, want throttled", m.state)
	}
	if m = run(m, evEased); m.state != Online {
		t.Errorf("got %s, want online", m.state)
	}
}

func TestMachine_LateWordsOfAnEndedAttemptChangeNothing(t *testing.T) {
	m := run(newMachine(time.Minute, time.Time{}), evBegin, evLost)
	for _, k := range []eventKind{evAddress, evOpened, evAccepted, evSubscribed, evResumed, evThrottled, evEased} {
		if got := run(m, k); got.state != Waiting {
			t.Errorf("event %d: got %s, want backoff", k, got.state)
		}
	}
}

func TestMachine_FailuresAreForgottenAfterAMinuteOnline(t *testing.T) {
	for online, want := range map[time.Duration]int{59 * time.Second: 4, 60 * time.Second: 1} {
		m := run(newMachine(time.Minute, time.Time{}), evBegin, evLost, evBegin, evLost, evBegin, evLost)
		m = run(m, goOnline...)
		m = m.on(event{kind: evLost, up: online, draw: most, err: errors.New("x")})
		if m.failures != want {
			t.Errorf("after %v online: %d failures, want %d", online, m.failures, want)
		}
	}
}

func TestMachine_RefusalWaitsFifteenMinutes(t *testing.T) {
	m := run(newMachine(time.Minute, time.Time{}), evBegin, evAddress, evOpened)
	m = m.on(event{kind: evLost, class: lossAuth, draw: most, err: errors.New("x")})
	if m.state != Waiting || m.retryAt != 15*time.Minute {
		t.Errorf("got %s until %v, want backoff until 15m", m.state, m.retryAt)
	}
}

func TestMachine_ThreeEndsAfterTheSameTopicCountAsRefusal(t *testing.T) {
	lose := func(m machine, subject string) machine {
		m = run(m, goOnline...)
		return m.on(event{kind: evLost, class: lossDenial, subject: subject, draw: most, err: errors.New("x")})
	}
	m := newMachine(time.Minute, time.Time{})
	for i, subject := range []string{"a", "a", "b", "b"} {
		if m = lose(m, subject); m.retryAt >= time.Minute {
			t.Fatalf("end %d (%s): waits %v already", i, subject, m.retryAt)
		}
	}
	if m = lose(m, "b"); m.retryAt != authDelay {
		t.Errorf("third end after b: waits %v, want %v", m.retryAt, authDelay)
	}
	m = run(m, evBegin)
	if m = run(m, evLost); m.denials != 0 {
		t.Error("an ordinary failure does not clear the suspicion")
	}
}

func TestMachine_UntrustedClockWaitsForIt(t *testing.T) {
	m := run(newMachine(time.Minute, time.Time{}), evBegin, evAddress)
	m = m.on(event{kind: evLost, class: lossClock, draw: most, err: errors.New("x")})
	if m.state != WaitingClock || m.retryAt == 0 {
		t.Errorf("got %s, want waiting-clock with a time to try anyway", m.state)
	}
}

func TestMachine_RestoreTriesAtOnce(t *testing.T) {
	lost := run(newMachine(time.Minute, time.Time{}), evBegin, evLost)
	for _, m := range []machine{lost, run(lost, evCut)} {
		got := m.on(event{kind: evRestore, up: 7 * time.Second})
		if got.state != Waiting || got.retryAt != 7*time.Second || got.failures != 0 {
			t.Errorf("from %s: got %s until %v", m.state, got.state, got.retryAt)
		}
	}
	if online := run(newMachine(time.Minute, time.Time{}), goOnline...); run(online, evRestore).state != Online {
		t.Error("restore disturbs a link that is online")
	}
}

// Whatever happens in whatever order: cut holds until restore or stop, and the
// pause is never longer than the rules allow.
func TestMachine_CutHoldsThroughAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	draw := func(limit time.Duration) time.Duration { return time.Duration(r.Int64N(int64(limit))) }
	m, cut, up := newMachine(time.Minute, time.Time{}), false, time.Duration(0)
	for range 200_000 {
		e := event{kind: eventKind(r.IntN(int(evStop) + 1)), class: lossClass(r.IntN(4)), err: errors.New("x"), draw: draw, up: up, hold: time.Second}
		if e.kind == evStop && r.IntN(10) > 0 {
			continue
		}
		before := m
		m = m.on(e)
		up += time.Duration(r.Int64N(int64(90 * time.Second)))
		switch e.kind {
		case evCut:
			cut = true
		case evRestore, evStop:
			cut = false
		}
		if (m.state == Severed) != cut {
			t.Fatalf("event %d in %s gave %s; cut is %v", e.kind, before.state, m.state, cut)
		}
		if m.retryAt > e.up+authDelay {
			t.Fatalf("event %d in %s: waits %v", e.kind, before.state, m.retryAt-e.up)
		}
	}
}
