package sampler

import (
	"context"
	"fmt"
	"reflect"
	"sync"
)

// change asks Run for other parts.
type change struct {
	parts []*part
	done  chan struct{}
}

// list is the present parts.
func (s *Sampler) list() []*part {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts
}

// build makes the parts of a list of sensors; those of old that are the same
// are taken over as they are.
func (s *Sampler) build(sensors []Sensor, old []*part) ([]*part, error) {
	var parts []*part
	for _, c := range sensors {
		if p := unchanged(old, c); p != nil {
			parts = append(parts, p)
			continue
		}
		p, err := newPart(c, s.clk)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// unchanged finds the part that reads exactly this sensor already.
func unchanged(old []*part, c Sensor) *part {
	for _, p := range old {
		if p.bus == c.Bus && reflect.DeepEqual(p.cfg, c.Config) {
			return p
		}
	}
	return nil
}

// Replace makes sensors the ones that are read. A sensor whose configuration
// and bus are the same goes on without a gap; another one of the same name is
// stopped, its chip put to rest, then started anew. An error changes nothing.
// Replace blocks until the reads that have begun on stopped sensors are over;
// it must not run beside itself.
func (s *Sampler) Replace(ctx context.Context, sensors []Sensor) error {
	parts, err := s.build(sensors, s.list())
	if err != nil {
		return err
	}
	c := change{parts: parts, done: make(chan struct{})}
	select {
	case s.changes <- c:
		<-c.done
		return nil
	case <-s.ended:
		return fmt.Errorf("replace sensors: the sampler has ended")
	case <-ctx.Done():
		return fmt.Errorf("replace sensors: %w", ctx.Err())
	}
}

// Run reads until ctx ends, then closes the devices.
func (s *Sampler) Run(ctx context.Context) error {
	defer close(s.ended)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, p := range s.list() {
		s.launch(ctx, &wg, p)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.changes:
			s.exchange(ctx, &wg, c.parts)
			close(c.done)
		}
	}
}

// launch starts the lane of one part.
func (s *Sampler) launch(ctx context.Context, wg *sync.WaitGroup, p *part) {
	laneCtx, cancel := context.WithCancel(ctx)
	p.stop, p.over = cancel, make(chan struct{})
	l := &lane{sampler: s, part: p, start: s.clk.Up()}
	wg.Go(func() {
		defer close(p.over)
		l.run(laneCtx)
	})
}

// exchange stops the lanes of parts that are no longer wanted, all at once,
// and starts those of new ones.
func (s *Sampler) exchange(ctx context.Context, wg *sync.WaitGroup, parts []*part) {
	s.mu.Lock()
	old := s.parts
	s.parts = parts
	s.mu.Unlock()
	kept := map[*part]bool{}
	for _, p := range parts {
		kept[p] = true
	}
	for _, p := range old {
		if !kept[p] {
			p.stop()
		}
	}
	for _, p := range old {
		if !kept[p] {
			<-p.over
			s.reg.Health.Forget("driver/" + p.cfg.Name)
		}
	}
	for _, p := range parts {
		if p.over == nil {
			s.launch(ctx, wg, p)
		}
	}
}
