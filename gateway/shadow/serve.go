package shadow

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Sizes of a page of List (shadow.md section 9).
const (
	pageSizeDefault = 25
	pageSizeMax     = 100
)

// HandleTopic executes the request that m is. done is called once, after the
// commit and after the answers were published; a rejection is an answer too.
// Its error means that there was no answer (the store is closed) and the
// request should be sent again. A last will and whatever is no request are
// ignored (shadow.md section 1).
func (s *Service) HandleTopic(m iot.Message, t topic.Reserved, done func(error)) {
	if t.Kind != topic.ShadowRequest || m.Origin.Will {
		done(nil)
		return
	}
	r := s.read(t.Key, t.Op, m.Payload, m.Origin)
	r.byTopic = true
	r.done = func(r *request) {
		if r.err != nil && errors.Is(r.err, store.ErrClosed) {
			done(fmt.Errorf("shadow %s %q: %w", r.op, r.key, r.err))
			return
		}
		done(nil)
	}
	counted, ok := s.inFlight.enter(m.Origin.ClientID)
	r.counted = counted
	if !ok {
		r.refused = errThrottled()
	}
	_ = s.submit(context.Background(), r) // fails only with its context
}

func errThrottled() error { return iot.Errorf(iot.Throttled, "Too Many Requests") }

// read makes a request of a payload; what is wrong with it is in refused.
func (s *Service) read(key iot.ShadowKey, op topic.Op, payload []byte, o iot.Origin) *request {
	r := &request{key: key, op: op, origin: o, arrived: s.clk.Now()}
	if op == topic.Update {
		r.update, r.refused = doc.ParseRequest(payload, s.cfg.Limits)
		r.token = r.update.Token
	} else {
		r.token = doc.ParseToken(payload)
	}
	s.admit(r)
	return r
}

// admit refuses what is over the rate and, on demand, unknown things.
func (s *Service) admit(r *request) {
	switch {
	case !s.rate.allow(r.key, r.arrived):
		r.refused = errThrottled()
	case s.cfg.RequireThing && !s.known(r.key.Thing):
		r.refused = iot.Errorf(iot.NotFound, "Thing not found")
	}
}

// Get gives the body of get/accepted without publishing it. Errors are
// NotFound, Throttled, or our own failure.
func (s *Service) Get(ctx context.Context, key iot.ShadowKey, token string) ([]byte, error) {
	r := &request{key: key, op: topic.Get, token: token, arrived: s.clk.Now()}
	if s.admit(r); r.refused != nil {
		s.fig.answered(r, 0)
		return nil, wrap(r, r.refused)
	}
	l := s.lanes.enter(key)
	defer s.lanes.leave(key, l)
	l.mu.Lock()
	idle := l.idle()
	if !idle {
		l.mu.Unlock() // the writer needs the lane; what is committed is good enough
	}
	cur, err := s.committed(ctx, key, idle)
	if idle {
		l.mu.Unlock()
	}
	if err == nil {
		r.answer(cur, r.arrived)
		err = r.err
	}
	s.fig.answered(r, 0)
	return r.body, wrap(r, err)
}

// Update applies an update payload and gives the body of update/accepted,
// after the commit and the publications. Errors carry the codes of shadow.md
// section 8; no rejected message is published. When ctx ends the update may
// still be done.
func (s *Service) Update(ctx context.Context, key iot.ShadowKey, payload []byte, o iot.Origin) ([]byte, error) {
	return s.await(ctx, s.read(key, topic.Update, payload, o))
}

// Apply is Update with a request that was built and not parsed.
func (s *Service) Apply(ctx context.Context, key iot.ShadowKey, u doc.Request, o iot.Origin) ([]byte, error) {
	r := &request{key: key, op: topic.Update, update: u, token: u.Token, origin: o, arrived: s.clk.Now()}
	r.refused = u.Check(s.cfg.Limits)
	s.admit(r)
	return s.await(ctx, r)
}

// Delete deletes a shadow and gives the body of delete/accepted, after the
// commit and the publication. A shadow that is not there is NotFound.
func (s *Service) Delete(ctx context.Context, key iot.ShadowKey, o iot.Origin) ([]byte, error) {
	return s.await(ctx, s.read(key, topic.Delete, nil, o))
}

func (s *Service) await(ctx context.Context, r *request) ([]byte, error) {
	if err := s.outcome(ctx, r); err != nil {
		return nil, wrap(r, err)
	}
	return r.body, wrap(r, r.err)
}

// outcome submits r and waits until it is answered; its error is that of ctx.
func (s *Service) outcome(ctx context.Context, r *request) error {
	answered := make(chan struct{})
	r.done = func(*request) { close(answered) }
	if err := s.submit(ctx, r); err != nil {
		return err
	}
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func wrap(r *request, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("shadow %s %q: %w", r.op, r.key, err)
}

// List gives a page of the named, live shadows of a thing in order, and what
// to pass as after for the next page, empty on the last one. size 0 is 25; a
// size beyond 1..100 or a malformed after is InvalidRequest.
func (s *Service) List(ctx context.Context, thing iot.ThingName, after string, size int) (names []iot.ShadowName, next string, err error) {
	if size == 0 {
		size = pageSizeDefault
	}
	if size < 1 || size > pageSizeMax {
		return nil, "", iot.Errorf(iot.InvalidRequest, "pageSize must be from 1 to %d", pageSizeMax)
	}
	from, err := iot.ParseShadowName(after)
	if err != nil {
		return nil, "", iot.Errorf(iot.InvalidRequest, "Invalid nextToken")
	}
	err = s.db.Read(ctx, func(tx *store.Tx) (err error) {
		names, err = listNames(tx, thing, from, size+1)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list shadows of thing %q: %w", thing, err)
	}
	if len(names) > size {
		names = names[:size]
		next = string(names[size-1])
	}
	return names, next, nil
}
