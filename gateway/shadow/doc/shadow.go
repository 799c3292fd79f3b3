// Package doc is the shadow document and its algebra: what an update does to a
// document, what its metadata, delta and answers are, word for word as
// shadow.md sections 2 to 9 say.
//
// The package is pure. Values, sections and shadows never change once made;
// Apply gives the next one, which shares what did not change with the one
// before. Nothing here keeps a payload alive: text that enters a document is
// copied.
//
// Limits: parsing costs memory in proportion to the payload, recursion is
// bounded by 100 levels, numbers are compared exactly in time proportional to
// their text.
package doc

import (
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Shadow is one document, or the tombstone of one. A nil *Shadow is a shadow
// that never was.
type Shadow struct {
	Desired, Reported Section
	// Version counts the accepted updates; a delete takes one itself.
	Version int64
	// Time is when Version came to be, in seconds since 1970.
	Time int64
	// Deleted makes it a tombstone: both sections are empty.
	Deleted bool
}

// Section is `desired` or `reported` with its metadata.
type Section struct {
	state Value // Absent, or an object with at least one member
	meta  meta
}

// State is Absent, or an object with at least one member.
func (s Section) State() Value { return s.state }

// Live reports whether there is a document; a nil or deleted shadow has none.
func (s *Shadow) Live() bool { return s != nil && !s.Deleted }

// Size is what the limit counts: the compact JSON of desired and reported.
func (s *Shadow) Size() int { return s.Desired.state.Size() + s.Reported.state.Size() }

// Section gives the section of that name, `desired` or `reported`.
func (s *Shadow) Section(name string) Section {
	switch {
	case s == nil:
		return Section{}
	case name == "desired":
		return s.Desired
	case name == "reported":
		return s.Reported
	}
	return Section{}
}

// Current is the version an update must name: 0 before the first one, that of
// the tombstone after a delete.
func (s *Shadow) Current() int64 {
	if s == nil {
		return 0
	}
	return s.Version
}

// Result is an accepted update: the next document and the bodies of the
// messages that tell of it.
type Result struct {
	Next     *Shadow
	Accepted []byte
	// Delta is nil when desired and reported do not differ.
	Delta     []byte
	Documents []byte
}

// Apply updates cur, which may be nil or a tombstone, by r at the time now. It
// gives a Conflict for a stale version and TooLarge when the outcome is over
// lim; nothing changes then. r must have passed Check.
func Apply(cur *Shadow, r Request, lim Limits, now time.Time) (Result, error) {
	next, err := Next(cur, r, lim, now)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Next:      next,
		Accepted:  Accepted(r, Stamp{next.Time, next.Version}),
		Delta:     deltaBody(next, r.Token),
		Documents: documentsBody(cur, next, r.Token),
	}, nil
}

// Next is Apply without the messages.
func Next(cur *Shadow, r Request, lim Limits, now time.Time) (*Shadow, error) {
	if r.Version != nil && *r.Version != cur.Current() {
		return nil, iot.Errorf(iot.Conflict, "Version conflict")
	}
	at := Stamp{Time: now.Unix(), Version: cur.Current() + 1}
	next := &Shadow{Version: at.Version, Time: at.Time}
	if cur != nil {
		next.Desired, next.Reported = cur.Desired, cur.Reported
	}
	if r.Clear {
		r.Desired, r.Reported = NullValue(), NullValue()
	}
	next.Desired = next.Desired.merge(r.Desired, at)
	next.Reported = next.Reported.merge(r.Reported, at)
	if lim.MaxBytes > 0 && next.Size() > lim.MaxBytes {
		return nil, iot.Errorf(iot.TooLarge, "The payload exceeds the maximum size allowed")
	}
	return next, nil
}

// Delete gives the tombstone of cur and the body of delete/accepted. A shadow
// that is not live is NotFound.
func Delete(cur *Shadow, key iot.ShadowKey, token string, now time.Time) (*Shadow, []byte, error) {
	if !cur.Live() {
		return nil, nil, NotFound(key)
	}
	at := Stamp{Time: now.Unix(), Version: cur.Version + 1}
	tombstone := &Shadow{
		Desired:  Section{meta: meta{Stamp: at}},
		Reported: Section{meta: meta{Stamp: at}},
		Version:  at.Version, Time: at.Time, Deleted: true,
	}
	return tombstone, Deleted(Stamp{at.Time, cur.Version}, token), nil
}

// Get gives the body of get/accepted, stamped now. A shadow that is not live
// is NotFound.
func Get(cur *Shadow, key iot.ShadowKey, token string, now time.Time) ([]byte, error) {
	if !cur.Live() {
		return nil, NotFound(key)
	}
	return getBody(cur, token, now.Unix()), nil
}

// NotFound is the refusal of a get or delete of what is not there.
func NotFound(key iot.ShadowKey) *iot.Error {
	return iot.Errorf(iot.NotFound, "No shadow exists with name: '%s'", key)
}
