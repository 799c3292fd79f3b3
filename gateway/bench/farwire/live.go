package farwire

import (
	"context"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// liveEvery is the pause between two live messages.
const liveEvery = 200 * time.Millisecond

// Live is a stream of messages beside the backlog, from a device to a client of
// the far side.
type Live struct {
	topic       string
	device, app *load.Conn
	stop        chan struct{}
	sent        chan int64
	heard       chan *load.Histogram
}

// GoLive has a device publish to a topic at the gateway near, five times a second,
// and a client of far listen to where it goes, until End.
func GoLive(ctx context.Context, near, far, topic, heardAs string) (*Live, error) {
	app, err := load.Dial(ctx, load.Options{Address: far, ClientID: "live-app"})
	if err != nil {
		return nil, err
	}
	device, err := load.Dial(ctx, load.Options{Address: near, ClientID: "live-device"})
	if err == nil {
		err = app.Subscribe(heardAs, 0)
	}
	if err != nil {
		app.Close()
		return nil, err
	}
	l := &Live{topic: topic, device: device, app: app, stop: make(chan struct{}), sent: make(chan int64, 1), heard: make(chan *load.Histogram, 1)}
	go l.speak()
	go l.hear()
	return l, nil
}

func (l *Live) speak() {
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for n := int64(0); ; n++ {
		l.device.Publish(l.topic, 1, uint16(n%65535+1), strconv.AppendInt(nil, time.Now().UnixNano(), 10))
		l.device.Flush()
		select {
		case <-l.stop:
			l.sent <- n + 1
			return
		case <-tick.C:
		}
	}
}

func (l *Live) hear() {
	h := &load.Histogram{}
	defer func() { l.heard <- h }()
	for {
		p, err := l.app.Read()
		if err != nil {
			return
		}
		if p.Type != load.Publish {
			continue
		}
		_, _, payload, err := p.Message(l.app.Level())
		if at, wrong := strconv.ParseInt(string(payload), 10, 64); err == nil && wrong == nil {
			h.Add(time.Since(time.Unix(0, at)))
		}
	}
}

// End gives the last one a time to arrive; it tells how long those that were heard
// took, and how many were sent.
func (l *Live) End(last time.Duration) (heard *load.Histogram, sent int64) {
	close(l.stop)
	sent = <-l.sent
	l.app.Until(time.Now().Add(last))
	heard = <-l.heard
	l.device.Close()
	l.app.Close()
	return heard, sent
}
