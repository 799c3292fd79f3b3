package store

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/metrics"
)

// figures are what one file tells about itself. A registry takes each name
// once, so the names carry the file's: store_state_commit_seconds.
type figures struct {
	commitSeconds *metrics.Histogram
	batch         *metrics.Histogram
	failed        *metrics.Counter
}

func newFigures(m *metrics.Registry, path string, depth func() float64) *figures {
	p := "store_" + metricName(path) + "_"
	m.GaugeFunc(p+"queue_depth", "writes waiting for the writer", depth)
	return &figures{
		commitSeconds: m.Histogram(p+"commit_seconds", "time of one group from begin to commit",
			[]float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5}),
		batch:  m.Histogram(p+"commit_batch", "writes in one group", []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}),
		failed: m.Counter(p+"commit_failed_total", "groups that were not committed"),
	}
}

func (f *figures) committed(d time.Duration, writes int, err error) {
	if err != nil {
		f.failed.Inc()
		return
	}
	f.commitSeconds.Observe(d.Seconds())
	f.batch.Observe(float64(writes))
}

// metricName is the file's name without extension, in the characters a metric
// may have.
func metricName(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}
