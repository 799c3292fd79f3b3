// Package binding ties the channels of parts to fields of shadows: readings,
// inputs and outputs become `reported`, `desired` becomes wishes for outputs.
//
// Table is the pure core: values in, patches, messages and wishes out, and the
// next time to look. Binding is the thin shell round it.
//
// Changed readings wait until `shadow_every` is over, `ok`, faults, inputs and
// outputs only for batchWindow, and all that waits for one shadow goes into one
// patch. A patch that the shadow service refuses is merged back under newer
// values and tried again, later and later, up to a minute; so at most one value
// per field waits. Telemetry has its own period, takes every corrected sample,
// and is silent while there is none. Messages wait in a queue of messagesMax,
// the oldest are dropped and counted. A wish is taken once: a delta that repeats
// an old desired value is recognised by the value's timestamp.
package binding

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/iot"
)

const (
	// batchWindow is how long urgent fields wait for others of the same shadow.
	batchWindow = 20 * time.Millisecond
	// messagesMax bounds messages that wait to be published.
	messagesMax = 1024
	// retryFirst and retryMax are the waits after a refused patch.
	retryFirst = time.Second
	retryMax   = time.Minute
	// telemetryGrace is how long after its period an unfinished aggregate of a
	// silent sensor is told.
	telemetryGrace = 2 * time.Second
)

// Kind is the kind of a part.
type Kind int

// The kinds of parts.
const (
	Sensor Kind = iota
	Input
	Output
)

// Part is a part as the table needs it.
type Part struct {
	Name string
	Kind Kind
	// Driver is the driver's name; `input` and `output` for lines.
	Driver string
	drivers.Target
	// Poll is the interval of a sensor.
	Poll time.Duration
	// Simulated marks everything the part tells (drivers.md section 8).
	Simulated bool
	// Levels marks an output with levels, not only on and off.
	Levels bool
	// HealthTopic is where changes of health are told; empty is nowhere.
	HealthTopic string
}

// Patch is one update of a shadow.
type Patch struct {
	Key     iot.ShadowKey
	Payload []byte
	Origin  iot.Origin
	fields  map[string]map[string]any // by part, to put back when refused
}

// Table holds what every part told last and what of it still has to be said.
// It is not safe for several goroutines.
type Table struct {
	start   time.Time
	parts   map[string]*binding
	groups  map[iot.ShadowKey]*group
	order   []iot.ShadowKey
	out     []iot.Message
	dropped int
}

// binding is one part and its waiting fields.
type binding struct {
	Part
	origin  iot.Origin
	fields  map[string]any // waiting, by field
	due     time.Duration  // when they are to be written
	written time.Duration
	ever    bool
	live    *bool
	cause   drivers.Cause
	meter   *telemetry
	stamp   int64 // the newest wish: its timestamp and value
	wish    json.RawMessage
}

// group is one shadow.
type group struct {
	parts   []*binding
	retryAt time.Duration
	retries int
}

// NewTable builds the table; start is the wall clock's time at the start of
// the daemon, from which on a wish is fresh. A part without a thing is an error.
func NewTable(parts []Part, start time.Time) (*Table, error) {
	t := &Table{start: start, parts: map[string]*binding{}, groups: map[iot.ShadowKey]*group{}}
	for _, p := range parts {
		if p.Thing == "" {
			return nil, fmt.Errorf("binding: part %s has no thing", p.Name)
		}
		if t.parts[p.Name] != nil {
			return nil, fmt.Errorf("binding: two parts are named %s", p.Name)
		}
		if p.Key == "" {
			p.Key = p.Name
		}
		b := &binding{Part: p, fields: map[string]any{}, origin: iot.Origin{
			Principal: iot.Principal{Kind: iot.House}, Source: "drv/" + p.Driver + "/" + p.Name, Sim: p.Simulated}}
		if p.Telemetry != nil {
			b.meter = newTelemetry(p)
		}
		t.add(b)
	}
	return t, nil
}

func (t *Table) add(b *binding) {
	key := iot.ShadowKey{Thing: b.Thing, Shadow: b.Shadow}
	if t.groups[key] == nil {
		t.groups[key] = &group{}
		t.order = append(t.order, key)
	}
	t.groups[key].parts = append(t.groups[key].parts, b)
	t.parts[b.Name] = b
}

// Samples takes the readings of one poll of a sensor.
func (t *Table) Samples(now time.Duration, part string, samples []drivers.Sample) {
	b := t.parts[part]
	if b == nil {
		return
	}
	for _, s := range samples {
		if s.Passed {
			b.set(s.Channel, s.Value, b.throttled(now))
		}
	}
	if b.meter != nil {
		b.meter.samples(samples)
		if payload, ok := b.meter.ready(now, false); ok {
			t.publish(b.message(b.Telemetry.Topic, payload, b.meter.at))
		}
	}
}

// throttled is when a changed reading may be written.
func (b *binding) throttled(now time.Duration) time.Duration {
	if !b.ever {
		return now + batchWindow
	}
	return max(b.written+b.ShadowEvery, now+batchWindow)
}

// set puts a field into the next patch, which is due at the latest then.
func (b *binding) set(field string, v any, due time.Duration) {
	if len(b.fields) == 0 || due < b.due {
		b.due = due
	}
	b.fields[field] = v
}

// Health takes a change of a part's health. The parts' values stay; `ok` says
// whether they are live.
func (t *Table) Health(now time.Duration, part string, h drivers.Health) {
	b := t.parts[part]
	if b == nil {
		return
	}
	if b.HealthTopic != "" {
		if payload, err := json.Marshal(h); err == nil {
			t.publish(b.message(b.HealthTopic, payload, h.Since))
		}
	}
	if h.State == drivers.Starting || b.live != nil && *b.live == h.Live() && (h.Live() || b.cause == h.Cause) {
		return
	}
	live := h.Live()
	b.live, b.cause = &live, h.Cause
	b.set("ok", live, now+batchWindow)
	if live {
		b.set("fault", nil, now+batchWindow)
		return
	}
	b.set("fault", h.Cause, now+batchWindow)
	if b.meter != nil {
		b.meter.silence()
	}
}

// Input takes the state of an input.
func (t *Table) Input(now time.Duration, part string, e drivers.InputEvent) {
	b := t.parts[part]
	if b == nil {
		return
	}
	values := inputFields(e)
	due := max(b.written+b.ShadowEvery, now+batchWindow)
	for field, v := range values {
		b.set(field, v, due)
	}
	if b.meter == nil || e.First {
		return
	}
	b.meter.state(values, e.At)
	if payload, ok := b.meter.ready(now, false); ok {
		t.publish(b.message(b.Telemetry.Topic, payload, e.At))
	}
}

func inputFields(e drivers.InputEvent) map[string]any {
	values := map[string]any{}
	switch {
	case e.Position != nil:
		values["position"] = *e.Position
	case e.Meter != nil:
		values["total"], values["count"] = e.Meter.Total, e.Count
		if e.Meter.HasRate {
			values["rate"] = e.Meter.Rate
		}
	default:
		values["on"], values["count"] = e.On, e.Count
	}
	if e.Approximate {
		values["approximate"] = true
	}
	return values
}

// Output takes the state of an output as it was read back.
func (t *Table) Output(now time.Duration, part string, r drivers.OutputReport) {
	b := t.parts[part]
	if b == nil {
		return
	}
	due := now + batchWindow
	if r.Known {
		b.set("on", r.On, due)
		if r.Level != nil {
			b.set("level", *r.Level, due)
		}
		b.set("since", r.Since.Unix(), due)
		b.set("cause", r.Cause, due)
	}
	b.set("refused", refusal(r.Refused), due)
}

// refusal names every member, because a shadow merges: null removes what an
// earlier refusal had.
func refusal(r *drivers.Refused) any {
	if r == nil {
		return nil
	}
	until := any(nil)
	if !r.Until.IsZero() {
		until = r.Until.Unix()
	}
	return map[string]any{"why": r.Why, "until": until}
}

// Due gives the patches that are due at now, and the messages. next is when to
// ask again; ok is false when only a part can change that. all asks for
// everything that waits, at the end of the house.
func (t *Table) Due(now time.Duration, all bool) (patches []Patch, messages []iot.Message, next time.Duration, ok bool) {
	for _, b := range t.parts {
		if b.meter == nil {
			continue
		}
		if payload, ready := b.meter.ready(now, true); ready {
			t.publish(b.message(b.Telemetry.Topic, payload, b.meter.at))
		}
		if at, waits := b.meter.deadline(); waits && (!ok || at < next) {
			next, ok = at, true
		}
	}
	for _, key := range t.order {
		g := t.groups[key]
		at, waits := g.due()
		switch {
		case waits && (all || at <= now):
			patches = append(patches, g.patch(key, now))
		case waits && (!ok || at < next):
			next, ok = at, true
		}
	}
	messages, t.out = t.out, nil
	return patches, messages, next, ok
}

// due is when the first field of the group must be written.
func (g *group) due() (at time.Duration, waits bool) {
	for _, b := range g.parts {
		if len(b.fields) > 0 && (!waits || b.due < at) {
			at, waits = b.due, true
		}
	}
	return max(at, g.retryAt), waits
}

// patch takes all waiting fields of the group into one update.
func (g *group) patch(key iot.ShadowKey, now time.Duration) Patch {
	p := Patch{Key: key, fields: map[string]map[string]any{}}
	reported := map[string]any{}
	for _, b := range g.parts {
		if len(b.fields) == 0 {
			continue
		}
		if p.Origin.Source == "" {
			p.Origin = b.origin
		}
		p.Origin.Sim = p.Origin.Sim || b.Simulated
		place := reported
		if b.Key != "." {
			place, _ = reported[b.Key].(map[string]any)
			if place == nil {
				place = map[string]any{}
				reported[b.Key] = place
			}
		}
		for field, v := range b.fields {
			place[field] = v
		}
		p.fields[b.Name] = b.fields
		b.fields, b.written, b.ever = map[string]any{}, now, true
	}
	payload, err := json.Marshal(map[string]any{"state": map[string]any{"reported": reported}})
	if err != nil {
		panic(fmt.Sprintf("binding: patch of %s: %v", key, err)) // only finite numbers and texts stand in fields
	}
	p.Payload = payload
	return p
}

// Refused puts the fields of a patch back under newer ones, to be tried again.
func (t *Table) Refused(now time.Duration, p Patch) {
	g := t.groups[p.Key]
	wait := retryFirst << min(g.retries, 6)
	g.retries++
	g.retryAt = now + min(wait, retryMax)
	for name, fields := range p.fields {
		b := t.parts[name]
		for field, v := range fields {
			if _, newer := b.fields[field]; !newer {
				b.set(field, v, now)
			}
		}
	}
}

// Accepted ends the retries of a patch's shadow.
func (t *Table) Accepted(p Patch) {
	g := t.groups[p.Key]
	g.retries, g.retryAt = 0, 0
}

// Dropped is the number of messages that were dropped since the last call.
func (t *Table) Dropped() int {
	n := t.dropped
	t.dropped = 0
	return n
}

func (t *Table) publish(m iot.Message) {
	if len(t.out) == messagesMax {
		t.out = slices.Delete(t.out, 0, 1)
		t.dropped++
	}
	t.out = append(t.out, m)
}

func (b *binding) message(topic string, payload []byte, at time.Time) iot.Message {
	return iot.Message{Topic: topic, Payload: payload, QoS: 1, Origin: b.origin, Arrived: at}
}

// flat writes {"ts":MS,...} with the members sorted by name.
func flat(at time.Time, values map[string]any) []byte {
	var buf bytes.Buffer
	fmt.Fprintf(&buf, `{"ts":%d`, at.UnixMilli())
	for _, name := range sortedNames(values) {
		key, errKey := json.Marshal(name)
		value, err := json.Marshal(values[name])
		if errKey != nil || err != nil {
			continue // a number without a JSON form never leaves the filters
		}
		buf.WriteByte(',')
		buf.Write(key)
		buf.WriteByte(':')
		buf.Write(value)
	}
	buf.WriteByte('}')
	return buf.Bytes()
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
