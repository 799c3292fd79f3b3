package desk

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Line is a stored message as people and files see it: one line of an export.
type Line struct {
	// ID is `gateway:incarnation:number`; it never changes (telemetry.md C4).
	ID       string    `json:"id"`
	TS       time.Time `json:"ts"` // the wall clock at capture, trusted or not
	Class    uint8     `json:"cls"`
	Topic    string    `json:"t"`
	Source   string    `json:"src,omitempty"`
	ClientID string    `json:"client,omitempty"`
	QoS      byte      `json:"qos"`
	Retain   bool      `json:"retain,omitempty"`
	// Boot and Up (milliseconds) are the time since that boot; Synced says that
	// TS was to be trusted.
	Boot   string `json:"boot,omitempty"`
	Up     int64  `json:"up"`
	Synced bool   `json:"synced"`
	Sim    bool   `json:"sim,omitempty"`
	// To are the uplinks that wait for it; Bytes is the size of the payload.
	To         []string        `json:"to"`
	Bytes      int             `json:"bytes"`
	Properties *iot.Properties `json:"properties,omitempty"`
	Raw        []byte          `json:"raw,omitempty"` // the payload, base64
	// N messages are in it, when it is an aggregate; Bad of them were not to be
	// trusted, and Left values left out.
	N    uint64 `json:"n,omitempty"`
	Bad  uint64 `json:"bad,omitempty"`
	Left uint64 `json:"left_out,omitempty"`
}

// lineOf shows a record of a gateway's spool, with its payload when asked.
func lineOf(gateway string, r *messages.Record, payload bool) Line {
	l := Line{ID: r.ID(gateway), TS: r.Wall.UTC(), Class: r.Class, Topic: r.Topic, Source: r.Source, ClientID: r.ClientID, QoS: r.QoS, Retain: r.Retain,
		Boot: r.Boot, Up: r.Up.Milliseconds(), Synced: r.Synced, Sim: r.Sim, To: r.To, Bytes: len(r.Payload)}
	if f := r.Fold; f != nil {
		l.N, l.Bad, l.Left = f.N, f.Bad, f.Left
	}
	if payload {
		l.Raw, l.Properties = r.Payload, r.Properties
	}
	return l
}

// ParseLine reads one line of an export for a gateway. A record of another
// gateway keeps that one's name in its incarnation. Errors are InvalidRequest.
func ParseLine(gateway string, text []byte) (messages.Record, error) {
	var l Line
	if err := json.Unmarshal(text, &l); err != nil {
		return messages.Record{}, iot.Errorf(iot.InvalidRequest, "import: a line is no exported message: %v", err)
	}
	r, err := l.record(gateway)
	if err != nil {
		return messages.Record{}, iot.Errorf(iot.InvalidRequest, "import %q: %v", l.ID, err)
	}
	return r, nil
}

func (l Line) record(gateway string) (r messages.Record, err error) {
	parts := strings.Split(l.ID, ":")
	if len(parts) != 3 || !isWord(parts[0]) || !isWord(parts[1]) {
		return r, fmt.Errorf("an id is gateway:incarnation:number")
	}
	inc := parts[1]
	if parts[0] != gateway {
		inc = parts[0] + ":" + inc
	}
	seq, aggregate, err := l.number(parts[2])
	if err != nil {
		return r, err
	}
	if _, err := topic.ParseName(l.Topic); err != nil {
		return r, err
	}
	if l.Class > messages.Bulk || l.QoS > 2 || l.Up < 0 {
		return r, fmt.Errorf("class %d, QoS %d, up %d: want classes 0 to 2, QoS 0 to 2 and no negative time", l.Class, l.QoS, l.Up)
	}
	return messages.Record{Inc: inc, Seq: seq, Topic: l.Topic, Payload: l.Raw, QoS: l.QoS, Retain: l.Retain, Source: l.Source, ClientID: l.ClientID,
		Class: l.Class, Boot: l.Boot, Up: time.Duration(l.Up) * time.Millisecond, Wall: l.TS, Synced: l.Synced, Sim: l.Sim, Properties: l.Properties, Fold: aggregate}, nil
}

// number takes the end of an id apart: a number, or f<level>-<from>-<to> of an
// aggregate.
func (l Line) number(text string) (seq uint64, f *messages.Folded, err error) {
	if rest, is := strings.CutPrefix(text, "f"); is {
		level, from, to := rest, "", ""
		if level, from, is = strings.Cut(rest, "-"); is {
			from, to, is = strings.Cut(from, "-")
		}
		n, bad := strconv.ParseUint(level, 10, 8)
		first, bad2 := strconv.ParseUint(from, 10, 63)
		if !is || bad != nil || bad2 != nil || n == 0 || first == 0 || l.N == 0 {
			return 0, nil, fmt.Errorf("an aggregate's id ends with f<level>-<from>-<to>, and n says how many are in it")
		}
		f, text = &messages.Folded{Level: uint8(n), From: first, N: l.N, Bad: l.Bad, Left: l.Left}, to
	}
	seq, err = strconv.ParseUint(text, 10, 63)
	if err != nil || seq == 0 || f != nil && (f.From > seq || f.N > seq-f.From+1) {
		return 0, nil, fmt.Errorf("an id ends with a number above 0")
	}
	return seq, f, nil
}

// isWord: 1 to 64 of the characters of gateway ids.
func isWord(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	return s != "" && len(s) <= 64 && strings.Trim(s, letters) == ""
}
