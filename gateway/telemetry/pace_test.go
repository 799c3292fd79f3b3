package telemetry

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/ids"
)

func TestPace_IsHalvedOnceByOneQueueAndGrowsBack(t *testing.T) {
	var p pace
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p.acked(50*time.Millisecond, now)
	if got := p.of(100, now); got != 100 {
		t.Errorf("rate %g before anything was slow", got)
	}
	for range 20 { // all sent before the first of them was known to be slow
		p.acked(time.Second, now)
	}
	if got := p.of(100, now); got != 50 {
		t.Errorf("rate %g after one slow queue, want 50", got)
	}
	p.acked(time.Second, now.Add(2*time.Second)) // sent since
	if got := p.of(100, now.Add(2*time.Second)); got != 25 {
		t.Errorf("rate %g after two, want 25", got)
	}
	if got := p.of(100, now.Add(12*time.Second)); got < 27.4 || got > 27.6 {
		t.Errorf("rate %g ten seconds later, want 27.5", got)
	}
	if got := p.of(100, now.Add(time.Hour)); got != 100 {
		t.Errorf("rate %g an hour later, want 100", got)
	}
	for range 100 {
		p.cut(now)
	}
	if got := p.of(100, now); got != 100*paceFloor {
		t.Errorf("rate %g, below the floor", got)
	}
	if got := p.of(0, now); got != 0 {
		t.Errorf("no limit became %g", got)
	}
}

// TestDrain_AFarSideThatTakesTenSecondsGetsLessAtOnceAndNothingTwice is T-12.
func TestDrain_AFarSideThatTakesTenSecondsGetsLessAtOnceAndNothingTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		up := oneUplink[0]
		up.Inflight, up.Rate = 0, 50
		h := enter(t, Config{Uplinks: []Uplink{up}})
		c := newCloud(t)
		stop := h.drain("cloud", c)
		say := func(n int) {
			for range n {
				h.say("t", "drv/a/b", 1, `{"v":1}`)
				rest(20 * time.Millisecond)
			}
		}
		say(500)
		rest(time.Second)
		c.mu.Lock()
		c.rtt, c.most = 10*time.Second, 0
		c.mu.Unlock()
		say(1000)
		rest(2 * time.Minute)
		c.silence(false)
		say(500)
		rest(time.Minute)
		if c.most > 100 {
			t.Errorf("%d on their way at once after minutes of slow acknowledgements", c.most)
		}
		for h.s.Stats().Uplinks[0].Pending > 0 {
			rest(time.Minute)
		}
		for key, v := range c.judge.Verdicts() {
			if v.Duplicates > 0 || v.Received < 2000 {
				t.Errorf("%s: %+v", key, v)
			}
		}
		if err := stop(); err != nil || errors.Is(err, ErrStalled) {
			t.Errorf("the drain ended with %v: slow is not dead", err)
		}
		h.leave()
	})
}

// member is one gateway of a fleet: the same window, bucket and pace as a pump.
type member struct {
	begin  time.Time
	left   int
	open   int
	window window
	bucket bucket
	pace   pace
	second map[int64]int
}

type parcelOf struct {
	m    *member
	sent time.Time
}

// TestFleet_FiveHundredGatewaysReturnTogether is T-20: after an outage all come
// back at one moment to a far side that takes 1000 messages a second. Nobody
// exceeds its rate, the starts lie all over the jitter, and what waits at the far
// side stays bounded by the least windows once they have adapted.
func TestFleet_FiveHundredGatewaysReturnTogether(t *testing.T) {
	const (
		gateways, each  = 500, 250
		rate, perSecond = 100., 1000
		jitter          = 30 * time.Second
		tick            = 10 * time.Millisecond
	)
	src := ids.New(random{rand.New(rand.NewPCG(20, 20))})
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var fleet []*member
	var tenths [10]int
	for range gateways {
		wait := src.Jitter(jitter)
		tenths[min(9, int(10*wait/jitter))]++
		fleet = append(fleet, &member{begin: start.Add(wait), left: each, window: newWindow(0), bucket: newBucket(rate, start.Add(wait)), second: map[int64]int{}})
	}
	for i, n := range tenths {
		if n < gateways/10/2 || n > gateways/10*2 {
			t.Errorf("%d of %d start in tenth %d of the jitter", n, gateways, i)
		}
	}
	var queue []parcelOf
	most, settled, done, now := 0, 0, 0, start
	for ; done < gateways*each; now = now.Add(tick) {
		for _, m := range fleet {
			m.bucket.rate = m.pace.of(rate, now)
			for !now.Before(m.begin) && m.left > 0 && m.open < m.window.size() && m.bucket.wait(now) == 0 {
				m.bucket.take(1)
				m.left, m.open = m.left-1, m.open+1
				m.second[now.Unix()]++
				queue = append(queue, parcelOf{m, now})
			}
		}
		most = max(most, len(queue))
		if now.Sub(start) > jitter+20*time.Second {
			settled = max(settled, len(queue))
		}
		for range min(len(queue), perSecond*int(tick)/int(time.Second)) {
			p := queue[0]
			queue = queue[1:]
			p.m.open--
			p.m.window.acked(now.Sub(p.sent) + 20*time.Millisecond)
			p.m.pace.acked(now.Sub(p.sent)+20*time.Millisecond, now)
			done++
		}
	}
	t.Logf("all done after %v, at most %d waited, %d once settled", now.Sub(start), most, settled)
	for i, m := range fleet {
		for _, n := range m.second {
			if n > rate {
				t.Fatalf("gateway %d sent %d in a second", i, n)
			}
		}
	}
	if most > gateways*windowStart || now.Sub(start) > 3*gateways*each/perSecond*time.Second {
		t.Errorf("all done after %v, at most %d waited", now.Sub(start), most)
	}
}
