package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// Figures are what one round measured, by name; the unit ends the name.
type Figures map[string]float64

// The figures that most cells have.
const (
	rate       = "rate"       // messages per second
	cpu        = "cpu_us"     // CPU time of the broker per message
	p50        = "p50_ms"     // from when it was due to its arrival
	p99        = "p99_ms"     //
	p999       = "p999_ms"    //
	lost       = "lost"       // the worst round's
	duplicated = "duplicated" // the worst round's
	reordered  = "reordered"  // the worst round's
)

// Cell is one line of output: the medians of the rounds, and the medians of
// the ratios of each pair of rounds.
type Cell struct {
	Scenario string  `json:"scenario"`
	Cell     string  `json:"cell"`
	Rounds   int     `json:"rounds"`
	Name     string  `json:"subject_name"`
	Subject  Figures `json:"subject"`
	PeerName string  `json:"peer_name,omitempty"`
	Peer     Figures `json:"peer,omitempty"`
	Ratio    Figures `json:"ratio,omitempty"`
	Bars     []Bar   `json:"bars,omitempty"`
}

// Bar is a target of broker-storage.md section 4 and whether it is reached.
type Bar struct {
	Figure string  `json:"figure"`
	Want   string  `json:"want"`
	Got    float64 `json:"got"`
	OK     bool    `json:"ok"`
}

// bar is a target before it is measured: a figure of the subject, or with
// `ratio` that to the peer.
type bar struct {
	figure  string
	ratio   bool
	atLeast bool
	limit   float64
}

func least(figure string, limit float64) bar { return bar{figure: figure, atLeast: true, limit: limit} }
func most(figure string, limit float64) bar  { return bar{figure: figure, limit: limit} }
func (b bar) ofPeer() bar                    { b.ratio = true; return b }

func (c *Cell) judge(bars []bar) {
	for _, b := range bars {
		from, name := c.Subject, b.figure
		if b.ratio {
			from, name = c.Ratio, "ratio "+name
		}
		got, measured := from[b.figure]
		if !measured {
			continue
		}
		sign, ok := "<=", got <= b.limit
		if b.atLeast {
			sign, ok = ">=", got >= b.limit
		}
		c.Bars = append(c.Bars, Bar{Figure: name, Want: fmt.Sprintf("%s %g", sign, b.limit), Got: got, OK: ok})
	}
}

// faults are figures of which the worst round counts.
var faults = []string{lost, duplicated, reordered}

// medianOf takes the median of each figure, of faults the worst.
func medianOf(rounds []Figures) Figures {
	out := make(Figures)
	for _, name := range names(rounds) {
		var all []float64
		for _, f := range rounds {
			if v, ok := f[name]; ok {
				all = append(all, v)
			}
		}
		if out[name] = median(all); slices.Contains(faults, name) {
			out[name] = slices.Max(all)
		}
	}
	return out
}

func names(rounds []Figures) []string {
	all := make(map[string]bool)
	for _, f := range rounds {
		for name := range f {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratios are the medians of the ratios of each pair of rounds: what the
// machine did meanwhile has touched both.
func ratios(subject, peer []Figures) Figures {
	out := make(Figures)
	for _, name := range names(subject) {
		if slices.Contains(faults, name) {
			continue
		}
		var all []float64
		for i, f := range subject {
			if other := peer[i][name]; other > 0 && f[name] >= 0 {
				all = append(all, f[name]/other)
			}
		}
		if len(all) > 0 {
			out[name] = median(all)
		}
	}
	return out
}

// figuresOf translates the outcome of a load.
func figuresOf(o *load.Outcome, used time.Duration, known bool) Figures {
	f := Figures{
		rate: o.Rate(), lost: float64(o.Lost), duplicated: float64(o.Duplicated), reordered: float64(o.Reordered),
	}
	f.latency(&o.Latency)
	if known && o.Published > 0 {
		f[cpu] = float64(used.Nanoseconds()) / 1e3 / float64(o.Published)
	}
	return f
}

func (f Figures) latency(h *load.Histogram) {
	if h.Count() == 0 {
		return
	}
	f[p50], f[p99], f[p999] = ms(h.Quantile(.5)), ms(h.Quantile(.99)), ms(h.Quantile(.999))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// usual are the columns of the table, in order; other figures follow.
var usual = []string{rate, cpu, p50, p99, p999}

// WriteRow writes a cell as one line of a table with tabs: the figures of the
// subject, in brackets their ratio to the peer, faults when there are any, and
// the bars.
func WriteRow(w io.Writer, c Cell) error {
	shown := usual
	for _, name := range slices.Sorted(maps.Keys(c.Subject)) {
		if !slices.Contains(usual, name) && (c.Subject[name] != 0 || !slices.Contains(faults, name)) {
			shown = append(shown[:len(shown):len(shown)], name)
		}
	}
	var text []string
	for _, name := range shown {
		v, ok := c.Subject[name]
		if !ok {
			continue
		}
		one := name + " " + number(v)
		if r, ok := c.Ratio[name]; ok {
			one += fmt.Sprintf(" (x%.2f)", r)
		}
		text = append(text, one)
	}
	for _, name := range faults {
		if v := c.Peer[name]; v != 0 {
			text = append(text, fmt.Sprintf("%s %s %s", c.PeerName, name, number(v)))
		}
	}
	for _, b := range c.Bars {
		verdict := "MISSED"
		if b.OK {
			verdict = "ok"
		}
		text = append(text, fmt.Sprintf("[%s %s: %s]", b.Figure, b.Want, verdict))
	}
	_, err := fmt.Fprintf(w, "%-8s %-28s %s\n", c.Scenario, c.Cell, strings.Join(text, "  "))
	return err
}

func number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
