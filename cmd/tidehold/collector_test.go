package main

import "testing"

func TestCollectorRoom_FollowsTheMemoryOfTheHost(t *testing.T) {
	for host, want := range map[uint64]uint64{0: 16, 512: 16, 2048: 32, 4096: 64, 65536: 64} {
		if got := collectorRoom(host << 20); got != want<<20 {
			t.Errorf("%d MiB of memory: room for %d bytes of garbage, want %d MiB", host, got, want)
		}
	}
}
