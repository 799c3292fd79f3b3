package telemetry

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/topic"
)

// forwarded marks a stored record whose topic is the upstream's own: it passes
// no entry of the configuration.
const forwarded = "fwd/"

// Forward stores m for the named uplink, or for all enabled ones when the name
// is empty, under its topic there (rules.md section 8, edge.forward). done is
// called as by Append. An uplink that does not exist is NotFound, a topic that
// cannot go up InvalidRequest; done is not called then.
func (s *Spool) Forward(name string, m iot.Message, done func(error)) error {
	if _, err := topic.ParseName(m.Topic); err != nil {
		return err
	}
	if topic.IsReserved(m.Topic) {
		return iot.Errorf(iot.InvalidRequest, "forward %q: topics that begin with $ never go up", m.Topic)
	}
	var to []string
	for _, u := range s.uplinks {
		if u.Enabled && (name == "" || u.Name == name) {
			to = append(to, u.Name)
		}
	}
	if len(to) == 0 && name != "" {
		return iot.Errorf(iot.NotFound, "forward: uplink %q does not exist or is not enabled", name)
	}
	if len(to) == 0 || m.Origin.Sim && !s.cfg.AllowSim {
		done(nil)
		return nil
	}
	r := s.record(m, to)
	r.Source = forwarded + r.Source
	s.log.Append(messages.Batch{Records: []messages.Record{r}, Urgent: r.Class == messages.Critical}, func(err error) { done(unavailable(err)) })
	return nil
}

// forward renders a forwarded record: the native form on the topic it names.
func (s *Spool) forward(r *messages.Record, st stamp, back bool) Outgoing {
	plain := *r
	plain.Source = strings.TrimPrefix(r.Source, forwarded)
	return Outgoing{Seq: r.Seq, Topic: r.Topic, Payload: s.native(&plain, st, back), QoS: min(r.QoS, 1)}
}
