package shared

import (
	"time"

	"github.com/tidehold/tidehold/gateway/metrics"
)

// Figures are the metrics of all buses.
type Figures struct {
	reg          *metrics.Registry
	transactions *metrics.Counter
	busy         *metrics.Counter
	refused      *metrics.Counter
	recoveries   *metrics.Counter
	waiting      *metrics.Gauge
}

// NewFigures registers the metrics, once per registry; a nil registry is one
// that nobody reads.
func NewFigures(m *metrics.Registry) *Figures {
	if m == nil {
		m = metrics.New()
	}
	return &Figures{reg: m,
		transactions: m.Counter("bus_transactions_total", "Transactions of buses by outcome.", "bus", "outcome"),
		busy:         m.Counter("bus_busy_seconds_total", "Time that the wires of a bus were in use.", "bus"),
		refused:      m.Counter("bus_refused_total", "Transactions refused: the queue was full, or the chip only costs time.", "bus", "reason"),
		recoveries:   m.Counter("bus_recoveries_total", "Tries to free a stuck bus.", "bus", "outcome"),
		waiting:      m.Gauge("bus_waiting", "Transactions that wait for their turn, of 1024.", "bus"),
	}
}

// tell puts the health of a bus into the components, as bus/NAME; nil is a bus
// that works.
func (f *Figures) tell(o Options, err error) {
	if err == nil {
		f.reg.Health.Set("bus/"+o.Name, metrics.OK, nil, time.Now())
		o.Log.Info("bus works again", "part", o.Name)
		return
	}
	f.reg.Health.Set("bus/"+o.Name, metrics.Degraded, err, time.Now())
	o.Log.Warn("bus stuck", "part", o.Name, "err", err)
}
