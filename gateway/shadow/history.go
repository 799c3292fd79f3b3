package shadow

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

// Bounds of the history.
const (
	// changesPerShadow is how many changes of a shadow are remembered; a new
	// one takes the place of the oldest.
	changesPerShadow = 50
	// changesMax is how many are remembered of all shadows together; beyond it
	// the oldest go, looked after at every changesTrimEvery changes.
	changesMax       = 100_000
	changesTrimEvery = 10_000
	// changeBytesMax is the longest request that is kept with its change; of a
	// longer one it is known who and when, not what.
	changeBytesMax = 1024
)

// Who caused a change.
type Who struct {
	// Principal is the certificate id, user, access key id, or `local`.
	Principal string       `json:"principal,omitempty"`
	ClientID  iot.ClientID `json:"clientId,omitempty"`
	SourceIP  string       `json:"ipAddress,omitempty"`
	// Source is the origin's, such as `dev/pump-3` or `rule/heat`.
	Source string `json:"source,omitempty"`
	// Uplink is set when an upstream changed the shadow.
	Uplink string `json:"uplink,omitempty"`
}

// WhoOf words an origin.
func WhoOf(o iot.Origin) Who {
	w := Who{Principal: o.Principal.ID, ClientID: o.ClientID, SourceIP: o.SourceIP, Source: o.Source, Uplink: o.Uplink}
	if w.Principal == "" && o.Principal.Kind == iot.Local {
		w.Principal = "local"
	}
	return w
}

// Past is one change of a shadow as it was committed.
type Past struct {
	Version int64 `json:"version"`
	// Time is when it was committed, in ms.
	Time    int64 `json:"timestamp"`
	Deleted bool  `json:"deleted,omitempty"`
	Who     Who   `json:"changedBy"`
	// State is the state of the request, nil for a deletion and for one longer
	// than changeBytesMax.
	State json.RawMessage `json:"state,omitempty"`
}

// History gives the last changes of a shadow, the newest first; at most
// changesPerShadow. A deletion does not end it.
func (s *Service) History(ctx context.Context, key iot.ShadowKey) (all []Past, err error) {
	err = s.db.Read(ctx, func(tx *store.Tx) (err error) {
		all, err = readChanges(tx, key)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("history of shadow %q: %w", key, err)
	}
	return all, nil
}

// keepChanges stores what the requests of a batch changed, in its transaction.
func (s *Service) keepChanges(tx *store.Tx, key iot.ShadowKey, requests []*request, now time.Time) error {
	n := int64(0)
	for _, r := range requests {
		for _, d := range r.changes {
			p := Past{Version: d.Version, Time: now.UnixMilli(), Deleted: d.Deleted, Who: WhoOf(r.origin)}
			if !d.Deleted {
				p.State = r.update.AppendState(nil)
			}
			if err := writeChange(tx, key, p); err != nil {
				return err
			}
			n++
		}
	}
	if before := s.changes; before/changesTrimEvery == (before+n)/changesTrimEvery {
		s.changes += n
		return nil
	}
	s.changes += n
	return trimChanges(tx)
}

func writeChange(tx *store.Tx, key iot.ShadowKey, p Past) error {
	who, err := json.Marshal(p.Who)
	if err != nil {
		return err
	}
	deleted, state := 0, []byte(p.State)
	if p.Deleted {
		deleted = 1
	}
	if len(state) > changeBytesMax {
		state = nil
	}
	_, err = tx.Exec("INSERT OR REPLACE INTO shadow_change(thing, name, slot, version, at_ms, deleted, who, state) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
		string(key.Thing), string(key.Shadow), p.Version%changesPerShadow, p.Version, p.Time, deleted, string(who), state)
	return err
}

func readChanges(tx *store.Tx, key iot.ShadowKey) (all []Past, err error) {
	err = tx.Query("SELECT version, at_ms, deleted, who, state FROM shadow_change WHERE thing=? AND name=? ORDER BY id DESC",
		[]any{string(key.Thing), string(key.Shadow)}, func(scan store.Scan) error {
			var p Past
			var who string
			var state []byte
			if err := scan(&p.Version, &p.Time, &p.Deleted, &who, &state); err != nil {
				return err
			}
			p.State = state
			all = append(all, p)
			return json.Unmarshal([]byte(who), &all[len(all)-1].Who)
		})
	return all, err
}

// trimChanges drops the oldest beyond changesMax.
func trimChanges(tx *store.Tx) error {
	_, err := tx.Exec("DELETE FROM shadow_change WHERE id <= coalesce((SELECT id FROM shadow_change ORDER BY id DESC LIMIT 1 OFFSET ?), -1)", changesMax)
	return err
}
