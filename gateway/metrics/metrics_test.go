package metrics

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRegistry_FiguresAppearWithPrefix(t *testing.T) {
	r := New()
	r.Counter("things_total", "things", "kind").Add(3, "pump")
	r.Gauge("depth", "depth").Set(7)
	r.GaugeFunc("asked", "asked", func() float64 { return 9 })
	r.Histogram("wait_seconds", "waits", []float64{1, 2}).Observe(1.5)
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`tidehold_things_total{kind="pump"} 3`, "tidehold_depth 7", "tidehold_asked 9", `tidehold_wait_seconds_bucket{le="2"} 1`,
	} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("no line %q", want)
		}
	}
}

func TestHealth_WatchersHearChangesOnly(t *testing.T) {
	var h Health
	heard := 0
	h.Watch(func(string, Component) { heard++ })
	at := time.Unix(1, 0)
	h.Set("disk", OK, nil, at)
	h.Set("disk", OK, nil, at.Add(time.Second))
	if got := h.Components()["disk"]; heard != 1 || !got.Since.Equal(at) || h.Overall() != OK {
		t.Fatalf("heard %d, component %+v", heard, got)
	}
	h.Set("disk", Degraded, errors.New("full"), at.Add(time.Minute))
	h.Set("disk", Degraded, errors.New("still full"), at.Add(2*time.Minute))
	got := h.Components()["disk"]
	if heard != 3 || got.Error != "still full" || !got.Since.Equal(at.Add(time.Minute)) || h.Overall() != Degraded {
		t.Errorf("heard %d, component %+v", heard, got)
	}
	h.Set("broker", Failed, nil, at)
	if h.Overall() != Failed {
		t.Error("one failed component fails the whole")
	}
	h.Forget("broker")
	h.Forget("disk")
	if h.Overall() != OK {
		t.Error("an empty house is well")
	}
}
