package httpapi

import (
	"encoding/base64"
	"net/http"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// retainedPageMax is the largest page of ListRetainedMessages, and the default.
const retainedPageMax = 200

// retainedMessage is a retained message as AWS shows it; lists show its size
// in place of its payload.
type retainedMessage struct {
	Topic        string `json:"topic"`
	Payload      []byte `json:"payload,omitempty"`
	PayloadSize  int    `json:"payloadSize,omitempty"`
	QoS          byte   `json:"qos"`
	LastModified int64  `json:"lastModifiedTime"` // ms
	User         string `json:"userProperties,omitempty"`
}

func (s *Server) getRetained(_ api, r *http.Request) (any, error) {
	name := r.PathValue("topic")
	if _, err := topic.ParseName(name); err != nil {
		return nil, err
	}
	m, found := s.services.Broker.Retained(name)
	if !found {
		return nil, iot.Errorf(iot.NotFound, "topic %q has no retained message", name)
	}
	return retainedMessage{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, LastModified: m.Arrived.UnixMilli(), User: encodeUserProperties(m.Properties)}, nil
}

// listRetained gives one page in the order of the topics. The token is the last
// topic of the page before, so a page stays right while messages come and go.
func (s *Server) listRetained(_ api, r *http.Request) (any, error) {
	size, err := pageSize(r, "maxResults", retainedPageMax, retainedPageMax)
	if err != nil {
		return nil, err
	}
	after, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("nextToken"))
	if err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "Invalid nextToken")
	}
	page := struct {
		Topics    []retainedMessage `json:"retainedTopics"`
		NextToken string            `json:"nextToken,omitempty"`
	}{Topics: []retainedMessage{}}
	for _, m := range s.services.Broker.RetainedAfter(string(after), size+1) {
		if len(page.Topics) == size {
			page.NextToken = base64.RawURLEncoding.EncodeToString([]byte(page.Topics[size-1].Topic))
			break
		}
		page.Topics = append(page.Topics, retainedMessage{Topic: m.Topic, PayloadSize: len(m.Payload), QoS: m.QoS, LastModified: m.Arrived.UnixMilli()})
	}
	return page, nil
}
