package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

// Config says what a Keeper is to know beside its files.
type Config struct {
	// Volatile says why the files lie in memory; nil when they do not. Then
	// every done gets it, with keep.ErrVolatile in it.
	Volatile error
}

// Keeper is the durable side of the broker. All methods may be called from any
// goroutine.
type Keeper struct {
	volatile   error
	state, log *journal
}

var _ keep.Keeper = (*Keeper)(nil)

// New takes state.db and messages.db, opened with the schemas of this room.
func New(cfg Config, state, messages *store.DB, m *metrics.Registry, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{state: newJournal("state", state, log), log: newJournal("messages", messages, log)}
	if cfg.Volatile != nil {
		k.volatile = fmt.Errorf("%w: %w", keep.ErrVolatile, cfg.Volatile)
	}
	for _, j := range []*journal{k.state, k.log} {
		m.GaugeFunc("sessions_staged_"+j.name, "Changes of sessions that wait for a commit of "+j.name+".db.", func() float64 { return float64(j.len()) })
		j.failures = m.Counter("sessions_failed_commits_"+j.name+"_total", "Commits of sessions to "+j.name+".db that failed.")
	}
	return k
}

// Run commits until ctx ends, then what still waits. It must end before the
// files are closed.
func (k *Keeper) Run(ctx context.Context) error {
	var both sync.WaitGroup
	both.Go(func() { k.state.run(ctx) })
	both.Go(func() { k.log.run(ctx) })
	both.Wait()
	return nil
}

// Load gives everything there is, and removes what ended sessions have left.
func (k *Keeper) Load(ctx context.Context) (keep.State, error) {
	var s keep.State
	if err := k.state.db.Read(ctx, func(tx *store.Tx) error { return readState(tx, &s) }); err != nil {
		return s, err
	}
	known := make(map[int64]bool, len(s.Sessions))
	for _, one := range s.Sessions {
		known[one.Number] = true
	}
	err := k.log.db.Write(ctx, "clean up after sessions", func(tx *store.Tx) error { return readLog(tx, &s, known) })
	return s, err
}

// Keep takes a change; see keep.Keeper.
func (k *Keeper) Keep(c keep.Change, done func(error)) {
	state, log := stateOps(c), logOps(c)
	if done != nil && k.volatile != nil {
		told := done
		done = func(err error) {
			if err == nil {
				err = k.volatile
			}
			told(err)
		}
	}
	switch {
	case len(state) > 0 && len(log) > 0:
		done = both(done)
		k.log.add(log, done)
		k.state.add(state, done)
	case len(log) > 0:
		k.log.add(log, done)
	case len(state) > 0:
		k.state.add(state, done)
	case done != nil:
		done(nil)
	}
}

// both calls done after its second call, with the first error.
func both(done func(error)) func(error) {
	if done == nil {
		return nil
	}
	var calls atomic.Int32
	var first atomic.Pointer[error]
	return func(err error) {
		if err != nil {
			first.CompareAndSwap(nil, &err)
		}
		if calls.Add(1) < 2 {
			return
		}
		if p := first.Load(); p != nil {
			err = *p
		}
		done(err)
	}
}
