package shadowsync

import (
	"container/heap"
	"context"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/home"
)

// shownBytesMax is how much of a value in conflict the log shows.
const shownBytesMax = 128

// heldMax is how many events wait for a record; above it everything is
// compared anyway.
const heldMax = 64

// happen gives an event to a shadow and does what comes of it. It reports
// whether something is on its way to the disk.
func (o *owner) happen(t *tracked, e Event) (stores bool) {
	if !t.loaded {
		if _, link := e.(Online); !link && len(t.held) < heldMax {
			t.held = append(t.held, e)
		}
		return false
	}
	was := t.state.Phase != Idle
	o.seq++
	at := Moment{
		Now: o.clk.Now(), Seq: o.seq, Offset: o.offset.Amount(), ClockDoubtful: o.offset.Doubtful(),
		Jitter: float64(o.src.Jitter(time.Second)) / float64(time.Second),
	}
	next, effects := Step(t.state, e, t.policy, at)
	t.state = next
	if len(effects) > 0 {
		o.moved = at.Now
	}
	for _, effect := range effects {
		stores = o.perform(t, effect, at) || stores
	}
	is := t.state.Phase != Idle
	switch {
	case is && !was:
		o.active++
	case was && !is:
		o.active--
	}
	o.schedule(t)
	o.show(t)
	return stores
}

// perform does one effect; true when it goes to the disk.
func (o *owner) perform(t *tracked, effect Effect, at Moment) bool {
	key, uplink := t.key, o.cfg.Uplink
	switch e := effect.(type) {
	case Publish:
		o.outbox = append(o.outbox, outgoing{key: key, op: e.Op, payload: e.Payload})
	case Read:
		o.jobs = append(o.jobs, job{key, func(ctx context.Context) Event {
			snap, err := o.local.Snapshot(ctx, key, uplink)
			if err != nil {
				return Failed{}
			}
			return LocalRead{Doc: LocalDoc(snap.Doc, snap.Version)}
		}})
	case Store:
		o.jobs = append(o.jobs, job{key, func(ctx context.Context) Event {
			if _, err := o.local.Commit(ctx, key, uplink, home.Write{Record: e.Record}); err != nil {
				return Failed{}
			}
			return Stored{}
		}})
		return true
	case Commit:
		w := home.Write{IfVersion: &e.IfVersion, Delete: e.Delete, Record: e.Record}
		if !e.Delete {
			w.Update = &e.Update
		}
		o.jobs = append(o.jobs, job{key, func(ctx context.Context) Event { return conclude(o.local.Commit(ctx, key, uplink, w)) }})
		return true
	default:
		o.note(t, effect, at)
	}
	return false
}

// note does the effects that only tell something.
func (o *owner) note(t *tracked, effect Effect, at Moment) {
	uplink := o.cfg.Uplink
	switch e := effect.(type) {
	case Count:
		o.figures.counters[e.Name].Inc(uplink)
	case Report:
		c := e.Conflict
		o.figures.conflicts.Inc(uplink, c.Winner.String())
		o.cfg.Journal(t.key, c)
		o.log.Info("both sides changed a shadow", "thing", t.key.Thing, "shadow", t.key.Shadow, "path", c.Path.String(),
			"local", shown(c.Local.String()), "upstream", shown(c.Upstream.String()), "winner", c.Winner.String())
	case Blocked:
		o.figures.blocked.Inc(uplink)
		o.log.Warn("shadow is refused; trying again when it changes", "thing", t.key.Thing, "shadow", t.key.Shadow, "err", e.Reason)
	case Succeeded:
		o.pace = o.pace.Succeed()
	case Troubled:
		o.log.Debug("sync stops", "thing", t.key.Thing, "shadow", t.key.Shadow, "err", e.Reason)
		o.pace = o.pace.Fail(at.Now, at.Jitter)
	}
}

func shown(text string) string {
	if len(text) > shownBytesMax {
		return text[:shownBytesMax] + "..."
	}
	return text
}

// schedule sets the alarm of a shadow to its next deadline.
func (o *owner) schedule(t *tracked) {
	at := t.state.Deadline()
	if at.IsZero() || t.inLine {
		if t.at >= 0 {
			heap.Remove(&o.alarms, t.at)
		}
		return
	}
	o.alarmAt(t, at)
}

func (o *owner) alarmAt(t *tracked, at time.Time) {
	t.alarm = at
	if t.at >= 0 {
		heap.Fix(&o.alarms, t.at)
		return
	}
	heap.Push(&o.alarms, t)
}

// advance does everything that is due: deadlines, turns, requests.
func (o *owner) advance() {
	now := o.clk.Now()
	o.watch(now)
	for len(o.alarms) > 0 && !o.alarms[0].alarm.After(now) {
		t := heap.Pop(&o.alarms).(*tracked)
		switch {
		case !t.loaded:
			o.readRecord(t)
		case t.state.Wants(now):
			t.inLine = true
			o.line = append(o.line, t)
		default:
			o.happen(t, Tick{})
		}
	}
	for len(o.line) > 0 && o.active < o.turns() && !now.Before(o.pace.Open()) {
		t := o.line[0]
		o.line = o.line[1:]
		t.inLine = false
		o.happen(t, Turn{})
	}
	o.figures.waiting.Set(float64(len(o.line)), o.cfg.Uplink)
	for len(o.outbox) > 0 && !now.Before(o.pace.Slot()) {
		o.pace = o.pace.Take(now)
		o.send(o.outbox[0])
		o.outbox = o.outbox[1:]
	}
}

// send hands a request to the link.
func (o *owner) send(out outgoing) {
	o.link.Publish(topic.Shadow(out.key, out.op), out.payload, func(err error) {
		if err == nil {
			return
		}
		code := iot.CodeOf(err)
		o.mail.post(letter{key: out.key, event: Unsent{Reason: err.Error(), Never: code == iot.TooLarge || code == iot.InvalidRequest}})
	})
}

// show keeps Status and the gauge up to date.
func (o *owner) show(t *tracked) { o.status.Put(t.key, statusOf(t.key, t.state), o.clk.Now()) }
