// Package registry keeps the control plane's records: things, and the access
// keys of AWS tools.
//
// Things declared in the configuration are fixed while the gateway runs and
// read-only. Access keys are rows of state.db: a key that Create returned has
// been committed. All methods may be called from any goroutine.
package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

// AccessKeysMax is how many access keys may exist.
const AccessKeysMax = 100

// Thing is a registry entry, with the names of AWS's API.
type Thing struct {
	Name       iot.ThingName     `json:"thingName"`
	Type       string            `json:"thingTypeName,omitempty"`
	Attributes map[string]string `json:"attributes"`
	Groups     []string          `json:"thingGroups,omitempty"`
	// Writable are the keys of desired that an upstream may set; nil means all.
	Writable []string `json:"writable,omitempty"`
}

// AccessKey is a key for requests signed with AWS Signature Version 4. The
// secret is told by Create alone.
type AccessKey struct {
	ID     string `json:"AccessKeyId"`
	Secret string `json:"SecretAccessKey"`
	// Policy names what the key may do; empty means everything.
	Policy string `json:"Policy,omitempty"`
}

// Schema is the registry's part of state.db.
func Schema() store.Schema { return store.Schema{Room: "registry", Steps: []string{createAccessKeys}} }

// Registry answers for the records.
type Registry struct {
	db     *store.DB
	clock  clock.Clock
	ids    *ids.Source
	things map[iot.ThingName]Thing
}

// New builds a registry over state.db with the things of the configuration.
func New(things []Thing, db *store.DB, clk clock.Clock, src *ids.Source) *Registry {
	r := &Registry{db: db, clock: clk, ids: src, things: make(map[iot.ThingName]Thing, len(things))}
	for _, t := range things {
		r.things[t.Name] = t
	}
	return r
}

// Things are all things, sorted by name.
func (r *Registry) Things() []Thing {
	all := make([]Thing, 0, len(r.things))
	for _, t := range r.things {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Thing) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return all
}

// Thing finds a thing by name.
func (r *Registry) Thing(name iot.ThingName) (Thing, bool) {
	t, ok := r.things[name]
	return t, ok
}

// CreateAccessKey makes a key; it blocks until the key is committed. Beyond
// AccessKeysMax it is refused with Conflict.
func (r *Registry) CreateAccessKey(ctx context.Context, policy string) (AccessKey, error) {
	key := AccessKey{ID: "AKIA" + strings.ToUpper(r.ids.Token(80)), Secret: r.ids.Token(200), Policy: policy}
	err := r.db.Write(ctx, "registry create access key", func(tx *store.Tx) error {
		var n int
		if _, err := tx.QueryRow(countAccessKeys, nil, &n); err != nil {
			return err
		}
		if n >= AccessKeysMax {
			return iot.Errorf(iot.Conflict, "there are %d access keys, the most there may be", n)
		}
		_, err := tx.Exec(insertAccessKey, key.ID, key.Secret, key.Policy, r.clock.Now().UnixMilli())
		return err
	})
	if err != nil {
		return AccessKey{}, fmt.Errorf("registry create access key: %w", err)
	}
	return key, nil
}

// AccessKey finds a key by its id; an unknown one is NotFound.
func (r *Registry) AccessKey(ctx context.Context, id string) (AccessKey, error) {
	key := AccessKey{ID: id}
	found := false
	err := r.db.Read(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.QueryRow(selectAccessKey, []any{id}, &key.Secret, &key.Policy)
		return err
	})
	if err != nil {
		return AccessKey{}, fmt.Errorf("registry find access key %q: %w", id, err)
	}
	if !found {
		return AccessKey{}, iot.Errorf(iot.NotFound, "access key %q does not exist", id)
	}
	return key, nil
}
