// Package metrics measures: counters, gauges, histograms, and the health of
// every component. It is the one door to prometheus/client_golang.
//
// Names are given without prefix; the registry adds `tidehold_`. No topic and
// no client id ever becomes a label value (operations.md section 6). All
// methods are safe for concurrent use and never block.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const prefix = "tidehold_"

// Registry holds the figures of one gateway: two gateways in one process have
// two.
type Registry struct {
	reg    *prometheus.Registry
	Health Health
}

// New makes an empty registry with the process and Go collectors.
func New() *Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Registry{reg: reg}
}

// Counter is a figure that only grows, one per combination of label values.
type Counter struct{ vec *prometheus.CounterVec }

// Counter registers a counter; its name ends in `_total`. Registering a name
// twice is a broken invariant of ours and panics.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	r.reg.MustRegister(vec)
	return &Counter{vec}
}

// Inc adds one for the label values, given in the order of the labels.
func (c *Counter) Inc(values ...string) { c.vec.WithLabelValues(values...).Inc() }

// Add adds n >= 0 for the label values.
func (c *Counter) Add(n float64, values ...string) { c.vec.WithLabelValues(values...).Add(n) }

// Series is a Counter at given label values: who counts often looks it up once.
type Series struct{ counter prometheus.Counter }

// Of gives the series of the label values.
func (c *Counter) Of(values ...string) Series { return Series{c.vec.WithLabelValues(values...)} }

// Inc adds one.
func (s Series) Inc() { s.counter.Inc() }

// Add adds n >= 0.
func (s Series) Add(n float64) { s.counter.Add(n) }

// Gauge is a figure that moves both ways.
type Gauge struct{ vec *prometheus.GaugeVec }

// Gauge registers a gauge.
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, labels)
	r.reg.MustRegister(vec)
	return &Gauge{vec}
}

// Set puts v for the label values.
func (g *Gauge) Set(v float64, values ...string) { g.vec.WithLabelValues(values...).Set(v) }

// Add moves the gauge by d for the label values.
func (g *Gauge) Add(d float64, values ...string) { g.vec.WithLabelValues(values...).Add(d) }

// Level is one series of a gauge, found once: it costs no look-up.
type Level struct{ gauge prometheus.Gauge }

// Of finds the series for the label values.
func (g *Gauge) Of(values ...string) Level { return Level{g.vec.WithLabelValues(values...)} }

// Add moves the series by d.
func (l Level) Add(d float64) { l.gauge.Add(d) }

// GaugeFunc registers a gauge that is asked when somebody looks.
func (r *Registry) GaugeFunc(name, help string, read func() float64) {
	r.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + name, Help: help}, read))
}

// Histogram counts values in buckets.
type Histogram struct{ vec *prometheus.HistogramVec }

// Histogram registers a histogram with the upper bounds of its buckets.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: bounds}, labels)
	r.reg.MustRegister(vec)
	return &Histogram{vec}
}

// Observe counts v for the label values.
func (h *Histogram) Observe(v float64, values ...string) { h.vec.WithLabelValues(values...).Observe(v) }

// Handler serves the figures as Prometheus text.
func (r *Registry) Handler() http.Handler { return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{}) }
