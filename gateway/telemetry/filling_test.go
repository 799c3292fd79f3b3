package telemetry

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestFilling_TellsTheTimeLeftAndSpeaksOnceAtEightyPercent(t *testing.T) {
	var f filling
	for minute, at := range []struct {
		used    int64
		seconds float64
		say     bool
	}{{700, math.Inf(1), false}, {750, 5 * 60, false}, {800, 4 * 60, true}, {850, 3 * 60, false}, {760, 16 * 60, false},
		{850, 5 * 60, false}, {600, math.Inf(1), false}, {900, 7 * 60 / 2., true}, {1000, 0, false}} {
		seconds, say := f.take(time.Duration(minute)*time.Minute, at.used, 1000)
		if math.Abs(seconds-at.seconds) > 1e-6 && seconds != at.seconds || say != at.say {
			t.Errorf("minute %d, %d of 1000: %g s, say %v; want %g, %v", minute, at.used, seconds, say, at.seconds, at.say)
		}
	}
}

func TestFilling_TheRateIsThatOfTheLastHour(t *testing.T) {
	var f filling
	got := 0.
	for minute := range 600 { // ten a minute for nine hours, then one
		used := int64(10 * min(minute, 530))
		used += int64(max(0, minute-530))
		got, _ = f.take(time.Duration(minute)*time.Minute, used, 10_000)
	}
	left := 10_000. - 5300 - 69
	if want := left * 60; math.Abs(got-want) > 1 {
		t.Errorf("%g s until full, want %g", got, want)
	}
	if len(f.levels) > levelsMax+1 {
		t.Errorf("%d levels are kept", len(f.levels))
	}
}

func TestRun_ASpoolThatFillsSaysSoUpstreamOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := enter(t, Config{Uplinks: oneUplink})
		h.leave()
		h.max = 1 << 20
		h.open()
		for i := range 1200 {
			h.say("t", "drv/a/b", 1, `{"noise":"`+strings.Repeat(string(rune('a'+i%26)), 10)+noisy(h)+`"}`)
			rest(time.Second)
		}
		c := newCloud(t)
		stop := h.drain("cloud", c)
		rest(10 * time.Minute)
		notices := 0
		for _, m := range c.got {
			if strings.HasSuffix(m.Topic, "/sys/notice") {
				notices++
				if !strings.Contains(string(m.Payload), `"what":"spool_filling"`) || !strings.Contains(string(m.Payload), `"seconds_until_full":`) {
					t.Errorf("notice %s", m.Payload)
				}
			}
		}
		if notices != 1 {
			t.Errorf("%d notices", notices)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		h.leave()
	})
}

// noisy is text that does not compress.
func noisy(h *house) string {
	b := make([]byte, 1000)
	for i := range b {
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[h.rng.IntN(64)]
	}
	return string(b)
}
