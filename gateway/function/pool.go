package function

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// pool shares the places of one function among its calls.
type pool struct {
	runner *Runner
	of     Function
	client *http.Client // of an endpoint
	// free holds the places nobody uses; nil is one without a process.
	free    chan *process
	waiting atomic.Int32

	mu    sync.Mutex
	fails int       // in a row
	pause time.Time // until which no process is started
}

func newPool(r *Runner, f Function, dial func(context.Context, string, string) (net.Conn, error)) *pool {
	p := &pool{runner: r, of: f, free: make(chan *process, f.Instances)}
	for range f.Instances {
		p.free <- nil
	}
	if f.URL != "" {
		p.client = newClient(f, dial)
	}
	return p
}

// invoke takes a place, calls, and gives the place back.
func (p *pool) invoke(ctx context.Context, c Call) ([]byte, error) {
	line, err := p.of.line(c)
	if err != nil {
		return nil, err
	}
	if p.waiting.Add(1) > WaitingMax {
		p.waiting.Add(-1)
		return nil, iot.Errorf(iot.Throttled, "%d calls wait for it already", WaitingMax)
	}
	var place *process
	select {
	case place = <-p.free:
		p.waiting.Add(-1)
	case <-ctx.Done():
		p.waiting.Add(-1)
		return nil, fmt.Errorf("no instance came free in time; there are %d: %w", p.of.Instances, ctx.Err())
	}
	if p.client != nil {
		defer func() { p.free <- nil }()
		return p.post(ctx, c, line)
	}
	answer, place, err := p.call(ctx, place, c, line)
	p.free <- place
	return answer, err
}

// call has a process answer, and gives the process if it is fit for another
// call.
func (p *pool) call(ctx context.Context, warm *process, c Call, line []byte) ([]byte, *process, error) {
	if warm != nil && warm.over() {
		warm.kill()
		warm = nil
	}
	if warm == nil {
		var err error
		if warm, err = p.start(c); err != nil {
			return nil, nil, err
		}
	}
	text, err := warm.exchange(ctx, line)
	if err != nil {
		warm.kill()
		p.failed()
		return nil, nil, err
	}
	p.worked()
	answer, err := answerOf(text)
	if p.of.Once || warm.spoiled || warm.spokeTooMuch() {
		warm.kill()
		warm = nil
	}
	return answer, warm, err
}

func (p *pool) start(c Call) (*process, error) {
	p.mu.Lock()
	wait, fails := time.Until(p.pause), p.fails
	p.mu.Unlock()
	if wait > 0 {
		return nil, iot.Errorf(iot.Unavailable, "it failed %d times in a row and is started again in %v", fails, wait.Round(time.Millisecond))
	}
	started, err := newProcess(p.runner, p.of, c)
	if err != nil {
		p.failed()
	}
	return started, err
}

func (p *pool) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := min(BackoffMax, backoffMin<<min(p.fails, 20))
	if p.fails == 0 {
		pause = 0 // one failure alone does not make the next call fail
	}
	p.fails++
	p.pause = time.Now().Add(pause)
}

func (p *pool) worked() {
	p.mu.Lock()
	p.fails, p.pause = 0, time.Time{}
	p.mu.Unlock()
}

// rest ends processes that nobody used for long.
func (p *pool) rest() {
	for range cap(p.free) {
		select {
		case place := <-p.free:
			if place != nil && (place.over() || time.Since(place.used) > p.of.Idle) {
				place.kill()
				place = nil
			}
			p.free <- place
		default:
			return
		}
	}
}

// end takes all places, so that no call is under way, and ends the processes.
func (p *pool) end() {
	for range cap(p.free) {
		if place := <-p.free; place != nil {
			place.kill()
		}
	}
	for range cap(p.free) {
		p.free <- nil
	}
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
}
