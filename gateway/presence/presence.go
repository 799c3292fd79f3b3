// Package presence knows of every client whether it is connected and when it
// was last seen, as the lifecycle events tell it (shadow.md section 11).
//
// Order: events of one client are taken in the order of Hear; the end of a
// connection that has been replaced changes nothing. Durability: what changed
// is written every flushEvery and when Run ends, so a crash may lose that much;
// after a restart nobody is connected until an event says so. Limits: clientsMax
// clients, then those who have been away longest are forgotten, forgetAtOnce of them. Blocking: Hear and
// Of never block on the disk.
package presence

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

const (
	// clientsMax is how many clients are remembered.
	clientsMax = 20_000
	// forgetAtOnce is how many places a look for room frees.
	forgetAtOnce = clientsMax / 8
	// flushEvery is how long a change may be in memory alone: a flash card is
	// written once for all that came and went meanwhile.
	flushEvery = time.Minute
	// events is the tree of topics that tell of coming and going.
	events = "$aws/events/presence/"
	// unknown is AWS's word for an end that nobody saw.
	unknown = "UNKNOWN"
)

// State is the connectivity of a client, with the members of AWS's fleet index
// and some of ours.
type State struct {
	Connected bool `json:"connected"`
	// At is when the client connected, or was last seen: ms.
	At int64 `json:"timestamp"`
	// Reason is why it went; empty while it is connected.
	Reason string `json:"disconnectReason,omitempty"`
	// Session is that of the last connection.
	Session string `json:"sessionIdentifier,omitempty"`
	IP      string `json:"ipAddress,omitempty"`
}

// Board is what is known of all clients. Safe for concurrent use.
type Board struct {
	db  *store.DB
	log *slog.Logger

	mu    sync.Mutex
	known map[iot.ClientID]State
	dirty map[iot.ClientID]bool // known, and changed since the last flush
	// stale is set while the store may hold clients that were forgotten.
	stale bool
}

// Schema is this room's table in state.db.
func Schema() store.Schema {
	return store.Schema{Room: "presence", Steps: []string{`
CREATE TABLE presence(
	client TEXT PRIMARY KEY,
	connected INTEGER NOT NULL, at_ms INTEGER NOT NULL,
	reason TEXT NOT NULL, session TEXT NOT NULL, ip TEXT NOT NULL) STRICT, WITHOUT ROWID;`}}
}

// New makes a board over db, which was opened with Schema. It has seen nobody
// before Load.
func New(db *store.DB, m *metrics.Registry, log *slog.Logger) *Board {
	b := &Board{db: db, log: log, known: make(map[iot.ClientID]State), dirty: make(map[iot.ClientID]bool)}
	m.GaugeFunc("presence_clients", "clients whose presence is remembered", func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return float64(len(b.known))
	})
	m.GaugeFunc("presence_clients_max", "limit of presence_clients, then whoever is away longest is forgotten", func() float64 { return clientsMax })
	return b
}

// Load reads who was seen before the restart. Whoever was connected is not any
// more, and nobody saw why.
func (b *Board) Load(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.db.Read(ctx, func(tx *store.Tx) error {
		return tx.Query("SELECT client, connected, at_ms, reason, session, ip FROM presence", nil, func(scan store.Scan) error {
			var id string
			var s State
			if err := scan(&id, &s.Connected, &s.At, &s.Reason, &s.Session, &s.IP); err != nil {
				return err
			}
			if s.Connected {
				s.Connected, s.Reason = false, unknown
			}
			b.known[iot.ClientID(id)] = s
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("load the presence of clients: %w", err)
	}
	return nil
}

// Hear takes a lifecycle event; other messages are ignored.
func (b *Board) Hear(m iot.Message) {
	if !strings.HasPrefix(m.Topic, events) {
		return
	}
	var e struct {
		ClientID                                                  iot.ClientID
		Timestamp                                                 int64
		EventType, SessionIdentifier, IPAddress, DisconnectReason string
	}
	if json.Unmarshal(m.Payload, &e) != nil {
		return // only the broker speaks here; its tests see to the form
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch was := b.known[e.ClientID]; e.EventType {
	case "connected":
		b.set(e.ClientID, State{Connected: true, At: e.Timestamp, Session: e.SessionIdentifier, IP: e.IPAddress})
	case "disconnected":
		if was.Session == e.SessionIdentifier {
			b.set(e.ClientID, State{At: e.Timestamp, Reason: e.DisconnectReason, Session: was.Session, IP: was.IP})
		}
	}
}

// set books a state, with mu held.
func (b *Board) set(id iot.ClientID, s State) {
	if _, known := b.known[id]; !known && len(b.known) >= clientsMax {
		b.forget()
	}
	b.known[id], b.dirty[id] = s, true
}

// forget makes room for many at once, so that clients with ever new names do not
// pay for a look at all others each: it drops those who have been away longest,
// and those connected longest only when nobody is away.
func (b *Board) forget() {
	away := make([]iot.ClientID, 0, len(b.known))
	for id, s := range b.known {
		if !s.Connected {
			away = append(away, id)
		}
	}
	if len(away) == 0 {
		away = slices.AppendSeq(away, maps.Keys(b.known))
	}
	slices.SortFunc(away, func(x, y iot.ClientID) int { return cmp.Compare(b.known[x].At, b.known[y].At) })
	for _, id := range away[:min(forgetAtOnce, len(away))] {
		delete(b.known, id)
		delete(b.dirty, id)
	}
	b.stale = true
}

// Of gives the state of a client; false: it was never seen.
func (b *Board) Of(id iot.ClientID) (State, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, known := b.known[id]
	return s, known
}

// Run writes what changed, every flushEvery and once more when ctx ends. A
// write that fails is logged and tried again with the next.
func (b *Board) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			b.flush(last)
			return nil
		}
	}
}

func (b *Board) flush(ctx context.Context) {
	b.mu.Lock()
	changed := make(map[iot.ClientID]State, len(b.dirty))
	for id := range b.dirty {
		changed[id] = b.known[id]
	}
	var kept map[iot.ClientID]State
	if b.stale {
		kept = maps.Clone(b.known)
	}
	clear(b.dirty)
	b.stale = false
	b.mu.Unlock()
	if len(changed) == 0 && kept == nil {
		return
	}
	err := b.db.Write(ctx, "presence", func(tx *store.Tx) error {
		if err := write(tx, changed); err != nil || kept == nil {
			return err
		}
		return sweep(tx, kept)
	})
	if err == nil {
		return
	}
	b.log.Warn("the presence of clients was not stored; it is tried again in a minute", "err", err)
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range changed {
		if _, known := b.known[id]; known {
			b.dirty[id] = true
		}
	}
	b.stale = b.stale || kept != nil
}

func write(tx *store.Tx, changed map[iot.ClientID]State) error {
	for id, s := range changed {
		connected := 0
		if s.Connected {
			connected = 1
		}
		if _, err := tx.Exec("INSERT OR REPLACE INTO presence(client, connected, at_ms, reason, session, ip) VALUES(?, ?, ?, ?, ?, ?)",
			string(id), connected, s.At, s.Reason, s.Session, s.IP); err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes the rows of clients that are not kept.
func sweep(tx *store.Tx, kept map[iot.ClientID]State) error {
	var gone []string
	err := tx.Query("SELECT client FROM presence", nil, func(scan store.Scan) error {
		var id string
		err := scan(&id)
		if _, keep := kept[iot.ClientID(id)]; !keep {
			gone = append(gone, id)
		}
		return err
	})
	for _, id := range gone {
		if err == nil {
			_, err = tx.Exec("DELETE FROM presence WHERE client=?", id)
		}
	}
	return err
}
