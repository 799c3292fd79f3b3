package shadow

import (
	"context"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
)

// lane is the queue of one shadow. All requests that wait in it when the
// writer comes are executed together and cost one row write.
type lane struct {
	mu    sync.Mutex
	queue []*request
	// asked is set while a batch is queued that will take the queue.
	asked bool
	// busy counts batches whose answers are not all out.
	busy int
	// open counts batches executed and not committed; only the writer uses it.
	open int
	// users, guarded by lanes.mu, keep the lane in the map.
	users int
}

// idle reports, with mu held, that nothing of the shadow is under way.
func (l *lane) idle() bool { return l.busy == 0 && len(l.queue) == 0 }

// lanes holds the lanes in use.
type lanes struct {
	mu sync.Mutex
	m  map[iot.ShadowKey]*lane
}

func (ls *lanes) enter(key iot.ShadowKey) *lane {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.m[key]
	if l == nil {
		if ls.m == nil {
			ls.m = make(map[iot.ShadowKey]*lane)
		}
		l = &lane{}
		ls.m[key] = l
	}
	l.users++
	return l
}

func (ls *lanes) leave(key iot.ShadowKey, l *lane) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(ls.m, key)
	}
}

// submit executes r at once when that needs no commit and nothing of its
// shadow is under way, else queues it. The error is that of ctx, which ended
// while queueMax requests waited.
func (s *Service) submit(ctx context.Context, r *request) error {
	l := s.lanes.enter(r.key)
	if r.needsNoCommit() && s.atOnce(ctx, l, r) {
		s.lanes.leave(r.key, l)
		return nil
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		s.lanes.leave(r.key, l)
		return ctx.Err()
	}
	l.mu.Lock()
	l.queue = append(l.queue, r)
	ask := !l.asked
	if ask {
		l.asked = true
		l.busy++
	}
	l.mu.Unlock()
	if ask {
		b := &batch{s: s, lane: l, key: r.key}
		s.db.WriteAsync("shadow", b.execute, b.done)
	}
	return nil
}

// atOnce answers r in the caller's goroutine if nothing is under way. Holding
// the lane keeps later requests, and so their answers, behind this one.
func (s *Service) atOnce(ctx context.Context, l *lane, r *request) bool {
	l.mu.Lock()
	if !l.idle() {
		l.mu.Unlock()
		return false
	}
	cur, err := (*doc.Shadow)(nil), error(nil)
	if r.refused == nil {
		cur, err = s.committed(ctx, r.key, true)
	}
	if err != nil {
		r.fail(err)
	} else {
		r.answer(cur, s.clk.Now())
	}
	s.publish(r)
	l.mu.Unlock()
	s.finish(r)
	return true
}

// committed is the document that everybody may see. It is kept in memory when
// the caller holds the idle lane of the shadow.
func (s *Service) committed(ctx context.Context, key iot.ShadowKey, keep bool) (d *doc.Shadow, err error) {
	if d, ok := s.cache.get(key); ok {
		return d, nil
	}
	stored := 0
	err = s.db.Read(ctx, func(tx *store.Tx) (err error) {
		d, stored, err = readDoc(tx, key)
		return err
	})
	if err == nil && keep {
		s.cache.put(key, d, stored)
	}
	return d, err
}

// take gives what waits; the next request asks for a batch of its own.
func (l *lane) take() []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.queue
	l.queue, l.asked = nil, false
	return taken
}

// batch is what the writer executes of one lane in one go.
type batch struct {
	s        *Service
	lane     *lane
	key      iot.ShadowKey
	taken    bool
	requests []*request
	// next is the document after the batch, when it wrote one.
	next   *doc.Shadow
	stored int
	wrote  bool
	// grown is how many documents more there are afterwards.
	grown int64
}

// execute runs on the writer, inside its transaction.
func (b *batch) execute(tx *store.Tx) error {
	b.take()
	now := b.s.clk.Now()
	first, err := b.latest(tx, now)
	if err != nil {
		return err
	}
	cur := first
	for _, r := range b.requests {
		if cur, err = b.s.run(tx, r, cur, now); err != nil {
			return err
		}
	}
	if cur == first {
		return nil
	}
	body := cur.Append(nil)
	if err := writeDoc(tx, b.key, cur, body); err != nil {
		return err
	}
	if err := b.s.keepChanges(tx, b.key, b.requests, now); err != nil {
		return err
	}
	if err := b.s.sweepInPassing(tx, now); err != nil {
		return err
	}
	b.next, b.stored, b.grown = cur, len(body), count(cur)-count(first)
	b.lane.open++
	b.wrote = true
	return nil
}

func (b *batch) take() {
	if !b.taken {
		b.taken, b.requests = true, b.lane.take()
	}
}

func count(d *doc.Shadow) int64 {
	if d.Live() {
		return 1
	}
	return 0
}

// done runs on the writer after the commit, or after its failure: then nothing
// of the batch holds, and memory is read again from disk.
func (b *batch) done(err error) {
	s := b.s
	b.take()
	if b.wrote {
		b.lane.open--
	}
	s.storing(err)
	switch {
	case err != nil:
		s.cache.drop(b.key)
	case b.wrote:
		s.cache.put(b.key, b.next, b.stored)
		s.live.Add(b.grown)
	}
	for _, r := range b.requests {
		if err != nil {
			r.fail(err)
		}
		s.publish(r)
	}
	b.lane.mu.Lock()
	b.lane.busy--
	b.lane.mu.Unlock()
	for _, r := range b.requests {
		s.lanes.leave(b.key, b.lane)
		<-s.slots
		s.finish(r)
	}
}

// latest is the document as this transaction sees it, without a tombstone
// whose time is over. Memory has it unless an earlier batch of the lane is in
// the same group: the store takes a group before it executes it, so there is
// none, but nothing here depends on that.
func (b *batch) latest(tx *store.Tx, now time.Time) (*doc.Shadow, error) {
	d, ok := b.s.cache.get(b.key)
	if !ok || b.lane.open > 0 {
		var err error
		if d, _, err = readDoc(tx, b.key); err != nil {
			return nil, err
		}
	}
	return withoutExpired(tx, b.key, d, now)
}

// withoutExpired is d, or nil for a tombstone whose time is over: it is
// forgotten, and numbering starts again (shadow.md section 7).
func withoutExpired(tx *store.Tx, key iot.ShadowKey, d *doc.Shadow, now time.Time) (*doc.Shadow, error) {
	if d == nil || !d.Deleted || now.Unix() < d.Time+int64(tombstoneAge/time.Second) {
		return d, nil
	}
	if expired, err := tombstoneExpired(tx, key, now); err != nil || !expired {
		return d, err
	}
	return nil, forgetDoc(tx, key)
}
