package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// runner is a room with a Run.
type runner struct {
	name string
	run  func(context.Context) error
}

// stage is a group of rooms that start together, after the stages before them,
// and stop together, before the stages before them.
type stage struct {
	name string
	// stop is how long the stage may take to stop.
	stop  time.Duration
	rooms []runner
	// ready is called once the stage's rooms have been started; nil is nothing.
	ready func(context.Context) error
}

// running is a started stage.
type running struct {
	stage  stage
	cancel context.CancelFunc
	done   chan error
}

// runStages starts the stages in order and blocks until parent ends or a room
// fails; then it stops them in reverse order, each within its deadline. It
// returns what failed, nil for an orderly end.
func runStages(parent context.Context, stages []stage, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var started []running
	var failure error
	for _, s := range stages {
		started = append(started, start(ctx, s, cancel))
		if s.ready == nil {
			continue
		}
		if failure = s.ready(ctx); failure != nil {
			break
		}
	}
	if failure == nil {
		<-ctx.Done()
		if parent.Err() == nil {
			failure = context.Cause(ctx)
		}
	}
	for i := len(started) - 1; i >= 0; i-- {
		failure = errors.Join(failure, started[i].end(log))
	}
	return failure
}

// start runs the rooms of a stage under a context of their own: the end of the
// whole must not stop all stages at once. A room that fails cancels the whole.
func start(whole context.Context, s stage, fail context.CancelCauseFunc) running {
	ctx, cancel := context.WithCancel(context.WithoutCancel(whole))
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range s.rooms {
		group.Go(func() error {
			if err := r.run(ctx); err != nil && ctx.Err() == nil {
				err = fmt.Errorf("%s: %w", r.name, err)
				fail(err)
				return err
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	return running{s, cancel, done}
}

// end stops a stage. One that does not stop in time is left behind with a log
// line: the process is about to end, and the disk is consistent without it.
func (r running) end(log *slog.Logger) error {
	r.cancel()
	select {
	case <-r.done:
		return nil // what failed has been reported by fail
	case <-time.After(r.stage.stop):
		log.Error("stage does not stop in time", "stage", r.stage.name, "dur", r.stage.stop)
		return fmt.Errorf("stage %s did not stop within %v", r.stage.name, r.stage.stop)
	}
}
