package messages

import (
	"fmt"
	"testing"
)

// BenchmarkAppend stores messages of 256 bytes, n to a commit.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint("per-commit-", n), func(b *testing.B) {
			f := start(b, Config{MaxBytes: 1 << 40, TailRecords: 1 << 20, TailBytes: 1 << 30}, cloud)
			payload := make([]byte, 256)
			for i := range payload {
				payload[i] = byte(i*7 + i*i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r := rec("plant/oven/temp", Normal, "cloud")
				r.Payload = payload
				f.append(r)
				if i++; i%n == 0 {
					if err := f.commit(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkDrain reads and acknowledges messages from the file.
func BenchmarkDrain(b *testing.B) {
	f := start(b, Config{MaxBytes: 1 << 40, TailRecords: 1 << 20, TailBytes: 1 << 30}, cloud)
	fill := func() {
		for range 20_000 {
			f.append(rec("plant/oven/temp", Normal, "cloud"))
		}
		if err := f.commit(); err != nil {
			b.Fatal(err)
		}
	}
	fill()
	k := f.reader("cloud", FIFO)
	b.ReportAllocs()
	for b.Loop() {
		it := next(b, k)
		for it == nil {
			b.StopTimer()
			fill()
			b.StartTimer()
			it = next(b, k)
		}
		k.Ack(it)
	}
}
