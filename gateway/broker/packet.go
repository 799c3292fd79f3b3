package broker

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
	codeSuccess         = 0x00
	codeNoSubscription  = 0x11
	codeUnspecified     = 0x80
	codeMalformed       = 0x81
	codeProtocol        = 0x82
	codeVersion         = 0x84
	codeClientID        = 0x85
	codeCredentials     = 0x86
	codeNotAuthorized   = 0x87
	codeUnavailable     = 0x88
	codeShuttingDown    = 0x8b
	codeAuthMethod      = 0x8c
	codeKeepAlive       = 0x8d
	codeTakenOver       = 0x8e
	codeFilterInvalid   = 0x8f
	codeTopicInvalid    = 0x90
	codeIDNotFound      = 0x92
	codeReceiveMaximum  = 0x93
	codeAliasInvalid    = 0x94
	codeTooLarge        = 0x95
	codeQuota           = 0x97
	codeAdministrative  = 0x98
	codeQoSNotSupported = 0x9b
	codeConnectionRate  = 0x9f
)

// errDecode is a packet whose inside is not what its type says.
var errDecode = errors.New("malformed packet")

// decode runs a decoder of the codec. The codec indexes without asking in a
// few places (SUBSCRIBE without options, for one), so a panic of it is a
// malformed packet, not our end.
func decode(f func([]byte) error, body []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDecode, p)
		}
	}()
	if err := f(body); err != nil {
		return fmt.Errorf("%w: %w", errDecode, err)
	}
	return nil
}

// published is a PUBLISH taken apart. Topic and payload lie in its body.
type published struct {
	topic   []byte
	payload []byte
	id      uint16
	props   *packets.Properties // nil when there are none
}

// parsePublish reads the body of a PUBLISH (MQTT 5, 3.3).
func parsePublish(body []byte, qos, version byte) (p published, err error) {
	var ok bool
	if p.topic, body, ok = cutText(body); !ok || !validText(p.topic) {
		return p, fmt.Errorf("%w: topic", errDecode)
	}
	if qos > 0 {
		if len(body) < 2 {
			return p, fmt.Errorf("%w: packet id", errDecode)
		}
		if p.id = binary.BigEndian.Uint16(body); p.id == 0 {
			return p, fmt.Errorf("%w: packet id 0", errDecode)
		}
		body = body[2:]
	}
	if version < 5 {
		p.payload = body
		return p, nil
	}
	if len(body) > 0 && body[0] == 0 {
		p.payload = body[1:]
		return p, nil
	}
	p.props = new(packets.Properties)
	n := 0
	err = decode(func(b []byte) (err error) {
		n, err = p.props.Decode(packets.Publish, bytes.NewBuffer(b))
		return err
	}, body)
	if err != nil || n > len(body) {
		return p, fmt.Errorf("%w: properties", errDecode)
	}
	p.payload = body[n:]
	return p, nil
}

func cutText(b []byte) (text, rest []byte, ok bool) {
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

// properties are what of p travels with the message.
func properties(p *packets.Properties) *iot.Properties {
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

// encodeProperties gives the property block of a PUBLISH of MQTT 5.
func encodeProperties(p *iot.Properties, expiry uint32, ids []int) []byte {
	out := packets.Properties{MessageExpiryInterval: expiry, SubscriptionIdentifier: ids}
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

// publishSize is the length of a PUBLISH on the wire.
func publishSize(topic string, qos byte, props, payload []byte) (total, remaining int) {
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

// appendPublish appends a PUBLISH to b.
func appendPublish(b []byte, first byte, remaining int, topic string, id uint16, props, payload []byte) []byte {
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

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. A reason code other
// than success exists in MQTT 5 only.
func appendAck(b []byte, kind byte, id uint16, version, code byte) []byte {
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	if version == 5 && code != codeSuccess {
		return append(b, first, 3, byte(id>>8), byte(id), code)
	}
	return append(b, first, 2, byte(id>>8), byte(id))
}

// parseAck reads PUBACK, PUBREC, PUBREL and PUBCOMP; properties are ignored.
func parseAck(body []byte) (id uint16, code byte, err error) {
	if len(body) < 2 {
		return 0, 0, fmt.Errorf("%w: packet id", errDecode)
	}
	if len(body) > 2 {
		code = body[2]
	}
	return binary.BigEndian.Uint16(body), code, nil
}

// encode runs an encoder of the codec.
func encode(f func(*bytes.Buffer) error) []byte {
	var b bytes.Buffer
	if err := f(&b); err != nil {
		panic(fmt.Sprintf("broker: encode a packet of ours: %v", err)) // only a missing packet id errs
	}
	return b.Bytes()
}
