package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/messages"
)

// measured is what a driver said at a second of an outage.
func measured(second int) messages.Record {
	r := messages.Record{Topic: fmt.Sprint("plant/", second%5), QoS: 1, Source: "drv/sim/a", Class: messages.Normal, Boot: "b00b1e", Synced: true,
		Up: time.Duration(second) * time.Second, Wall: time.Date(2026, 3, 1, 0, 0, second, 0, time.UTC), To: []string{"cloud"}}
	r.Payload = fmt.Appendf(nil, `{"t":%d.%d,"on":%v}`, 18+second%7, second%10, second/100%2 == 0)
	return r
}

// outage stores five readings a second for so many minutes, and an alarm each
// hour, a minute in one commit.
func (h *house) outage(minutes int) (alarms int) {
	h.t.Helper()
	for minute := range minutes {
		var recs []messages.Record
		for i := range 300 {
			recs = append(recs, measured(60*minute+i/5))
			recs[i].Topic = fmt.Sprint("plant/", i%5)
		}
		if minute%60 == 30 {
			alarm := measured(60*minute + 59)
			alarm.Topic, alarm.Class = "alarm/door", messages.Critical
			recs, alarms = append(recs, alarm), alarms+1
		}
		h.log.Append(messages.Batch{Records: recs}, func(err error) {
			if err != nil {
				h.t.Error(err)
			}
		})
		if err := h.log.Flush(context.Background()); err != nil {
			h.t.Fatal(err)
		}
	}
	return alarms
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestFold_WeeksOfOutageLoseDetailAndNothingElse is T-18: 14 days at 5 messages a
// second with 64 MiB in the long mode, else five hours with the same share of
// that. The oldest come as aggregates of a minute, the newest as they were, every
// alarm comes, and every message is in something that came.
func TestFold_WeeksOfOutageLoseDetailAndNothingElse(t *testing.T) {
	minutes := gwtest.Rounds(5*60, 14*24*60)
	bubble(t, func(t *testing.T) {
		h := enter(t, Config{Uplinks: []Uplink{{Name: "cloud", Required: true, Enabled: true, Inflight: 1000, Routes: oneUplink[0].Routes}}})
		h.leave()
		h.max = 64 << 20 * int64(minutes) / (14 * 24 * 60)
		h.open()
		before := heap()
		alarms := h.outage(minutes)
		h.check()
		s := h.s.Stats()
		u := s.Uplinks[0]
		if u.Lost > 0 || u.Folded < uint64(minutes)*30 || s.Bytes > h.max+(1<<20) {
			t.Errorf("%d minutes in %d bytes of %d: %+v", minutes, s.Bytes, h.max, u)
		}
		if grown := int64(heap()) - int64(before); grown > 16<<20 {
			t.Errorf("%d bytes of memory", grown)
		}
		c := newCloud(t)
		stop := h.drain("cloud", c)
		for h.s.Stats().Uplinks[0].Pending > 0 {
			rest(time.Minute)
		}
		rest(30 * time.Second)
		h.check()
		judgeOutage(t, c, minutes, alarms)
		if err := stop(); err != nil {
			t.Error(err)
		}
		h.leave()
	})
}

func judgeOutage(t *testing.T, c *cloud, minutes, alarms int) {
	t.Helper()
	var first, last string
	came := 0
	for _, m := range c.got {
		switch {
		case strings.Contains(m.Topic, "/alarm/"):
			came++
		case strings.Contains(m.Topic, "/plant/"):
			if last = string(m.Payload); first == "" {
				first = last
			}
		}
	}
	if came != alarms {
		t.Errorf("%d of %d alarms came", came, alarms)
	}
	var a struct {
		N   int
		TS  string
		Agg struct{ Level, Window_S, From, To int }
		M   map[string]struct{ Count int }
	}
	if err := json.Unmarshal([]byte(first), &a); err != nil || a.N != 60 || a.TS != "2026-03-01T00:00:00.000Z" || a.Agg.Level != 1 || a.M["/t"].Count != 60 {
		t.Errorf("the first that came is no aggregate of a minute: %s", first)
	}
	if strings.Contains(last, `"agg"`) {
		t.Errorf("the last that came is an aggregate: %s", last)
	}
	for key, v := range c.judge.Verdicts() {
		if v.Missing != 0 || v.Received+v.Folded < uint64(minutes*300+alarms) || !v.Marked {
			t.Errorf("%s: %+v", key, v)
		}
	}
}
