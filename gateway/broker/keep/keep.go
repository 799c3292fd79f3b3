// Package keep is what the broker wants kept beyond the life of the process:
// retained messages, persistent sessions, and the messages that wait for them.
// It declares the records and the Keeper; it does nothing itself.
//
// A session is known by a number that is never used again, so nothing that is
// left of an ended session can be taken for a part of its successor.
package keep

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Keeper makes the broker's state durable. What it was given together is
// committed together as far as it lies in one file; what was given first is
// never lost while what came later is kept.
type Keeper interface {
	// Load gives everything there is. It is called once, before Keep.
	Load(ctx context.Context) (State, error)
	// Keep takes a change and returns at once. done is called exactly once,
	// after the commit or its failure, from another goroutine; it must not
	// block. With a nil done nobody waits, and the change may be committed a
	// moment later, together with others.
	Keep(c Change, done func(error))
}

// State is what a broker begins with. Messages are in the order of their ids.
type State struct {
	Retained []Message
	Sessions []Session
	Messages []Message
	Progress []Progress
	Inbound  []Exchange
}

// Change is what happened at once; the zero value of each part is nothing.
type Change struct {
	// Message is to be kept for the sessions in its Refs.
	Message *Message
	// Opened is the QoS 2 exchange that brought Message.
	Opened Exchange
	// Dropped is the id of a message that nobody waits for any more.
	Dropped int64
	// Released is a QoS 2 exchange that is over.
	Released Exchange
	// Moved is a session that has got on with its messages.
	Moved Mover
	// Retained replaces what is kept for its topic; an empty payload clears it.
	Retained *Message
	// Session replaces what is kept of a session.
	Session *Session
	// Ended is the number of a session of which nothing is to be left.
	Ended int64
}

// Mover is a session whose progress is asked for when it is written.
type Mover interface {
	// Number is the session's number.
	Number() int64
	// Progress is where the session is now. It must not call the Keeper.
	Progress() Progress
}

// Message is a message and who waits for it.
type Message struct {
	ID      int64 // unique, growing; 0 for retained ones
	Message iot.Message
	At      time.Time // when it was routed
	Expires time.Time // zero = never
	Refs    []Ref
}

// Ref is one session's delivery of a message.
type Ref struct {
	Session int64  `json:"s"`
	N       uint64 `json:"n"` // place in the session's queue
	QoS     byte   `json:"q"`
	Retain  bool   `json:"r,omitempty"`
	IDs     []int  `json:"i,omitempty"` // subscription identifiers
}

// Session is what is kept of a session beside its messages.
type Session struct {
	Number int64          `json:"-"`
	Client iot.ClientID   `json:"client"`
	Owner  iot.Principal  `json:"owner"`
	Expiry time.Duration  `json:"expiry"`
	Away   time.Time      `json:"away,omitzero"` // zero while it is connected
	Will   *Will          `json:"will,omitempty"`
	Subs   []Subscription `json:"subs,omitempty"`
}

// Will is a will that waits for its delay.
type Will struct {
	Message iot.Message `json:"message"`
	At      time.Time   `json:"at"`
}

// Subscription is one subscription with its options (MQTT 5, 3.8.3.1).
type Subscription struct {
	Filter         string `json:"filter"`
	QoS            byte   `json:"qos"`
	NoLocal        bool   `json:"no_local,omitempty"`
	AsPublished    bool   `json:"as_published,omitempty"`
	RetainHandling byte   `json:"retain_handling,omitempty"`
	Identifier     int    `json:"identifier,omitempty"`
}

// Progress is how far a session is with its messages.
type Progress struct {
	Session int64 `json:"-"`
	// Next is the place of the next message.
	Next uint64 `json:"next"`
	// Low is the first place that is not done; Done are ranges above it that are.
	Low  uint64      `json:"low"`
	Done [][2]uint64 `json:"done,omitempty"` // from, up to and without
	// Received are the places of QoS 2 messages that the client has received
	// and not completed.
	Received []uint64 `json:"received,omitempty"`
}

// Set fills in Low and Done from the places of what is not done; a last one that
// is Next stands for the end.
func (p *Progress) Set(here []uint64) {
	slices.Sort(here)
	p.Low, p.Done = p.Next, nil
	for i, n := range here {
		if i == 0 {
			p.Low = n
		} else if from := here[i-1] + 1; from < n {
			p.Done = append(p.Done, [2]uint64{from, n})
		}
	}
}

// Finished reports whether the message at place n is done; nothing is without
// progress.
func (p *Progress) Finished(n uint64) bool {
	if p == nil {
		return false
	}
	return n < p.Low || slices.ContainsFunc(p.Done, func(r [2]uint64) bool { return r[0] <= n && n < r[1] })
}

// Exchange is a QoS 2 message that a client has sent and not released.
type Exchange struct {
	Session  int64
	PacketID uint16
}

// ErrVolatile is found in the error of a change that was kept in memory alone.
var ErrVolatile = errors.New("kept in memory only")

// Nothing keeps nothing: the broker of tests and of a house without a disk.
type Nothing struct{}

// Load gives nothing.
func (Nothing) Load(context.Context) (State, error) { return State{}, nil }

// Keep forgets c.
func (Nothing) Keep(_ Change, done func(error)) {
	if done != nil {
		done(nil)
	}
}
