package shadowsync

import (
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// answerTimeout is how long an answer of upstream is waited for.
const answerTimeout = 20 * time.Second

// hintTimeout is how long the document of an announced version may take.
const hintTimeout = 2 * time.Second

// answersKept is how long an upstream that repeats its answers surely does: a
// little less than the 24 hours of shadow-sync.md 2.4.
const answersKept = 23 * time.Hour

// attemptsMax is how often one sync starts over because a side moved.
const attemptsMax = 8

// Phase is what a sync is waiting for.
type Phase uint8

// The phases.
const (
	Idle       Phase = iota // nothing; a Turn begins the next sync
	Getting                 // the answer to a get
	Reading                 // the local document
	Storing                 // a record on its way to the disk
	Pushing                 // the answer to an update or delete
	Committing              // a local transaction
)

// String is the name of the phase.
func (p Phase) String() string {
	return [...]string{"idle", "getting", "reading", "storing", "pushing", "committing"}[p]
}

// next is what follows when a record is on disk.
type next uint8

const (
	thenRest   next = iota // nothing: it was a late answer
	thenPush               // send the push
	thenGo                 // go on with the sync
	thenGet                // go on with a fresh document
	thenFinish             // the sync is over
)

// State is one shadow and one uplink. It is a value: Step gives the next one.
// The zero State knows nothing; Restore begins with a stored record.
type State struct {
	Record Record
	// Local and Upstream are the documents as last seen. Upstream counts only
	// while Known is set.
	Local    Doc
	Upstream Doc
	Known    bool
	Online   bool
	Phase    Phase
	// Dirty asks for a sync, not before ReadyAt.
	Dirty   bool
	ReadyAt time.Time
	// Up and Down say why a side refuses what it is to become; empty when it
	// does not.
	Up, Down Block
	// Last is the winner of the last conflict, meaningful when Conflicts > 0.
	Last      Winner
	Conflicts int
	// SyncedAt is when both sides last agreed.
	SyncedAt time.Time

	saved    string         // the record on disk
	then     next           // after Storing
	prior    string         // saved, should Storing fail
	pending  Record         // the record that comes with the commit
	deletes  bool           // the commit is a delete
	token    string         // of the get that is awaited
	timeout  time.Time      // of the answer that is awaited
	started  time.Time      // of the last sync
	turn     bool           // a sync is under way
	fresh    bool           // Upstream was asked for in this sync
	pushed   bool           // this sync had a push accepted
	later    bool           // there is more, for the next sync
	attempts int            // of this sync
	failures int            // of the disk, in a row
	refused  bool           // the push was answered with a conflict
	settled  string         // token of the last accepted push
	expected []patch.Change // what that push set
	seen     int64          // newest upstream version heard of
	seenAt   time.Time      // when
	first    bool           // no merge yet since going online
	traceEnd int64          // others made every version from the push on record up to this one
	verdict  verdict        // on the push on record
	logged   []Conflict
	hands    hands // who wrote upstream
	disputed bool  // a conflict was decided and is not yet settled on both sides
}

// Block says why a side refuses, and at which versions.
type Block struct {
	Reason       string
	local, cloud int64
}

// holds reports whether nothing has changed since.
func (b Block) holds(local, upstream Doc) bool {
	return b.Reason != "" && b.local == local.Version && b.cloud == upstream.Version
}

// Restore gives the State of a shadow whose stored record is given; nil when
// there is none. On error the State knows nothing, and works.
func Restore(stored []byte) (State, error) {
	r, err := Decode(stored)
	s := State{Record: r, saved: string(stored)}
	if r.Push != nil {
		s.traceEnd = r.Push.Version
	}
	return s, err
}

// Wants reports whether the shadow waits for a Turn.
func (s State) Wants(now time.Time) bool {
	return s.Online && s.Phase == Idle && s.Dirty && !now.Before(s.ReadyAt)
}

// Deadline is when Tick has to be called, or a Turn becomes wanted; zero when
// nothing waits for time.
func (s State) Deadline() time.Time {
	var at time.Time
	earlier := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if s.Phase == Getting || s.Phase == Pushing {
		earlier(s.timeout)
	}
	if s.Online && s.Phase == Idle && s.Dirty {
		earlier(s.ReadyAt)
	}
	if s.Known && s.seen > s.Upstream.Version {
		earlier(s.seenAt.Add(hintTimeout))
	}
	return at
}

// InSync reports whether nothing is known to be left to do.
func (s State) InSync() bool {
	return s.Known && s.Phase == Idle && !s.Dirty && s.Record.Push == nil && s.Local.State.EqualFloat(s.Upstream.State)
}

// Awaits reports whether token is that of the get under way, so that its answer
// is fresh.
func (s State) Awaits(token string) bool { return s.Phase == Getting && token == s.token }

// Event is something that happened.
type Event interface{ event() }

type (
	// Online: the link stands; everything is compared again.
	Online struct{}
	// Offline: the link is gone, and with it every answer still awaited.
	Offline struct{}
	// Turn allows one sync to begin.
	Turn struct{}
	// Tick: time has passed.
	Tick struct{}
	// LocalChanged is the hint that the local document now has Version; 0 when
	// that is not known.
	LocalChanged struct{ Version int64 }
	// LocalRead has the local document that Read asked for.
	LocalRead struct{ Doc Doc }
	// Stored: the record of Store is on disk.
	Stored struct{}
	// Committed: the transaction of Commit is on disk; Version is the
	// document's, or the tombstone's.
	Committed struct{ Version int64 }
	// Moved: the local document had another version than Commit said.
	Moved struct{}
	// Refused: the local side does not take what Commit asks for.
	Refused struct{ Reason string }
	// Unsent: the request of Publish did not leave; Never says that it would not
	// another time either.
	Unsent struct {
		Reason string
		Never  bool
	}
	// Failed: Read, Store or Commit could not be done.
	Failed struct{}
)

func (Online) event()       {}
func (Offline) event()      {}
func (Turn) event()         {}
func (Tick) event()         {}
func (LocalChanged) event() {}
func (LocalRead) event()    {}
func (Stored) event()       {}
func (Committed) event()    {}
func (Moved) event()        {}
func (Refused) event()      {}
func (Failed) event()       {}
func (Unsent) event()       {}
func (Answer) event()       {}

// Effect is something to be done. Effects of one step are done in order; each
// Read, Store and Commit is answered by exactly one event.
type Effect interface{ effect() }

type (
	// Publish sends a request upstream.
	Publish struct {
		Op      topic.Op
		Payload []byte
	}
	// Read asks for the local document.
	Read struct{}
	// Store puts the record on disk; an empty one removes it.
	Store struct{ Record []byte }
	// Commit changes the local document and the record in one transaction, if
	// the document still has version IfVersion.
	Commit struct {
		IfVersion int64
		Update    doc.Request
		Delete    bool
		Record    []byte
	}
	// Count adds one to a counter.
	Count struct{ Name Counter }
	// Report tells of a conflict that is being decided.
	Report struct{ Conflict Conflict }
	// Blocked tells that a side refuses, once until something changes.
	Blocked struct{ Reason string }
	// Succeeded: upstream answers; the back-off begins anew.
	Succeeded struct{}
	// Troubled: upstream does not answer, or asks for patience.
	Troubled struct{ Reason string }
)

func (Publish) effect()   {}
func (Read) effect()      {}
func (Store) effect()     {}
func (Commit) effect()    {}
func (Count) effect()     {}
func (Report) effect()    {}
func (Blocked) effect()   {}
func (Succeeded) effect() {}
func (Troubled) effect()  {}

// Counter names a figure; the metric is sync_NAME_total.
type Counter string

// The counters that Step asks for.
const (
	Synced        Counter = "completed"
	Pushed        Counter = "pushes"
	Pulled        Counter = "pulls"
	Resent        Counter = "resends"
	TimedOut      Counter = "timeouts"
	Raced         Counter = "races"
	Ambiguous     Counter = "ambiguous"
	Adopted       Counter = "adopted"
	Rebased       Counter = "rebase"
	ClockFallback Counter = "clock_fallback"
)

// Counters lists all of them.
var Counters = []Counter{Synced, Pushed, Pulled, Resent, TimedOut, Raced, Ambiguous, Adopted, Rebased, ClockFallback}

func token(gateway string, seq uint64) string { return fmt.Sprintf("gw:%s:%d", gateway, seq) }
