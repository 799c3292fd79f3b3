package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/tidehold/tidehold/gateway/binding"
	"github.com/tidehold/tidehold/gateway/broker"
	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/presence"
	"github.com/tidehold/tidehold/gateway/provision"
	"github.com/tidehold/tidehold/gateway/rules"
	"github.com/tidehold/tidehold/gateway/shadow"
	"github.com/tidehold/tidehold/gateway/telemetry"
	"github.com/tidehold/tidehold/gateway/topic"
)

// house is the way of every message (architecture section 5): whoever speaks,
// a device, a rule, a driver, the shadow service or an upstream, the message
// passes Accept. The rooms it leads to are set once, before anything runs.
type house struct {
	broker    *broker.Broker
	shadows   *shadow.Service
	rules     *rules.Engine
	spool     *telemetry.Spool
	provision *provision.Service
	binding   *binding.Binding
	presence  *presence.Board
	clock     clock.Clock
	log       *slog.Logger

	// volatile is set when the message log lies in memory: nothing that must
	// last is acknowledged then.
	volatile error

	lost *metrics.Counter
}

// Accept takes a message into the house. done is called exactly once: with nil
// after everything durable that the message asks for is committed or the
// uplinks have it, otherwise with the reason why it must not be acknowledged.
// Subscribers and rules hear it at once: how far away an uplink is, and how slow
// the disk, delays acknowledgements and not what happens in the house. Accept may
// block while the store's queue is full: that is the back-pressure on this
// publisher. When too much waits for the disk, what a client publishes with QoS 1
// or 2 is refused with an inbound.Full and nothing done; the broker brings it
// again.
func (h *house) Accept(m iot.Message, done func(error)) {
	if reserved, is := topic.ParseReserved(m.Topic); is {
		h.acceptReserved(m, reserved, done)
		return
	}
	switch {
	case !h.spool.Wants(m.Topic):
		h.deliver(m, done)
	case m.Origin.Exchange != 0:
		h.acceptExchange(m, done)
	default:
		h.acceptAtOnce(m, done)
	}
}

// acceptAtOnce delivers beside the spool. A disk that fails stops
// acknowledgements, not the broker.
func (h *house) acceptAtOnce(m iot.Message, done func(error)) {
	both := afterBoth(done)
	var full error // an Append that finds no room says so before it returns
	h.spool.Append(m, func(err error) {
		if comesAgain(m, err) {
			full = err
			return
		}
		both(h.lasting(err))
	})
	if full != nil {
		done(full)
		return
	}
	h.deliver(m, both)
}

// acceptExchange delivers after the spool has the message: delivering notes that
// the exchange was received, and after a crash between the two the publisher
// would not bring it again.
func (h *house) acceptExchange(m iot.Message, done func(error)) {
	h.spool.Append(m, func(err error) {
		err = h.lasting(err)
		if comesAgain(m, err) {
			done(err)
			return
		}
		if err != nil {
			m.Origin.Exchange = 0 // the publisher will send it again
			h.deliver(m, func(error) { done(err) })
			return
		}
		h.deliver(m, done)
	})
}

// lasting is the error of an append, or that the message log forgets.
func (h *house) lasting(err error) error { return cmp.Or(err, h.volatile) }

// comesAgain reports whether a message that was refused with err is brought
// again by the broker, which holds its publisher back until then.
func comesAgain(m iot.Message, err error) bool {
	return m.QoS > 0 && !m.Origin.Will && strings.HasPrefix(m.Origin.Source, "dev/") && inbound.FullIn(err) != nil
}

func (h *house) acceptReserved(m iot.Message, r topic.Reserved, done func(error)) {
	switch {
	case r.Kind == topic.BasicIngest:
		h.rules.Ingest(r.Rule, m)
		done(nil)
	case r.Kind == topic.ShadowRequest && !m.Origin.Will:
		both := afterBoth(done)
		h.deliver(m, both)
		h.shadows.HandleTopic(m, r, both)
	case r.Kind == topic.ProvisionRequest:
		h.acceptProvisioning(m, done)
	case r.Kind == topic.ShadowAnswer && r.Answer == topic.Delta:
		h.deliver(m, done)
		h.binding.Delta(r.Key, m.Payload)
	case r.Kind == topic.LifecycleEvent:
		h.presence.Hear(m)
		h.deliver(m, done)
	default:
		// A will to a shadow topic is heard by subscribers, not by the shadow
		// service (shadow.md section 1); the rest is the house's own speech.
		h.deliver(m, done)
	}
}

// acceptProvisioning lets a connected client ask for certificate and thing.
// Nobody hears the request: it holds the token that owns the certificate. A
// will, a rule and a signer of HTTP have no connection that an answer could
// reach.
func (h *house) acceptProvisioning(m iot.Message, done func(error)) {
	if m.Origin.ClientID == "" || m.Origin.Will {
		done(iot.Errorf(iot.InvalidRequest, "topic %q: provisioning answers to connected MQTT clients only", m.Topic))
		return
	}
	h.provision.HandleTopic(m, done)
}

// afterBoth calls done in its second call, with the first error.
func afterBoth(done func(error)) func(error) {
	var first atomic.Pointer[error]
	return func(err error) {
		if !first.CompareAndSwap(nil, &err) {
			done(cmp.Or(*first.Load(), err))
		}
	}
}

// deliver hands m to the local subscribers, to the rules, and a command to its
// output. It never blocks. done comes at once, or after the commit when a
// persistent session wants m or it is retained.
func (h *house) deliver(m iot.Message, done func(error)) {
	h.broker.Deliver(m, done)
	h.rules.Handle(m)
	if strings.HasPrefix(m.Topic, "cmd/") {
		h.binding.Command(m)
	}
}

// Publish takes a message that a room of the house made. There is nobody to
// withhold an acknowledgement from: a failure is counted and logged.
func (h *house) Publish(m iot.Message) {
	if m.Arrived.IsZero() {
		m.Arrived = h.clock.Now()
	}
	h.Accept(m, func(err error) {
		if err != nil {
			h.lost.Inc()
			h.log.Warn("a message of the house was not stored", "topic", m.Topic, "err", err)
		}
	})
}

// PublishHTTP takes a message from the HTTP API and waits until it is accepted.
func (h *house) PublishHTTP(ctx context.Context, m iot.Message) error {
	m.Arrived = h.clock.Now()
	accepted := make(chan error, 1)
	h.Accept(m, func(err error) { accepted <- err })
	select {
	case err := <-accepted:
		return err
	case <-ctx.Done():
		return iot.Errorf(iot.Unavailable, "publish %q: not stored in time", m.Topic)
	}
}

// Forward stores a message of a rule for an upstream, under its topic there.
func (h *house) Forward(ctx context.Context, uplink, priority string, m iot.Message) error {
	return untilStored(ctx, func(done func(error)) error { return h.spool.Forward(uplink, priority, m, done) })
}

// untilStored waits for what store begins.
func untilStored(ctx context.Context, store func(done func(error)) error) error {
	stored := make(chan error, 1)
	if err := store(func(err error) { stored <- err }); err != nil {
		return err
	}
	select {
	case err := <-stored:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// command takes a message from an upstream to its local topic. ack lets the
// upstream forget it; without it the upstream sends it again.
func (h *house) command(m iot.Message, local string, ack func()) {
	if _, err := topic.ParseName(local); err != nil || strings.HasPrefix(local, "$") {
		h.log.Warn("a command leads to no legal topic and is dropped", "topic", local, "err", err)
		ack()
		return
	}
	m.Topic, m.Retain, m.Arrived = local, false, h.clock.Now()
	h.Accept(m, func(err error) {
		if err != nil {
			h.lost.Inc()
			h.log.Warn("a command was not stored; the upstream sends it again", "topic", local, "err", err)
			return
		}
		ack()
	})
}
