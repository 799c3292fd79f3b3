package filter

import (
	"math"
	"slices"
	"time"
)

// function is a filter without state.
type function func(float64) float64

func (f function) apply(_ time.Duration, v float64, ok bool) (float64, bool) {
	if !ok {
		return 0, false
	}
	return f(v), true
}

func (function) reset() {}

func offset(by float64) function   { return func(v float64) float64 { return v + by } }
func multiply(by float64) function { return func(v float64) float64 { return v * by } }

func clamp(low, high float64) function {
	return func(v float64) float64 { return max(low, min(high, v)) }
}

func round(decimals int) function {
	return func(v float64) float64 { return Round(v, decimals) }
}

// Round rounds v to decimals places, half away from zero.
func Round(v float64, decimals int) float64 {
	p := math.Pow(10, float64(decimals))
	r := math.Round(v*p) / p
	if !finite(r) { // v*p overflowed: v has no such places
		return v
	}
	return r
}

// point is a pair of calibration: raw reads as true.
type point struct{ raw, actual float64 }

// piecewise interpolates between points sorted by raw and goes on with the
// outer slopes outside.
func piecewise(points []point) function {
	return func(v float64) float64 {
		i := 1
		for i < len(points)-1 && v > points[i].raw {
			i++
		}
		a, b := points[i-1], points[i]
		return a.actual + (v-a.raw)*(b.actual-a.actual)/(b.raw-a.raw)
	}
}

// polynomial evaluates c[0] + c[1]v + c[2]v² ...
func polynomial(c []float64) function {
	return func(v float64) float64 {
		sum := 0.0
		for i := len(c) - 1; i >= 0; i-- {
			sum = sum*v + c[i]
		}
		return sum
	}
}

// fit finds the polynomial of least squared error through points by the normal
// equations; false when the points do not determine it.
func fit(points []point, degree int) ([]float64, bool) {
	n := degree + 1
	m := make([][]float64, n)
	for r := range m {
		m[r] = make([]float64, n+1)
		for _, p := range points {
			for c := range n {
				m[r][c] += math.Pow(p.raw, float64(r+c))
			}
			m[r][n] += p.actual * math.Pow(p.raw, float64(r))
		}
	}
	return solve(m)
}

// solve is Gaussian elimination with row pivoting on n rows of n+1 columns.
func solve(m [][]float64) ([]float64, bool) {
	n := len(m)
	for c := range n {
		pivot := c
		for r := c + 1; r < n; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[pivot][c]) {
				pivot = r
			}
		}
		m[c], m[pivot] = m[pivot], m[c]
		if math.Abs(m[c][c]) < 1e-12 {
			return nil, false
		}
		for r := range n {
			if r == c {
				continue
			}
			f := m[r][c] / m[c][c]
			for k := c; k <= n; k++ {
				m[r][k] -= f * m[c][k]
			}
		}
	}
	x := make([]float64, n)
	for i := range x {
		x[i] = m[i][n] / m[i][i]
	}
	return x, true
}

// window keeps the last accepted samples and speaks at the first and then at
// each every-th of them.
type window struct {
	size, every int
	keep        bool
	reduce      func([]float64) float64
	samples     []float64
	sinceLast   int
	began       bool
}

func (w *window) apply(_ time.Duration, v float64, ok bool) (float64, bool) {
	if !ok {
		return 0, false
	}
	if len(w.samples) == w.size {
		w.samples = slices.Delete(w.samples, 0, 1)
	}
	w.samples = append(w.samples, v)
	w.sinceLast++
	if w.began && w.sinceLast < w.every {
		return 0, false
	}
	w.began, w.sinceLast = true, 0
	return w.reduce(w.samples), true
}

func (w *window) reset() {
	if !w.keep {
		w.samples, w.sinceLast, w.began = w.samples[:0], 0, false
	}
}

func mean(samples []float64) float64 {
	sum := 0.0
	for i, v := range samples {
		sum += (v - sum) / float64(i+1) // running mean: no overflow
	}
	return sum
}

// quantile interpolates between the two nearest ranks; q 0.5 is the median.
func quantile(q float64) func([]float64) float64 {
	return func(samples []float64) float64 {
		s := slices.Clone(samples)
		slices.Sort(s)
		at := q * float64(len(s)-1)
		low := int(math.Floor(at))
		high := min(low+1, len(s)-1)
		return s[low] + (s[high]-s[low])*(at-float64(low))
	}
}

// exponential is y += alpha (x - y), speaking like a window.
type exponential struct {
	alpha     float64
	every     int
	keep      bool
	y         float64
	began     bool
	sinceLast int
}

func (e *exponential) apply(_ time.Duration, v float64, ok bool) (float64, bool) {
	if !ok {
		return 0, false
	}
	if !e.began {
		e.y, e.began, e.sinceLast = v, true, 0
		return v, true
	}
	if e.y += e.alpha * (v - e.y); !finite(e.y) {
		e.y = v // an overflow must not stay for ever
	}
	if e.sinceLast++; e.sinceLast < e.every {
		return 0, false
	}
	e.sinceLast = 0
	return e.y, true
}

func (e *exponential) reset() {
	if !e.keep {
		e.began = false
	}
}

// rate turns a counter into its change per unit of time. A decrease is a reset
// of the counter, not a negative rate: that sample only sets the new start.
type rate struct {
	per   time.Duration
	began bool
	last  float64
	at    time.Duration
}

func (r *rate) apply(now time.Duration, v float64, ok bool) (float64, bool) {
	if !ok || r.began && now <= r.at {
		return 0, false
	}
	change, elapsed, usable := v-r.last, now-r.at, r.began && v >= r.last
	r.began, r.last, r.at = true, v, now
	if !usable {
		return 0, false
	}
	return change * float64(r.per) / float64(elapsed), true
}

func (r *rate) reset() { r.began = false }
