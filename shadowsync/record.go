package shadowsync

import (
	"encoding/json"
	"fmt"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
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
	// Changes are the places it sets, with the values from before.
	Changes []Change
	// Learn is what changes in Base when it is accepted: only what is equal on
	// both sides then, so that what still has to come down keeps its old base.
	Learn []Change
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
	Token   string       `json:"token"`
	Seq     uint64       `json:"seq"`
	At      int64        `json:"at"`
	Version int64        `json:"version,omitempty"`
	Delete  bool         `json:"delete,omitempty"`
	Changes []changeJSON `json:"changes,omitempty"`
	Learn   []changeJSON `json:"learn,omitempty"`
}

type changeJSON struct {
	Path []string        `json:"path"`
	New  json.RawMessage `json:"new,omitempty"`
	Old  json.RawMessage `json:"old,omitempty"`
}

// Encode gives the stored form of r: JSON, so that a person can read it.
func (r Record) Encode() []byte {
	out := recordJSON{
		V: recordV1, Upstream: r.Upstream, Local: r.Local, Cloud: r.Cloud, Both: r.Both,
		Base: raw(r.Base), Adopted: raw(r.Adopted),
	}
	if r.Push != nil {
		out.Push = &pushJSON{Token: r.Push.Token, Seq: r.Push.Seq, At: r.Push.At, Version: r.Push.Version, Delete: r.Push.Delete}
		out.Push.Changes, out.Push.Learn = encodeChanges(r.Push.Changes), encodeChanges(r.Push.Learn)
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("shadowsync: encode record: %v", err))
	}
	return text
}

func encodeChanges(changes []Change) []changeJSON {
	out := make([]changeJSON, len(changes))
	for i, c := range changes {
		out[i] = changeJSON{Path: c.Path, New: raw(c.New), Old: raw(c.Old)}
	}
	return out
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
	r.Push, err = in.Push.decode()
	if err != nil {
		return Record{}, err
	}
	return r, nil
}

func (in *pushJSON) decode() (*Push, error) {
	if in == nil {
		return nil, nil
	}
	p := &Push{Token: in.Token, Seq: in.Seq, At: in.At, Version: in.Version, Delete: in.Delete}
	var err error
	if p.Changes, err = decodeChanges(in.Changes); err != nil {
		return nil, err
	}
	p.Learn, err = decodeChanges(in.Learn)
	return p, err
}

func decodeChanges(in []changeJSON) ([]Change, error) {
	var out []Change
	for _, c := range in {
		change := Change{Path: c.Path}
		var err error
		if change.New, err = value(c.New); err != nil {
			return nil, err
		}
		if change.Old, err = value(c.Old); err != nil {
			return nil, err
		}
		if len(c.Path) == 0 || c.Path[0] != desired && c.Path[0] != reported {
			return nil, fmt.Errorf("sync record: change at %q, outside the document", c.Path)
		}
		out = append(out, change)
	}
	return out, nil
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
