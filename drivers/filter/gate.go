package filter

import (
	"math"
	"slices"
	"time"
)

// tolerance forgives the last digits of floating point when a change is
// compared with a step that was written in decimal.
const tolerance = 1e-9

// delta passes a value that differs from the last passed one by step, or by
// the share percent of it.
type delta struct {
	step    float64
	percent bool
	began   bool
	last    float64
}

func (d *delta) apply(_ time.Duration, v float64, ok bool) (float64, bool) {
	if !ok {
		return 0, false
	}
	need, change := d.step, math.Abs(v-d.last)
	if d.percent {
		need = math.Abs(d.last) * d.step / 100
	}
	if d.began && (change == 0 || change < need*(1-tolerance)) {
		return 0, false
	}
	d.began, d.last = true, v
	return v, true
}

func (d *delta) reset() { d.began = false }

// throttle passes at most one value per period.
type throttle struct {
	period time.Duration
	began  bool
	at     time.Duration
}

func (t *throttle) apply(now time.Duration, v float64, ok bool) (float64, bool) {
	if !ok || t.began && now-t.at < t.period {
		return 0, false
	}
	t.began, t.at = true, now
	return v, true
}

func (*throttle) reset() {}

// throttleAverage passes the mean of each period at its end.
type throttleAverage struct {
	period time.Duration
	keep   bool
	began  bool
	start  time.Duration
	sum    float64
	n      int
}

func (t *throttleAverage) apply(now time.Duration, v float64, ok bool) (float64, bool) {
	if !t.began {
		t.began, t.start = true, now
	}
	if ok {
		t.n++
		t.sum += (v - t.sum) / float64(t.n)
	}
	if now-t.start < t.period {
		return 0, false
	}
	out, n := t.sum, t.n
	t.start += (now - t.start) / t.period * t.period
	t.sum, t.n = 0, 0
	return out, n > 0
}

func (t *throttleAverage) reset() {
	if !t.keep {
		t.sum, t.n = 0, 0
	}
}

// heartbeat passes everything, and repeats the last passed value when nothing
// came for a period.
type heartbeat struct {
	period time.Duration
	began  bool
	last   float64
	at     time.Duration
}

func (h *heartbeat) apply(now time.Duration, v float64, ok bool) (float64, bool) {
	if ok {
		h.began, h.last, h.at = true, v, now
		return v, true
	}
	if !h.began || now-h.at < h.period {
		return 0, false
	}
	h.at = now
	return h.last, true
}

func (h *heartbeat) reset() { h.began = false }

// debounce passes a value once it has stayed the same for the time.
type debounce struct {
	period  time.Duration
	pending bool
	value   float64
	since   time.Duration
	told    bool // value has been passed already
}

func (d *debounce) apply(now time.Duration, v float64, ok bool) (float64, bool) {
	if ok && (!d.pending || v != d.value) {
		d.pending, d.value, d.since, d.told = true, v, now, false
	}
	if !d.pending || now-d.since < d.period || d.told && !ok {
		return 0, false
	}
	d.told = true
	return d.value, true
}

func (d *debounce) reset() { d.pending = false }

// skipInitial drops the first n samples after the start.
type skipInitial struct{ left int }

func (s *skipInitial) apply(_ time.Duration, v float64, ok bool) (float64, bool) {
	if ok && s.left > 0 {
		s.left--
		return 0, false
	}
	return v, ok
}

func (*skipInitial) reset() {}

// filterOut drops one value; NaN is dropped everywhere.
type filterOut struct{ value float64 }

func (f filterOut) apply(_ time.Duration, v float64, ok bool) (float64, bool) {
	if ok && math.Abs(v-f.value) <= tolerance*max(1, math.Abs(f.value)) {
		return 0, false
	}
	return v, ok
}

func (filterOut) reset() {}

// outlierMin is the number of accepted samples that say what is usual.
const outlierMin = 3

// outlier drops a value further than sigma standard deviations from the mean of
// the accepted samples. As many refusals in a row as the window is long are a
// new level, not outliers: the window then begins anew. A window without any
// spread has no scale and judges nothing.
type outlier struct {
	size    int
	sigma   float64
	keep    bool
	samples []float64
	refused int
}

func (o *outlier) apply(_ time.Duration, v float64, ok bool) (float64, bool) {
	if !ok {
		return 0, false
	}
	if o.unusual(v) {
		if o.refused++; o.refused < o.size {
			return 0, false
		}
		o.samples = o.samples[:0]
	}
	o.refused = 0
	if len(o.samples) == o.size {
		o.samples = slices.Delete(o.samples, 0, 1)
	}
	o.samples = append(o.samples, v)
	return v, true
}

func (o *outlier) unusual(v float64) bool {
	if len(o.samples) < min(outlierMin, o.size) {
		return false
	}
	m, sum := mean(o.samples), 0.0
	for _, s := range o.samples {
		sum += (s - m) * (s - m)
	}
	sd := math.Sqrt(sum / float64(len(o.samples)))
	return sd > tolerance*max(1, math.Abs(m)) && math.Abs(v-m) > o.sigma*sd
}

func (o *outlier) reset() {
	if !o.keep {
		o.samples, o.refused = o.samples[:0], 0
	}
}

// anyOf passes a value when one of its filters does, with the value of the
// first that does.
type anyOf []link

func (a anyOf) apply(now time.Duration, v float64, ok bool) (float64, bool) {
	out, passed := 0.0, false
	for _, l := range a {
		if o, p := l.step.apply(now, v, ok); p && !passed {
			out, passed = o, true
		}
	}
	return out, passed
}

func (a anyOf) reset() {
	for _, l := range a {
		l.step.reset()
	}
}
