package doc_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest/shadowvector"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
)

// paper answers requests with the pure functions alone: no store, no lanes, no
// limit of requests in flight.
type paper struct {
	mu   sync.Mutex
	docs map[iot.ShadowKey]*doc.Shadow
	subs topic.Trie[*reader]
}

type reader struct {
	p    *paper
	will *shadowvector.Will
	hear func(shadowvector.Message)
}

func (p *paper) Connect(_ string, will *shadowvector.Will, hear func(shadowvector.Message)) (shadowvector.Client, error) {
	return &reader{p, will, hear}, nil
}

func (p *paper) say(name string, payload []byte) {
	heard := map[*reader]bool{}
	p.subs.Each(topic.Name(name), func(r *reader) { heard[r] = true })
	for r := range heard {
		r.hear(shadowvector.Message{Topic: name, Payload: payload})
	}
}

func (p *paper) answer(key iot.ShadowKey, op topic.Op, payload []byte) {
	say := func(op topic.Op, name string, body []byte) { p.say(topic.ShadowAnswerTo(key, op, name), body) }
	token, now := doc.ParseToken(payload), time.Now()
	var body []byte
	var err error
	switch op {
	case topic.Get:
		body, err = doc.Get(p.docs[key], key, token, now)
	case topic.Delete:
		var tombstone *doc.Shadow
		if tombstone, body, err = doc.Delete(p.docs[key], key, token, now); err == nil {
			p.docs[key] = tombstone
		}
	default:
		request, wrong := doc.ParseRequest(payload, doc.DefaultLimits())
		token = request.Token
		var made doc.Result
		if err = wrong; err == nil {
			made, err = doc.Apply(p.docs[key], request, doc.DefaultLimits(), now)
		}
		if err == nil {
			p.docs[key] = made.Next
			say(op, topic.Accepted, made.Accepted)
			if made.Delta != nil {
				say(op, topic.Delta, made.Delta)
			}
			say(op, topic.Documents, made.Documents)
			return
		}
	}
	if err != nil {
		say(op, topic.Rejected, doc.Rejected(err, token))
		return
	}
	say(op, topic.Accepted, body)
}

func (r *reader) Publish(name string, payload []byte, _ byte, _ bool) error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.say(name, payload)
	if request, is := topic.ParseReserved(name); is && request.Kind == topic.ShadowRequest {
		r.p.answer(request.Key, request.Op, payload)
	}
	return nil
}

func (r *reader) Subscribe(filter string, _ byte) error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.subs.Add(topic.Filter(filter), r)
	return nil
}

func (r *reader) Disconnect(clean bool) error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.will != nil && !clean {
		r.p.say(r.will.Topic, r.will.Payload)
	}
	return nil
}

// The same vectors that the service, both versions of MQTT and HTTP pass.
func TestDocument_PassesTheConformanceVectors(t *testing.T) {
	p := &paper{docs: make(map[iot.ShadowKey]*doc.Shadow)}
	shadowvector.Play(t, os.DirFS(filepath.Join("..", "testdata")), p, "presence.json")
}
