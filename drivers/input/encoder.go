package input

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// quadrature says how far a knob moved between two states of its lines, where
// a state is A*2+B: one of the four legal steps each way, or 0 for a state that
// cannot follow (contact bounce, a lost edge).
var quadrature = [4][4]int{
	0b00: {0b10: 1, 0b01: -1},
	0b10: {0b11: 1, 0b00: -1},
	0b11: {0b01: 1, 0b10: -1},
	0b01: {0b00: 1, 0b11: -1},
}

// decoder turns the edges of a rotary encoder into a position. Pure.
type decoder struct {
	perDetent int
	low, high *int
	state     int
	steps     int
	position  int
}

// move takes the levels of both lines; true when the position changed.
func (d *decoder) move(a, b bool) bool {
	next := 0
	if a {
		next = 2
	}
	if b {
		next++
	}
	d.steps += quadrature[d.state][next]
	d.state = next
	before := d.position
	for ; d.steps >= d.perDetent; d.steps -= d.perDetent {
		d.position++
	}
	for ; d.steps <= -d.perDetent; d.steps += d.perDetent {
		d.position--
	}
	if d.low != nil {
		d.position = max(d.position, *d.low)
	}
	if d.high != nil {
		d.position = min(d.position, *d.high)
	}
	return d.position != before
}

// phase is an edge of one of the two lines.
type phase struct {
	edge drivers.LineEdge
	err  error
}

// serveEncoder watches the two lines of a knob.
func (in *Inputs) serveEncoder(ctx context.Context, p *part) error {
	c := p.cfg.Encoder
	a, err := in.lines.Input(c.A, p.cfg.Pull, drivers.BothEdges)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := in.lines.Input(c.B, p.cfg.Pull, drivers.BothEdges)
	if err != nil {
		return err
	}
	defer b.Close()
	k := &knob{in: in, p: p, dec: decoder{perDetent: detentDefault, low: c.Min, high: c.Max}}
	if c.StepsPerDetent > 0 {
		k.dec.perDetent = c.StepsPerDetent
	}
	if err := k.begin(a, b); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	edgesA, edgesB := make(chan phase, 1), make(chan phase, 1)
	wg.Go(func() { pump(ctx, a, edgesA) })
	wg.Go(func() { pump(ctx, b, edgesB) })
	return k.loop(ctx, edgesA, edgesB)
}

// pump brings the edges of one line until ctx ends or the line fails.
func pump(ctx context.Context, line drivers.InputLine, out chan<- phase) {
	for {
		e, err := line.Wait(ctx)
		select {
		case out <- phase{e, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// knob is an encoder with its lines open.
type knob struct {
	in    *Inputs
	p     *part
	dec   decoder
	a, b  bool
	turns uint64
}

func (k *knob) begin(a, b drivers.InputLine) error {
	var err error
	if k.a, err = a.Read(); err != nil {
		return err
	}
	if k.b, err = b.Read(); err != nil {
		return err
	}
	k.dec.move(k.a, k.b)
	k.dec.steps = 0
	k.in.tell(k.p, drivers.OK, nil)
	k.emit(time.Now(), true)
	return nil
}

// loop takes edges of both lines in the order of their times.
func (k *knob) loop(ctx context.Context, edgesA, edgesB <-chan phase) error {
	var a, b *phase
	for {
		if a == nil && b == nil {
			select {
			case <-ctx.Done():
				return nil
			case e := <-edgesA:
				a = &e
			case e := <-edgesB:
				b = &e
			}
		}
		a, b = poll(a, edgesA), poll(b, edgesB)
		fromA := b == nil || a != nil && !b.edge.Time.Before(a.edge.Time)
		e := b
		if fromA {
			e, a = a, nil
		} else {
			b = nil
		}
		if e.err != nil {
			if errors.Is(e.err, context.Canceled) {
				return nil
			}
			return e.err
		}
		k.turn(fromA, e.edge)
	}
}

// poll takes a waiting edge when none is in hand.
func poll(have *phase, from <-chan phase) *phase {
	if have != nil {
		return have
	}
	select {
	case e := <-from:
		return &e
	default:
		return nil
	}
}

func (k *knob) turn(fromA bool, e drivers.LineEdge) {
	if fromA {
		k.a = e.High
	} else {
		k.b = e.High
	}
	if k.dec.move(k.a, k.b) {
		k.turns++
		k.in.edges.Inc(k.p.cfg.Name)
		k.emit(e.Time, false)
	}
}

func (k *knob) emit(at time.Time, first bool) {
	position := k.dec.position
	k.in.sink.Input(k.p.cfg.Name, drivers.InputEvent{Count: k.turns, Position: &position, At: at, First: first})
}
