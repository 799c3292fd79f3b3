package verdict

import "time"

// Limits of what chips may cost (drivers.md 4.3, 4.4).
const (
	// debtFree is the bus time a chip may cost without an answer before it is
	// asked less often: the three polls that make a fault fit.
	debtFree = 2 * time.Second
	// share is the part of its bus's time that a dead chip gets: 1 in share.
	share = 100
	// pauseMax caps the pause, so that a repaired chip is seen again.
	pauseMax = 5 * time.Minute
	// stuckChips that time out one after the other, with no answer of anybody
	// between them, are a stuck bus.
	stuckChips = 3
	// chipsMax bounds the ledger; beyond it everything is learnt anew.
	chipsMax = 1024
)

// Chip is an address behind a route.
type Chip struct {
	Route Route
	Addr  uint16
}

// Outcome is what a transaction showed about the wires.
type Outcome int

// The outcomes. NACK shows that the bus itself works.
const (
	Answer Outcome = iota
	NACK
	Silence // a time-out
	Other   // says nothing about the wires
)

// Ledger keeps what the chips of one bus did since it was opened. The zero
// Ledger is ready.
type Ledger struct {
	chips map[Chip]*entry
	// silent counts the time-outs since the last sign of life of anybody.
	silent int
}

type entry struct {
	answered bool          // ever
	mute     bool          // timed out since the last sign of life of anybody
	debt     time.Duration // bus time since its last answer
	until    time.Duration // not asked before
}

// Pause is how long a chip must not be asked yet; 0 when it may be.
func (l *Ledger) Pause(c Chip, now time.Duration) time.Duration {
	if e := l.chips[c]; e != nil {
		return max(e.until-now, 0)
	}
	return 0
}

// Note takes the outcome of a transaction that took the bus for a time.
func (l *Ledger) Note(c Chip, o Outcome, took, now time.Duration) {
	if o == Other {
		return
	}
	e := l.entry(c)
	if o != Silence {
		l.alive()
	}
	switch o {
	case Answer:
		*e = entry{answered: true}
		return
	case Silence:
		e.mute = true
		l.silent++
	}
	e.debt += took
	if e.debt > debtFree {
		e.until = now + min(took*(share-1), pauseMax)
	}
}

func (l *Ledger) entry(c Chip) *entry {
	if e := l.chips[c]; e != nil {
		return e
	}
	if l.chips == nil || len(l.chips) >= chipsMax {
		*l = Ledger{chips: map[Chip]*entry{}}
	}
	e := &entry{}
	l.chips[c] = e
	return e
}

// alive forgets the time-outs: a line that is held lets nobody answer.
func (l *Ledger) alive() {
	l.silent = 0
	for _, e := range l.chips {
		e.mute = false
	}
}

// Stuck reports that the bus itself is the fault: three chips, or every chip
// that ever answered, timed out since the last sign of life. The
// specification's 2 s are what that takes at polls of a second; with slower
// polls a window of 2 s would never see a held line. A chip alone on its bus
// must time out twice.
func (l *Ledger) Stuck() bool {
	mute, known, knownMute := 0, 0, 0
	for _, e := range l.chips {
		if e.mute {
			mute++
		}
		if e.answered {
			known++
			if e.mute {
				knownMute++
			}
		}
	}
	return mute >= stuckChips || known > 0 && knownMute == known && l.silent >= 2
}

// Limits of the pause between two tries to free a bus.
const (
	freeFirst = time.Second
	freeMax   = 5 * time.Minute
)

// Repair is where the freeing of a stuck bus stands. The zero Repair is a bus
// that works.
type Repair struct {
	Stuck bool
	// Trial: freeing was tried, the next transaction shows whether it helped.
	Trial bool
	tries int
	at    time.Duration
}

// Due reports that freeing may be tried now.
func (r Repair) Due(now time.Duration) bool { return r.Stuck && !r.Trial && now >= r.at }

// Wait is the time until the next try.
func (r Repair) Wait(now time.Duration) time.Duration { return max(r.at-now, 0) }

// Broken notes that the bus is stuck, or still is: the next try comes after 0,
// 1, 2, 4 ... seconds, up to five minutes.
func (r Repair) Broken(now time.Duration) Repair {
	pause := time.Duration(0)
	if r.tries > 0 {
		pause = freeMax
		if doublings := r.tries - 1; doublings < 16 {
			pause = min(freeFirst<<doublings, freeMax)
		}
	}
	return Repair{Stuck: true, tries: r.tries, at: now + pause}
}

// Tried notes a try: a trial when it worked as far as it can tell.
func (r Repair) Tried(worked bool, now time.Duration) Repair {
	r.tries++
	if worked {
		r.Trial = true
		return r
	}
	return r.Broken(now)
}
