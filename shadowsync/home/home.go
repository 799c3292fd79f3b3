// Package home is the local side of every sync: what a sync of either mode needs
// of the shadow service. It has no code.
package home

import (
	"context"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

// Shadows is the local shadow service as sync needs it.
type Shadows interface {
	// Snapshot reads document and record of one shadow as of one commit.
	Snapshot(ctx context.Context, key iot.ShadowKey, uplink string) (Snapshot, error)
	// Commit does c in one transaction and gives the state after it. A document
	// of another version is a Conflict error, one that is refused for good
	// TooLarge or InvalidRequest.
	Commit(ctx context.Context, key iot.ShadowKey, uplink string, c Write) (Snapshot, error)
	// Each calls f with every shadow, tombstone and record of the uplink, and
	// with the time of the last local change when it is known. A shadow may
	// come twice.
	Each(ctx context.Context, uplink string, f func(key iot.ShadowKey, changed time.Time) error) error
}

// Snapshot is a local shadow together with what the uplink keeps about it.
type Snapshot struct {
	// Doc is nil when there is no document.
	Doc *doc.Shadow
	// Version is the document's or the tombstone's.
	Version int64
	// Deleted and DeletedAt tell of a tombstone.
	Deleted   bool
	DeletedAt time.Time
	Record    []byte
}

// Write is one local step of a sync: all of it happens or nothing.
type Write struct {
	// IfVersion is the version the shadow must have; nil means any.
	IfVersion *int64
	Delete    bool
	// Update is applied like any local update.
	Update *doc.Request
	// Record: nil keeps the one there is, an empty one removes it.
	Record []byte
}
