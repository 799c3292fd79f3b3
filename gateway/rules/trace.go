package rules

import (
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Limits of a trace.
const (
	traceMax      = 20   // evaluations of a rule that are remembered
	traceBytesMax = 1024 // of a payload or a result
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

// of keeps short bytes as they are; a copy of the beginning of long ones, so
// that they need not stay.
func excerptOf(b []byte, copyLong bool) excerpt {
	switch {
	case len(b) <= traceBytesMax:
		return excerpt{b, len(b)}
	case copyLong:
		return excerpt{slices.Clone(b[:traceBytesMax]), len(b)}
	}
	return excerpt{nil, len(b)}
}

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

// trace remembers the latest evaluations of one rule. The zero trace is empty.
type trace struct {
	mu      sync.Mutex
	serial  uint64
	entries []entry
}

func (t *trace) add(at int64, m *iot.Message, copyLong bool) *entry {
	if t.entries == nil {
		t.entries = make([]entry, traceMax)
	}
	e := &t.entries[t.serial%traceMax]
	t.serial++
	*e = entry{serial: t.serial, at: at, topic: m.Topic, client: m.Origin.ClientID, trace: m.Origin.TraceID, payload: excerptOf(m.Payload, copyLong)}
	return e
}

func (t *trace) miss(at int64, m *iot.Message) {
	t.mu.Lock()
	t.add(at, m, false)
	t.mu.Unlock()
}

func (t *trace) failed(at int64, m *iot.Message, err error) {
	t.mu.Lock()
	t.add(at, m, true).err = err.Error()
	t.mu.Unlock()
}

func (t *trace) match(at int64, m *iot.Message, output []byte) (serial uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.add(at, m, true)
	e.matched, e.output = true, excerptOf(output, true)
	return e.serial
}

// acted adds what an action did to the evaluation it belongs to, if that is
// still remembered.
func (t *trace) acted(serial uint64, kind, resource string, err error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) == 0 || serial == 0 || t.entries[(serial-1)%traceMax].serial != serial {
		return
	}
	o := Outcome{Action: kind, Resource: resource, MS: float64(took.Microseconds()) / 1000}
	if err != nil {
		o.Error = err.Error()
	}
	e := &t.entries[(serial-1)%traceMax]
	e.actions = append(e.actions, o)
}

// list gives the evaluations, the latest first.
func (t *trace) list() []Evaluation {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := []Evaluation{}
	for n := t.serial; n > 0 && t.serial-n < traceMax; n-- {
		e := &t.entries[(n-1)%traceMax]
		all = append(all, Evaluation{
			Time: e.at, Topic: strings.Clone(e.topic), ClientID: string(e.client), TraceID: e.trace, Payload: e.payload.text(),
			Matched: e.matched, Output: e.output.text(), Error: e.err, Actions: slices.Clone(e.actions),
		})
	}
	return all
}

// Trace gives the last evaluations of a rule, the latest first. An unknown rule
// is Unauthorized, as at AWS.
func (e *Engine) Trace(name string) ([]Evaluation, error) {
	r, err := e.rule(name)
	if err != nil {
		return nil, err
	}
	return r.trace.list(), nil
}
