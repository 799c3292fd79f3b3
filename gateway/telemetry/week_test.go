package telemetry

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// T-32 word for word: one uplink is away for a week, the other has every message
// at once, the segments stay, and forgetting the one that is away frees them.
func TestTwoUplinks_OneAwayForAWeekKeepsItsSegmentsUntilItIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		plant := Uplink{Name: "plant", Required: true, Enabled: true, Inflight: 10, Routes: []Route{{Name: "all", From: "#", QoS: 1}}}
		h := enter(t, Config{Uplinks: []Uplink{oneUplink[0], plant}})
		c := newCloud(t)
		stop := h.drain("cloud", c)
		const n = 7 * 24
		for i := range n {
			h.say(fmt.Sprint("t/", i), "drv/a/b", 1, `{}`)
			rest(time.Minute)
			if got := len(c.topics()); got != i+1 {
				t.Fatalf("after hour %d the cloud has %d messages", i, got)
			}
			rest(59 * time.Minute)
		}
		if rows := h.written().Rows; rows < n {
			t.Errorf("%d segments are left for the uplink that is away, want %d and more", rows, n)
		}
		h.check()
		if err := stop(); err != nil {
			t.Error(err)
		}
		h.leave()
		h.cfg.Uplinks = h.cfg.Uplinks[:1] // out of the configuration: nothing is forgotten by that
		h.open()
		rest(time.Minute)
		if rows := h.written().Rows; rows < n {
			t.Errorf("%d segments are left without the uplink in the configuration", rows)
		}
		stop = h.drain("cloud", c)
		rest(time.Minute) // the start record goes, too
		if err := h.log.Forget(context.Background(), "plant"); err != nil {
			t.Fatal(err)
		}
		rest(time.Minute)
		if rows := h.written().Rows; rows != 0 {
			t.Errorf("%d segments are left after the uplink was forgotten", rows)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		h.leave()
	})
}
