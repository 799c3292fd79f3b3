package main

import (
	"runtime"

	"github.com/tidehold/tidehold/gateway/broker/wire"
)

// How much garbage there may be before the first collection: that of a few
// thousand messages, and up to roomMost on a host with much memory.
const (
	roomLeast = 16 << 20
	roomMost  = 64 << 20
	// roomShare is the part of the host's memory that is given for it.
	roomShare = 64
)

// calmCollector lets garbage gather before it is collected. The daemon's live
// heap is a few MiB, so under load the collector would run dozens of times a
// second. That costs a quarter of the CPU time per message, and each time
// everything stops until a thread that the kernel has set aside comes back:
// seen as the slowest percent of all messages. A
// share of the live heap (GOGC) that helps there would be too much with full
// queues; a block of memory that is never touched is a constant, and no page of
// it is ever resident. It counts until the function it gives is called.
func calmCollector() (end func()) {
	room := make([]byte, collectorRoom(wire.MemoryBytes()))
	return func() { runtime.KeepAlive(room) }
}

// collectorRoom is the room on a host with so many bytes of memory.
func collectorRoom(host uint64) uint64 { return max(roomLeast, min(host/roomShare, roomMost)) }
