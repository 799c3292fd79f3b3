// Package session keeps the state of the broker on disk: retained messages and
// persistent sessions in state.db, the messages that wait for sessions and the
// QoS 2 ids of their publishers in messages.db. It satisfies keep.Keeper.
//
// Durability: that of the files; a done with nil comes after the commit.
// Order: changes are committed in the order of Keep, for each file; a change
// that replaces one which still waits takes its place. Blocking:
// Keep never waits. Limit: what waits for a commit is bounded by the callers,
// who wait for their dones, and by the broker's budget of buffered bytes.
// Failure: everything is tried again, with the next commit or after a second.
// Who waits for a message or a retained one waits until it is committed, or to
// the end of Run: its publisher is acknowledged when the disk works again.
// Everybody else is told of the first failure.
package session
