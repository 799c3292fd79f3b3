// Package fold makes aggregates of messages that are old and were never sent, so
// that a long outage loses detail before it loses everything (telemetry.md 8.4,
// level 1).
//
// It is pure: messages in, aggregates out; the same messages give the same
// aggregates with the same ids, so that a fold which a crash cut off can be done
// again. Order: windows by time, series by source, topic and path. Limits: windows
// of a minute, objects of depthMax levels, seriesMax series per topic of a window;
// what is above them is counted and left out. Every message is counted in exactly
// one window.
package fold

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Window is how long level 1 folds together.
const Window = time.Minute

const (
	depthMax  = 3
	seriesMax = 64
)

// Message is one message to be folded.
type Message struct {
	Seq     uint64
	At      time.Time
	Source  string
	Topic   string
	Payload []byte
	// Bad marks a reading that its driver does not trust: it is counted and
	// left out of the numbers.
	Bad bool
}

// Aggregate is what is left of the messages of one window. From and To are the
// numbers of its first and last one.
type Aggregate struct {
	Start    time.Time
	From, To uint64
	// N messages were folded, BadN of them not to be trusted; Dropped values
	// belong to series above the limit.
	N, BadN, Dropped int
	Series           []Series
}

// Series is one value over a window. Numbers have Count, Min, Max and Mean;
// texts and truth values every change in Changes. First and Last are those that
// came first and last by number, as they were written. A Path of "" with Whole
// set is a payload that holds no series: only First and Last are kept.
type Series struct {
	Source, Topic, Path string
	Whole               bool
	Count               int
	Min, Max, Mean      float64
	First, Last         json.RawMessage
	Changes             []Change `json:",omitempty"`

	numbers int
}

// IsNumber reports whether the series had numbers: Min, Max and Mean are of them.
func (s *Series) IsNumber() bool { return s.numbers > 0 }

// Change is a text or truth value that differs from the one before.
type Change struct {
	At    time.Time
	Value json.RawMessage
}

// Fold makes one aggregate for each window in which there are messages.
func Fold(all []Message) []Aggregate {
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b Message) int { return cmp.Compare(a.Seq, b.Seq) })
	windows := make(map[int64]*window)
	for i := range sorted {
		m := &sorted[i]
		start := m.At.Truncate(Window)
		w := windows[start.Unix()]
		if w == nil {
			w = &window{Aggregate: Aggregate{Start: start.UTC(), From: m.Seq}, series: make(map[key]*Series), perTopic: make(map[string]int)}
			windows[start.Unix()] = w
		}
		w.take(m)
	}
	var out []Aggregate
	for _, at := range slices.Sorted(maps.Keys(windows)) {
		out = append(out, windows[at].end())
	}
	return out
}

type key struct {
	source, topic, path string
	whole               bool
}

type window struct {
	Aggregate
	series   map[key]*Series
	perTopic map[string]int
}

func (w *window) take(m *Message) {
	w.N++
	w.To = m.Seq
	if m.Bad {
		w.BadN++
		return
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(m.Payload))
	d.UseNumber()
	if err := d.Decode(&v); err != nil || d.More() || !json.Valid(m.Payload) || !w.walk(m, "", v, 0) {
		w.whole(m)
	}
}

// walk takes in every scalar of a value; false when there is none.
func (w *window) walk(m *Message, path string, v any, depth int) (found bool) {
	switch v := v.(type) {
	case map[string]any:
		if depth >= depthMax {
			return false
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			found = w.walk(m, path+"/"+name, v[name], depth+1) || found
		}
		return found
	case json.Number, string, bool:
		w.scalar(m, path, v)
		return true
	}
	return false
}

// of gives a series, nil when its topic has too many.
func (w *window) of(m *Message, path string, whole bool) *Series {
	k := key{m.Source, m.Topic, path, whole}
	s := w.series[k]
	if s != nil {
		return s
	}
	if w.perTopic[m.Topic] >= seriesMax {
		w.Dropped++
		return nil
	}
	w.perTopic[m.Topic]++
	s = &Series{Source: m.Source, Topic: m.Topic, Path: path, Whole: whole}
	w.series[k] = s
	return s
}

func (w *window) scalar(m *Message, path string, v any) {
	s := w.of(m, path, false)
	if s == nil {
		return
	}
	text, _ := json.Marshal(v) // scalars always have a form
	before := s.Last
	s.add(text)
	if number, ok := v.(json.Number); ok {
		f, err := number.Float64()
		if err == nil {
			s.number(f)
			return
		}
	}
	if !bytes.Equal(before, text) {
		s.Changes = append(s.Changes, Change{m.At.UTC(), text})
	}
}

// whole keeps a payload that holds no series.
func (w *window) whole(m *Message) {
	if s := w.of(m, "", true); s != nil {
		text, _ := json.Marshal(m.Payload) // as base64
		s.add(text)
	}
}

func (s *Series) add(text json.RawMessage) {
	if s.Count == 0 {
		s.First = text
	}
	s.Count++
	s.Last = text
}

// number takes in a value; the mean is carried so that no sum overflows.
func (s *Series) number(f float64) {
	if s.numbers == 0 {
		s.Min, s.Max = f, f
	}
	s.numbers++
	s.Min, s.Max = min(s.Min, f), max(s.Max, f)
	s.Mean += (f - s.Mean) / float64(s.numbers)
}

// rank puts whole payloads behind a scalar of the same topic.
func rank(s Series) int {
	if s.Whole {
		return 1
	}
	return 0
}

func (w *window) end() Aggregate {
	for _, s := range w.series {
		w.Series = append(w.Series, *s)
	}
	slices.SortFunc(w.Series, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Path, b.Path),
			rank(a)-rank(b))
	})
	return w.Aggregate
}
