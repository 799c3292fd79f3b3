package shadow

import (
	"context"
	"errors"
	"sync"

	"github.com/tidehold/tidehold/gateway/iot"
)

// followMax is how many changes may wait for somebody who follows a shadow;
// one more ends it with ErrBehind.
const followMax = 64

// ErrBehind ends a Follow that does not keep up.
var ErrBehind error = iot.Errorf(iot.Throttled, "the watch fell %d changes behind and ended; start it again", followMax)

// watcher is a function with an identity.
type watcher struct{ hear func(Change) }

// Watch calls f after every commit that changed a shadow, in the order of the
// shadow's versions, until stop. f must not block and must not call the
// Service. A crash may lose calls: a hint, not a log.
func (s *Service) Watch(f func(Change)) (stop func()) {
	w := &watcher{f}
	s.rewatch(func(all []*watcher) []*watcher { return append(all, w) })
	return func() {
		s.rewatch(func(all []*watcher) []*watcher {
			kept := all[:0]
			for _, other := range all {
				if other != w {
					kept = append(kept, other)
				}
			}
			return kept
		})
	}
}

// rewatch replaces the list of watchers: it is read without a lock.
func (s *Service) rewatch(next func([]*watcher) []*watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := next(append([]*watcher{}, *s.watchers.Load()...))
	s.watchers.Store(&all)
}

// tell calls the watchers for what r changed.
func (s *Service) tell(r *request) {
	for _, w := range *s.watchers.Load() {
		for _, d := range r.changes {
			w.hear(Change{Key: r.key, Version: d.Version, Deleted: d.Deleted, Origin: r.origin, Doc: d})
		}
	}
}

// Follow calls each with the shadow as it is, if there is one, and then with
// every change in the order of the versions, until ctx ends (nil), each fails,
// or each is followMax changes behind (ErrBehind).
func (s *Service) Follow(ctx context.Context, key iot.ShadowKey, each func(Change) error) error {
	changes, behind := make(chan Change, followMax), make(chan struct{})
	var once sync.Once
	defer s.Watch(func(c Change) {
		if c.Key != key {
			return
		}
		select {
		case changes <- c:
		default:
			once.Do(func() { close(behind) })
		}
	})()
	now, err := s.Snapshot(ctx, key, "")
	if err == nil && now.Doc != nil {
		err = each(Change{Key: key, Version: now.Version, Doc: now.Doc})
	}
	for err == nil {
		select {
		case c := <-changes:
			if c.Version > now.Version { // else the snapshot has it already
				err = each(c)
			}
		case <-behind:
			return ErrBehind
		case <-ctx.Done():
			return nil
		}
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
