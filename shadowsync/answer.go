package shadowsync

import (
	"fmt"
	"strconv"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Answer is a message of the upstream shadow service, taken apart.
type Answer struct {
	Op topic.Op
	// Kind is topic.Accepted, Rejected or Documents.
	Kind  string
	Token string
	// Version is the document's; of a delete the one that was deleted.
	Version int64
	// Time is the upstream's clock in seconds, 0 when it does not say.
	Time int64
	// Code and Reason are those of a refusal.
	Code   int
	Reason string
	// Doc is the whole document, when the answer has it; Previous is the
	// version before it, 0 when it is a new one, and Before that document.
	Doc      Doc
	Previous int64
	Before   Doc
}

// ParseAnswer reads a message from the topic r. What is no answer that sync
// uses is an error.
func ParseAnswer(r topic.Reserved, payload []byte) (Answer, error) {
	if r.Kind != topic.ShadowAnswer || r.Answer == topic.Delta {
		return Answer{}, fmt.Errorf("sync answer %s: not one that sync uses", r.Key)
	}
	body, err := doc.ParseValue(payload)
	if err != nil || body.Kind() != doc.Object {
		return Answer{}, fmt.Errorf("sync answer %s: %s/%s is no JSON object", r.Key, r.Op, r.Answer)
	}
	a := Answer{Op: r.Op, Kind: r.Answer}
	if token := body.Get("clientToken"); token.Kind() == doc.String {
		a.Token = token.Text()
	}
	a.Time = integer(body.Get("timestamp"))
	a.Version = integer(body.Get("version"))
	switch {
	case a.Kind == topic.Rejected:
		a.Code, a.Reason = int(integer(body.Get("code"))), body.Get("message").Text()
	case a.Kind == topic.Documents:
		current := body.Get("current")
		a.Version = integer(current.Get("version"))
		before := body.Get("previous")
		a.Previous = integer(before.Get("version"))
		a.Before = UpstreamDoc(before.Get("state"), before.Get("metadata"), a.Previous)
		a.Doc = UpstreamDoc(current.Get("state"), current.Get("metadata"), a.Version)
	case a.Op == topic.Get:
		a.Doc = UpstreamDoc(body.Get("state"), body.Get("metadata"), a.Version)
	}
	if a.Kind != topic.Rejected && a.Version <= 0 {
		return Answer{}, fmt.Errorf("sync answer %s: %s/%s has no version", r.Key, r.Op, r.Answer)
	}
	return a, nil
}

// integer is a whole number, 0 for anything else.
func integer(v doc.Value) int64 {
	if v.Kind() != doc.Number {
		return 0
	}
	n, err := strconv.ParseInt(v.Text(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
