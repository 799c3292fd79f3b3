package shadow

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// benchmarkUpdates pipelines durable updates of one leaf of 1 KiB documents of
// 200 things (broker-storage.md section 4), at most 1000 on their way.
func benchmarkUpdates(b *testing.B, o store.Options) {
	h := newHouse(b, Config{}, o)
	const things = 200
	for n := range things {
		var body strings.Builder
		for i := range 50 {
			fmt.Fprintf(&body, `"reading%02d":%d.25,`, i, i*37)
		}
		h.update(b, keyOf(n), `{"state":{"reported":{`+strings.TrimSuffix(body.String(), ",")+`}}}`)
	}
	window := make(chan struct{}, 1000)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for i := range b.N {
		window <- struct{}{}
		wg.Add(1)
		h.send("", keyOf(i%things), topic.Update, fmt.Sprintf(`{"state":{"reported":{"reading07":%d}}}`, i), func(error) {
			<-window
			wg.Done()
		})
		if i%1000 == 0 {
			h.pub.take()
		}
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "updates/s")
}

func BenchmarkUpdate_Durable(b *testing.B) { benchmarkUpdates(b, store.Options{}) }

func BenchmarkUpdate_DurableSlowFlush(b *testing.B) {
	benchmarkUpdates(b, store.Options{CommitDelay: 8 * time.Millisecond})
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
