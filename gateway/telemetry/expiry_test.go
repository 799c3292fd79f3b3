package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/topic"
)

// hostClock is a clock that steps and boots.
type hostClock struct {
	setClock
	boot     string
	began    time.Time
	unsynced bool
}

func (c *hostClock) Boot() string      { return c.boot }
func (c *hostClock) Up() time.Duration { return time.Since(c.began) }

func (c *hostClock) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.unsynced
}

func (c *hostClock) set(wrong time.Duration, unsynced bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong, c.unsynced = wrong, unsynced
}

func hourly(t *testing.T, clk *hostClock) *house {
	h := &house{t: t, path: filepath.Join(t.TempDir(), "messages.db"), clk: clk, rng: rand.New(rand.NewPCG(3, 4)),
		cfg: Config{Gateway: "gw-1", Uplinks: oneUplink, Classes: []Class{{Name: "ttl", Match: []topic.Filter{"ttl/#"}, Class: 1, TTL: time.Hour}}}}
	h.open()
	return h
}

// came drains everything and gives the topics that came; the losses told must
// be those of the sums.
func (h *house) came(c *cloud) string {
	h.t.Helper()
	stop := h.drain("cloud", c)
	rest(time.Minute)
	stop()
	h.check()
	lost := h.s.Stats().Uplinks[0].Lost
	for key, v := range c.judge.Verdicts() {
		if v.Lost != lost || v.Missing != 0 || len(v.Holes) != 0 || !v.Marked {
			h.t.Errorf("%s: %+v, lost %d", key, v, lost)
		}
	}
	got := strings.ReplaceAll(strings.Join(c.topics(), " "), "gw/gw-1/t/", "")
	c.kept, c.got = c.got, nil
	return got
}

// T-09: the queue holds data with a TTL of an hour while the clock steps back
// two hours and forward 30 days.
func TestExpiry_StepsOfTheClockExpireNothingTheTimeSinceBootDoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		clk := &hostClock{boot: "boot-1", began: time.Now()}
		h, c := hourly(t, clk), newCloud(t)
		h.say("ttl/old", "drv/a/b", 1, `{}`)
		h.say("any/old", "drv/a/b", 1, `{}`)
		rest(20 * time.Minute)
		clk.set(-2*time.Hour, false)
		h.say("ttl/back", "drv/a/b", 1, `{}`)
		rest(20 * time.Minute)
		clk.set(30*24*time.Hour, false)
		h.say("ttl/forward", "drv/a/b", 1, `{}`)
		rest(10 * time.Minute)
		if got := h.came(c); got != "ttl/old any/old ttl/back ttl/forward" {
			t.Errorf("came: %s", got)
		}
		h.say("ttl/late", "drv/a/b", 1, `{}`)
		rest(59 * time.Minute)
		h.say("ttl/fresh", "drv/a/b", 1, `{}`)
		rest(2 * time.Minute)
		if got := h.came(c); got != "ttl/fresh" {
			t.Errorf("came: %s", got)
		}
		losses, err := h.log.Losses(context.Background(), "cloud", false)
		if err != nil || len(losses) != 1 || losses[0].Reason != messages.ReasonExpired || losses[0].Count != 1 {
			t.Errorf("losses %+v, %v", losses, err)
		}
		h.leave()
	})
}

func TestExpiry_OverABootTakesATrustedClockAtBothEnds(t *testing.T) {
	for _, at := range []struct {
		name          string
		before, after bool // the clock was trusted
		want          string
	}{{"trusted", true, true, ""}, {"untrusted at capture", false, true, "ttl/a"}, {"untrusted now", true, false, "ttl/a"}} {
		t.Run(at.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				clk := &hostClock{boot: "boot-1", began: time.Now(), unsynced: !at.before}
				h, c := hourly(t, clk), newCloud(t)
				h.say("ttl/a", "drv/a/b", 1, `{}`)
				rest(time.Minute)
				h.clk = &hostClock{boot: "boot-2", began: time.Now(), unsynced: !at.after}
				h.crash()
				rest(2 * time.Hour)
				if got := h.came(c); got != at.want {
					t.Errorf("came: %q, want %q", got, at.want)
				}
				h.leave()
			})
		})
	}
}

func TestExpiry_TheDeviceMaySetLessThanItsClass(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := hourly(t, &hostClock{boot: "boot-1", began: time.Now()}), newCloud(t)
		for i, seconds := range []uint32{0, 60, 7200} {
			for _, name := range []string{"ttl", "any"} {
				h.s.Append(iot.Message{Topic: fmt.Sprint(name, "/", i), Payload: []byte("{}"), QoS: 1, Origin: iot.Origin{Source: "drv/a/b"},
					Arrived: time.Now(), Properties: &iot.Properties{MessageExpiry: seconds}}, func(error) {})
			}
		}
		rest(90 * time.Minute)
		if got := h.came(c); got != "any/0 any/2" {
			t.Errorf("came: %s", got)
		}
		h.leave()
	})
}

func TestExpiry_WhatWasSentGoesAgainWhateverItsAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := hourly(t, &hostClock{boot: "boot-1", began: time.Now()}), newCloud(t)
		h.say("ttl/a", "drv/a/b", 1, `{}`)
		rest(59 * time.Minute)
		c.silence(true)
		stop := h.drain("cloud", c)
		rest(time.Second)
		c.set(false)
		c.silence(false)
		rest(time.Hour)
		c.set(true)
		rest(time.Minute)
		stop()
		if got := h.came(c); strings.Count(got, "ttl/a") != 2 || h.s.Stats().Uplinks[0].Lost != 0 {
			t.Errorf("came: %s; %+v", got, h.s.Stats())
		}
		h.leave()
	})
}

// T-10: after a boot that knew the time come three that never do, then one that
// does, and the link. What they stored comes in the order of each boot, and the
// interval that is told contains the true time.
func TestClock_ABootThatNeverLearnedTheTimeTellsAnIntervalThatContainsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		clk := &hostClock{boot: "boot-0", began: time.Now()}
		h, c := hourly(t, clk), newCloud(t)
		truth := map[string]time.Time{}
		say := func(name string) {
			truth[name] = time.Now()
			h.s.Append(iot.Message{Topic: name, Payload: []byte(`{}`), QoS: 1, Origin: iot.Origin{Source: "drv/a/b"}}, func(error) {})
			rest(7 * time.Minute)
		}
		rest(10 * time.Minute)
		for boot := 1; boot <= 3; boot++ {
			h.clk = &hostClock{boot: fmt.Sprint("boot-", boot), began: time.Now()}
			h.clk.(*hostClock).set(-20*365*24*time.Hour*time.Duration(boot%2+1), true)
			h.crash()
			for i := range 3 {
				say(fmt.Sprintf("m/%d%d", boot, i))
			}
		}
		h.clk = &hostClock{boot: "boot-4", began: time.Now()}
		h.crash()
		rest(time.Minute)
		if got := h.came(c); got != "m/10 m/11 m/12 m/20 m/21 m/22 m/30 m/31 m/32" {
			t.Errorf("came: %s", got)
		}
		told := 0
		for key, m := range c.kept {
			var e struct {
				T, CQ string
				TS    time.Time
				CE    int64
			}
			if err := json.Unmarshal(m.Payload, &e); err != nil || !strings.HasPrefix(e.T, "m/") {
				continue
			}
			told++
			off := e.TS.Sub(truth[e.T]).Abs()
			if e.CQ != "mono" || e.CE <= 0 || off > time.Duration(e.CE)*time.Millisecond || e.CE > int64(2*time.Hour/time.Millisecond) {
				t.Errorf("%d: %s is off by %v: %s", key, e.T, off, m.Payload)
			}
		}
		if told != 9 {
			t.Errorf("%d told", told)
		}
		h.leave()
	})
}

// T-11: the wall clock leaps by a month and back while a commit waits for its
// gap. Go hands no test a leap of the host's clock alone; the seam is clock.Clock,
// which is where the wall clock comes from, and the gap must not look at it.
func TestClock_ALeapDuringTheCommitWindowChangesNothingOfIt(t *testing.T) {
	want := windowOver(t, 0)
	if want < balancedGap {
		t.Fatalf("without a leap committed %v after the first", want)
	}
	for _, leap := range []time.Duration{30 * 24 * time.Hour, -30 * 24 * time.Hour} {
		if got := windowOver(t, leap); got != want {
			t.Errorf("leap %v: committed %v after the first, want %v", leap, got, want)
		}
	}
}

// windowOver is from the first commit to the next, the clock leaping between.
func windowOver(t *testing.T, leap time.Duration) (window time.Duration) {
	bubble(t, func(t *testing.T) {
		clk := &hostClock{boot: "boot-1", began: time.Now()}
		h := hourly(t, clk)
		rest(time.Minute)
		var first, second time.Time
		say := func(at *time.Time) {
			h.s.Append(iot.Message{Topic: "t", Payload: []byte(`{}`), QoS: 1, Origin: iot.Origin{Source: "drv/a/b"}}, func(error) { *at = time.Now() })
		}
		say(&first)
		rest(10 * time.Millisecond)
		say(&second)
		clk.set(leap, false)
		rest(time.Minute)
		window = second.Sub(first)
		h.leave()
	})
	return window
}
