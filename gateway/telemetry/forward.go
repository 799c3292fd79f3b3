package telemetry

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/topic"
)

// forwarded and ingested mark stored records whose topic is the upstream's own:
// they pass no entry of the configuration. An ingested one goes up as it came.
const (
	forwarded = "fwd/"
	ingested  = "ingest/"
)

// classes are the words for the classes of forwarded messages (telemetry.md
// 8.1).
var classes = map[string]uint8{"critical": messages.Critical, "normal": messages.Normal, "bulk": messages.Bulk}

// Forward stores m for the named uplink, or for all enabled ones when the name
// is empty, under its topic there (rules.md section 8, edge.forward). priority
// is critical, normal or bulk, or empty: the configuration's classes decide.
// done is called as by Append. An uplink that does not exist is NotFound, a
// topic that cannot go up and a gateway without uplinks InvalidRequest; done is
// not called then.
func (s *Spool) Forward(name, priority string, m iot.Message, done func(error)) error {
	if _, err := topic.ParseName(m.Topic); err != nil {
		return err
	}
	if topic.IsReserved(m.Topic) {
		return iot.Errorf(iot.InvalidRequest, "forward %q: topics that begin with $ never go up", m.Topic)
	}
	class, known := classes[priority]
	switch {
	case priority == "":
		class = s.classOf(m)
	case !known:
		return iot.Errorf(iot.InvalidRequest, "forward: priority %q: want critical, normal or bulk", priority)
	}
	return s.storeOwn(name, forwarded, class, m, done)
}

// Ingest stores m for a rule of the named uplink, an AWS one, by Basic Ingest
// (rules.md section 10): with QoS 1, payload as it came. done and errors are as
// by Forward.
func (s *Spool) Ingest(name, rule string, m iot.Message, done func(error)) error {
	class := s.classOf(m)
	m.Topic, m.QoS, m.Retain = strings.TrimSuffix(basicIngest+rule+"/"+m.Topic, "/"), 1, false
	if _, err := topic.ParseName(m.Topic); err != nil {
		return err
	}
	return s.storeOwn(name, ingested, class, m, done)
}

// basicIngest begins the topics of Basic Ingest.
const basicIngest = "$aws/rules/"

func (s *Spool) storeOwn(name, mark string, class uint8, m iot.Message, done func(error)) error {
	var to []string
	for _, u := range s.uplinks {
		if u.Enabled && (name == "" || u.Name == name) {
			to = append(to, u.Name)
		}
	}
	switch {
	case len(to) == 0 && name != "":
		return iot.Errorf(iot.NotFound, "forward: uplink %q does not exist or is not enabled", name)
	case len(to) == 0:
		return iot.Errorf(iot.InvalidRequest, "forward: no uplink is enabled")
	case m.Origin.Sim && !s.cfg.AllowSim:
		done(nil)
		return nil
	}
	r := s.record(m, to)
	r.Source, r.Class = mark+r.Source, class
	s.log.Append(messages.Batch{Records: []messages.Record{r}, Urgent: r.Class == messages.Critical}, func(err error) { done(unavailable(err)) })
	return nil
}

// own renders a record that chose its topic itself: an ingested one raw, a
// forwarded one in the native form. False: it is no such record.
func (s *Spool) own(r *messages.Record, st stamp, back bool) (out Outgoing, is bool) {
	out = Outgoing{Seq: r.Seq, Topic: r.Topic, Payload: r.Payload, QoS: min(r.QoS, 1)}
	if strings.HasPrefix(r.Source, ingested) {
		return out, true
	}
	plain := *r
	if plain.Source, is = strings.CutPrefix(r.Source, forwarded); is {
		out.Payload = s.native(&plain, st, back)
	}
	return out, is
}

// counted is the part of an upstream topic that the far side's limits count:
// the levels of Basic Ingest are free (rules.md section 10).
func counted(name string) string {
	if r, is := topic.ParseReserved(name); is && r.Kind == topic.BasicIngest {
		return r.Rest
	}
	return name
}
