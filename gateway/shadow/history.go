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
	// changesMax is how many are remembered of all shadows together; when there
	// are changesSlack more the oldest go.
	changesMax   = 100_000
	changesSlack = 10_000
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
// changesPerShadow. It ends with the tombstone, not with the deletion.
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

// keepChanges stores what the requests of a batch changed, in its transaction
// and after the document.
func (s *Service) keepChanges(tx *store.Tx, key iot.ShadowKey, requests []*request, now time.Time) error {
	for _, r := range requests {
		for _, d := range r.changes {
			p := Past{Version: d.Version, Time: now.UnixMilli(), Deleted: d.Deleted, Who: WhoOf(r.origin)}
			if !d.Deleted {
				p.State = r.update.AppendState(nil)
			}
			grown, err := writeChange(tx, key, p)
			if err != nil {
				return err
			}
			s.changes += grown
		}
	}
	if s.changes <= changesMax+changesSlack {
		return nil
	}
	return s.trimChanges(tx)
}

// writeChange stores p and tells how many rows there are more. An old row is
// changed in place: that touches one page.
func writeChange(tx *store.Tx, key iot.ShadowKey, p Past) (grown int64, err error) {
	deleted, state := 0, []byte(p.State)
	if p.Deleted {
		deleted = 1
	}
	if len(state) > changeBytesMax {
		state = nil
	}
	args := []any{p.Version, p.Time, deleted, p.Who.text(), state, p.Version % changesPerShadow, string(key.Thing), string(key.Shadow)}
	done, err := tx.Exec(`UPDATE shadow_change SET version=?, at_ms=?, deleted=?, who=?, state=?
		WHERE id=?+64*(SELECT id FROM shadow WHERE thing=? AND name=?)`, args...)
	if err != nil || done.RowsAffected > 0 {
		return 0, err
	}
	_, err = tx.Exec(`INSERT INTO shadow_change(version, at_ms, deleted, who, state, id)
		SELECT ?, ?, ?, ?, ?, ?+64*id FROM shadow WHERE thing=? AND name=?`, args...)
	return 1, err
}

func readChanges(tx *store.Tx, key iot.ShadowKey) (all []Past, err error) {
	err = tx.Query(`SELECT c.version, at_ms, c.deleted, who, state FROM shadow s JOIN shadow_change c ON c.id BETWEEN s.id*64 AND s.id*64+63
		WHERE thing=? AND name=? ORDER BY c.version DESC`,
		[]any{string(key.Thing), string(key.Shadow)}, func(scan store.Scan) error {
			var p Past
			var who string
			var state []byte
			err := scan(&p.Version, &p.Time, &p.Deleted, &who, &state)
			if err == nil {
				p.Who, err = parseWho(who)
			}
			p.State = state
			all = append(all, p)
			return err
		})
	return all, err
}

// text is w for the disk: its members in order, without empty ones at the end.
func (w Who) text() string {
	members := []string{w.Principal, string(w.ClientID), w.SourceIP, w.Source, w.Uplink}
	for len(members) > 0 && members[len(members)-1] == "" {
		members = members[:len(members)-1]
	}
	text, _ := json.Marshal(members) // texts alone cannot fail
	return string(text)
}

// parseWho is the inverse of text.
func parseWho(text string) (Who, error) {
	var m [5]string
	err := json.Unmarshal([]byte(text), &m)
	return Who{Principal: m[0], ClientID: iot.ClientID(m[1]), SourceIP: m[2], Source: m[3], Uplink: m[4]}, err
}

// trimChanges counts what is remembered, and drops the oldest beyond changesMax.
func (s *Service) trimChanges(tx *store.Tx) error {
	if _, err := tx.QueryRow("SELECT count(*) FROM shadow_change", nil, &s.changes); err != nil || s.changes <= changesMax {
		return err
	}
	s.changes = changesMax
	_, err := tx.Exec("DELETE FROM shadow_change WHERE id IN (SELECT id FROM shadow_change ORDER BY at_ms DESC LIMIT -1 OFFSET ?)", changesMax)
	return err
}
