package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// userPropertiesMax bounds the user properties of one message.
const userPropertiesMax = 100

// publish takes a message with the MQTT 5 properties that HTTP can carry
// (http-api.md section 1).
func (s *Server) publish(a api, r *http.Request) (any, error) {
	m := iot.Message{Topic: r.PathValue("topic"), Payload: a.body, Origin: origin(a, r)}
	switch qos := r.URL.Query().Get("qos"); qos {
	case "", "0":
	case "1":
		m.QoS = 1
	default:
		return nil, iot.Errorf(iot.InvalidRequest, "qos %.20q: want 0 or 1", qos)
	}
	var err error
	if m.Retain, err = truth(r, "retain"); err != nil {
		return nil, err
	}
	if m.Retain && a.asked {
		if err := s.services.Keys.Allow(r, a.principal, "iot:RetainPublish", topicOf(r)); err != nil {
			return nil, err
		}
	}
	if m.Properties, err = properties(r); err != nil {
		return nil, err
	}
	if err := s.services.Broker.CheckPublish(m); err != nil {
		return nil, err
	}
	if err := s.services.Publisher.PublishHTTP(r.Context(), m); err != nil {
		return nil, err
	}
	return map[string]string{"message": "OK", "traceId": a.id}, nil
}

// properties reads the MQTT 5 properties, nil when there are none.
func properties(r *http.Request) (*iot.Properties, error) {
	p, err := queryProperties(r.URL.Query())
	if err == nil {
		err = headerProperties(r.Header, &p)
	}
	if err != nil || reflect.ValueOf(p).IsZero() {
		return nil, err
	}
	return &p, nil
}

func queryProperties(query url.Values) (p iot.Properties, err error) {
	p.ContentType, p.ResponseTopic = query.Get("contentType"), query.Get("responseTopic")
	if p.ResponseTopic != "" {
		if _, err := topic.ParseName(p.ResponseTopic); err != nil {
			return p, iot.Errorf(iot.InvalidRequest, "responseTopic: %s", iot.MessageOf(err))
		}
	}
	if text := query.Get("messageExpiry"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return p, iot.Errorf(iot.InvalidRequest, "messageExpiry %.20q: want seconds", text)
		}
		p.MessageExpiry = uint32(seconds)
	}
	return p, nil
}

// headerProperties adds those that travel as headers. Correlation data is
// binary in MQTT, and in base64 here alone.
func headerProperties(h http.Header, p *iot.Properties) (err error) {
	switch format := h.Get("X-Amz-Mqtt5-Payload-Format-Indicator"); format {
	case "":
	case "UNSPECIFIED_BYTES":
		p.HasPayloadFormat = true
	case "UTF8_DATA":
		p.PayloadFormat, p.HasPayloadFormat = 1, true
	default:
		return iot.Errorf(iot.InvalidRequest, "payload format indicator %.40q: want UNSPECIFIED_BYTES or UTF8_DATA", format)
	}
	if data := h.Get("X-Amz-Mqtt5-Correlation-Data"); data != "" {
		if p.CorrelationData, err = base64.StdEncoding.DecodeString(data); err != nil {
			return iot.Errorf(iot.InvalidRequest, "correlation data: want base64: %v", err)
		}
	}
	p.User, err = userProperties(h.Get("X-Amz-Mqtt5-User-Properties"))
	return err
}

// userProperties reads base64 of a JSON array of objects with one pair each:
// order and repetition matter, so it is no single object.
func userProperties(header string) (all []iot.UserProperty, err error) {
	if header == "" {
		return nil, nil
	}
	malformed := iot.Errorf(iot.InvalidRequest, "user properties: want base64 of a JSON array of at most %d objects with one text each", userPropertiesMax)
	text, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		return nil, malformed
	}
	var pairs []map[string]string
	if json.Unmarshal(text, &pairs) != nil || len(pairs) > userPropertiesMax {
		return nil, malformed
	}
	for _, pair := range pairs {
		if len(pair) != 1 {
			return nil, malformed
		}
		for key, value := range pair {
			if strings.ContainsRune(key+value, 0) {
				return nil, malformed
			}
			all = append(all, iot.UserProperty{Key: key, Value: value})
		}
	}
	return all, nil
}

// encodeUserProperties is the inverse of userProperties; none is the empty text.
func encodeUserProperties(p *iot.Properties) string {
	if p == nil || len(p.User) == 0 {
		return ""
	}
	pairs := make([]map[string]string, len(p.User))
	for i, u := range p.User {
		pairs[i] = map[string]string{u.Key: u.Value}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(pairs) != nil {
		return "" // texts alone cannot fail
	}
	return base64.StdEncoding.EncodeToString(bytes.TrimSpace(buf.Bytes()))
}
