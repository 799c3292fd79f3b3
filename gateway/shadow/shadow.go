// Package shadow is the shadow service: it keeps the documents of things,
// serves the reserved topics and the calls of other rooms, and tells everybody
// what changed. What an update does to a document is decided in shadow/doc.
//
// # What it promises
//
// Order: requests of one shadow are executed one at a time in the order in
// which HandleTopic, Update, Delete and Commit were called. The answers of one
// request leave as accepted, delta, documents, and no answer of a request
// precedes one of the request before it; refusals and gets keep their place.
// Between shadows there is no order.
//
// Durability: accepted, delta, documents, the watchers and done follow the
// commit of the document. When a commit fails nothing has changed, in memory
// or on disk, and the client hears `500 Internal service failure`. A crash
// after the commit may lose answers, never the document.
//
// Limits: Config.MaxInFlight requests of one connection and Config.MaxRate of
// one shadow, then 429; queueMax requests in the service, then the caller
// waits; cacheBytesMax of parsed documents in memory, then the least recently
// used go; answersPerClient and answersMax remembered answers, then the oldest
// go; changesPerShadow changes of a shadow and changesMax in all are
// remembered; tombstones stay for 48 hours, and as long as an uplink has a record.
//
// Blocking: HandleTopic returns at once unless queueMax requests wait. A get of
// a shadow with nothing under way is answered from memory without a commit.
// Publish and the watchers are called on the store's writer or on the caller's
// goroutine; they must hand over, must not block, and must not call the
// Service.
package shadow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
)

// Limits that are not configured.
const (
	// queueMax is how many requests may wait for their commit; at the limit
	// callers wait.
	queueMax = 4096
	// cacheBytesMax is about what parsed documents may take in memory.
	cacheBytesMax = 8 << 20
	// tombstoneAge is how long a deleted shadow's version is remembered.
	tombstoneAge = 48 * time.Hour
	// sweepEvery is how often what is too old is removed, along with a write.
	sweepEvery = time.Hour
	// component is the name of this room's health.
	component = "shadow"
)

// Config is what the service is told. Zero limits mean none.
type Config struct {
	// Limits of a document (shadow.max_bytes, shadow.max_depth).
	Limits doc.Limits
	// MaxInFlight is the most unanswered requests of one connection.
	MaxInFlight int
	// MaxRate is the most requests of one shadow in a second.
	MaxRate float64
	// RequireThing refuses shadows of things that known does not know.
	RequireThing bool
}

// Publisher sends an answer to its subscribers. It must not block and must not
// call the Service.
type Publisher interface {
	Publish(m iot.Message)
}

// Change is what watchers hear after a commit.
type Change struct {
	Key     iot.ShadowKey
	Version int64
	Deleted bool
	// Origin is who caused it; Origin.Uplink is set when a sync did.
	Origin iot.Origin
	// Doc is the document, or its tombstone.
	Doc *doc.Shadow
}

// Service serves shadows. Safe for concurrent use.
type Service struct {
	cfg   Config
	db    *store.DB
	clk   clock.Clock
	pub   Publisher
	known func(iot.ThingName) bool
	log   *slog.Logger
	fig   figures
	well  *metrics.Health

	slots    chan struct{} // one for each request that waits for a commit
	lanes    lanes
	cache    *cache
	inFlight counter
	rate     buckets
	live     atomic.Int64 // documents that exist
	failing  atomic.Bool  // the last commit failed
	watchers atomic.Pointer[[]*watcher]

	mu     sync.Mutex // guards what the writer keeps, and Watch
	writer writerState
	// changes is about how many are remembered; the writer alone uses it.
	changes int64
}

// New makes a service over db, which was opened with Schema. known tells
// whether a thing is registered and is asked only with RequireThing; it may be
// nil otherwise. Call Load before the first request.
func New(cfg Config, db *store.DB, clk clock.Clock, pub Publisher, known func(iot.ThingName) bool, m *metrics.Registry, log *slog.Logger) (*Service, error) {
	if db == nil || clk == nil || pub == nil || m == nil {
		return nil, errors.New("shadow service: store, clock, publisher and metrics are all needed")
	}
	if cfg.RequireThing && known == nil {
		return nil, errors.New("shadow service: require_thing is on, but nobody knows the things")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg: cfg, db: db, clk: clk, pub: pub, known: known, log: log, well: &m.Health,
		slots: make(chan struct{}, queueMax), cache: newCache(cacheBytesMax),
		rate: buckets{perSecond: cfg.MaxRate},
	}
	s.inFlight.max = cfg.MaxInFlight
	s.watchers.Store(&[]*watcher{})
	s.fig = newFigures(m, s)
	return s, nil
}

// Load counts what is stored and removes tombstones and remembered answers
// whose time is over. Documents are read when they are first asked for.
func (s *Service) Load(ctx context.Context) error {
	var live int64
	err := s.db.Write(ctx, "shadow sweep", func(tx *store.Tx) (err error) {
		if err = s.sweep(tx, s.clk.Now()); err != nil {
			return err
		}
		live, err = countDocs(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("load shadows: %w", err)
	}
	s.live.Store(live)
	s.well.Set(component, metrics.OK, nil, s.clk.Now())
	return nil
}

// storing notes how the last commit went: the first failure and the recovery
// are logged and change the room's health, the failures between are counted.
func (s *Service) storing(err error) {
	switch {
	case err == nil && s.failing.CompareAndSwap(true, false):
		s.well.Set(component, metrics.OK, nil, s.clk.Now())
		s.log.Info("shadows are stored again")
	case err != nil && !errors.Is(err, store.ErrClosed) && s.failing.CompareAndSwap(false, true):
		s.well.Set(component, metrics.Degraded, err, s.clk.Now())
		s.log.Error("shadows are not stored; clients hear 500", "err", err)
	}
}

// sweep removes what is too old.
func (s *Service) sweep(tx *store.Tx, now time.Time) error {
	if err := sweepTombstones(tx, now); err != nil {
		return err
	}
	if err := s.trimChanges(tx); err != nil {
		return err
	}
	return sweepAnswers(tx, now.Add(-answerAge))
}
