package messages

import (
	"context"
	"maps"
	"slices"

	"github.com/tidehold/tidehold/gateway/messages/salvage"
	"github.com/tidehold/tidehold/gateway/store"
)

// Opened says what Open had to do.
type Opened = salvage.Opened

// Open opens or creates the message file with the log's tables and the pragmas of
// telemetry.md section 6. A file that SQLite refuses, or that was found damaged
// while running, is set aside and its readable blocks are copied into a fresh
// one with a new incarnation: the queue never keeps the gateway from starting.
func Open(ctx context.Context, o store.Options) (*store.DB, Opened, error) {
	return salvage.Open(ctx, o)
}

// The write-ahead log goes into the file when it has checkpointPagesMax pages, the
// 4 MiB of broker-storage.md 3.4 and of the journal_size_limit of telemetry.md 6,
// or a sixteenth of a small file, but not below the 200 pages of telemetry.md 6.
const (
	checkpointPagesMin = 200
	checkpointPagesMax = 1000
	checkpointShare    = 16
	pageBytes          = 4096
)

// CheckpointPages is how long the write-ahead log of a file with this bound may
// grow, for store.Options. Measured in turns, durable messages go 1.3 times as
// fast with 1,000 pages as with 200, for nine tenths of the CPU time and the same
// bytes; 4,000 pages bring nothing more. But the log counts against MaxBytes.
func (c Config) CheckpointPages() int {
	if c.MaxBytes <= 0 {
		return checkpointPagesMax
	}
	return int(min(max(c.MaxBytes/checkpointShare/pageBytes, checkpointPagesMin), checkpointPagesMax))
}

// Renew makes the next start draw a new incarnation: a restored backup must not
// give numbers that may have been sent already (telemetry.md 4.4). The records
// in the file keep their ids. No Log may be open on db.
func Renew(ctx context.Context, db *store.DB) error { return salvage.Renew(ctx, db) }

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
