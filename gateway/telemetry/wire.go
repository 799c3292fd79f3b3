package telemetry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/gateway/topic/template"
)

// Outgoing is a message as it goes up.
type Outgoing struct {
	// Seq is the number of the message, of the first one in a batch.
	Seq     uint64
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

// The qualities of a time stamp that are told here (telemetry.md section 5).
const (
	clockSync = "sync" // the clock was to be trusted at capture
	clockEst  = "est"  // computed later from the time since boot
	clockMono = "mono" // only boot and up are facts
)

// stamp is what is decided when a message goes out for the first time and stays
// the same when it goes out again.
// ce bounds the error of ts; 0 is not known or not worth telling.
type stamp struct {
	ts time.Time
	cq string
	ce time.Duration
}

// ceOver is the error above which it is told.
const ceOver = 100 * time.Millisecond

const timeLayout = "2006-01-02T15:04:05.000Z"

// stampOf gives a record its time.
func (s *Spool) stampOf(r *messages.Record) stamp {
	if r.Synced {
		return stamp{ts: r.Wall, cq: clockSync}
	}
	s.mu.Lock()
	offset, known := s.offsets[r.Boot]
	span := s.spans[r.Boot]
	s.mu.Unlock()
	if known {
		return stamp{ts: time.Unix(0, 0).Add(offset + r.Up), cq: clockEst}
	}
	return monoStamp(r.Wall, r.Up, span)
}

// monoStamp guesses the time of a boot that never synchronised: the wall clock,
// kept between the newest true time before that boot and the first one after it.
func monoStamp(wall time.Time, up time.Duration, span messages.Span) stamp {
	st := stamp{ts: wall, cq: clockMono}
	low := span.Floor.Add(up)
	if !span.Floor.IsZero() && st.ts.Before(low) {
		st.ts = low
	}
	if span.Floor.IsZero() || span.Ceil.Before(low) {
		return st
	}
	if st.ts.After(span.Ceil) {
		st.ts = span.Ceil
	}
	st.ce = max(st.ts.Sub(low), span.Ceil.Sub(st.ts))
	return st
}

// laneName is a lane on the wire.
func laneName(back bool) string {
	if back {
		return "back"
	}
	return "live"
}

// outgoing puts a record into the form and onto the topic of its route. A
// record whose entry was removed from the configuration takes the default.
func (s *Spool) outgoing(u *uplink, r *messages.Record, st stamp, back bool) (out Outgoing, batch *Route) {
	if what, ok := strings.CutPrefix(r.Source, "sys/"); ok {
		to := strings.ReplaceAll(sysTo, "{gateway}", s.cfg.Gateway) + what
		return Outgoing{Seq: r.Seq, Topic: to, Payload: s.native(r, st, back), QoS: 1}, nil
	}
	if out, is := s.own(r, st, back); is {
		return out, nil
	}
	route := u.route(r.Topic)
	if route == nil {
		route = &Route{From: "#", To: defaultTo, QoS: 1, Form: FormAuto}
		route.to, _ = template.Parse(defaultTo) // a constant
	}
	out = Outgoing{Seq: r.Seq, QoS: min(route.QoS, 1), Retain: route.Retain, Topic: route.to.Expand(template.Values{
		Gateway: s.cfg.Gateway, Name: route.Name, Topic: r.Topic, Rest: template.Rest(route.From, r.Topic)})}
	switch form := route.formOf(r); form {
	case FormNative:
		out.Payload = s.native(r, st, back)
		if route.BatchMax > 1 {
			batch = route
		}
	case FormInject:
		out.Payload = s.inject(r, st, back)
	default:
		out.Payload = r.Payload
	}
	return out, batch
}

// formOf resolves auto: native for drivers and rules, raw for devices. An
// aggregate is always native.
func (r *Route) formOf(rec *messages.Record) string {
	if rec.Fold != nil {
		return FormNative
	}
	if r.Form != FormAuto {
		return r.Form
	}
	if isHouse(rec.Source) {
		return FormNative
	}
	return FormRaw
}

// native is the JSON envelope of telemetry.md 3.1.
func (s *Spool) native(r *messages.Record, st stamp, back bool) []byte {
	b := make([]byte, 0, 256+len(r.Payload))
	b = appendMember(b, '{', "id", r.ID(s.cfg.Gateway))
	gateway, inc := r.Home(s.cfg.Gateway)
	b = appendMember(b, ',', "gw", gateway)
	b = appendMember(b, ',', "inc", inc)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, r.Seq, 10)
	b = appendMember(b, ',', "ts", st.ts.UTC().Format(timeLayout))
	b = appendMember(b, ',', "cq", st.cq)
	if st.cq != clockSync {
		b = appendMember(b, ',', "boot", r.Boot)
		b = append(b, `,"up":`...)
		b = strconv.AppendInt(b, r.Up.Milliseconds(), 10)
	}
	if st.ce > ceOver {
		b = append(b, `,"ce":`...)
		b = strconv.AppendInt(b, st.ce.Milliseconds(), 10)
	}
	b = appendMember(b, ',', "src", r.Source)
	b = appendMember(b, ',', "t", r.Topic)
	b = append(b, `,"cls":`...)
	b = strconv.AppendUint(b, uint64(r.Class), 10)
	b = appendMember(b, ',', "lane", laneName(back))
	if r.Fold != nil {
		b = appendAgg(b, r.Fold, r.Seq)
	}
	if isObject(r.Payload) {
		b = append(append(b, `,"m":`...), bytes.TrimSpace(r.Payload)...)
	} else {
		b = appendMember(b, ',', "raw", base64.StdEncoding.EncodeToString(r.Payload))
	}
	return append(b, '}')
}

func appendMember(b []byte, sep byte, name, value string) []byte {
	b = append(b, sep, '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	text, _ := json.Marshal(value) // texts always have a form
	return append(b, text...)
}

func isObject(payload []byte) bool {
	p := bytes.TrimSpace(payload)
	return len(p) > 0 && p[0] == '{' && utf8.Valid(p) && json.Valid(p)
}

// inject adds the member _gw to a top-level JSON object; every other byte stays
// as the device sent it. Anything else goes as it is.
func (s *Spool) inject(r *messages.Record, st stamp, back bool) []byte {
	if !isObject(r.Payload) {
		return r.Payload
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(r.Payload, &members) != nil {
		return r.Payload
	}
	if _, taken := members["_gw"]; taken {
		return r.Payload
	}
	g := appendMember(nil, '{', "id", r.ID(s.cfg.Gateway))
	g = appendMember(g, ',', "ts", st.ts.UTC().Format(timeLayout))
	g = appendMember(g, ',', "cq", st.cq)
	g = append(appendMember(g, ',', "lane", laneName(back)), '}')
	at := bytes.LastIndexByte(r.Payload, '}')
	b := append(make([]byte, 0, len(r.Payload)+len(g)+8), r.Payload[:at]...)
	if len(members) > 0 {
		b = append(b, ',')
	}
	b = append(append(b, `"_gw":`...), g...)
	return append(b, r.Payload[at:]...)
}

// check says why the far side could not take a message, empty when it can
// (telemetry.md 9.3).
func (u *uplink) check(out Outgoing) string {
	if _, err := topic.ParseName(out.Topic); err != nil {
		return err.Error()
	}
	if u.MaxPayload > 0 && len(out.Payload) > u.MaxPayload {
		return fmt.Sprintf("payload has %d bytes, the uplink takes %d", len(out.Payload), u.MaxPayload)
	}
	name := counted(out.Topic)
	if u.MaxTopicBytes > 0 && len(name) > u.MaxTopicBytes {
		return fmt.Sprintf("topic has %d bytes, the uplink takes %d", len(name), u.MaxTopicBytes)
	}
	if n := topic.Levels(name); u.MaxTopicLevels > 0 && n > u.MaxTopicLevels {
		return fmt.Sprintf("topic has %d levels, the uplink takes %d", n, u.MaxTopicLevels)
	}
	return ""
}
