package shadowsync

import (
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/pace"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// Step is what event e makes of s: the next state and what is to be done. It
// follows shadow-sync.md 2.3 to 2.5; the numbers of its steps stand in the
// comments below.
func Step(s State, e Event, p Policy, at Moment) (State, []Effect) {
	st := step{State: s, policy: p, at: at}
	switch e := e.(type) {
	case Online:
		st.online()
	case Offline:
		st.offline()
	case Turn:
		st.begin()
	case Tick:
		st.tick()
	case LocalChanged:
		if e.Version == 0 || e.Version != st.Local.Version {
			st.dirty()
		}
	case LocalRead:
		st.read(e.Doc)
	case Stored:
		st.stored()
	case Committed:
		st.committed(e.Version)
	case Moved:
		st.again()
	case Refused:
		st.Down = st.block(e.Reason)
		st.finish()
	case Failed:
		st.failed()
	case Unsent:
		st.unsent(e)
	case Answer:
		st.answer(e)
	}
	return st.State, st.effects
}

type step struct {
	State
	policy  Policy
	at      Moment
	effects []Effect
}

func (s *step) emit(e Effect)      { s.effects = append(s.effects, e) }
func (s *step) count(name Counter) { s.emit(Count{name}) }

// dirty asks for a sync, at the earliest MinInterval after the last began.
func (s *step) dirty() {
	if s.Dirty {
		return
	}
	s.Dirty = true
	s.ReadyAt = s.started.Add(s.policy.MinInterval)
	if s.ReadyAt.Before(s.at.Now) {
		s.ReadyAt = s.at.Now
	}
}

func (s *step) online() {
	if s.Phase == Getting || s.Phase == Pushing {
		s.rest()
	}
	s.Online, s.Known, s.first = true, false, true
	s.seen = 0
	s.Dirty, s.ReadyAt = true, s.at.Now
}

func (s *step) offline() {
	s.Online, s.Known = false, false
	if s.Phase == Getting || s.Phase == Pushing {
		s.rest()
	}
	s.dirty()
}

// rest ends the sync before its end.
func (s *step) rest() {
	s.Phase, s.turn = Idle, false
	s.dirty()
}

func (s *step) tick() {
	if s.Known && s.seen > s.Upstream.Version && !s.at.Now.Before(s.seenAt.Add(hintTimeout)) {
		s.Known = false
		s.dirty()
	}
	if (s.Phase == Getting || s.Phase == Pushing) && !s.at.Now.Before(s.timeout) {
		s.count(TimedOut)
		s.trouble("no answer within " + answerTimeout.String())
	}
}

// trouble stops the sync; a push stays on record and is resolved by the next.
func (s *step) trouble(reason string) {
	s.Known = false
	s.rest()
	s.emit(Troubled{reason})
}

func (s *step) begin() {
	if !s.Wants(s.at.Now) {
		return
	}
	s.Dirty, s.turn, s.fresh, s.pushed, s.later = false, true, false, false, false
	s.started, s.attempts = s.at.Now, 0
	s.goOn()
}

// goOn takes the next step of a sync: resolve (1), know upstream (2), read the
// local document and merge (3, 4).
func (s *step) goOn() {
	switch {
	case !s.Online:
		s.rest()
	case s.attempts >= attemptsMax:
		s.Dirty = false
		s.started = s.at.Now
		s.rest()
	case s.Record.Push != nil && !s.refused && s.recalls() && s.Record.Push.Version > 0:
		s.count(Resent)
		s.send()
	case s.Record.Push != nil || !s.Known:
		s.get()
	default:
		s.Phase = Reading
		s.emit(Read{})
	}
}

// again starts over because a side moved.
func (s *step) again() {
	s.attempts++
	s.count(Raced)
	s.goOn()
}

func (s *step) get() {
	s.Phase, s.Known = Getting, false
	s.token = token(s.policy.Gateway, s.at.Seq)
	s.timeout = s.at.Now.Add(answerTimeout)
	payload := doc.ObjectValue(doc.Member{Key: "clientToken", Value: doc.StringValue(s.token)})
	s.emit(Publish{Op: topic.Get, Payload: payload.Append(nil)})
}

// read takes the local document and does what is to be done.
func (s *step) read(local Doc) {
	if s.Phase != Reading {
		return
	}
	s.Local, s.failures = local, 0
	if !s.Online || !s.Known {
		s.goOn()
		return
	}
	if s.Record.Push != nil { // no evidence of its outcome
		s.assume()
		s.drop()
		return
	}
	s.rebase()
	s.plan()
}

// rebase forgets what was common when upstream is not what it was: versions
// went back without a delete, or it is another broker (2.2).
func (s *step) rebase() {
	other := !s.recognise()
	back := s.Record.Both && s.Upstream.Exists && s.Upstream.Version < s.Record.Cloud
	if !other && !back {
		return
	}
	if s.Record.Both {
		s.count(Rebased)
	}
	s.Record = Record{Upstream: s.policy.Upstream}
}

// recognise reports whether upstream is the one that the record speaks of. A new
// address alone does not make it another: one whose document goes on from the
// last common version, and still has something of the last common state, is the
// old one that moved.
func (s *step) recognise() bool {
	r, u := &s.Record, s.Upstream
	if r.Upstream == s.policy.Upstream {
		return true
	}
	if !r.Both || !u.Exists || u.Version < r.Cloud || !patch.Shows(patch.Diff(doc.Value{}, r.Base), u.State, false) {
		return false
	}
	r.Upstream = s.policy.Upstream
	return true
}

func (s *step) plan() {
	r := &s.Record
	r.Base = patch.Agree(r.Base, s.Local.State, s.Upstream.State)
	r.Both = r.Both && (s.Local.Exists || s.Upstream.Exists) || s.Local.Exists && s.Upstream.Exists
	at := s.at
	at.ClockDoubtful = at.ClockDoubtful && s.first
	d := decide(*r, s.Local, s.Upstream, s.policy, at)
	for range d.doubts {
		s.count(ClockFallback)
	}
	up := (d.deleteUp || len(d.up) > 0) && !s.Up.holds(s.Local, s.Upstream)
	down := (d.deleteDown || len(d.down) > 0) && !s.Down.holds(s.Local, s.Upstream)
	s.later = up && s.pushed
	switch {
	case up && !s.pushed && d.deleteUp && !s.fresh:
		s.get()
	case up && !s.pushed && (s.Upstream.Exists || !down): // what was deleted with it goes before it is made anew
		s.report(d.conflicts, down)
		s.push(d)
	case down:
		s.report(d.conflicts, down)
		s.commit(d)
	default:
		s.finish()
	}
}

// report tells of the conflicts that are decided now, each once.
func (s *step) report(conflicts []Conflict, keep bool) {
	for _, c := range conflicts {
		if s.wasLogged(c) {
			continue
		}
		c.Writer = s.hands.writer(c.Path, s.Upstream)
		s.Last = c.Winner
		s.Conflicts++
		s.disputed = true
		s.emit(Report{c})
	}
	s.logged = nil
	if keep {
		s.logged = conflicts
	}
}

func (s *step) wasLogged(c Conflict) bool {
	for _, l := range s.logged {
		if l.Winner == c.Winner && l.Path.String() == c.Path.String() && l.Local.Equal(c.Local) && l.Upstream.Equal(c.Upstream) {
			return true
		}
	}
	return false
}

// push puts on disk what is about to be sent (3).
func (s *step) push(d decision) {
	u := s.Upstream
	p := &Push{
		Token: token(s.policy.Gateway, s.at.Seq), Seq: s.at.Seq, At: s.at.Now.Unix(), Delete: d.deleteUp,
		Changes: d.up, Marked: s.policy.Marker && u.marked(s.policy.Gateway),
	}
	if u.Exists {
		p.Version = u.Version
	}
	target := patch.Apply(u.State, d.up)
	switch {
	case d.deleteUp:
		target, p.Changes = doc.Value{}, patch.Diff(u.State, doc.Value{})
	case !u.Exists:
		p.Prepares, p.Changes, target = true, nil, doc.Value{}
	case s.policy.Marker && !p.Marked:
		p.Prepares, p.Changes, target = true, nil, u.State
	}
	for i, c := range p.Changes {
		p.Changes[i].At = u.edited(c.Path)
	}
	p.Learn = patch.Diff(s.Record.Base, patch.Agree(s.Record.Base, s.Local.State, target))
	if !u.Exists { // a new document has nothing in common with one that was
		p.Learn = patch.Diff(s.Record.Base, doc.Value{})
	}
	s.Record.Push, s.refused = p, false
	s.traceEnd, s.verdict = u.Version, unproven
	s.store(thenPush)
}

// recalls reports whether upstream repeats its answer to the push on record. A
// delete carries no version: to send it again could undo what came to be since,
// so its outcome is read from the document.
func (s *step) recalls() bool {
	p := s.Record.Push
	age := s.at.Now.Sub(time.Unix(p.At, 0))
	return s.policy.Answers && !p.Delete && s.Record.Upstream == s.policy.Upstream &&
		age >= -time.Minute && age < answersKept
}

// send sends the push on record, for the first time or, word for word, again.
func (s *step) send() {
	p := s.Record.Push
	s.Phase = Pushing
	s.timeout = s.at.Now.Add(answerTimeout)
	if p.Delete {
		payload := doc.ObjectValue(doc.Member{Key: "clientToken", Value: doc.StringValue(p.Token)})
		s.emit(Publish{Op: topic.Delete, Payload: payload.Append(nil)})
		return
	}
	r := patch.Request(p.Changes)
	r.Token = p.Token
	if p.Version > 0 {
		r.Version = &p.Version
	}
	if s.policy.Marker {
		seq := doc.IntValue(int64(p.Seq))
		r.Desired = r.Desired.With(seq, markerKey, s.policy.Gateway)
		r.Reported = r.Reported.With(seq, markerKey, s.policy.Gateway)
	}
	s.emit(Publish{Op: topic.Update, Payload: r.Append(nil)})
}

// store puts the record on disk; a record that says nothing is removed.
func (s *step) store(then next) {
	s.Phase, s.then, s.prior = Storing, then, s.saved
	s.saved = ""
	if s.worthKeeping() {
		s.saved = string(s.Record.Encode())
	}
	s.emit(Store{Record: []byte(s.saved)})
}

func (s *step) worthKeeping() bool {
	r := s.Record
	return r.Both || r.Base.Exists() || r.Push != nil
}

func (s *step) stored() {
	if s.Phase != Storing {
		return
	}
	s.failures = 0
	switch {
	case s.then == thenRest:
		s.Phase = Idle
		s.dirty()
	case s.then == thenFinish:
		s.done()
	case !s.Online:
		s.rest()
	case s.then == thenPush:
		s.count(Pushed)
		s.send()
	case s.then == thenGet:
		s.Known = false
		s.goOn()
	default:
		s.goOn()
	}
}

// commit makes the local document what it is to be (4).
func (s *step) commit(d decision) {
	local := Doc{Exists: !d.deleteDown, State: patch.Apply(s.Local.State, d.down)}
	if d.deleteDown {
		local.State = doc.Value{}
	}
	r := s.Record
	r.Local, r.Cloud = s.Local.Version+1, s.Upstream.Version
	r.Base = patch.Agree(r.Base, local.State, s.Upstream.State)
	r.Both = r.Both && (local.Exists || s.Upstream.Exists) || local.Exists && s.Upstream.Exists
	if !local.Exists && !s.Upstream.Exists {
		r = Record{Upstream: r.Upstream}
	}
	s.pending, s.deletes, s.Phase = r, d.deleteDown, Committing
	c := Commit{IfVersion: s.Local.Version, Delete: d.deleteDown, Record: []byte{}}
	if !d.deleteDown {
		c.Update = patch.Request(d.down)
	}
	if r.Both || r.Base.Exists() {
		c.Record = r.Encode()
	}
	s.emit(c)
}

func (s *step) committed(version int64) {
	if s.Phase != Committing {
		return
	}
	s.failures = 0
	s.count(Pulled)
	s.saved = ""
	if s.pending.Both || s.pending.Base.Exists() {
		s.saved = string(s.pending.Encode())
	}
	if s.Up.holds(s.Local, s.Upstream) {
		s.Up.local = version
	}
	s.Record = s.pending
	s.Local.Exists, s.Local.Version = !s.deletes, version
	s.goOn()
}

// finish ends a sync that has nothing more to do; the record is written only
// when more than versions changed, for the sake of the flash.
func (s *step) finish() {
	r := &s.Record
	if !s.Local.Exists && !s.Upstream.Exists {
		*r = Record{Upstream: r.Upstream}
	}
	before, err := Decode([]byte(s.saved))
	same := err == nil && before.Both == r.Both && before.Upstream == r.Upstream && before.Push == nil &&
		before.Base.Equal(r.Base) && before.Adopted.Equal(r.Adopted)
	r.Local, r.Cloud = s.Local.Version, s.Upstream.Version
	if same || !s.worthKeeping() && s.saved == "" {
		s.done()
		return
	}
	s.store(thenFinish)
}

func (s *step) done() {
	s.Phase, s.turn, s.first, s.logged, s.disputed = Idle, false, false, nil, false
	s.SyncedAt = s.at.Now
	s.count(Synced)
	s.emit(Succeeded{})
	if s.later {
		s.dirty()
	}
}

// failed: the disk did not do it. What is in memory stays true; the next sync
// stores it.
func (s *step) failed() {
	switch s.Phase {
	case Storing:
		s.saved = s.prior
		if s.then == thenPush {
			s.Record.Push = nil
		}
	case Reading, Committing:
	default:
		return
	}
	s.failures++
	s.Phase, s.turn = Idle, false
	s.Dirty = true
	s.ReadyAt = s.at.Now.Add(pace.Delay(s.failures, s.at.Jitter))
}

// unsent: the request did not leave. A push that never will is no push.
func (s *step) unsent(e Unsent) {
	switch {
	case s.Phase != Getting && s.Phase != Pushing:
	case s.Phase == Pushing && e.Never:
		s.Record.Push = nil
		s.Up = s.block(e.Reason)
		s.store(thenGo)
	default:
		s.trouble(e.Reason)
	}
}

func (s *step) block(reason string) Block {
	s.emit(Blocked{reason})
	return Block{Reason: reason, local: s.Local.Version, cloud: s.Upstream.Version}
}
