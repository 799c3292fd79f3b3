package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal notes the order of starts and stops.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) room(name string) runner {
	return runner{name, func(ctx context.Context) error {
		j.note("+" + name)
		<-ctx.Done()
		j.note("-" + name)
		return nil
	}}
}

func (j *journal) stage(name string) stage {
	return stage{name: name, stop: time.Second, rooms: []runner{j.room(name)}, ready: func(context.Context) error {
		synctest.Wait()
		return nil
	}}
}

func TestRunStages_StopInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := runStages(ctx, []stage{j.stage("a"), j.stage("b"), j.stage("c")}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("an end that was asked for is no failure: %v", err)
		}
		if want := []string{"+a", "+b", "+c", "-c", "-b", "-a"}; !slices.Equal(j.lines, want) {
			t.Errorf("got %v, want %v", j.lines, want)
		}
	})
}

func TestRunStages_AFailedRoomEndsTheWholeAndIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		broken := stage{name: "b", stop: time.Second, rooms: []runner{{"pump", func(context.Context) error { return errors.New("dry") }}}}
		err := runStages(t.Context(), []stage{j.stage("a"), broken}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "pump: dry") {
			t.Errorf("got %v", err)
		}
		if !slices.Equal(j.lines, []string{"+a", "-a"}) {
			t.Errorf("got %v", j.lines)
		}
	})
}

func TestRunStages_AStageThatCannotGetReadyStartsNothingAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		unready := stage{name: "b", stop: time.Second, ready: func(context.Context) error { return errors.New("port taken") }}
		err := runStages(t.Context(), []stage{j.stage("a"), unready, j.stage("c")}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "port taken") || slices.Contains(j.lines, "+c") {
			t.Errorf("got %v, %v", err, j.lines)
		}
	})
}

func TestRunStages_ARoomThatHangsIsLeftBehindInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		stuck := stage{name: "stuck", stop: time.Second, rooms: []runner{{"stuck", func(context.Context) error { <-hold; return nil }}}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		err := runStages(ctx, []stage{stuck}, slog.New(slog.DiscardHandler))
		if err == nil || time.Since(began) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		close(hold)
	})
}
