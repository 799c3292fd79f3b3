package messages

import (
	"context"
	"errors"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/messages/segment"
	"github.com/tidehold/tidehold/gateway/store"
)

// stream walks the blocks of one class with ids in (pos, end). Every block up to
// pos was loaded or has nothing for the cursor.
// One that goes down takes the newest block first: until it is through, only what
// was there before it is known to be done.
type stream struct {
	cls      int
	pos, end int64
	down     bool
	top      int64 // of one that goes down: the last block it was in
	b        *block.Block
	i        int
}

// errMoving means that the next block is just leaving the file.
var errMoving = errors.New("block is leaving")

// Next gives the next record, nil when there is none now: Wake tells when to
// ask again. Without backlog only what came after Begin is given, besides what
// is given again. It reads at most a few blocks.
func (k *Cursor) Next(ctx context.Context, backlog bool) (*Item, error) {
	if it := k.nextAgain(); it != nil {
		return it, nil
	}
	for {
		it, moved, err := k.look(ctx, backlog)
		if !moved {
			return it, err
		}
	}
}

// look goes through the lanes once; moved means that a commit came in between.
func (k *Cursor) look(ctx context.Context, backlog bool) (it *Item, moved bool, err error) {
	k.l.mu.Lock()
	blocks := k.l.mark.NextBlock
	k.l.mu.Unlock()
	for _, lane := range k.lanes(backlog) {
		s, err := k.first(ctx, lane.streams)
		if errors.Is(err, errMoving) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		if s != nil {
			return k.give(s), false, nil
		}
		if it, moved := k.giveEarly(lane, blocks); it != nil || moved {
			return it, moved, nil
		}
	}
	return nil, false, nil
}

// nextAgain gives the items that were open at Begin.
func (k *Cursor) nextAgain() *Item {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	c := k.c
	for len(c.again) > 0 {
		it := c.again[0]
		c.again = c.again[1:]
		if it.settled {
			continue
		}
		c.order = append(c.order, it)
		if it.losing != nil {
			continue
		}
		it.Again = true
		k.l.fig.resent.Inc(c.name)
		return it
	}
	return nil
}

// lane is streams, and behind them the classes from low to high of what is not
// committed.
type lane struct {
	streams   []*stream
	tail      bool
	low, high uint8
}

// lanes in the order in which they are asked: class 0 first; live before the
// backlog, but when both have something they take turns, so that neither
// starves. What is not committed comes behind the live lane, or behind the only
// one.
func (k *Cursor) lanes(backlog bool) []lane {
	c := k.c
	if c.fifo {
		if !backlog {
			return nil
		}
		return []lane{{c.back, true, Critical, Bulk}}
	}
	crit, live, back := lane{c.crit, true, Critical, Critical}, lane{c.live, true, Normal, Bulk}, lane{streams: c.back}
	switch {
	case !backlog:
		return []lane{crit, live}
	case c.turn:
		return []lane{crit, back, live}
	}
	return []lane{crit, live, back}
}

// first finds the stream of a lane whose next record is the oldest.
func (k *Cursor) first(ctx context.Context, lane []*stream) (*stream, error) {
	var best *stream
	for _, s := range lane {
		has, err := k.seek(ctx, s)
		if err != nil {
			return nil, err
		}
		if has && (best == nil || older(s, best)) {
			best = s
		}
	}
	return best, nil
}

// older orders two streams by block number, from the newest when they go down,
// then by sequence number: blocks of one commit hold neighbours.
func older(a, b *stream) bool {
	if x, y := numberOf(a.b.ID), numberOf(b.b.ID); x != y {
		return x < y != a.down
	}
	return a.b.Recs[a.i].Seq < b.b.Recs[b.i].Seq
}

// seek moves a stream to its next record; false when there is none now.
func (k *Cursor) seek(ctx context.Context, s *stream) (bool, error) {
	for {
		if s.b != nil && k.within(s) {
			return true, nil
		}
		b, err := k.load(ctx, s)
		if err != nil || b == nil {
			return false, err
		}
	}
}

// within moves a stream inside its block, and out of it at its end.
func (k *Cursor) within(s *stream) bool {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	bit, p := s.b.Bit(k.c.name), k.c.prog[s.b.ID]
	for ; p != nil && s.i < len(s.b.Recs); s.i++ {
		if s.b.Masks[s.i]&bit != 0 && !p.has(s.i) && !k.c.held[place{s.b.ID, s.i}] {
			return true
		}
	}
	k.c.leave(s)
	return false
}

// load takes the stream to its next block with something for the cursor.
func (k *Cursor) load(ctx context.Context, s *stream) (*block.Block, error) {
	for {
		k.l.mu.Lock()
		exits := k.l.exits
		k.l.mu.Unlock()
		b, upTo, err := k.l.after(ctx, s)
		if err != nil {
			return nil, err
		}
		if b == nil {
			k.l.mu.Lock()
			s.pos = max(s.pos, min(upTo, s.end-1))
			k.l.mu.Unlock()
			return nil, nil
		}
		if err := k.mayGive(ctx, b); err != nil {
			return nil, err
		}
		if in, err := k.enter(s, b, exits); err != nil || in {
			return b, err
		}
	}
}

// enter puts the stream into b unless the cursor has nothing to do there, or
// blocks left the file since b was read: then it is read again.
func (k *Cursor) enter(s *stream, b *block.Block, exits uint64) (bool, error) {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	c := k.c
	if k.l.exits != exits {
		return false, nil
	}
	if k.l.moving[b.ID] || numberOf(b.ID) >= k.l.mark.NextBlock {
		return false, errMoving // or just coming: its records are still in the tail
	}
	s.passed(b.ID)
	routed := b.Routed(c.name)
	if routed == 0 || c.isDone(b.ID) {
		return false, nil
	}
	p := c.prog[b.ID]
	if p == nil {
		p = &progress{}
		c.prog[b.ID] = p
	}
	p.routed = routed
	k.l.missing(c, b, p)
	if p.done {
		return false, nil
	}
	s.b, s.i, p.loaded = b, 0, true
	if !b.IsLive(c.name) {
		c.entered[s.cls] = max(c.entered[s.cls], b.ID)
	}
	return true, nil
}

// missing accounts for the cursor's records that could not be read.
func (l *Log) missing(c *cursor, b *block.Block, p *progress) {
	bit, left := b.Bit(c.name), 0
	for i, mask := range b.Masks {
		if mask&bit != 0 && !p.has(i) {
			left++
		}
	}
	lost := p.routed - p.delivered - p.lost - left
	if lost <= 0 {
		return
	}
	l.log.Warn("records cannot be read", "seq", b.First, "count", lost)
	p.lost += lost
	c.t.Lost += uint64(lost)
	c.pend(-int64(lost))
	l.lose(Loss{Cursor: c.name, Reason: ReasonUnreadable, Class: classOf(b.ID), Inc: b.Inc, From: b.First, To: b.Last, Count: uint64(lost),
		Folded: uint64(max(0, b.Folded(c.name)-int(b.Stood(c.name, nil))))})
	l.touched(c, b, p)
}

// give takes the record at which a stream stands.
func (k *Cursor) give(s *stream) *Item {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	c := k.c
	it := &Item{Record: &s.b.Recs[s.i], Back: numberOf(s.b.ID) <= c.border, block: s.b, i: s.i}
	c.turn = !it.Back
	c.prog[s.b.ID].out++
	c.open++
	c.order = append(c.order, it)
	s.i++
	return it
}

// passed moves the stream over a block.
func (s *stream) passed(id int64) {
	if s.down {
		s.top = id
	} else {
		s.pos = id
	}
}

// after gives the block that is the stream's next, and up to where there is
// nothing for it when there is none.
func (l *Log) after(ctx context.Context, s *stream) (b *block.Block, upTo int64, err error) {
	if !s.down {
		return l.following(ctx, s.cls, s.pos, s.end)
	}
	if s.pos < s.end-1 {
		b, err = l.preceding(ctx, s.cls, s.pos, s.top)
	}
	return b, s.end - 1, err
}

// preceding gives the last block of a class in (after, before).
func (l *Log) preceding(ctx context.Context, cls int, after, before int64) (b *block.Block, err error) {
	l.mu.Lock()
	r := &l.rings[cls]
	b, start := r.Last(after, before), r.Start
	l.mu.Unlock()
	if b != nil {
		return b, nil
	}
	before = min(before, start+1)
	err = l.db.Read(ctx, func(tx *store.Tx) (err error) {
		b, err = segment.ReadLast(tx, after, before)
		return err
	})
	if errors.Is(err, store.ErrCorrupt) {
		l.damaged()
		err = l.db.Read(ctx, func(tx *store.Tx) (err error) {
			b, err = segment.HeadLast(tx, after, before)
			return err
		})
	}
	return b, err
}

// following gives the first block of a class in (after, end), from memory when it
// was committed lately. With no block, everything up to upTo is known to be
// absent.
func (l *Log) following(ctx context.Context, cls int, after, end int64) (b *block.Block, upTo int64, err error) {
	l.mu.Lock()
	r := &l.rings[cls]
	upTo = r.Start
	if after >= r.Start {
		b, upTo = r.Next(after, end), classBase(cls)|(l.mark.NextBlock-1)
		l.mu.Unlock()
		return b, upTo, nil
	}
	l.mu.Unlock()
	err = l.db.Read(ctx, func(tx *store.Tx) (err error) {
		b, err = segment.Read(tx, after, end)
		return err
	})
	if errors.Is(err, store.ErrCorrupt) {
		b, err = l.nextDamaged(ctx, after, end)
	}
	return b, upTo, err
}

// nextDamaged reads a block's row whose body cannot be read: its records are
// lost, the rest of the file goes on.
func (l *Log) nextDamaged(ctx context.Context, after, end int64) (b *block.Block, err error) {
	l.damaged()
	err = l.db.Read(ctx, func(tx *store.Tx) (err error) {
		b, err = segment.Head(tx, after, end)
		return err
	})
	return b, err
}

// damaged has the next start set the file aside.
func (l *Log) damaged() {
	if l.isDamaged.Swap(true) {
		return
	}
	l.log.Error("message file is damaged; the next start salvages it")
	if err := l.db.MarkDamaged(); err != nil {
		l.log.Error("damage not noted", "err", err)
	}
}
