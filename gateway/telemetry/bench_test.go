package telemetry

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// benchSpool is a spool over a real file with real time.
func benchSpool(b *testing.B) *Spool {
	ctx, cancel := context.WithCancel(context.Background())
	db, _, err := messages.Open(ctx, store.Options{Path: filepath.Join(b.TempDir(), "messages.db")})
	if err != nil {
		b.Fatal(err)
	}
	src := ids.New(rand.Reader)
	log, err := messages.New(messages.Config{MaxBytes: 1 << 40, TailRecords: 1 << 20, TailBytes: 1 << 30}, db, src, metrics.New(), nil)
	if err != nil {
		b.Fatal(err)
	}
	up := []Uplink{{Name: "cloud", Required: true, Enabled: true, Inflight: 1000, Routes: []Route{{Name: "all", From: "#", QoS: 1}}}}
	s, err := New(Config{Gateway: "gw-1", Uplinks: up}, log, clock.NewSystem(), src, metrics.New(), nil)
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		db.Close()
	})
	return s
}

var reading = iot.Message{Topic: "climate/room", Payload: []byte(`{"ts":1700000000000,"temperature":21.53,"humidity":40.1}`), QoS: 1,
	Origin: iot.Origin{Source: "drv/bme280/climate"}, Arrived: time.UnixMilli(1_700_000_000_000)}

// BenchmarkAppend stores readings of one publisher with a window of 1000.
func BenchmarkAppend(b *testing.B) {
	s := benchSpool(b)
	window := make(chan struct{}, 1000)
	b.ReportAllocs()
	for b.Loop() {
		window <- struct{}{}
		s.Append(reading, func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-window
		})
	}
	for range cap(window) {
		window <- struct{}{}
	}
}

// BenchmarkDrain sends a backlog to a far side that acknowledges at once; the
// figure is for 10,000 messages.
func BenchmarkDrain(b *testing.B) {
	s := benchSpool(b)
	const backlog = 10_000
	for b.Loop() {
		b.StopTimer()
		stored := make(chan struct{}, backlog)
		for range backlog {
			s.Append(reading, func(error) { stored <- struct{}{} })
		}
		for range backlog {
			<-stored
		}
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		b.StartTimer()
		err := s.Drain(ctx, "cloud", senderFunc(func(m Outgoing, done func(error)) {
			if n++; n >= backlog {
				cancel()
			}
			done(nil)
		}))
		cancel()
		if err != nil {
			b.Fatal(fmt.Errorf("after %d: %w", n, err))
		}
	}
}
