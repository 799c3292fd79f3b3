// Package registry keeps the control plane's records: things, their types and
// groups, certificates and CAs, policies, what is attached to what, provisioning
// templates, and the access keys of AWS tools.
//
// What it promises:
//
//   - A call that changed something has been committed when it returns; one that
//     returned an error changed nothing. Errors carry the code that AWS documents
//     for the operation.
//   - What the configuration declares (things, their groups, policies) is put
//     among the records by Load and is read-only afterwards; certificates and
//     policies may be attached to it all the same.
//   - Watchers are called after the commit, on the caller's goroutine, so that a
//     change has taken effect when the call returns. Changes made at the same
//     time may be told in another order than they were made: ask again, do not
//     count.
//   - Limits: the *Max constants here and AWS's quotas (security.md 1.1); beyond
//     them a call gets LimitExceeded.
//   - Blocking: reads wait for a free reader of the store, changes for their
//     commit. Making an RSA key takes up to seconds on a small board, on the
//     caller's goroutine.
//
// All methods may be called from any goroutine; it starts none. Private keys of
// devices are never stored.
package registry

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry/accesskey"
	"github.com/tidehold/tidehold/gateway/registry/memo"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// Limits of records; AWS has none that a board would reach.
const (
	ThingsMax       = 20_000
	TypesMax        = 1000
	GroupsMax       = 1000
	CertificatesMax = 20_000
	CAsMax          = 100
	PoliciesMax     = 1000
	TemplatesMax    = 100
	TagsMax         = 50 // of one resource
)

// readWait bounds the reads of methods without a context.
const readWait = 5 * time.Second

// Schema is the registry's part of state.db.
func Schema() store.Schema {
	return store.Schema{Room: "registry", Steps: []string{accesskey.CreateTable, table.CreateRecords, accesskey.AddUsed}}
}

// Registry answers for the records.
type Registry struct {
	db     *store.DB
	clock  clock.Clock
	ids    *ids.Source
	keys   *accesskey.Keys
	static map[iot.ThingName]Thing
	log    *slog.Logger
	cfg    Config // set by Load, before anything else is called

	mu       sync.Mutex
	watchers []func(Change)

	documents memo.Memo[documentKey, *policy.Document] // a version never changes
	// What each connection asks, until a record changes.
	standings memo.Memo[string, standing]
	bindings  memo.Memo[string, []Binding]
	rights    memo.Memo[holder, Rights]
}

// Static is a policy of the configuration.
type Static struct{ Name, Document string }

// Config is what Load adds to a registry.
type Config struct {
	Policies []Static
	// Authority makes certificates, the one of now; nil: none can be made.
	Authority func() *pki.Authority
	// Floor is a time that has certainly passed (security.md 2.6).
	Floor time.Time
	// Log gets what is odd among the records; nil discards.
	Log *slog.Logger
}

// New builds a registry over state.db with the things of the configuration.
// Without Load it knows these and the access keys.
func New(things []Thing, db *store.DB, clk clock.Clock, src *ids.Source) *Registry {
	r := &Registry{
		db: db, clock: clk, ids: src, keys: accesskey.New(db, clk, src), static: make(map[iot.ThingName]Thing, len(things)),
		log: slog.New(slog.DiscardHandler),
	}
	for _, t := range things {
		t.Static = true
		r.static[t.Name] = t
	}
	return r
}

// Load puts what the configuration declares among the records, in place of what
// it declared at the last start, and takes the authority. Call it once, before
// any other method.
func (r *Registry) Load(ctx context.Context, cfg Config) error {
	r.cfg = cfg
	if cfg.Log != nil {
		r.log = cfg.Log
	}
	err := r.db.Write(ctx, "registry load", func(tx *store.Tx) error {
		if err := r.loadThings(tx); err != nil {
			return err
		}
		return r.loadPolicies(tx, cfg.Policies)
	})
	if err != nil {
		return fmt.Errorf("registry load: %w", err)
	}
	return nil
}

// ChangeKind says what kind of record changed.
type ChangeKind string

// The kinds of change.
const (
	ThingChange       ChangeKind = "thing"
	GroupChange       ChangeKind = "group"
	CertificateChange ChangeKind = "certificate"
	CAChange          ChangeKind = "ca"
	PolicyChange      ChangeKind = "policy"
	AttachmentChange  ChangeKind = "attachment"
	AccessKeyChange   ChangeKind = "access key"
)

// Change says that a record is not what it was: Name is that of the thing,
// group, or policy, the id of the certificate or access key, or what was attached to.
type Change struct {
	Kind ChangeKind
	Name string
}

// Watch calls f after every change from now on. f must not block for long: the
// caller of the change waits for it.
func (r *Registry) Watch(f func(Change)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, f)
}

func (r *Registry) tell(c Change) {
	r.forget()
	r.mu.Lock()
	watchers := slices.Clone(r.watchers)
	r.mu.Unlock()
	for _, f := range watchers {
		f(c)
	}
}

// forget drops what was read of the records before a change.
func (r *Registry) forget() {
	r.standings.Forget()
	r.bindings.Forget()
	r.rights.Forget()
}

// write commits fn and tells the watchers. A commit that failed may be on the
// disk all the same, so what was read before it counts no more either.
func (r *Registry) write(ctx context.Context, c Change, op string, fn func(*store.Tx) error) error {
	if err := r.db.Write(ctx, "registry "+op, fn); err != nil {
		r.forget()
		return fmt.Errorf("registry %s %q: %w", op, c.Name, err)
	}
	r.tell(c)
	return nil
}

// read calls fn with a snapshot.
func (r *Registry) read(ctx context.Context, op string, fn func(*store.Tx) error) error {
	if err := r.db.Read(ctx, fn); err != nil {
		return fmt.Errorf("registry %s: %w", op, err)
	}
	return nil
}

func (r *Registry) now() time.Time { return r.clock.Now() }

func (r *Registry) nowMS() int64 { return r.clock.Now().UnixMilli() }

// Moment is what the registry knows about the time.
func (r *Registry) Moment() pki.Moment {
	return pki.Moment{Now: r.clock.Now(), Floor: r.cfg.Floor, Synced: r.clock.Synced()}
}

// atMost refuses one more of what count counts.
func atMost(tx *store.Tx, limit int, what, count string, args ...any) error {
	n, err := row.Number(tx, count, args...)
	if err == nil && n >= limit {
		err = iot.Errorf(iot.LimitExceeded, "there are %d %s, the most there may be", n, what)
	}
	return err
}

// fixed refuses changes of what the configuration declares.
func fixed(what, name string) error {
	return iot.Errorf(iot.InvalidRequest, "%s %q is declared in the gateway's configuration and read-only here; change the file instead", what, name)
}

func missing(what, name string) error {
	return iot.Errorf(iot.NotFound, "%s %q does not exist", what, name)
}

// AccessKeys are the keys of AWS's tools.
func (r *Registry) AccessKeys() *accesskey.Keys { return r.keys }

// DeleteAccessKey removes a key and tells the watchers: NotFound.
func (r *Registry) DeleteAccessKey(ctx context.Context, id string) error {
	if err := r.keys.Delete(ctx, id); err != nil {
		return err
	}
	r.tell(Change{AccessKeyChange, id})
	return nil
}
