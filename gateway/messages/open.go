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

// CheckpointPages is how long the write-ahead log of a file with this bound may
// grow, for store.Options.
func (c Config) CheckpointPages() int { return salvage.CheckpointPages(c.MaxBytes) }

// Renew makes the next start draw a new incarnation: a restored backup must not
// give numbers that may have been sent already (telemetry.md 4.4). The records
// in the file keep their ids. No Log may be open on db.
func Renew(ctx context.Context, db *store.DB) error { return salvage.Renew(ctx, db) }

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
