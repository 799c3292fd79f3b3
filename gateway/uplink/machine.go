package uplink

import (
	"fmt"
	"time"
)

// State is where a link stands (upstream.md 1.1).
type State string

// The states of a link.
const (
	Disabled       State = "disabled"       // Run is not running
	WaitingClock   State = "waiting-clock"  // the server's certificate is not valid at this untrusted time
	Resolving      State = "resolving"      // asking DNS
	Connecting     State = "connecting"     // TCP, TLS, WebSocket
	Authenticating State = "authenticating" // CONNECT is sent
	Subscribing    State = "subscribing"    // SUBSCRIBE is sent
	Resuming       State = "resuming"       // telling the house, publishing the status
	Online         State = "online"
	Throttled      State = "throttled" // online, and the upstream asked for less
	Waiting        State = "backoff"
	Severed        State = "cut" // held down until Restore
)

// Up reports whether messages are taken in this state.
func (s State) Up() bool { return s == Online || s == Throttled }

// eventKind says what happened to the link.
type eventKind int

const (
	evBegin      eventKind = iota // an attempt starts
	evHold                        // the first attempt waits a random time below hold
	evAddress                     // the name is resolved
	evOpened                      // the connection stands, CONNECT goes out
	evAccepted                    // CONNACK said yes
	evSubscribed                  // every SUBACK came
	evResumed                     // the house knows, the status is out
	evThrottled                   // the caller saw the upstream ask for less
	evEased                       // and no more
	evLost                        // the attempt or the connection ended
	evCut
	evRestore
	evStop
)

// lossClass says what kind of end it was: it decides the pause that follows.
type lossClass int

const (
	lossNetwork lossClass = iota
	lossAuth              // the upstream said no: certificate, password, client id
	lossClock             // certificate not valid now, and the clock is not trusted
	lossDenial            // closed right after a publish: a policy, perhaps
)

// event is what the machine is told.
type event struct {
	kind  eventKind
	class lossClass
	err   error
	// subject is the topic or filter that lossDenial is about.
	subject string
	hold    time.Duration
	// up is the monotonic time; wall is for people.
	up   time.Duration
	wall time.Time
	// draw gives a random duration below its limit.
	draw func(limit time.Duration) time.Duration
}

const (
	firstDelay  = time.Second      // limit of the first pause
	stableAfter = 60 * time.Second // online so long: failures are forgotten
	authDelay   = 15 * time.Minute // after an authorisation failure
	// denialsMax is how many connections in a row must end right after a publish
	// before it counts as an authorisation failure: once or twice it is chance.
	denialsMax = 3
)

// Backoff is the pause before the next attempt after so many failures in a row
// (at least 1): full jitter, the first below a second, the limit doubling up to
// max (upstream.md 1.2). draw gives a random duration in [0, limit).
func Backoff(failures int, max time.Duration, draw func(limit time.Duration) time.Duration) time.Duration {
	limit := firstDelay
	for i := 1; i < failures && limit < max; i++ {
		limit *= 2
	}
	return draw(min(limit, max))
}

// machine is the link's state, pure: values in, values out.
type machine struct {
	state State
	since time.Time
	err   string // why it is not online; kept until it is
	max   time.Duration

	failures int // attempts in a row that did not stay online
	denials  int // ends in a row right after sending subject
	subject  string
	onlineAt time.Duration // monotonic; meaningful while state.Up()
	retryAt  time.Duration // monotonic; when the pause ends
	attempts int           // attempts ever
}

func newMachine(max time.Duration, now time.Time) machine {
	return machine{state: Disabled, since: now, max: max}
}

// follows says which state each step of an attempt needs and gives.
var follows = map[eventKind]struct{ from, to State }{
	evAddress:    {Resolving, Connecting},
	evOpened:     {Connecting, Authenticating},
	evAccepted:   {Authenticating, Subscribing},
	evSubscribed: {Subscribing, Resuming},
	evResumed:    {Resuming, Online},
	evThrottled:  {Online, Throttled},
	evEased:      {Throttled, Online},
}

// on gives the machine after an event. Events that do not fit the state change
// nothing: a late word from an ended attempt.
func (m machine) on(e event) machine {
	before := m.state
	switch e.kind {
	case evBegin:
		m.begin()
	case evHold:
		m.hold(e)
	case evLost:
		m.lost(e)
	case evCut:
		m.state, m.err = Severed, "cut by hand; `uplink restore` connects again"
	case evRestore:
		m.restore(e)
	case evStop:
		m.state = Disabled
	default:
		m.advance(e)
	}
	if m.state != before {
		m.since = e.wall
	}
	return m
}

func (m *machine) begin() {
	if m.state == Severed {
		return
	}
	m.state = Resolving
	m.attempts++
}

func (m *machine) hold(e event) {
	if m.state == Disabled {
		m.state, m.retryAt = Waiting, e.up+e.draw(e.hold)
	}
}

func (m *machine) advance(e event) {
	step := follows[e.kind]
	if m.state != step.from {
		return
	}
	m.state = step.to
	if e.kind == evResumed {
		m.onlineAt, m.err = e.up, ""
	}
}

// lost plans the pause. A connection that was accepted and soon dropped counts
// as a failure (FL-141).
func (m *machine) lost(e event) {
	if m.state == Severed || m.state == Disabled {
		return
	}
	if m.state.Up() && e.up-m.onlineAt >= stableAfter {
		m.failures, m.denials = 0, 0
	}
	m.failures++
	m.deny(e)
	m.state, m.err = Waiting, fmt.Sprint(e.err)
	if e.class == lossClock {
		m.state = WaitingClock
	}
	m.retryAt = e.up + Backoff(m.failures, m.max, e.draw)
	if e.class == lossAuth || m.denials >= denialsMax {
		m.retryAt = e.up + authDelay
	}
}

// deny counts ends that look like a policy's doing: only the same subject
// again makes the count grow.
func (m *machine) deny(e event) {
	switch {
	case e.class != lossDenial:
		m.denials, m.subject = 0, ""
	case e.subject != m.subject:
		m.denials, m.subject = 1, e.subject
	default:
		m.denials++
	}
}

// restore lets a link that waits or is cut try at once.
func (m *machine) restore(e event) {
	switch m.state {
	case Severed, Waiting, WaitingClock:
		m.state, m.retryAt, m.failures, m.denials = Waiting, e.up, 0, 0
	}
}
