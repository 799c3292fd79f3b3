package main

import "runtime"

// collectorRoom is how much garbage there may be before the first collection:
// that of a few thousand messages.
const collectorRoom = 16 << 20

// calmCollector lets garbage gather before it is collected. The daemon's live
// heap is a few MiB, so under load the collector would run dozens of times a
// second, which costs a quarter of the CPU time per message. A
// share of the live heap (GOGC) that helps there would be too much with full
// queues; a block of memory that is never touched is a constant, and no page of
// it is ever resident. It counts until the function it gives is called.
func calmCollector() (end func()) {
	room := make([]byte, collectorRoom)
	return func() { runtime.KeepAlive(room) }
}
