package telemetry

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/telemetry/fold"
)

const foldLevel = 1

// lot is what may be folded together: one topic of one source, for the same
// uplinks, with times of one kind.
type lot struct {
	inc, source, client, topic, to, boot string
	synced                               bool
}

// fold makes aggregates of old messages whose class wants that (telemetry.md
// 8.4). What may not be folded stays as it is. It has no effects.
func (s *Spool) fold(recs []messages.Record) []messages.Record {
	lots := make(map[lot][]*messages.Record)
	var out []messages.Record
	for i := range recs {
		r := &recs[i]
		if !s.mayFold(r) {
			out = append(out, *r)
			continue
		}
		k := lot{r.Inc, r.Source, r.ClientID, r.Topic, strings.Join(r.To, "\x00"), r.Boot, r.Synced}
		lots[k] = append(lots[k], r)
	}
	for _, of := range lots {
		out = append(out, foldLot(of)...)
	}
	slices.SortFunc(out, func(a, b messages.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

// mayFold: alarms, what chose its own topic upstream, our own records and
// aggregates stay.
func (s *Spool) mayFold(r *messages.Record) bool {
	if r.Fold != nil || r.Class == messages.Critical {
		return false
	}
	for _, mark := range []string{"sys/", forwarded, ingested} {
		if strings.HasPrefix(r.Source, mark) {
			return false
		}
	}
	c := s.class(r.Topic)
	return c == nil || c.Fold
}

// foldLot folds messages that differ in number, time and payload only.
func foldLot(of []*messages.Record) (out []messages.Record) {
	list := make([]fold.Message, len(of))
	for i, r := range of {
		list[i] = fold.Message{Seq: r.Seq, At: foldTime(r), Source: r.Source, Topic: r.Topic, Payload: r.Payload}
	}
	for _, a := range fold.Fold(list) {
		first := of[slices.IndexFunc(of, func(r *messages.Record) bool { return r.Seq == a.From })]
		out = append(out, aggregate(first, &a))
	}
	return out
}

// foldTime is the time by which windows are cut: of the wall clock if it was to be
// trusted, else since boot.
func foldTime(r *messages.Record) time.Time {
	if r.Synced {
		return r.Wall
	}
	return time.Unix(0, 0).Add(r.Up)
}

// aggregate is a window as a record, in the place of its first message.
func aggregate(first *messages.Record, a *fold.Aggregate) messages.Record {
	r := *first
	back := foldTime(first).Sub(a.Start)
	r.Wall, r.Up = r.Wall.Add(-back), max(0, r.Up-back)
	r.Seq, r.Retain, r.Properties = a.To, false, nil
	r.QoS = max(r.QoS, 1)
	r.Fold = &messages.Folded{Level: foldLevel, From: a.From, N: uint64(a.N), Bad: uint64(a.BadN), Left: uint64(a.Dropped)}
	r.Payload = foldPayload(a)
	return r
}

// value is one series of an aggregate as it goes up.
type value struct {
	Count   int             `json:"count"`
	Min     *float64        `json:"min,omitempty"`
	Max     *float64        `json:"max,omitempty"`
	Mean    *float64        `json:"mean,omitempty"`
	First   json.RawMessage `json:"first"`
	Last    json.RawMessage `json:"last"`
	Changes []change        `json:"changes,omitempty"`
}

type change struct {
	At    string          `json:"at"`
	Value json.RawMessage `json:"value"`
}

// wholePath is the member of a payload without series; paths begin with a slash
// or are empty.
const wholePath = "raw"

// foldPayload is an object with a member for each series, by its path.
func foldPayload(a *fold.Aggregate) []byte {
	m := make(map[string]value, len(a.Series))
	for i := range a.Series {
		s := &a.Series[i]
		v := value{Count: s.Count, First: s.First, Last: s.Last}
		if s.IsNumber() {
			v.Min, v.Max, v.Mean = &s.Min, &s.Max, &s.Mean
		}
		for _, c := range s.Changes {
			v.Changes = append(v.Changes, change{c.At.UTC().Format(timeLayout), c.Value})
		}
		path := s.Path
		if s.Whole {
			path = wholePath
		}
		m[path] = v
	}
	payload, err := json.Marshal(m)
	if err != nil { // a number that JSON has no form for: the count is left
		return []byte("{}")
	}
	return payload
}

// appendAgg adds the members that only aggregates have (telemetry.md 3.1).
func appendAgg(b []byte, f *messages.Folded, to uint64) []byte {
	text, _ := json.Marshal(struct { // our own struct always has a form
		Level  uint8  `json:"level"`
		Window int    `json:"window_s"`
		From   uint64 `json:"from"`
		To     uint64 `json:"to"`
		Bad    uint64 `json:"bad,omitempty"`
		Left   uint64 `json:"left_out,omitempty"`
	}{f.Level, int(fold.Window / time.Second), f.From, to, f.Bad, f.Left})
	n, _ := json.Marshal(f.N)
	b = append(append(b, `,"n":`...), n...)
	return append(append(b, `,"agg":`...), text...)
}
