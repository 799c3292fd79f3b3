package drivers

import (
	"context"
	"errors"
	"time"
)

// State is how well a part does.
type State string

// The states of a part (drivers.md section 3).
const (
	Starting State = "starting"
	OK       State = "ok"
	Degraded State = "degraded" // the last poll failed, the value is still fresh
	Fault    State = "fault"    // no usable value
	Missing  State = "missing"  // nothing answers
	Disabled State = "disabled"
)

// Cause says why a part is not well.
type Cause string

// The causes of a state.
const (
	CauseNACK         Cause = "nack"
	CauseTimeout      Cause = "timeout"
	CauseBusStuck     Cause = "bus_stuck"
	CauseCRC          Cause = "crc"
	CauseWrongChip    Cause = "wrong_chip"
	CauseOutOfRange   Cause = "out_of_range"
	CauseImplausible  Cause = "implausible"
	CauseStale        Cause = "stale"
	CauseNotClaimed   Cause = "not_claimed"
	CausePermission   Cause = "permission"
	CauseUnplugged    Cause = "unplugged"
	CausePanic        Cause = "driver_panic"
	CauseNotConfirmed Cause = "not_confirmed"
	CauseReadBack     Cause = "read_back"
	CauseOther        Cause = "error"
)

// The errors of parts, one per cause; wrap them with operation and subject.
var (
	ErrNACK        = errors.New("address not acknowledged")
	ErrTimeout     = errors.New("no answer in time")
	ErrBusStuck    = errors.New("bus stuck: a line is held low")
	ErrCRC         = errors.New("checksum mismatch")
	ErrWrongChip   = errors.New("another chip answers")
	ErrOutOfRange  = errors.New("value out of range")
	ErrImplausible = errors.New("value changed faster than max_step")
	ErrStale       = errors.New("no value for three intervals")
	ErrNotClaimed  = errors.New("in use by somebody else")
	ErrPermission  = errors.New("permission denied")
	ErrUnplugged   = errors.New("not there")
	ErrPanic       = errors.New("driver panicked")
	ErrNoBus       = errors.New("no such bus")
)

var causes = []struct {
	err   error
	cause Cause
}{
	{ErrPanic, CausePanic}, {ErrWrongChip, CauseWrongChip}, {ErrCRC, CauseCRC},
	{ErrBusStuck, CauseBusStuck}, {ErrNACK, CauseNACK}, {ErrUnplugged, CauseUnplugged}, {ErrNoBus, CauseUnplugged},
	{ErrPermission, CausePermission}, {ErrNotClaimed, CauseNotClaimed},
	{ErrOutOfRange, CauseOutOfRange}, {ErrImplausible, CauseImplausible}, {ErrStale, CauseStale},
	{ErrTimeout, CauseTimeout}, {context.DeadlineExceeded, CauseTimeout},
}

// CauseOf gives the cause of the first known error in err's chain.
func CauseOf(err error) Cause {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.cause
		}
	}
	return CauseOther
}

// Health is the state of a part, with the reason when it is not well.
type Health struct {
	State State     `json:"state"`
	Cause Cause     `json:"cause,omitempty"`
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since"`
	// Simulated marks parts without hardware.
	Simulated bool `json:"sim,omitempty"`
}

// Live reports whether the part's last value may be taken for the present one.
func (h Health) Live() bool { return h.State == OK || h.State == Degraded }

// Limits of the health of polled parts.
const (
	// faultAfter is the number of failed polls, and of intervals without a
	// value, that make a fault.
	faultAfter = 3
	// missingAfter is how long a chip that once answered may be silent before
	// it counts as missing and is asked less often.
	missingAfter = 60 * time.Second
	// retryMax caps the back-off of a missing part.
	retryMax = 60 * time.Second
	// replugMax caps it when the bus itself is gone: asking costs no bus time,
	// and a re-plugged adapter must be back within 10 s.
	replugMax = 5 * time.Second
)

// Tracker turns the outcomes of polls into a state. It is pure: time is an
// argument, the wall clock only stamps Since.
type Tracker struct {
	interval  time.Duration
	health    Health
	failures  int
	absences  int // polls since the part went missing
	ever      bool
	lastValue time.Duration
}

// NewTracker starts in Starting for a part polled every interval.
func NewTracker(interval time.Duration, simulated bool, now time.Duration, wall time.Time) *Tracker {
	return &Tracker{interval: interval, lastValue: now, health: Health{State: Starting, Since: wall, Simulated: simulated}}
}

// Health is the present state.
func (t *Tracker) Health() Health { return t.health }

// Value records a good poll; true when the state changed.
func (t *Tracker) Value(now time.Duration, wall time.Time) bool {
	t.failures, t.absences, t.ever, t.lastValue = 0, 0, true, now
	return t.set(OK, nil, wall)
}

// Failure records a failed poll; true when state or cause changed.
func (t *Tracker) Failure(err error, now time.Duration, wall time.Time) bool {
	t.failures++
	state := t.judge(CauseOf(err), now)
	if state == Missing {
		t.absences++
	} else {
		t.absences = 0
	}
	return t.set(state, err, wall)
}

// Silence records that a poll could not begin because the one before still
// runs; true when that makes the part stale.
func (t *Tracker) Silence(now time.Duration, wall time.Time) bool {
	if now-t.lastValue < faultAfter*t.interval || t.health.State == Fault || t.health.State == Missing {
		return false
	}
	return t.set(Fault, ErrStale, wall)
}

func (t *Tracker) judge(cause Cause, now time.Duration) State {
	switch cause {
	case CauseUnplugged:
		return Missing
	case CauseWrongChip, CauseNotClaimed, CausePermission:
		return Fault
	case CauseNACK:
		if !t.ever || t.failures >= faultAfter && now-t.lastValue >= missingAfter {
			return Missing
		}
	}
	if t.failures >= faultAfter || t.ever && now-t.lastValue >= faultAfter*t.interval {
		return Fault
	}
	return Degraded
}

func (t *Tracker) set(state State, err error, wall time.Time) bool {
	next := Health{State: state, Since: wall, Simulated: t.health.Simulated}
	if err != nil {
		next.Cause, next.Error = CauseOf(err), err.Error()
	}
	changed := next.State != t.health.State || next.Cause != t.health.Cause
	if next.State == t.health.State {
		next.Since = t.health.Since
	}
	t.health = next
	return changed
}

// Wait is the time until the next poll: the interval, and for a missing part
// 1, 2, 4 ... intervals up to a minute, so that a dead chip costs little.
func (t *Tracker) Wait() time.Duration {
	if t.absences == 0 {
		return t.interval
	}
	limit := retryMax
	if t.health.Cause == CauseUnplugged {
		limit = replugMax
	}
	wait := t.interval
	for i := 1; i < t.absences && wait < limit; i++ {
		wait *= 2
	}
	return min(wait, limit)
}
