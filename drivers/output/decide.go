package output

import (
	"slices"
	"time"
)

// mode is a word of on_start, on_stop and on_fault.
type mode string

const (
	modeOff     mode = "off"
	modeOn      mode = "on"
	modeKeep    mode = "keep"
	modeRestore mode = "restore"
)

// The causes of a level, and the reasons of a refusal.
const (
	causeStart     = "start"
	causeStop      = "stop"
	causeFault     = "fault"
	causeRequire   = "require"
	causeLoss      = "on_loss"
	causeMaxOn     = "max_on"
	causeInterlock = "interlock"
	whyMinOn       = "min_on"
	whyMinOff      = "min_off"
	whyOld         = "old"
	whyInvalid     = "invalid"
	whyExpired     = "expired"
	whyMissing     = "missing"
)

// Settings are the rules of one output.
type Settings struct {
	Name                         string
	OnStart, OnStop, OnFault     mode
	LossAfter                    time.Duration // 0: none
	LossState                    bool
	MinOn, MinOff, MaxOn         time.Duration // 0: none
	MinOnHard, ApplyOld, Guarded bool
	Group                        string // interlock, empty: none
	Wait                         time.Duration
	ConfirmWithin                time.Duration // 0: no feedback line
}

// GuardState is what the guards of `require` say.
type GuardState int

// The states of guards. The zero state is unknown, which counts as false.
const (
	GuardUnknown GuardState = iota
	GuardHolds
	GuardFails
	GuardFaulty // what it looks at is faulty or stale
)

// Refusal says why a wish is not reality.
type Refusal struct {
	Why string
	// Until is when the reason ends by itself; 0 when only something else can
	// end it.
	Until time.Duration
}

// Part is the state of one output.
type Part struct {
	// Ready: the line is ours. On is what was read back; Since is when it
	// changed; Pending between a write and its read-back.
	Ready, On, Pending bool
	Since              time.Duration
	Cause              string
	// wasSince and wasCause come back when a write did not reach the pin.
	wasSince time.Duration
	wasCause string

	HasWish, Wish bool
	WishCause     string
	Rejected      string        // whyOld, whyInvalid or whyExpired: the last wish does not count
	Expires       time.Duration // when a wish that is not reality ends; 0: never
	Spent         bool          // max_on is over; only a wish for off ends this
	Alive         time.Duration
	Lost          bool
	Refused       Refusal
	Blocked       time.Duration // a change waits until then, 0: none does

	Guard        GuardState
	Feedback     bool
	ConfirmBy    time.Duration // 0: nothing to confirm
	NotConfirmed bool
	BadLine      bool // the pin does not follow
	Unread       bool // the pin could not be read: On is a guess
	RetryAt      time.Duration
	Stopping     bool
}

// State is the state of all outputs, in the order of their settings.
type State []Part

// Kind is the kind of an event.
type Kind int

// The kinds of events.
const (
	Tick     Kind = iota // time passed
	Opened               // the line is ours; On is its level
	Gone                 // the line is lost
	Wished               // somebody wants On; see Old and Invalid
	Guarded              // the guards' state changed to Guard
	Followed             // the feedback line says On
	Observed             // after an action: the pin reads On; Failed: it could not be written or read
	Stopped              // the daemon ends; for all outputs
)

// Event is something that happened to one output.
type Event struct {
	Kind Kind
	// Part is the index of the output; ignored by Tick and Stopped.
	Part         int
	On           bool
	Cause        string        // of a wish
	Old, Invalid bool          // of a wish: from before the start; no boolean
	Expires      time.Duration // of a wish; 0: never
	Failed       bool
	Guard        GuardState
	// Since is when the level began, for Opened.
	Since time.Duration
}

// Action is a level to write. The outcome comes back as Observed.
type Action struct {
	Part  int
	On    bool
	Cause string
}

// lineRetry is the wait before a pin that did not follow is written again.
const lineRetry = 5 * time.Second

// Decide is the whole behaviour of outputs: what to write after an event, and
// when to look again (0: only another event can change anything). It is pure;
// now is any clock that never steps. The state given in is not changed.
//
// At most one output of an interlock group is on, or about to be, at any time:
// an output is switched on only when every other of its group was read back
// off for the group's wait. Writes that switch off come before those that
// switch on. Time-outs are honoured for every source; stop, fault, loss and
// guards pass over min_on unless MinOnHard.
func Decide(cfg []Settings, st State, e Event, now time.Duration) (State, []Action, time.Duration) {
	st = slices.Clone(st)
	fold(cfg, st, e, now)
	var actions []Action
	var next time.Duration
	for _, on := range []bool{false, true} {
		for i := range st {
			if a, ok := settle(cfg, st, i, on, now); ok {
				actions = append(actions, a)
			}
		}
	}
	for i := range st {
		next = sooner(next, deadline(cfg[i], st[i], now))
	}
	return st, actions, next
}

// fold takes the event and the passing of time into the state.
func fold(cfg []Settings, st State, e Event, now time.Duration) {
	if e.Kind == Stopped {
		for i := range st {
			st[i].Stopping = true
		}
	} else if e.Kind != Tick {
		st[e.Part].take(cfg[e.Part], e, now)
	}
	for i := range st {
		st[i].age(cfg[i], now)
	}
}

func (p *Part) take(c Settings, e Event, now time.Duration) {
	switch e.Kind {
	case Opened:
		p.Ready, p.On, p.Since, p.Cause, p.BadLine, p.Pending = true, e.On, e.Since, causeStart, false, false
		p.Unread = false
	case Gone:
		p.Ready, p.Pending, p.ConfirmBy = false, false, 0
	case Wished:
		p.wish(c, e, now)
	case Guarded:
		p.Guard = e.Guard
	case Followed:
		p.Feedback = e.On
	case Observed:
		p.observe(e, now)
	}
}

func (p *Part) wish(c Settings, e Event, now time.Duration) {
	if why := e.rejected(c, now); why != "" {
		p.Rejected = why
		return
	}
	if !e.On {
		p.Spent = false
	}
	p.HasWish, p.Wish, p.WishCause, p.Rejected = true, e.On, e.Cause, ""
	p.Expires = e.Expires
	p.Alive, p.Lost, p.NotConfirmed = now, false, false
}

// rejected says why a wish does not count; empty when it does.
func (e Event) rejected(c Settings, now time.Duration) string {
	switch {
	case e.Invalid:
		return whyInvalid
	case e.Old && !c.ApplyOld && c.OnStart != modeRestore:
		return whyOld
	case e.Expires != 0 && now >= e.Expires:
		return whyExpired
	}
	return ""
}

// observe takes the read-back: what stands at the pin is the truth. A pin that
// cannot be read may be on, and is taken as on.
func (p *Part) observe(e Event, now time.Duration) {
	p.Pending, p.Unread = false, e.Failed
	if !e.Failed && e.On == p.On {
		p.BadLine = false
		return
	}
	p.BadLine, p.RetryAt, p.ConfirmBy = true, now+lineRetry, 0
	p.Since, p.Cause = p.wasSince, p.wasCause
	p.On = e.On || e.Failed
}

// age lets timers run out. A pin that did not follow is trusted again after a
// while when it stands at its safe level: the next write is the test.
func (p *Part) age(c Settings, now time.Duration) {
	if p.BadLine && now >= p.RetryAt && c.OnFault.level(p.On) == p.On {
		p.BadLine = false
	}
	if p.Expires != 0 && now >= p.Expires {
		p.expire()
	}
	if c.LossAfter > 0 && !p.Stopping && now-p.Alive >= c.LossAfter {
		p.Lost = true
	}
	if c.MaxOn > 0 && p.On && !p.Spent && now-p.Since >= c.MaxOn {
		p.Spent = true
	}
	if p.ConfirmBy > 0 && p.Feedback == p.On {
		p.ConfirmBy = 0
	}
	if p.ConfirmBy > 0 && now >= p.ConfirmBy {
		p.ConfirmBy, p.NotConfirmed = 0, true
	}
}

// expire ends a wish that never became reality; one that did stands.
func (p *Part) expire() {
	p.Expires = 0
	if p.HasWish && (!p.Ready || p.Wish != p.On) {
		p.HasWish, p.Rejected = false, whyExpired
	}
}

// want is the level an output should have, why, and whether that is a matter
// of safety.
func want(cfg []Settings, st State, i int) (on bool, cause string, safety bool) {
	c, p := cfg[i], st[i]
	switch {
	case p.Stopping:
		return c.OnStop.level(p.On), causeStop, true
	case p.NotConfirmed || p.BadLine || c.Guarded && p.Guard == GuardFaulty:
		return c.OnFault.level(p.On), causeFault, true
	case c.Guarded && p.Guard != GuardHolds:
		return false, causeRequire, true
	case p.On && rivalBefore(cfg, st, i):
		return false, causeInterlock, true
	case p.Lost:
		return c.LossState, causeLoss, true
	case p.Spent:
		return false, causeMaxOn, false
	case p.HasWish:
		return p.Wish, p.WishCause, false
	}
	return p.On, p.Cause, false
}

func (m mode) level(now bool) bool {
	if m == modeKeep {
		return now
	}
	return m == modeOn
}

// rivalBefore reports another output of the group that is on and comes first.
func rivalBefore(cfg []Settings, st State, i int) bool {
	for j := range i {
		if cfg[i].Group != "" && cfg[j].Group == cfg[i].Group && st[j].On {
			return true
		}
	}
	return false
}

// settle moves one output to where it should be, when that is the level `on`
// and nothing stands in the way, and records why a wish is not reality.
func settle(cfg []Settings, st State, i int, on bool, now time.Duration) (Action, bool) {
	p := &st[i]
	target, cause, safety := want(cfg, st, i)
	if target != on {
		return Action{}, false
	}
	p.Blocked = 0
	if !p.Ready {
		p.refuse(Refusal{Why: whyMissing})
		return Action{}, false
	}
	p.refuse(Refusal{Why: cause})
	if target == p.On || p.Pending {
		return Action{}, false
	}
	if obstacle := hinder(cfg, st, i, target, safety, now); obstacle.Why != "" {
		p.Blocked = obstacle.Until
		p.refuse(obstacle)
		return Action{}, false
	}
	p.wasSince, p.wasCause = p.Since, p.Cause
	p.On, p.Since, p.Cause, p.Pending = target, now, cause, true
	if cfg[i].ConfirmWithin > 0 && !p.Stopping {
		p.ConfirmBy = now + cfg[i].ConfirmWithin
	}
	p.refuse(Refusal{Why: cause})
	return Action{Part: i, On: target, Cause: cause}, true
}

// refuse notes why the wish is not reality; no reason when it is.
func (p *Part) refuse(r Refusal) {
	switch {
	case p.Rejected != "":
		p.Refused = Refusal{Why: p.Rejected}
	case !p.HasWish || p.Ready && p.Wish == p.On:
		p.Refused = Refusal{}
	default:
		p.Refused = r
	}
}

// hinder finds what forbids a change now.
func hinder(cfg []Settings, st State, i int, on, safety bool, now time.Duration) Refusal {
	c, p := cfg[i], st[i]
	if now < p.RetryAt {
		return Refusal{Why: causeFault, Until: p.RetryAt}
	}
	if !on {
		if until := p.Since + c.MinOn; (!safety || c.MinOnHard) && now < until {
			return Refusal{Why: whyMinOn, Until: until}
		}
		return Refusal{}
	}
	r := interlocked(cfg, st, i, now)
	if until := p.Since + c.MinOff; now < until && r.Why == "" {
		r = Refusal{Why: whyMinOff, Until: until}
	}
	return r
}

// interlocked finds another output of the group that is on, on its way, or was
// on less than the group's wait ago.
func interlocked(cfg []Settings, st State, i int, now time.Duration) Refusal {
	r := Refusal{}
	for j := range st {
		if j == i || cfg[i].Group == "" || cfg[j].Group != cfg[i].Group {
			continue
		}
		if st[j].On || st[j].Pending {
			return Refusal{Why: causeInterlock}
		}
		if until := st[j].Since + max(cfg[i].Wait, cfg[j].Wait); now < until && until > r.Until {
			r = Refusal{Why: causeInterlock, Until: until}
		}
	}
	return r
}

// deadline is when the part has to be looked at again, 0 for never.
func deadline(c Settings, p Part, now time.Duration) time.Duration {
	next := sooner(sooner(p.Blocked, p.ConfirmBy), p.Expires)
	if c.MaxOn > 0 && p.On && !p.Spent {
		next = sooner(next, p.Since+c.MaxOn)
	}
	if c.LossAfter > 0 && !p.Lost {
		next = sooner(next, p.Alive+c.LossAfter)
	}
	if p.BadLine && p.RetryAt > now {
		next = sooner(next, p.RetryAt)
	}
	return next
}

// sooner is the earlier of two times, where 0 is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
