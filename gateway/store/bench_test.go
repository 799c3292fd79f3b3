package store

import (
	"testing"
	"time"
)

// benchmarkWrites pipelines writes of one row each; b.N of them, at most 1000
// on their way. A commit costs 2 ms more than on the machine at hand: a fast
// virtual disk would hide the flush.
func benchmarkWrites(b *testing.B, o Options) {
	o.CommitDelay = 2 * time.Millisecond
	db := open(b, o)
	window := make(chan struct{}, 1000)
	b.ReportAllocs()
	for b.Loop() {
		window <- struct{}{}
		db.WriteAsync("insert", insert("0123456789012345678901234567890123456789"), func(err error) {
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

func BenchmarkWrite_GroupCommit(b *testing.B)       { benchmarkWrites(b, Options{}) }
func BenchmarkWrite_OneCommitPerWrite(b *testing.B) { benchmarkWrites(b, Options{NoGroup: true}) }
