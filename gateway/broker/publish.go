package broker

import (
	"fmt"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// aliasMax is the Topic Alias Maximum we announce.
const aliasMax = 16

// checkedTopic is the last topic of a client and what is wrong with it:
// devices publish to the same topic again and again.
type checkedTopic struct {
	name    string
	refusal *iot.Error
	code    byte // of the refusal
}

// publish takes a PUBLISH in; a result ends the connection.
func (c *client) publish(fh packets.FixedHeader, body []byte) *ending {
	p, err := wire.ParsePublish(body, fh.Qos, c.version)
	if err != nil {
		return malformed(err)
	}
	if e := c.name(&p); e != nil {
		return e
	}
	limits := &c.b.cfg.Limits
	switch {
	case limits.MaxPayload > 0 && len(p.Payload) > limits.MaxPayload:
		return &ending{code: wire.CodeTooLarge, event: lifecycle.ClientError,
			text: fmt.Sprintf("payload of %d bytes; the maximum is %d", len(p.Payload), limits.MaxPayload)}
	case fh.Qos > limits.MaxQoS:
		return &ending{code: wire.CodeQoSNotSupported, event: lifecycle.ClientError,
			text: fmt.Sprintf("QoS %d; the maximum is %d", fh.Qos, limits.MaxQoS)}
	}
	if e := c.throttle(len(body)); e != nil {
		return e
	}
	c.tally.Received[fh.Qos]++
	if code, err := c.refusal(fh, p); err != nil {
		return c.deny(fh, p.ID, code, err)
	}
	return c.accept(fh, p)
}

// name resolves the topic of p into c.topic: by alias, by memory, or afresh.
func (c *client) name(p *wire.Published) *ending {
	if p.Props != nil {
		if len(p.Props.SubscriptionIdentifier) > 0 {
			return protocolError("subscription identifier in a PUBLISH of a client")
		}
		if strings.ContainsAny(p.Props.ResponseTopic, "+#") {
			return protocolError("response topic with a wildcard")
		}
		if p.Props.TopicAliasFlag {
			return c.aliased(p)
		}
	}
	if len(p.Topic) == 0 {
		return protocolError("PUBLISH without topic")
	}
	c.check(p.Topic)
	return nil
}

func (c *client) aliased(p *wire.Published) *ending {
	alias := p.Props.TopicAlias
	if alias == 0 || alias > aliasMax {
		return &ending{code: wire.CodeAliasInvalid, event: lifecycle.ClientError,
			text: fmt.Sprintf("topic alias %d; want 1 to %d", alias, aliasMax)}
	}
	if len(p.Topic) == 0 {
		known, ok := c.aliases[alias]
		if !ok {
			return protocolError("unknown topic alias")
		}
		c.check([]byte(known))
		return nil
	}
	c.check(p.Topic)
	if c.aliases == nil {
		c.aliases = make(map[uint16]string)
	}
	c.aliases[alias] = c.topic.name
	return nil
}

// check judges a topic by what does not depend on who publishes: its form, the
// limits, and the reserved tree (shadow.md section 1).
func (c *client) check(name []byte) {
	if string(name) == c.topic.name {
		return
	}
	c.topic = checkedTopic{name: string(name)}
	if _, err := topic.ParseName(c.topic.name); err != nil {
		c.topic.code, c.topic.refusal = wire.CodeTopicInvalid, iot.Errorf(iot.InvalidRequest, "%v", err)
		return
	}
	c.topic.code, c.topic.refusal = c.b.judgeTopic(c.topic.name)
}

func (b *Broker) judgeTopic(name string) (byte, *iot.Error) {
	return wire.JudgeTopic(name, b.cfg.Limits.MaxTopicBytes, b.cfg.Limits.MaxTopicLevels)
}

// refusal tells why this message may not be published, if so.
func (c *client) refusal(fh packets.FixedHeader, p wire.Published) (byte, error) {
	if c.topic.refusal != nil {
		return c.topic.code, c.topic.refusal
	}
	if err := c.b.auth.Publish(&c.public, c.topic.name, fh.Retain); err != nil {
		return denialCode(err), err
	}
	if err := c.b.checkRetained(fh.Retain && c.version == 5, c.topic.name, len(p.Payload), c.public.Principal); err != nil {
		return wire.CodeQuota, err
	}
	return 0, nil
}

// denialCode is the reason code of an Authorizer's error: one that carries no
// code of its own is a denial.
func denialCode(err error) byte {
	if code := iot.CodeOf(err); code != iot.Internal {
		return code.ReasonCode()
	}
	return wire.CodeNotAuthorized
}

// deny answers a refused PUBLISH by the table of security.md 1.6: `aws` closes
// the connection, `lenient` drops the message. A full retained store is no
// offence: MQTT 5 is told so, and the connection stays.
func (c *client) deny(fh packets.FixedHeader, id uint16, code byte, err error) *ending {
	if c.topic.refusal != nil {
		c.b.refused("publish", c, c.topic.name, err)
	} else {
		c.b.denied("publish")
	}
	lenient := c.b.cfg.OnDenied == "lenient" || err == errRetainedFull
	answer := code
	if c.version < 5 {
		answer = wire.CodeSuccess
	}
	if fh.Qos > 0 && (lenient || c.version == 5) {
		q := c.acks.Pending(fh.Qos, id)
		if !c.acks.Join(q) {
			return &ending{event: lifecycle.Lost}
		}
		q.Settle(answer, false)
	}
	if lenient {
		return nil
	}
	return &ending{code: code, event: lifecycle.Auth, text: err.Error()}
}

// accept hands a message that may be published to the house.
func (c *client) accept(fh packets.FixedHeader, p wire.Published) *ending {
	m := iot.Message{
		Topic: c.topic.name, Payload: p.Payload, QoS: fh.Qos, Retain: fh.Retain,
		Properties: wire.PropertiesOf(p.Props), Arrived: c.b.clk.Now(), Origin: c.origin(),
	}
	if fh.Qos == 0 {
		c.b.house.Accept(m, ignore)
		return nil
	}
	q := c.acks.Pending(fh.Qos, p.ID)
	if !c.acks.Join(q) {
		return &ending{event: lifecycle.Lost}
	}
	if fh.Qos == 1 {
		return c.offer(m, q, q.Finish)
	}
	open := c.session.inbound
	if limit := c.b.cfg.Limits.MaxInflight; c.version == 5 && limit > 0 && open.Over(q, limit) {
		return &ending{code: wire.CodeReceiveMaximum, event: lifecycle.ClientError, text: "more QoS 2 messages than our receive maximum"}
	}
	if ex, fresh := open.Begin(q); fresh {
		forget := c.b.bring(&m, c.session, p.ID)
		return c.offer(m, q, func(err error) {
			if inbound.FullIn(err) == nil {
				forget()
			}
			open.Finish(ex, p.ID, err)
		})
	}
	return nil
}

// offer has the house take a message, again and again while it is full. This
// goroutine waits meanwhile, so the publisher finds its socket full; all others
// go on. The limit is that of the house, here there is none.
func (c *client) offer(m iot.Message, q *inbound.Pending, done func(error)) *ending {
	for {
		c.b.house.Accept(m, done)
		full := q.Full()
		if full == nil {
			return nil
		}
		if !c.wait("disk", full.Room(), nil) {
			return &ending{event: lifecycle.Lost}
		}
	}
}

func ignore(error) {}

func (c *client) origin() iot.Origin {
	return iot.Origin{
		ClientID: c.public.ID, Principal: c.public.Principal, SourceIP: c.public.RemoteIP,
		Source: c.source, Protocol: c.version,
	}
}

// throttle holds the reader of PUBLISH and SUBSCRIBE back while the client is over its rate, and gives
// up on one that stays there for 10 s (security.md T10).
func (c *client) throttle(n int) *ending {
	if c.pace.Free() {
		return nil
	}
	wait, over := c.pace.Take(time.Now(), n)
	if over {
		return &ending{code: wire.CodeQuota, event: lifecycle.Throttled, text: "publish rate exceeded for 10 s"}
	}
	if wait > 0 {
		c.b.count.Throttled.Inc()
		if !c.pause(wait) {
			return &ending{event: lifecycle.Lost}
		}
	}
	return nil
}
