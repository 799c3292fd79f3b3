// Package accesskey keeps the keys with which AWS's tools sign their requests
// (http-api.md section 3.1). A key is committed when Create returns and is gone
// when Delete does; secrets are stored as they are, because a signature cannot
// be checked without, in a database that its owner alone may read. Calls block
// for the store and may come from any goroutine.
package accesskey

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

// Max is how many keys there may be.
const Max = 100

// The table and its statements.
const (
	CreateTable = `CREATE TABLE access_key (
		id         TEXT PRIMARY KEY,
		secret     TEXT NOT NULL,
		policy     TEXT NOT NULL,
		created_ms INTEGER NOT NULL
	) WITHOUT ROWID`
	// AddUsed is a later step of the schema.
	AddUsed    = `ALTER TABLE access_key ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0`
	countKeys  = `SELECT count(*) FROM access_key`
	insertKey  = `INSERT INTO access_key (id, secret, policy, created_ms) VALUES (?, ?, ?, ?)`
	selectKey  = `SELECT secret, policy, created_ms FROM access_key WHERE id = ?`
	selectKeys = `SELECT id, policy, created_ms, used_ms FROM access_key ORDER BY created_ms, id`
	useKey     = `UPDATE access_key SET used_ms = ? WHERE id = ?`
	deleteKey  = `DELETE FROM access_key WHERE id = ?`
)

// Key is a key for requests signed with AWS Signature Version 4.
type Key struct {
	ID string `json:"AccessKeyId"`
	// Secret is told by Create and Find alone.
	Secret string `json:"SecretAccessKey,omitempty"`
	// Policy names what the key may do; empty means everything.
	Policy string `json:"Policy,omitempty"`
	// Created is when it was made, to the millisecond.
	Created time.Time `json:"CreateDate"`
	// Used is when it last signed, to usedEvery; nil is never. List tells it.
	Used *time.Time `json:"LastUsedDate,omitempty"`
}

// usedEvery is how exact the last use of a key is: a commit for each request
// would wear the card.
const usedEvery = time.Hour

// Keys are the keys of a gateway.
type Keys struct {
	db    *store.DB
	clock clock.Clock
	ids   *ids.Source

	mu   sync.Mutex
	used map[string]time.Duration // monotonic; when its use was last stored
}

// New gives the keys in a database that has CreateTable.
func New(db *store.DB, clk clock.Clock, src *ids.Source) *Keys {
	return &Keys{db: db, clock: clk, ids: src, used: make(map[string]time.Duration)}
}

// Used notes that a key there is has signed something. A use that cannot be
// stored is a matter of the store; the next one is tried again.
func (k *Keys) Used(ctx context.Context, id string) error {
	up := k.clock.Up()
	k.mu.Lock()
	at, known := k.used[id]
	k.mu.Unlock()
	if known && up-at < usedEvery {
		return nil
	}
	err := k.db.Write(ctx, "note the use of an access key", func(tx *store.Tx) error {
		_, err := tx.Exec(useKey, k.clock.Now().UnixMilli(), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the use of access key %q: %w", id, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used[id] = up
	return nil
}

// Create makes a key. Beyond Max it is refused with Conflict.
func (k *Keys) Create(ctx context.Context, policy string) (Key, error) {
	made := k.clock.Now()
	key := Key{
		ID: "AKIA" + strings.ToUpper(k.ids.Token(80)), Secret: k.ids.Token(200), Policy: policy,
		Created: time.UnixMilli(made.UnixMilli()).UTC(),
	}
	err := k.db.Write(ctx, "create access key", func(tx *store.Tx) error {
		var n int
		if _, err := tx.QueryRow(countKeys, nil, &n); err != nil {
			return err
		}
		if n >= Max {
			return iot.Errorf(iot.Conflict, "there are %d access keys, the most there may be", n)
		}
		_, err := tx.Exec(insertKey, key.ID, key.Secret, key.Policy, made.UnixMilli())
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("create access key: %w", err)
	}
	return key, nil
}

// Find gives a key by its id: NotFound.
func (k *Keys) Find(ctx context.Context, id string) (Key, error) {
	key, createdMS, found := Key{ID: id}, int64(0), false
	err := k.db.Read(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.QueryRow(selectKey, []any{id}, &key.Secret, &key.Policy, &createdMS)
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("find access key %q: %w", id, err)
	}
	if !found {
		return Key{}, missing(id)
	}
	key.Created = time.UnixMilli(createdMS).UTC()
	return key, nil
}

// List gives all keys without their secrets, the oldest first.
func (k *Keys) List(ctx context.Context) (all []Key, err error) {
	err = k.db.Read(ctx, func(tx *store.Tx) error {
		return tx.Query(selectKeys, nil, func(s store.Scan) error {
			var key Key
			var createdMS, usedMS int64
			err := s(&key.ID, &key.Policy, &createdMS, &usedMS)
			key.Created = time.UnixMilli(createdMS).UTC()
			if usedMS != 0 {
				used := time.UnixMilli(usedMS).UTC()
				key.Used = &used
			}
			all = append(all, key)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list access keys: %w", err)
	}
	return all, nil
}

// Delete removes a key: NotFound.
func (k *Keys) Delete(ctx context.Context, id string) error {
	err := k.db.Write(ctx, "delete access key", func(tx *store.Tx) error {
		done, err := tx.Exec(deleteKey, id)
		if err == nil && done.RowsAffected == 0 {
			err = missing(id)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete access key %q: %w", id, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.used, id)
	return nil
}

func missing(id string) error { return iot.Errorf(iot.NotFound, "access key %q does not exist", id) }
