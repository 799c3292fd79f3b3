package shadowsync

import (
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

// Direction says which side a sync may write to.
type Direction uint8

// The directions.
const (
	Both Direction = iota // either side
	Up                    // upstream becomes what local is
	Down                  // local becomes what upstream is
)

// Winner says who wins when both sides changed the same place.
type Winner uint8

// The winners.
const (
	CloudWins Winner = iota
	LocalWins
	Latest // the later edit; where that cannot be told, the section's default
)

// String is the word of the configuration.
func (w Winner) String() string {
	return [...]string{"cloudWins", "localWins", "latest"}[w]
}

// OnDelete says what becomes of a shadow deleted on one side and changed on
// the other.
type OnDelete uint8

// The outcomes.
const (
	UpdateWins OnDelete = iota // what changed since the last sync stays
	DeleteWins                 // the shadow is deleted
)

// Policy is how one shadow is synced (shadow-sync.md 2.1).
type Policy struct {
	Direction         Direction
	Desired, Reported Winner
	OnDelete          OnDelete
	// MinInterval is the least time between the starts of two syncs.
	MinInterval time.Duration
	// Writable lists the keys of desired that upstream may set; nil is all.
	// The others are overwritten from the local side.
	Writable []string
	// Gateway is this gateway's id, part of every token.
	Gateway string
	// Upstream is the identity of the far side; with another one than before
	// nothing is known any more.
	Upstream string
	// Answers is set when upstream repeats the recorded answer to a token it
	// has seen (shadow-sync.md 2.4 rule 2).
	Answers bool
	// Marker leaves the number of each push in both sections (rule 5).
	Marker bool
}

// DefaultPolicy is the policy without configuration: both directions, desired
// to the cloud, reported to the device, updates before deletes.
func DefaultPolicy() Policy {
	return Policy{Desired: CloudWins, Reported: LocalWins, MinInterval: 200 * time.Millisecond}
}

func (p Policy) winner(section string) Winner {
	if section == desired {
		return p.Desired
	}
	return p.Reported
}

// untimed is the winner at a place where no time of an edit is known.
func (p Policy) untimed(path doc.Path) Winner {
	w := p.winner(path[0])
	switch {
	case path[0] == desired && len(path) > 1 && !p.writable(path[1]):
		return LocalWins
	case w == Latest:
		return settled(path[0])
	}
	return w
}

// settled is the default winner of a section: the device owns reported.
func settled(section string) Winner {
	if section == desired {
		return CloudWins
	}
	return LocalWins
}

func (p Policy) writable(key string) bool {
	if p.Writable == nil {
		return true
	}
	for _, w := range p.Writable {
		if w == key {
			return true
		}
	}
	return false
}

// Moment is what a step needs from outside.
type Moment struct {
	Now time.Time
	// Jitter is a random number in [0, 1).
	Jitter float64
	// Seq is a number that this gateway never used in a token before.
	Seq uint64
	// Offset is the upstream clock minus the local one.
	Offset time.Duration
	// ClockDoubtful is set when the local clock was never set, or the offset
	// jumped during the outage: Latest cannot be decided then.
	ClockDoubtful bool
}
