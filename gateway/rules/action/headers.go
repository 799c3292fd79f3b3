package action

import (
	"encoding/base64"
	"strconv"

	"github.com/tidehold/tidehold/gateway/iot"
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

// headers are the places of the filled texts.
type headers struct {
	given                                          bool
	format, content, response, correlation, expiry slot
	user                                           [][2]slot
}

func (d *draft) headers(t *headerText) (h headers) {
	if t == nil {
		return h
	}
	h.format = d.optional("headers.payloadFormatIndicator", t.PayloadFormat)
	h.content = d.optional("headers.contentType", t.ContentType)
	h.response = d.optional("headers.responseTopic", t.ResponseTopic)
	h.correlation = d.optional("headers.correlationData", t.CorrelationData)
	h.expiry = d.optional("headers.messageExpiry", t.MessageExpiry)
	for _, property := range t.User {
		h.user = append(h.user, [2]slot{
			d.optional("headers.userProperties.key", property.Key), d.optional("headers.userProperties.value", property.Value),
		})
	}
	h.given = max(h.format, h.content, h.response, h.correlation, h.expiry) >= 0 || len(h.user) > 0
	return h
}

// properties gives the MQTT 5 properties for one message; nil when there are
// none.
func (h headers) properties(texts []string) (*iot.Properties, error) {
	if !h.given {
		return nil, nil
	}
	p := &iot.Properties{ContentType: h.content.of(texts), ResponseTopic: h.response.of(texts)}
	for _, pair := range h.user {
		p.User = append(p.User, iot.UserProperty{Key: pair[0].of(texts), Value: pair[1].of(texts)})
	}
	return p, finish(p, h.format.of(texts), h.correlation.of(texts), h.expiry.of(texts))
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
