package shadowsync

import (
	"net/http"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// answer takes a message of upstream: the answer to our own push or get, or
// news of what others did.
func (s *step) answer(a Answer) {
	push := s.Record.Push
	s.trace(a)
	s.hands = s.hands.hear(a)
	waits := s.Phase == Idle || s.Phase == Getting || s.Phase == Pushing || s.Phase == Reading
	switch {
	case push != nil && a.Token == push.Token && waits:
		s.outcome(a)
	case a.Op == topic.Get:
		if s.Phase == Getting && a.Token == s.token {
			s.got(a)
		}
	case a.Kind == topic.Rejected:
	case a.Token != "" && a.Token == s.settled:
		s.confirmed(a)
	default:
		s.heard(a)
	}
}

// outcome is what became of the push on record (3, and 2.4 rule 1).
func (s *step) outcome(a Answer) {
	p := s.Record.Push
	switch {
	case p.Delete && (a.Kind == topic.Accepted || a.Code == http.StatusNotFound):
		s.deleted(a.Version)
	case p.Delete && a.Kind != topic.Rejected:
	case a.Kind == topic.Accepted, a.Kind == topic.Documents:
		s.accepted(a)
	case a.Code == http.StatusConflict:
		s.conflicted()
	case a.Code == http.StatusTooManyRequests || a.Code >= http.StatusInternalServerError:
		if s.Phase == Pushing {
			s.trouble(a.Reason)
		}
	default:
		s.Record.Push = nil
		s.Up = s.block(a.Reason)
		s.store(s.follow())
	}
}

// follow is what comes after a record whose push is resolved: the sync goes
// on, unless the answer came late, outside of one.
func (s *step) follow() next {
	if s.turn {
		return thenGo
	}
	return thenRest
}

// conflicted: upstream had another version. That usually means that nothing
// was done, but a repeated request conflicts with itself: the document tells.
func (s *step) conflicted() {
	s.refused = true
	s.Known = false
	switch {
	case s.Phase == Pushing:
		s.again()
	case s.Phase == Idle:
		s.dirty()
	}
}

// accepted: what was pushed stands upstream. Only what is equal on both sides
// becomes common; the rest still has to travel.
func (s *step) accepted(a Answer) {
	p := s.Record.Push
	r := &s.Record
	r.Base = patch.Apply(r.Base, p.Learn)
	r.Both, r.Cloud = true, a.Version
	u := s.Upstream
	switch {
	case s.Known && u.Exists == (p.Version > 0) && (p.Version == 0 || p.Version == u.Version) && a.Version == u.Version+1:
		s.Upstream = u.pushed(p, a.Version, s.policy.Gateway, s.policy.Marker)
	case s.Known && u.Exists && u.Version >= a.Version:
	default:
		s.Known = false
	}
	s.settled, s.expected = p.Token, nil
	if p.Version > 0 { // else others may have written beside it
		s.expected = p.Changes
	}
	s.resolved()
	if a.Kind == topic.Documents {
		s.confirmed(a)
	}
}

// deleted: the document is gone upstream; version is the one that was.
func (s *step) deleted(version int64) {
	s.Record.Base, s.Record.Both, s.Record.Adopted = doc.Value{}, false, doc.Value{}
	s.Upstream = Doc{}
	if version > 0 {
		s.Upstream.Version = version + 1
	}
	s.Record.Cloud = s.Upstream.Version
	s.Known = s.Online
	s.settled, s.expected = s.Record.Push.Token, nil
	s.resolved()
}

// resolved puts the outcome of the push on disk.
func (s *step) resolved() {
	s.pushed = s.turn && !s.Record.Push.Prepares
	s.drop()
}

func (s *step) drop() {
	s.Record.Push, s.refused = nil, false
	s.Up = Block{}
	s.store(s.follow())
}

// confirmed is the document that our own push made. Where upstream put values
// of its own in place of ours, they are adopted (2.3).
func (s *step) confirmed(a Answer) {
	if a.Kind != topic.Documents || s.Known && s.Upstream.Version > a.Version || !s.Online {
		return
	}
	for _, c := range s.expected {
		given := a.Doc.State.Get(c.Path...)
		if given.EqualFloat(c.New) {
			continue
		}
		s.count(Adopted)
		if s.policy.Direction == Up && given.Exists() {
			s.Record.Adopted = s.Record.Adopted.With(given, c.Path...)
		}
	}
	s.expected = nil
	moved := !s.Known || !s.Upstream.State.EqualFloat(a.Doc.State)
	s.Upstream, s.Known = a.Doc, true
	if moved {
		s.news()
	}
}

// heard is news of what somebody else did.
func (s *step) heard(a Answer) {
	version := a.Version
	if a.Op == topic.Delete {
		version++
	}
	if !s.Known {
		s.seen = max(s.seen, version)
		s.news()
		return
	}
	u := s.Upstream
	switch {
	case u.Exists && version <= u.Version: // repeated
	case a.Kind == topic.Documents && u.Exists && a.Previous == u.Version:
		s.Upstream = a.Doc
		s.news()
	case a.Op == topic.Delete && u.Exists && a.Version == u.Version:
		s.Upstream = Doc{Version: version}
		s.news()
	case a.Kind == topic.Accepted && a.Op == topic.Update && u.Exists:
		s.seen, s.seenAt = version, s.at.Now
	case a.Op == topic.Delete && !u.Exists && version <= u.Version: // repeated
	default: // a gap
		s.Known, s.seen = false, max(s.seen, version)
		s.news()
	}
}

// news of upstream asks for a sync; one that is under way sees it anyway.
func (s *step) news() {
	if !s.turn || s.Phase == Storing && s.then == thenFinish {
		s.dirty()
	}
}

// got is the answer to our get (2).
func (s *step) got(a Answer) {
	switch {
	case a.Kind == topic.Accepted:
		s.Upstream = a.Doc
	case a.Code == http.StatusNotFound:
		s.Upstream = Doc{}
	default:
		s.trouble(a.Reason)
		return
	}
	stale := a.Kind == topic.Accepted && a.Version < s.seen
	s.seen = 0
	if stale { // newer news overtook the answer: ask once more
		s.get()
		return
	}
	s.Known, s.fresh = true, true
	if s.Record.Push != nil {
		s.judge()
		return
	}
	s.goOn()
}

// judge finds out from the document what became of the push (2.4 rules 3 to
// 5).
func (s *step) judge() {
	p, u := s.Record.Push, s.Upstream
	switch {
	case !s.recognise(): // somebody else's document
	case p.Prepares:
		if u.Exists {
			s.learn()
		}
	case p.Delete:
		if s.gone(p) {
			s.deletedEarlier()
		}
	case u.Exists && u.Version == p.Version:
	case s.verdict == done:
		s.learn()
	case s.verdict == undone:
	case p.Marked && u.mark(s.policy.Gateway) != 0:
		if u.mark(s.policy.Gateway) == int64(p.Seq) {
			s.learn()
		}
	case s.refused && s.recalls(): // upstream would have repeated itself
	case u.Exists && s.traced(): // others made every version since
	case u.Exists && patch.Shows(p.Changes, u.State, !s.refused):
		s.learn()
	case s.refused && !p.Marked: // a refusal is seldom that of a double
	default: // what stands here decides
		s.Phase = Reading
		s.emit(Read{})
		return
	}
	s.drop()
}

// gone reports whether the document that p deletes is gone. One that stands in
// its place has nothing of it: what it shows was written since, by somebody who
// may have seen the delete.
func (s *step) gone(p *Push) bool {
	u := s.Upstream
	switch {
	case !u.Exists:
		return true
	case u.Version == p.Version || s.traced():
		return false
	case p.Marked:
		return u.mark(s.policy.Gateway) == 0
	}
	return !patch.Untouched(p.Changes, u.State, u.edited)
}

// verdict is what the messages of upstream prove about the push on record.
type verdict uint8

const (
	unproven verdict = iota
	done             // it made the version that it asked for
	undone           // another write made that version
)

// trace learns from news of upstream what became of the push on record. An
// update names the version it follows, so it can only have made the next one:
// whoever made that decides. A delete and the update of a new shadow name none:
// of them it proves something that others made every version since.
func (s *step) trace(a Answer) {
	p := s.Record.Push
	if p == nil || a.Kind == topic.Rejected || a.Token == p.Token {
		return
	}
	switch {
	case a.Kind == topic.Documents && a.Version == s.traceEnd+1 && (a.Previous == s.traceEnd || a.Previous == 0):
		s.traceEnd = a.Version
	case a.Op == topic.Delete && a.Version == s.traceEnd:
		s.traceEnd++
	}
	if p.Version == 0 || p.Delete || s.verdict != unproven {
		return
	}
	next := p.Version + 1
	switch {
	case a.Op == topic.Delete && a.Version == p.Version, a.Op == topic.Update && a.Version == next:
		s.verdict = undone
	case a.Op == topic.Get && a.Version == next:
		s.verdict = seenIn(a.Doc, p)
	case a.Kind == topic.Documents && a.Previous == next:
		s.verdict = seenIn(a.Before, p)
	}
}

// seenIn is what the document proves that has the version p would have made.
func seenIn(d Doc, p *Push) verdict {
	if patch.Shows(p.Changes, d.State, true) {
		return done
	}
	return undone
}

// traced reports whether the document of upstream came to be by writes that
// were all seen, and were all of others.
func (s *step) traced() bool { return s.Upstream.Version == s.traceEnd }

func (s *step) learn() {
	s.Record.Base = patch.Apply(s.Record.Base, s.Record.Push.Learn)
	s.Record.Both = true
}

func (s *step) deletedEarlier() {
	s.Record.Base, s.Record.Both, s.Record.Adopted = doc.Value{}, false, doc.Value{}
}

// assume decides without evidence (rule 4). A value that stands as it was before
// the push proves that it never came. Else it is taken as done, and overwritten
// since where another value stands: the upstream value was written by somebody
// who had seen the pushed one, or at the same time, and so is never the older.
// As it may have been at the same time, it is told as a conflict.
func (s *step) assume() {
	s.count(Ambiguous)
	p, u := s.Record.Push, s.Upstream
	cleared := p.Marked || !u.Exists // everything was removed since
	if !cleared && patch.Untouched(p.Changes, u.State, u.edited) {
		return
	}
	for _, c := range p.Changes {
		after := doc.Value{}.With(c.New, c.Path...)
		for _, leaf := range c.Leaves() {
			v := after.Get(leaf...)
			if v.Kind() == doc.Object { // its own leaves follow
				continue
			}
			if s.overtaken(leaf, v, cleared || c.Touched(u.State, leaf)) && (v.Exists() || s.Record.Base.Get(leaf...).Kind() != doc.Object) {
				s.Record.Base = s.Record.Base.With(v, leaf...)
			}
		}
	}
	s.Record.Base = s.Record.Base.Canonical()
}

// overtaken reports whether a leaf that was pushed as v counts as done and
// written since; it tells of the conflict while v still stands here. Where
// nobody can tell whether it was written since, the policy decides, and a newer
// local value is not asked to yield.
func (s *step) overtaken(leaf doc.Path, v doc.Value, written bool) bool {
	c := Conflict{Path: leaf, Local: v, Upstream: s.Upstream.State.Get(leaf...), Winner: CloudWins}
	stands := s.Local.State.Get(leaf...).EqualFloat(v)
	switch {
	case !written && !stands:
		return false
	case !written:
		c.Winner = s.policy.untimed(leaf)
	}
	if stands && s.policy.Direction == Both && !c.Upstream.EqualFloat(v) {
		s.report([]Conflict{c}, false)
	}
	return c.Winner == CloudWins
}
