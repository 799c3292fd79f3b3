package shadow

import (
	"context"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// ErrMoved means that the shadow has another version than the commit assumed;
// nothing was changed.
var ErrMoved error = iot.Errorf(iot.Conflict, "Version conflict")

// Snapshot is a shadow together with what an uplink keeps about it.
type Snapshot struct {
	// Doc is the document, nil when there is none.
	Doc *doc.Shadow
	// Version is the document's or the tombstone's, 0 when neither exists.
	Version int64
	// Deleted and DeletedAt tell of a tombstone.
	Deleted   bool
	DeletedAt time.Time
	// Record is the uplink's, nil when it keeps none.
	Record []byte
	// Accepted is what was answered to the update or delete of a Commit, and
	// Repeated that it had been done already under the same token.
	Accepted []byte
	Repeated bool
}

// SyncCommit is one step of a sync. All of it happens, or nothing.
type SyncCommit struct {
	// IfVersion is the version the shadow must have (0: none was ever), else
	// ErrMoved; nil means any.
	IfVersion *int64
	// Delete deletes the document if there is one. With Update it comes first.
	Delete bool
	// Update is applied like any local update: local devices get accepted,
	// delta and documents. Its own Version is checked as well.
	Update *doc.Request
	// Record is kept with the document: nil leaves it as it is, an empty one
	// removes it.
	Record []byte
	// Token, when set, makes Update or Delete happen once: it is remembered for
	// 24 h and among the uplink's last 1024, and a repetition changes nothing,
	// not even the record.
	Token string
}

// syncRequest is a SyncCommit on its way.
type syncRequest struct {
	SyncCommit
	uplink string
	record []byte // as stored afterwards
}

// KeyState is one entry of Keys.
type KeyState struct {
	Key     iot.ShadowKey
	Version int64
	Deleted bool
	Changed time.Time
}

// Snapshot reads document and record as of one commit. The key without thing
// stands for the uplink's own record.
func (s *Service) Snapshot(ctx context.Context, key iot.ShadowKey, uplink string) (snap Snapshot, err error) {
	now := s.clk.Now()
	err = s.db.Read(ctx, func(tx *store.Tx) (err error) {
		d, _, err := readDoc(tx, key)
		if err != nil {
			return err
		}
		if d, err = withoutExpired(tx, key, d, now); err != nil {
			return err
		}
		snap = snapshotOf(d)
		snap.Record, err = readRecord(tx, uplink, key)
		return err
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("shadow snapshot %q for uplink %q: %w", key, uplink, err)
	}
	return snap, nil
}

func snapshotOf(d *doc.Shadow) Snapshot {
	switch {
	case d == nil:
		return Snapshot{}
	case d.Deleted:
		return Snapshot{Version: d.Version, Deleted: true, DeletedAt: time.Unix(d.Time, 0)}
	}
	return Snapshot{Doc: d, Version: d.Version}
}

// Commit executes c in one transaction and in the order of the shadow's other
// requests, and gives the state after it. Errors are ErrMoved and the codes of
// an update; when ctx ends the commit may still be done. The key without thing
// stands for the uplink's own record and takes nothing else.
func (s *Service) Commit(ctx context.Context, key iot.ShadowKey, uplink string, c SyncCommit) (Snapshot, error) {
	r := &request{key: key, op: topic.Update, arrived: s.clk.Now(), token: c.Token,
		origin: iot.Origin{Source: "sys/sync", Uplink: uplink}, sync: &syncRequest{SyncCommit: c, uplink: uplink}}
	if c.Update != nil {
		r.update = *c.Update
		if c.Token != "" {
			r.update.Token = c.Token
		}
		r.token = r.update.Token
		r.refused = r.update.Check(s.cfg.Limits)
	} else if c.Delete {
		r.op = topic.Delete
	}
	if key.Thing == "" && (c.Update != nil || c.Delete) {
		r.refused = iot.Errorf(iot.InvalidRequest, "a shadow needs a thing")
	}
	if err := s.outcome(ctx, r); err != nil {
		return Snapshot{}, fmt.Errorf("shadow sync %q with uplink %q: %w", key, uplink, err)
	}
	if r.err != nil {
		return Snapshot{}, fmt.Errorf("shadow sync %q with uplink %q: %w", key, uplink, r.err)
	}
	snap := snapshotOf(r.doc)
	snap.Record, snap.Accepted, snap.Repeated = r.sync.record, r.body, r.repeated
	return snap, nil
}

// commit executes a SyncCommit. A refusal must leave no trace, so everything
// that can be refused comes before everything that is stored.
func (s *Service) commit(tx *store.Tx, r *request, cur *doc.Shadow, now time.Time) (*doc.Shadow, error) {
	c := r.sync
	if c.IfVersion != nil && *c.IfVersion != cur.Current() {
		r.refuse(ErrMoved)
		return cur, nil
	}
	next, err := cur, error(nil)
	if c.Delete && cur.Live() {
		if next, err = s.delete(tx, r, next, now); err != nil {
			return nil, err
		}
	}
	if c.Update != nil {
		if next, err = s.change(tx, r, next, now); err != nil {
			return nil, err
		}
	}
	if r.err != nil {
		r.messages, r.changes, r.doc, r.body = nil, nil, nil, nil
		return cur, nil
	}
	r.doc = next
	return next, s.keepRecord(tx, r, now)
}

func (s *Service) keepRecord(tx *store.Tx, r *request, now time.Time) (err error) {
	c := r.sync
	if c.Record == nil {
		c.record, err = readRecord(tx, c.uplink, r.key)
		return err
	}
	if len(c.Record) > 0 {
		c.record = c.Record
	}
	return writeRecord(tx, c.uplink, r.key, c.Record, now)
}

// Records calls each with every shadow of which uplink keeps a record, in the
// order of their names, and ends with its first error. each must not block for
// long.
func (s *Service) Records(ctx context.Context, uplink string, each func(key iot.ShadowKey, record []byte) error) error {
	err := s.db.Read(ctx, func(tx *store.Tx) error { return readRecords(tx, uplink, each) })
	if err != nil {
		return fmt.Errorf("shadow records of uplink %q: %w", uplink, err)
	}
	return nil
}

// Keys calls each with every shadow and tombstone, the last changed first, and
// ends with its first error. each must not block for long.
func (s *Service) Keys(ctx context.Context, each func(KeyState) error) error {
	err := s.db.Read(ctx, func(tx *store.Tx) error { return readKeys(tx, each) })
	if err != nil {
		return fmt.Errorf("list all shadows: %w", err)
	}
	return nil
}

// Forget drops all records and remembered tokens of an uplink that is no
// longer configured, so that they keep no tombstone.
func (s *Service) Forget(ctx context.Context, uplink string) error {
	now := s.clk.Now()
	err := s.db.Write(ctx, "shadow forget uplink", func(tx *store.Tx) error { return dropRecords(tx, uplink, now) })
	if err != nil {
		return fmt.Errorf("forget uplink %q: %w", uplink, err)
	}
	return nil
}
