package rules

import (
	"encoding/base64"
	"strconv"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
)

// headerText are the MQTT headers of a republish action as AWS writes them;
// every value is a template.
type headerText struct {
	PayloadFormat   string `json:"payloadFormatIndicator"`
	ContentType     string `json:"contentType"`
	ResponseTopic   string `json:"responseTopic"`
	CorrelationData string `json:"correlationData"`
	MessageExpiry   string `json:"messageExpiry"`
	User            []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	} `json:"userProperties"`
}

// headers are the compiled templates; nil means the header is not given.
type headers struct {
	format, content, response, correlation, expiry *iotsql.Template
	user                                           [][2]*iotsql.Template
}

func (s setup) headers(t *headerText) (h headers, err error) {
	if t == nil {
		return h, nil
	}
	for _, field := range []struct {
		name, text string
		into       **iotsql.Template
	}{
		{"payloadFormatIndicator", t.PayloadFormat, &h.format}, {"contentType", t.ContentType, &h.content},
		{"responseTopic", t.ResponseTopic, &h.response}, {"correlationData", t.CorrelationData, &h.correlation},
		{"messageExpiry", t.MessageExpiry, &h.expiry},
	} {
		if field.text == "" {
			continue
		}
		if *field.into, err = s.template("headers."+field.name, field.text); err != nil {
			return h, err
		}
	}
	for _, property := range t.User {
		key, err := s.template("headers.userProperties.key", property.Key)
		if err != nil {
			return h, err
		}
		value, err := s.template("headers.userProperties.value", property.Value)
		if err != nil {
			return h, err
		}
		h.user = append(h.user, [2]*iotsql.Template{key, value})
	}
	return h, nil
}

// fill gives the MQTT 5 properties for one message; nil when there are none.
func (h headers) fill(in input) (*iot.Properties, error) {
	var p iot.Properties
	var format, correlation, expiry string
	given := false
	for _, field := range []struct {
		name string
		t    *iotsql.Template
		into *string
	}{
		{"payloadFormatIndicator", h.format, &format}, {"contentType", h.content, &p.ContentType},
		{"responseTopic", h.response, &p.ResponseTopic}, {"correlationData", h.correlation, &correlation},
		{"messageExpiry", h.expiry, &expiry},
	} {
		if field.t == nil {
			continue
		}
		text, err := fill("headers."+field.name, field.t, in)
		if err != nil {
			return nil, err
		}
		*field.into, given = text, true
	}
	for _, pair := range h.user {
		key, err := fill("headers.userProperties.key", pair[0], in)
		if err != nil {
			return nil, err
		}
		value, err := fill("headers.userProperties.value", pair[1], in)
		if err != nil {
			return nil, err
		}
		p.User, given = append(p.User, iot.UserProperty{Key: key, Value: value}), true
	}
	if !given {
		return nil, nil
	}
	return &p, finish(&p, format, correlation, expiry)
}

// finish sets the properties whose wire form is not text.
func finish(p *iot.Properties, format, correlation, expiry string) (err error) {
	switch format {
	case "":
	case "UNSPECIFIED_BYTES", "0":
		p.HasPayloadFormat = true
	case "UTF8_DATA", "1":
		p.HasPayloadFormat, p.PayloadFormat = true, 1
	default:
		return iot.Errorf(iot.InvalidRequest, "headers.payloadFormatIndicator %q: want UNSPECIFIED_BYTES or UTF8_DATA", format)
	}
	if correlation != "" {
		if p.CorrelationData, err = base64.StdEncoding.DecodeString(correlation); err != nil {
			return iot.Errorf(iot.InvalidRequest, "headers.correlationData: want base64: %v", err)
		}
	}
	if expiry != "" {
		seconds, err := strconv.ParseUint(expiry, 10, 32)
		if err != nil {
			return iot.Errorf(iot.InvalidRequest, "headers.messageExpiry %q: want seconds", expiry)
		}
		p.MessageExpiry = uint32(seconds)
	}
	return nil
}
