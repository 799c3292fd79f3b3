package uplink

import (
	"sync/atomic"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
)

// A filter added while the link is up goes out on the connection there is, and
// with every later one.
func TestMosquitto_AFilterAddedLaterNeedsNoNewConnection(t *testing.T) {
	m := startMosquitto(t)
	l := newLink(t, func(c *Config) { c.Endpoint = m.endpoint("tcp") })
	var connects, standing atomic.Int32
	l.OnOnline(func(bool, uint64) { connects.Add(1) })
	runLink(t, l)
	waitState(t, l, Online)
	var heard seen
	l.Extend("later/#", 1, func(m iot.Message, ack func()) { heard.add(m.Topic); ack() }, func() { standing.Add(1) })
	eventually(t, "the filter stands", func() bool { return standing.Load() == 1 })
	observer := m.client("observer")
	observer.Publish("later/1", 1, false, "x").Wait()
	eventually(t, "a message under it", func() bool { return heard.last() == "later/1" })
	if connects.Load() != 1 {
		t.Errorf("%d connects for it", connects.Load())
	}
	l.Cut()
	l.Restore()
	eventually(t, "the next connection", func() bool { return connects.Load() == 2 })
	observer.Publish("later/2", 1, false, "x").Wait()
	eventually(t, "a message after it", func() bool { return heard.last() == "later/2" })
	if standing.Load() != 1 {
		t.Errorf("told %d times that it stands", standing.Load())
	}
}
