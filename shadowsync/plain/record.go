package plain

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
)

const (
	recordV1 = 1
	// tokensMax and tokenAge are how many tokens of a shadow are remembered, and
	// how long.
	tokensMax = 1024
	tokenAge  = 24 * time.Hour
	// appsMax is how many apps may have an intent slot for a shadow.
	appsMax = 256
)

// Record is what is kept on disk of one shadow and one uplink.
type Record struct {
	V int `json:"v"`
	// Sent is the document that upstream has.
	Sent Sent `json:"sent,omitzero"`
	// Done are the requests that were executed, the oldest first.
	Done []Done `json:"done,omitempty"`
	// Wants has the token of the last intent of each app.
	Wants map[string]string `json:"wants,omitempty"`
}

// Sent names a document upstream. The zero Sent is none.
type Sent struct {
	Epoch   uint64 `json:"epoch"`
	Version int64  `json:"version"`
}

// Done is a request that was executed. Its answer follows from it and the
// request.
type Done struct {
	Token   string   `json:"token"`
	Op      topic.Op `json:"op"`
	Version int64    `json:"version"`
	Time    int64    `json:"time"`
	Skipped []string `json:"skipped,omitempty"`
}

// Encode gives the stored form of r, nil when there is nothing to keep.
func (r Record) Encode() []byte {
	if r.Sent == (Sent{}) && len(r.Done) == 0 && len(r.Wants) == 0 {
		return []byte{}
	}
	r.V = recordV1
	text, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("plain: encode record: %v", err))
	}
	return text
}

// Decode reads a stored form; nothing is the zero Record.
func Decode(stored []byte) (Record, error) {
	if len(stored) == 0 {
		return Record{}, nil
	}
	var r Record
	if err := json.Unmarshal(stored, &r); err != nil {
		return Record{}, fmt.Errorf("sync record: %w", err)
	}
	if r.V != recordV1 {
		return Record{}, fmt.Errorf("sync record: form %d is not known; want %d", r.V, recordV1)
	}
	return r, nil
}

// find gives what was done under a token.
func (r Record) find(token string, op topic.Op, now time.Time) (Done, bool) {
	for _, d := range r.Done {
		if d.Token == token && d.Op == op && now.Sub(time.Unix(d.Time, 0)) < tokenAge {
			return d, token != ""
		}
	}
	return Done{}, false
}

// with adds what is done, and forgets what is too old. The slices of r are not
// changed.
func (r Record) with(d Done, now time.Time) Record {
	if d.Token == "" {
		return r
	}
	kept := make([]Done, 0, len(r.Done)+1)
	for _, old := range r.Done {
		if now.Sub(time.Unix(old.Time, 0)) < tokenAge && (old.Token != d.Token || old.Op != d.Op) {
			kept = append(kept, old)
		}
	}
	if len(kept) >= tokensMax {
		kept = kept[len(kept)-tokensMax+1:]
	}
	r.Done = append(kept, d)
	return r
}

// wanted takes down the intent of an app; an empty token forgets it.
func (r Record) wanted(app, token string) Record {
	wants := make(map[string]string, len(r.Wants)+1)
	for a, t := range r.Wants {
		wants[a] = t
	}
	delete(wants, app)
	if token != "" && len(wants) < appsMax {
		wants[app] = token
	}
	r.Wants = wants
	return r
}

func (d Done) stamp() doc.Stamp { return doc.Stamp{Version: d.Version, Time: d.Time} }
