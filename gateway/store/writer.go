package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// The states of a request.
const (
	queued  int32 = iota
	taken         // the writer has it: its outcome must be awaited
	dropped       // its caller has gone before the writer came
)

// request is one write on its way.
type request struct {
	op    string
	fn    func(*Tx) error
	done  func(error)
	state atomic.Int32
	err   error // set by the writer
}

// Write does fn in a transaction and returns after the commit. An error of fn
// undoes what fn did and is returned as it is. When ctx ends before the writer
// took fn, nothing was done; afterwards Write waits for the outcome.
func (db *DB) Write(ctx context.Context, op string, fn func(*Tx) error) error {
	outcome := make(chan error, 1)
	r := &request{op: op, fn: fn, done: func(err error) { outcome <- err }}
	if err := db.enqueue(ctx, r); err != nil {
		return err
	}
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, dropped) {
			return ctx.Err()
		}
		return <-outcome
	}
}

// WriteAsync queues fn and returns; while the queue is full it waits. done is
// called on the writer's goroutine after the commit or the failure, in the
// order of the queue; it must not block and must not write. After Close done
// gets ErrClosed on the caller's goroutine.
func (db *DB) WriteAsync(op string, fn func(*Tx) error, done func(error)) {
	if err := db.enqueue(context.Background(), &request{op: op, fn: fn, done: done}); err != nil {
		done(err)
	}
}

func (db *DB) enqueue(ctx context.Context, r *request) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return db.wrap(r.op, ErrClosed)
	}
	if db.readOnly {
		return db.wrap(r.op, ErrReadOnly)
	}
	select {
	case db.queue <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer: group after group until the queue is closed and empty.
func (db *DB) write() {
	defer close(db.ended)
	idle := time.NewTimer(idleCheckpoint)
	defer idle.Stop()
	group := make([]*request, 0, db.o.MaxGroup)
	for {
		select {
		case first, open := <-db.queue:
			if !open {
				return
			}
			group = db.gather(append(group[:0], first))
			db.commitGroup(group)
			clear(group)
			idle.Reset(idleCheckpoint)
		case <-idle.C:
			if err := db.checkpoint(); err != nil {
				db.log.Warn("log not emptied", "err", err)
			}
		}
	}
}

// gather takes everything that waits, up to the limit: natural group commit.
func (db *DB) gather(group []*request) []*request {
	for len(group) < db.o.MaxGroup {
		select {
		case r, open := <-db.queue:
			if !open {
				return group
			}
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// commitGroup does the writes of a group in one transaction and tells
// everybody how it went.
func (db *DB) commitGroup(group []*request) {
	live := group[:0]
	for _, r := range group {
		if r.state.CompareAndSwap(queued, taken) {
			live = append(live, r)
		}
	}
	if len(live) == 0 {
		return
	}
	start := time.Now()
	err := db.transact(live)
	db.fig.committed(time.Since(start), len(live), err)
	for _, r := range live {
		if err != nil {
			r.err = db.wrap(r.op, err)
		}
		r.done(r.err)
	}
	if err != nil {
		db.recover(err)
	}
}

// transact is begin, every write, commit. Its error is the group's.
func (db *DB) transact(group []*request) error {
	if err := db.begin(); err != nil {
		return err
	}
	tx := &Tx{c: db.w, ctx: context.Background()}
	if len(group) == 1 {
		return db.alone(tx, group[0])
	}
	for _, r := range group {
		if err := db.one(tx, r); err != nil {
			db.rollback()
			return err
		}
	}
	return db.commit()
}

func (db *DB) begin() error {
	if db.w == nil { // the handle was given up after an i/o error
		w, err := openConn(context.Background(), db.o, false)
		if err != nil {
			return fmt.Errorf("reopen: %w", err)
		}
		db.w = w
	}
	db.begins++
	if err := db.o.Fault(FaultBegin, db.begins); err != nil {
		return err
	}
	return db.w.exec("BEGIN IMMEDIATE")
}

// alone does a group of one: its own error rolls back everything, so it needs
// no savepoint.
func (db *DB) alone(tx *Tx, r *request) error {
	r.err = r.fn(tx)
	if tx.failed == nil && r.err == nil {
		return db.commit()
	}
	db.rollback()
	return tx.failed
}

// one does a write among others. Its own error goes to r.err and undoes only
// itself; the returned error ends the group.
func (db *DB) one(tx *Tx, r *request) error {
	if err := db.w.exec("SAVEPOINT one"); err != nil {
		return err
	}
	r.err = r.fn(tx)
	if tx.failed != nil {
		return tx.failed
	}
	if r.err != nil {
		if err := db.w.exec("ROLLBACK TO one"); err != nil {
			return err
		}
	}
	return db.w.exec("RELEASE one")
}

// linger is the delay of a slow medium. The runtime's timers wake up to a
// millisecond late, which would make 0.3 ms four times as much.
func linger(d time.Duration) {
	if d >= time.Millisecond {
		time.Sleep(d)
		return
	}
	rest := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&rest, nil) // woken early by a signal: a shorter delay
}

func (db *DB) commit() error {
	if db.o.CommitDelay > 0 {
		linger(db.o.CommitDelay)
	}
	db.commits++
	err := db.o.Fault(FaultCommit, db.commits)
	if err == nil {
		err = db.w.exec("COMMIT")
	}
	if err != nil {
		db.rollback()
	}
	return err
}

// rollback ends a failed transaction. SQLite may have ended it already, so its
// own failure tells nothing.
func (db *DB) rollback() { _ = db.w.exec("ROLLBACK") }

// recover makes the next group start on a sound handle: after an i/o error the
// kernel may report the same fault never again, so the old handle cannot be
// trusted (telemetry.md section 11).
func (db *DB) recover(err error) {
	db.log.Error("group not committed", "err", err)
	if errors.Is(err, ErrIO) && db.w != nil {
		db.w.close()
		db.w = nil
	}
}

// checkpoint empties the log into the file. Only the writer calls it, and
// Close after the writer's end.
func (db *DB) checkpoint() error {
	if db.w == nil {
		return nil
	}
	db.checkpoints++
	if err := db.o.Fault(FaultCheckpoint, db.checkpoints); err != nil {
		return db.wrap("checkpoint", err)
	}
	return db.wrap("checkpoint", db.w.exec("PRAGMA wal_checkpoint(TRUNCATE)"))
}
