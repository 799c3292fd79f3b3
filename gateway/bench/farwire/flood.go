package farwire

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/uplink"
)

// Flood is the rate of the uplink's client alone, without a store: n messages of
// some bytes to a broker over a wire of its own. It ends with the last PUBACK.
func Flood(ctx context.Context, to string, roundTrip time.Duration, n, size int) (perSecond float64, err error) {
	wire, err := Listen(to, roundTrip)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, wire.Close()) }()
	wire.Up()
	host, port, err := net.SplitHostPort(wire.Address())
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return 0, err
	}
	link, err := uplink.New(uplink.Config{Name: "far", Profile: "mosquitto", ClientID: "alone",
		Endpoint: uplink.Endpoint{Scheme: "tcp", Host: host, Port: number}}, clock.NewSystem(), ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		return 0, err
	}
	online, fresh := make(chan struct{}), sync.Once{}
	link.OnOnline(func(bool, uint64) { fresh.Do(func() { close(online) }) })
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- link.Run(running) }()
	defer func() { cancel(); err = errors.Join(err, <-ended) }()
	select {
	case <-online:
	case <-running.Done():
		return 0, running.Err()
	}
	return flood(running, link, n, size)
}

// flood publishes n messages with as many on their way as the spool would have.
func flood(ctx context.Context, link *uplink.Link, n, size int) (perSecond float64, err error) {
	room, failed := make(chan struct{}, uplink.DefaultPendingMax), make(chan error, 1)
	payload := make([]byte, size)
	began := time.Now()
	for i := range n + cap(room) {
		select {
		case room <- struct{}{}:
		case err := <-failed:
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if i >= n {
			continue // only waits for those on their way
		}
		link.Publish(uplink.Outgoing{Topic: "gw/bench/t/back/0", Payload: payload, QoS: 1}, func(err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
			<-room
		})
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
