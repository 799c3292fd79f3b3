package shadowsync

import (
	"encoding/json"
	"fmt"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// recordV1 is the version of the stored form.
const recordV1 = 1

// Record is what is kept on disk of one shadow and one uplink.
type Record struct {
	// Upstream is the identity of the far side this record speaks of.
	Upstream string
	// Local and Cloud are the versions at the last sync, 0 when not known.
	Local, Cloud int64
	// Both is set when the document existed on both sides at the last sync.
	Both bool
	// Base has, leaf by leaf, the last value known to be equal on both sides.
	Base doc.Value
	// Adopted has the values that upstream put in place of pushed ones where
	// the local side may not follow (direction up).
	Adopted doc.Value
	// Push is the request whose outcome is not known yet; nil when none.
	Push *Push
}

// Push is a request that was, or was about to be, sent upstream.
type Push struct {
	Token string
	Seq   uint64
	// At is when it was made, in seconds of the local clock.
	At int64
	// Version is the upstream version it asks for, 0 for a new shadow.
	Version int64
	// Delete makes it a delete of what the Old values of Changes show.
	Delete bool
	// Prepares is set when it writes no values, but only makes the document, or
	// the marks, that the next push relies on.
	Prepares bool
	// Marked is set when both sections had our mark before it.
	Marked bool
	// Changes are the places it sets, with the values from before.
	Changes []patch.Change
	// Learn is what changes in Base when it is accepted: only what is equal on
	// both sides then, so that what still has to come down keeps its old base.
	Learn []patch.Change
}

type recordJSON struct {
	V        int             `json:"v"`
	Upstream string          `json:"upstream,omitempty"`
	Local    int64           `json:"local,omitempty"`
	Cloud    int64           `json:"cloud,omitempty"`
	Both     bool            `json:"both,omitempty"`
	Base     json.RawMessage `json:"base,omitempty"`
	Adopted  json.RawMessage `json:"adopted,omitempty"`
	Push     *pushJSON       `json:"push,omitempty"`
}

type pushJSON struct {
	Token    string         `json:"token"`
	Seq      uint64         `json:"seq"`
	At       int64          `json:"at"`
	Version  int64          `json:"version,omitempty"`
	Delete   bool           `json:"delete,omitempty"`
	Prepares bool           `json:"prepares,omitempty"`
	Marked   bool           `json:"marked,omitempty"`
	Changes  []patch.Change `json:"changes,omitempty"`
	Learn    []patch.Change `json:"learn,omitempty"`
}

// Encode gives the stored form of r: JSON, so that a person can read it.
func (r Record) Encode() []byte {
	out := recordJSON{
		V: recordV1, Upstream: r.Upstream, Local: r.Local, Cloud: r.Cloud, Both: r.Both,
		Base: raw(r.Base), Adopted: raw(r.Adopted),
	}
	if r.Push != nil {
		push := pushJSON(*r.Push)
		out.Push = &push
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("shadowsync: encode record: %v", err))
	}
	return text
}

func raw(v doc.Value) json.RawMessage {
	if !v.Exists() {
		return nil
	}
	return v.Append(nil)
}

// Decode reads a stored form; nothing is the zero Record. Damage and forms of
// a newer version are errors: whoever reads goes on with the zero Record,
// which merges both sides without inferring a removal.
func Decode(stored []byte) (Record, error) {
	if len(stored) == 0 {
		return Record{}, nil
	}
	var in recordJSON
	if err := json.Unmarshal(stored, &in); err != nil {
		return Record{}, fmt.Errorf("sync record: %w", err)
	}
	if in.V != recordV1 {
		return Record{}, fmt.Errorf("sync record: form %d is not known; want %d", in.V, recordV1)
	}
	r := Record{Upstream: in.Upstream, Local: in.Local, Cloud: in.Cloud, Both: in.Both}
	var err error
	if r.Base, err = value(in.Base); err != nil {
		return Record{}, err
	}
	if r.Adopted, err = value(in.Adopted); err != nil {
		return Record{}, err
	}
	r.Push = (*Push)(in.Push)
	return r, nil
}

func value(text json.RawMessage) (doc.Value, error) {
	if len(text) == 0 {
		return doc.Value{}, nil
	}
	v, err := doc.ParseValue(text)
	if err != nil {
		return doc.Value{}, fmt.Errorf("sync record: %w", err)
	}
	return v, nil
}
