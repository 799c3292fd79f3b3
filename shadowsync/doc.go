// Package shadowsync reconciles local shadows with those of an upstream
// broker: a pure part that decides, and a thin shell that acts.
//
// The pure part is Merge (three-way, leaf by leaf) and Step, the state machine
// of one shadow and one uplink: an Event in, the next State and the Effects
// out. It reads no clock, starts no goroutine and holds no timer; time, jitter
// and token numbers come in a Moment, the next deadline is State.Deadline.
// Plain does the same for an upstream that knows no shadows and only keeps
// messages (shadow-sync.md 2.6).
//
// What it promises (shadow-sync.md 2.8): both sides converge; a value never
// replaces one whose writer had already seen it, as long as the outcome of
// every push is learned; every conflict is counted with both values; one edit
// causes at most two writes; a dead upstream never delays a local request.
// There is no queue of changes, only dirty flags: states are compared, so a
// lost hint, a full queue or a crash costs time and never truth.
//
// Durability: what a push will do is on disk before it is sent, and its
// outcome is stored in one transaction with whatever it changes locally.
//
// The shell is Syncer. New starts nothing; Run blocks, owns every State on one
// goroutine and waits for the few workers it starts. Order: events of one
// shadow are handled one at a time; different shadows are independent. Limits:
// shadows, the inbox of upstream messages and the requests in flight are
// bounded by Config, each with a metric; a full inbox forgets its messages and
// compares everything again.
package shadowsync
