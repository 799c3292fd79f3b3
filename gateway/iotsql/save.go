package iotsql

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql/aggregate"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// ErrOtherStatement means that a saved State belongs to another statement: the
// rule was changed and starts afresh.
var ErrOtherStatement = errors.New("iotsql: the saved state belongs to another statement")

// savedState is the JSON form of a State. Messages that several windows keep
// are written once.
type savedState struct {
	SQL       string       `json:"sql"`
	Version   string       `json:"version"`
	Wall      int64        `json:"wall"`
	Up        int64        `json:"up"`
	Watermark int64        `json:"watermark"`
	HasMark   bool         `json:"hasMark"`
	Silence   int64        `json:"silence"`
	Stats     Stats        `json:"stats"`
	Messages  []savedKept  `json:"messages"`
	Groups    []savedGroup `json:"groups"` // the one used longest ago first
}

type savedKept struct {
	Message iot.Message   `json:"message"`
	Vars    []value.Value `json:"vars,omitempty"`
	Seen    []value.Value `json:"seen,omitempty"`
}

type savedGroup struct {
	Key     []byte        `json:"key"`
	Born    uint64        `json:"born"`
	Cells   []savedCell   `json:"cells,omitempty"`
	Heard   bool          `json:"heard"`
	HeardAt int64         `json:"heardAt"`
	Fired   bool          `json:"fired"`
	FiredAt int64         `json:"firedAt"`
	Last    int           `json:"last"` // in Messages, -1 for none
	Holding bool          `json:"holding"`
	HoldDue int64         `json:"holdDue"`
	Done    bool          `json:"done"`
	Windows []savedWindow `json:"windows,omitempty"`
	Entries []savedEntry  `json:"entries,omitempty"`
	Count   int64         `json:"count"`
}

type savedCell struct {
	Values  []value.Value `json:"values,omitempty"`
	At      int64         `json:"at"`
	Known   bool          `json:"known"`
	Latched bool          `json:"latched"`
	Pending value.Value   `json:"pending"`
}

type savedWindow struct {
	Start, End, Due, First int64
	Sums                   []aggregate.Sum
	Last                   int
}

type savedEntry struct {
	Wall, Up int64
	Args     []value.Value
}

// Save writes all that st remembers, for Restore after a restart.
func (st *State) Save() ([]byte, error) {
	out := savedState{
		SQL: st.of.text, Version: st.of.dialect.Version, Wall: st.now.wall, Up: st.now.up,
		Watermark: st.watermark, HasMark: st.hasMark, Silence: st.silence, Stats: st.Stats(),
	}
	places := make(map[*kept]int)
	place := func(k *kept) int {
		if k == nil {
			return -1
		}
		if _, ok := places[k]; !ok {
			places[k] = len(out.Messages)
			out.Messages = append(out.Messages, savedKept{k.message, k.vars, k.seen})
		}
		return places[k]
	}
	for e := st.recent.Back(); e != nil; e = e.Prev() {
		out.Groups = append(out.Groups, e.Value.(*group).save(place))
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("iotsql save state: %w", err)
	}
	return text, nil
}

func (g *group) save(place func(*kept) int) savedGroup {
	out := savedGroup{
		Key: []byte(g.key), Born: g.born, Heard: g.heard, HeardAt: g.heardAt, Fired: g.fired, FiredAt: g.firedAt,
		Last: place(g.last), Holding: g.holding, Done: g.done, Count: g.count,
	}
	if g.holding {
		out.HoldDue = g.timer.due
	}
	for _, c := range g.cells {
		out.Cells = append(out.Cells, savedCell{c.values, c.at, c.known, c.latched, c.pending})
	}
	for _, o := range g.windows {
		out.Windows = append(out.Windows, savedWindow{o.start, o.end, o.due, o.first, o.sums, place(o.last)})
	}
	for _, e := range g.entries {
		out.Entries = append(out.Entries, savedEntry{e.at.wall, e.at.up, e.args})
	}
	return out
}

// Restore makes the State that Save has written, at the given present: the
// steady clock may have another origin now, and what fell due in between fires
// at the first Tick. ErrOtherStatement means that s is not what was saved.
func (s *Statement) Restore(saved []byte, nowMS, upMS int64) (*State, error) {
	var in savedState
	if err := json.Unmarshal(saved, &in); err != nil {
		return nil, fmt.Errorf("iotsql restore state: %w", err)
	}
	if in.SQL != s.text || in.Version != s.dialect.Version {
		return nil, ErrOtherStatement
	}
	st := s.NewState()
	st.now = instant{nowMS, upMS}
	st.watermark, st.hasMark, st.stats = in.Watermark, in.HasMark, in.Stats
	r := restorer{st: st, shift: (upMS - nowMS) - (in.Up - in.Wall)}
	if in.Silence > 0 {
		st.silence = max(1, in.Silence+r.shift)
	}
	for _, k := range in.Messages {
		r.messages = append(r.messages, &kept{k.Message, k.Vars, k.Seen})
	}
	for i := range in.Groups {
		if err := r.group(&in.Groups[i]); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// restorer builds a State; shift is added to all times of the steady clock.
type restorer struct {
	st       *State
	shift    int64
	messages []*kept
}

func (r *restorer) message(i int) (*kept, error) {
	if i < 0 || i >= len(r.messages) {
		return nil, fmt.Errorf("iotsql restore state: no message %d of %d", i, len(r.messages))
	}
	return r.messages[i], nil
}

func (r *restorer) group(in *savedGroup) error {
	s := r.st.of
	if len(in.Cells) != len(s.stateful) || len(r.st.groups) >= groupsMax {
		return errors.New("iotsql restore state: groups do not fit the statement")
	}
	g := r.st.addGroup(string(in.Key))
	g.born = in.Born
	r.st.born = max(r.st.born, in.Born)
	g.heard, g.heardAt = in.Heard, in.HeardAt+r.shift
	g.fired, g.firedAt = in.Fired, in.FiredAt+r.shift
	g.done, g.count = in.Done, in.Count
	for i, c := range in.Cells {
		if c.Known && len(c.Values) == 0 {
			return errors.New("iotsql restore state: a function remembers no value")
		}
		g.cells[i] = cell{values: c.Values, at: c.At + r.shift, known: c.Known, latched: c.Latched, pending: c.Pending}
	}
	for _, e := range in.Entries {
		if len(e.Args) != len(s.aggregates) {
			return errors.New("iotsql restore state: entries do not fit the statement")
		}
		g.entries = append(g.entries, entryOf{instant{e.Wall, e.Up + r.shift}, e.Args})
	}
	if in.Holding {
		last, err := r.message(in.Last)
		if err != nil {
			return err
		}
		g.last, g.holding = last, true
		g.timer = r.st.schedule(g, nil, in.HoldDue+r.shift)
	}
	return r.windows(g, in.Windows)
}

func (r *restorer) windows(g *group, all []savedWindow) error {
	s := r.st.of
	for _, w := range all {
		last, err := r.message(w.Last)
		if err != nil {
			return err
		}
		if len(w.Sums) != len(s.aggregates) || s.window == nil {
			return errors.New("iotsql restore state: windows do not fit the statement")
		}
		o := &openWindow{start: w.Start, end: w.End, due: w.Due + r.shift, first: w.First + r.shift, sums: w.Sums, last: last}
		g.windows = append(g.windows, o)
		due := o.end
		if !s.eventTime() && !s.window.aligned() {
			due = o.due
		}
		o.scheduled = due
		r.st.schedule(g, o, due)
	}
	return nil
}
