package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/iot"
)

// The MQTT 5 reason codes this package speaks of.
const (
	CodeSuccess         = 0x00
	CodeNoSubscription  = 0x11
	CodeUnspecified     = 0x80
	CodeMalformed       = 0x81
	CodeProtocol        = 0x82
	CodeVersion         = 0x84
	CodeClientID        = 0x85
	CodeCredentials     = 0x86
	CodeNotAuthorized   = 0x87
	CodeUnavailable     = 0x88
	CodeShuttingDown    = 0x8b
	CodeAuthMethod      = 0x8c
	CodeKeepAlive       = 0x8d
	CodeTakenOver       = 0x8e
	CodeFilterInvalid   = 0x8f
	CodeTopicInvalid    = 0x90
	CodeIDNotFound      = 0x92
	CodeReceiveMaximum  = 0x93
	CodeAliasInvalid    = 0x94
	CodeTooLarge        = 0x95
	CodeQuota           = 0x97
	CodeAdministrative  = 0x98
	CodeQoSNotSupported = 0x9b
	CodeConnectionRate  = 0x9f
)

// ErrDecode is a packet whose inside is not what its type says.
var ErrDecode = errors.New("malformed packet")

// Decode runs a decoder of the codec. The codec indexes without asking in a
// few places (SUBSCRIBE without options, for one), so a panic of it is a
// malformed packet, not our end.
func Decode(f func([]byte) error, body []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDecode, p)
		}
	}()
	if err := f(body); err != nil {
		return fmt.Errorf("%w: %w", ErrDecode, err)
	}
	return nil
}

// Published is a PUBLISH taken apart. Topic and payload lie in its body.
type Published struct {
	Topic   []byte
	Payload []byte
	ID      uint16
	Props   *packets.Properties // nil when there are none
}

// ParsePublish reads the body of a PUBLISH (MQTT 5, 3.3).
func ParsePublish(body []byte, qos, version byte) (p Published, err error) {
	var ok bool
	if p.Topic, body, ok = CutText(body); !ok || !validText(p.Topic) {
		return p, fmt.Errorf("%w: topic", ErrDecode)
	}
	if qos > 0 {
		if len(body) < 2 {
			return p, fmt.Errorf("%w: packet id", ErrDecode)
		}
		if p.ID = binary.BigEndian.Uint16(body); p.ID == 0 {
			return p, fmt.Errorf("%w: packet id 0", ErrDecode)
		}
		body = body[2:]
	}
	if version < 5 {
		p.Payload = body
		return p, nil
	}
	if len(body) > 0 && body[0] == 0 {
		p.Payload = body[1:]
		return p, nil
	}
	p.Props = new(packets.Properties)
	n := 0
	err = Decode(func(b []byte) (err error) {
		n, err = p.Props.Decode(packets.Publish, bytes.NewBuffer(b))
		return err
	}, body)
	if err != nil || n > len(body) {
		return p, fmt.Errorf("%w: properties", ErrDecode)
	}
	p.Payload = body[n:]
	return p, nil
}

// CutText takes a length-prefixed text off b.
func CutText(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

func validText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// PropertiesOf gives what of p travels with the message.
func PropertiesOf(p *packets.Properties) *iot.Properties {
	if p == nil {
		return nil
	}
	out := &iot.Properties{
		ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData,
		PayloadFormat: p.PayloadFormat, HasPayloadFormat: p.PayloadFormatFlag, MessageExpiry: p.MessageExpiryInterval,
	}
	for _, u := range p.User {
		out.User = append(out.User, iot.UserProperty{Key: u.Key, Value: u.Val})
	}
	return out
}

// EncodeProperties gives the property block of a PUBLISH of MQTT 5; alias 0 is
// none.
func EncodeProperties(p *iot.Properties, expiry uint32, ids []int, alias uint16) []byte {
	if alias > 0 && p == nil && expiry == 0 && len(ids) == 0 {
		return []byte{3, packets.PropTopicAlias, byte(alias >> 8), byte(alias)} // most of the traffic of whoever takes aliases
	}
	out := packets.Properties{MessageExpiryInterval: expiry, SubscriptionIdentifier: ids, TopicAlias: alias, TopicAliasFlag: alias > 0}
	if p != nil {
		out.ContentType, out.ResponseTopic, out.CorrelationData = p.ContentType, p.ResponseTopic, p.CorrelationData
		out.PayloadFormat, out.PayloadFormatFlag = p.PayloadFormat, p.HasPayloadFormat
		for _, u := range p.User {
			out.User = append(out.User, packets.UserProperty{Key: u.Key, Val: u.Value})
		}
	}
	var b bytes.Buffer
	out.Encode(packets.Publish, packets.Mods{AllowResponseInfo: true}, &b, 0)
	return b.Bytes()
}

// PublishSize is the length of a PUBLISH on the wire.
func PublishSize(topic string, qos byte, props, payload []byte) (total, remaining int) {
	remaining = 2 + len(topic) + len(props) + len(payload)
	if qos > 0 {
		remaining += 2
	}
	total = remaining + 2
	for n := remaining; n >= 0x80; n >>= 7 {
		total++
	}
	return total, remaining
}

// AppendPublish appends a PUBLISH to b.
func AppendPublish(b []byte, first byte, remaining int, topic string, id uint16, props, payload []byte) []byte {
	b = append(b, first)
	for ; remaining >= 0x80; remaining >>= 7 {
		b = append(b, byte(remaining)|0x80)
	}
	b = append(b, byte(remaining), byte(len(topic)>>8), byte(len(topic)))
	b = append(b, topic...)
	if first&0x06 != 0 {
		b = append(b, byte(id>>8), byte(id))
	}
	b = append(b, props...)
	return append(b, payload...)
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. A reason code other
// than success exists in MQTT 5 only.
func AppendAck(b []byte, kind byte, id uint16, version, code byte) []byte {
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	if version == 5 && code != CodeSuccess {
		return append(b, first, 3, byte(id>>8), byte(id), code)
	}
	return append(b, first, 2, byte(id>>8), byte(id))
}

// ParseAck reads PUBACK, PUBREC, PUBREL and PUBCOMP; properties are ignored.
func ParseAck(body []byte) (id uint16, code byte, err error) {
	if len(body) < 2 {
		return 0, 0, fmt.Errorf("%w: packet id", ErrDecode)
	}
	if len(body) > 2 {
		code = body[2]
	}
	return binary.BigEndian.Uint16(body), code, nil
}

// Encode runs an encoder of the codec.
func Encode(f func(*bytes.Buffer) error) []byte {
	var b bytes.Buffer
	if err := f(&b); err != nil {
		panic(fmt.Sprintf("broker: encode a packet of ours: %v", err)) // only a missing packet id errs
	}
	return b.Bytes()
}

// EncodeDisconnect gives a DISCONNECT of MQTT 5 with a reason in words, as far
// as m allows it.
func EncodeDisconnect(code byte, reason string, m packets.Mods) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ProtocolVersion: 5, ReasonCode: code, Mods: m}
	pk.Properties.ReasonString = reason
	return Encode(func(b *bytes.Buffer) error { return pk.DisconnectEncode(b) })
}

// Outlives tells which packets hold texts and payloads that outlive their
// reading, for Reader.Next.
func Outlives(first byte) bool {
	switch first >> 4 {
	case packets.Connect, packets.Publish, packets.Subscribe, packets.Unsubscribe:
		return true
	}
	return false
}

// EncodeCodes gives a SUBACK or an UNSUBACK.
func EncodeCodes(kind, version byte, id uint16, codes []byte) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, ProtocolVersion: version, PacketID: id, ReasonCodes: codes}
	if kind == packets.Unsuback {
		return Encode(func(b *bytes.Buffer) error { return pk.UnsubackEncode(b) })
	}
	return Encode(func(b *bytes.Buffer) error { return pk.SubackEncode(b) })
}
