package shadow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// benchmarkUpdates makes durable updates of one leaf of 1 KiB documents of 200
// things (broker-storage.md section 4), window of them on their way. Each has
// all three answers. Requests of one shadow that wait together share a row
// write, which a window over 200 makes likely: rows/update tells how far.
func benchmarkUpdates(b *testing.B, window int, o store.Options) {
	h := newHouse(b, Config{}, o)
	const things = 200
	for n := range things {
		var body strings.Builder
		for i := range 50 {
			fmt.Fprintf(&body, `"reading%02d":%d.25,`, i, i*37)
		}
		h.update(b, keyOf(n), `{"state":{"desired":{"reading07":-1},"reported":{`+strings.TrimSuffix(body.String(), ",")+`}}}`)
	}
	before := rowWrites(b, h)
	slots := make(chan struct{}, window)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		slots <- struct{}{}
		wg.Add(1)
		h.send("", keyOf(i%things), topic.Update, fmt.Sprintf(`{"state":{"reported":{"reading07":%d}}}`, i), func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
			wg.Done()
		})
		if i%1000 == 0 {
			h.pub.take()
		}
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
	b.ReportMetric(float64(rowWrites(b, h)-before)/float64(b.N), "rows/update")
}

// rowWrites is how many rows the writer's connection has changed so far.
func rowWrites(b *testing.B, h *house) (n int64) {
	err := h.db.Write(context.Background(), "count", func(tx *store.Tx) error {
		_, err := tx.QueryRow("SELECT total_changes()", nil, &n)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func BenchmarkUpdate_Durable(b *testing.B) {
	for _, window := range []int{1, 10, 200, 1000} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) { benchmarkUpdates(b, window, store.Options{}) })
	}
}

// A commit costs 8 ms more than on the machine at hand: a slow medium.
func BenchmarkUpdate_DurableSlowFlush(b *testing.B) {
	for _, window := range []int{10, 200, 1000} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			benchmarkUpdates(b, window, store.Options{CommitDelay: 8 * time.Millisecond})
		})
	}
}

func BenchmarkGet_FromMemory(b *testing.B) {
	h := newHouse(b, Config{}, store.Options{})
	h.update(b, classic, `{"state":{"desired":{"a":1},"reported":{"a":2,"b":[1,2,3]}}}`)
	b.ReportAllocs()
	for b.Loop() {
		h.send("c", classic, topic.Get, "", func(error) {})
		h.pub.mu.Lock()
		h.pub.said = h.pub.said[:0]
		h.pub.mu.Unlock()
	}
}

var _ Publisher = (*record)(nil)
