// Package trace remembers the last evaluations of one rule, for people who ask
// what it does.
//
// Remembering a message without a result costs no allocation; long payloads of
// such messages are told by their length alone. Texts are made when somebody
// lists them. A Log may be used by any goroutine; the zero Log is empty and
// takes no memory.
package trace

import (
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Limits of a Log.
const (
	EvaluationsMax = 20   // that are remembered
	ExcerptMax     = 1024 // bytes of a payload or a result
)

// Evaluation is one look of a rule at a message.
type Evaluation struct {
	// Time is in milliseconds since the Unix epoch.
	Time     int64  `json:"time"`
	Topic    string `json:"topic"`
	ClientID string `json:"clientId,omitempty"`
	TraceID  string `json:"traceId,omitempty"`
	// Payload and Output are texts; what is no UTF-8 is told as base64, what is
	// long is cut.
	Payload string `json:"payload"`
	Matched bool   `json:"matched"`
	Output  string `json:"output,omitempty"`
	Error   string `json:"error,omitempty"`
	// Actions are those that have been performed, in order.
	Actions []Outcome `json:"actions,omitempty"`
}

// Outcome is how one action went.
type Outcome struct {
	Action   string `json:"action"`
	Resource string `json:"resource"`
	Error    string `json:"error,omitempty"`
	// MS is how long it took, its further attempts included.
	MS float64 `json:"ms"`
}

// entry is an Evaluation as it happened; texts are made when somebody asks.
type entry struct {
	serial  uint64
	at      int64
	topic   string
	client  iot.ClientID
	trace   string
	payload excerpt
	output  excerpt
	matched bool
	err     string
	actions []Outcome
}

// excerpt is the beginning of a payload.
type excerpt struct {
	bytes []byte
	size  int
}

// excerptOf keeps short bytes as they are; a copy of the beginning of long ones, so
// that they need not stay.
func excerptOf(b []byte, copyLong bool) excerpt {
	switch {
	case len(b) <= ExcerptMax:
		return excerpt{b, len(b)}
	case copyLong:
		return excerpt{slices.Clone(b[:ExcerptMax]), len(b)}
	}
	return excerpt{nil, len(b)}
}

// Excerpt is the text of a payload as an Evaluation tells it, uncut.
func Excerpt(b []byte) string { return excerpt{b, len(b)}.text() }

func (x excerpt) text() string {
	b, more := x.bytes, ""
	if len(b) < x.size {
		more = "…"
	}
	for range utf8.UTFMax - 1 { // a cut within a character
		if more == "" || utf8.Valid(b) || len(b) == 0 {
			break
		}
		b = b[:len(b)-1]
	}
	if !utf8.Valid(b) {
		return "base64:" + base64.StdEncoding.EncodeToString(x.bytes) + more
	}
	return string(b) + more
}

// Log remembers the latest evaluations of one rule; of messages without a result
// that come within one millisecond, the first EvaluationsMax.
type Log struct {
	misses atomic.Int64 // the millisecond of the last one, and how many it had

	mu      sync.Mutex
	serial  uint64
	entries []entry
}

func (t *Log) add(at int64, m *iot.Message, copyLong bool) *entry {
	if t.entries == nil {
		t.entries = make([]entry, EvaluationsMax)
	}
	e := &t.entries[t.serial%EvaluationsMax]
	t.serial++
	*e = entry{serial: t.serial, at: at, topic: m.Topic, client: m.Origin.ClientID, trace: m.Origin.TraceID, payload: excerptOf(m.Payload, copyLong)}
	return e
}

// Miss adds a message that gave nothing.
func (t *Log) Miss(at int64, m *iot.Message) {
	if t.crowded(at) {
		return
	}
	t.mu.Lock()
	t.add(at, m, false)
	t.mu.Unlock()
}

// crowded reports that enough was remembered of a millisecond. Two who ask at
// the same time may be counted as one.
func (t *Log) crowded(at int64) bool {
	last := t.misses.Load()
	if last>>8 != at {
		t.misses.Store(at<<8 | 1)
		return false
	}
	if last&0xff >= EvaluationsMax {
		return true
	}
	t.misses.Store(last + 1)
	return false
}

// Failed adds a message that could not be evaluated.
func (t *Log) Failed(at int64, m *iot.Message, err error) {
	t.mu.Lock()
	t.add(at, m, true).err = err.Error()
	t.mu.Unlock()
}

// Match adds a message that gave a result; serial is for Acted.
func (t *Log) Match(at int64, m *iot.Message, output []byte) (serial uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.add(at, m, true)
	e.matched, e.output = true, excerptOf(output, true)
	return e.serial
}

// Acted adds what an action did to the evaluation it belongs to, if that is
// still remembered.
func (t *Log) Acted(serial uint64, kind, resource string, err error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) == 0 || serial == 0 || t.entries[(serial-1)%EvaluationsMax].serial != serial {
		return
	}
	o := Outcome{Action: kind, Resource: resource, MS: float64(took.Microseconds()) / 1000}
	if err != nil {
		o.Error = err.Error()
	}
	e := &t.entries[(serial-1)%EvaluationsMax]
	e.actions = append(e.actions, o)
}

// List gives the evaluations, the latest first.
func (t *Log) List() []Evaluation {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := []Evaluation{}
	for n := t.serial; n > 0 && t.serial-n < EvaluationsMax; n-- {
		e := &t.entries[(n-1)%EvaluationsMax]
		all = append(all, Evaluation{
			Time: e.at, Topic: strings.Clone(e.topic), ClientID: string(e.client), TraceID: e.trace, Payload: e.payload.text(),
			Matched: e.matched, Output: e.output.text(), Error: e.err, Actions: slices.Clone(e.actions),
		})
	}
	return all
}
