package session

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

// StateSchema is this room's tables in state.db.
func StateSchema() store.Schema {
	return store.Schema{Room: "sessions", Steps: []string{`
CREATE TABLE retained(
	topic TEXT PRIMARY KEY, meta TEXT NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE TABLE session(
	number INTEGER PRIMARY KEY, record TEXT NOT NULL) STRICT;`}}
}

// MessagesSchema is this room's tables in messages.db: each message once, with
// the sessions it waits for; how far each session is; and the ids of QoS 2
// messages that publishers have not released.
func MessagesSchema() store.Schema {
	return store.Schema{Room: "sessions", Steps: []string{`
CREATE TABLE session_message(
	id INTEGER PRIMARY KEY, meta TEXT NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE TABLE session_progress(
	session INTEGER PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE session_exchange(
	session INTEGER NOT NULL, packet INTEGER NOT NULL, PRIMARY KEY(session, packet)) STRICT, WITHOUT ROWID;`}}
}

const (
	keyRetained byte = iota
	keySession
	keyMessage
	keyExchange
	keyProgress
)

// stateOps is the part of c for state.db.
func stateOps(c keep.Change) (ops []*op) {
	if r := c.Retained; r != nil {
		ops = append(ops, &op{key: key{kind: keyRetained, text: r.Message.Topic}, bytes: len(r.Message.Payload), patient: true,
			write: func(tx *store.Tx) error { return writeRetained(tx, r) }})
	}
	if s := c.Session; s != nil {
		ops = append(ops, &op{key: key{kind: keySession, id: s.Number},
			write: func(tx *store.Tx) error {
				return putRecord(tx, "INSERT OR REPLACE INTO session(number, record) VALUES(?, ?)", s.Number, s)
			}})
	}
	if n := c.Ended; n != 0 {
		ops = append(ops, &op{key: key{kind: keySession, id: n}, write: exec("DELETE FROM session WHERE number=?", n)})
	}
	return ops
}

// logOps is the part of c for messages.db.
func logOps(c keep.Change) (ops []*op) {
	if m := c.Message; m != nil {
		o := &op{key: key{kind: keyMessage, id: m.ID}, bytes: len(m.Message.Payload), patient: true, first: true,
			write: func(tx *store.Tx) error { return writeMessage(tx, m) }}
		ops = append(ops, o)
	}
	if x := c.Opened; x != (keep.Exchange{}) {
		ops = append(ops, &op{key: exchangeKey(x), patient: true, first: true,
			write: exec("INSERT OR REPLACE INTO session_exchange(session, packet) VALUES(?, ?)", x.Session, int(x.PacketID))})
	}
	if x := c.Released; x != (keep.Exchange{}) {
		ops = append(ops, &op{key: exchangeKey(x),
			write: exec("DELETE FROM session_exchange WHERE session=? AND packet=?", x.Session, int(x.PacketID))})
	}
	if m := c.Moved; m != nil {
		ops = append(ops, &op{key: key{kind: keyProgress, id: m.Number()}, write: func(tx *store.Tx) error { return writeProgress(tx, m) }})
	}
	if id := c.Dropped; id != 0 {
		ops = append(ops, &op{key: key{kind: keyMessage, id: id}, erases: true, write: exec("DELETE FROM session_message WHERE id=?", id)})
	}
	if n := c.Ended; n != 0 {
		ops = append(ops,
			&op{key: key{kind: keyProgress, id: n}, write: exec("DELETE FROM session_progress WHERE session=?", n)},
			&op{key: key{kind: keyExchange, id: n, text: "all"}, write: exec("DELETE FROM session_exchange WHERE session=?", n)})
	}
	return ops
}

func exchangeKey(x keep.Exchange) key {
	return key{kind: keyExchange, id: x.Session<<16 | int64(x.PacketID)}
}

func exec(text string, args ...any) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		_, err := tx.Exec(text, args...)
		return err
	}
}

func putRecord(tx *store.Tx, text string, id int64, v any) error {
	record, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Exec(text, id, string(record))
	return err
}

// meta is a message without topic of a retained one, and without payload.
type meta struct {
	Topic   string          `json:"t"`
	QoS     byte            `json:"q,omitempty"`
	Retain  bool            `json:"r,omitempty"`
	Props   *iot.Properties `json:"p,omitempty"`
	Origin  iot.Origin      `json:"o"`
	Arrived int64           `json:"a"` // ms, as all times here
	At      int64           `json:"at"`
	Expires int64           `json:"e,omitempty"`
	Refs    []keep.Ref      `json:"refs,omitempty"`
}

func encode(m *keep.Message) (string, error) {
	x := meta{Topic: m.Message.Topic, QoS: m.Message.QoS, Retain: m.Message.Retain, Props: m.Message.Properties,
		Origin: m.Message.Origin, Arrived: m.Message.Arrived.UnixMilli(), At: m.At.UnixMilli(), Refs: m.Refs}
	x.Origin.Exchange = 0
	if !m.Expires.IsZero() {
		x.Expires = m.Expires.UnixMilli()
	}
	text, err := json.Marshal(x)
	return string(text), err
}

func decode(id int64, text string, payload []byte) (keep.Message, error) {
	var x meta
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		return keep.Message{}, err
	}
	m := keep.Message{ID: id, At: time.UnixMilli(x.At), Refs: x.Refs, Message: iot.Message{
		Topic: x.Topic, Payload: payload, QoS: x.QoS, Retain: x.Retain, Properties: x.Props,
		Origin: x.Origin, Arrived: time.UnixMilli(x.Arrived)}}
	if x.Expires != 0 {
		m.Expires = time.UnixMilli(x.Expires)
	}
	return m, nil
}

func writeMessage(tx *store.Tx, m *keep.Message) error {
	text, err := encode(m)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT OR REPLACE INTO session_message(id, meta, payload) VALUES(?, ?, ?)", m.ID, text, blob(m.Message.Payload))
	return err
}

// blob is never NULL.
func blob(p []byte) []byte {
	if p == nil {
		return []byte{}
	}
	return p
}

func writeRetained(tx *store.Tx, m *keep.Message) error {
	if len(m.Message.Payload) == 0 {
		_, err := tx.Exec("DELETE FROM retained WHERE topic=?", m.Message.Topic)
		return err
	}
	text, err := encode(m)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT OR REPLACE INTO retained(topic, meta, payload) VALUES(?, ?, ?)", m.Message.Topic, text, m.Message.Payload)
	return err
}

// writeProgress asks the session where it is now: acknowledgements since the
// change was staged are in it too. One that ended meanwhile has number 0.
func writeProgress(tx *store.Tx, m keep.Mover) error {
	p := m.Progress()
	if p.Session == 0 || p.Session != m.Number() {
		return nil
	}
	return putRecord(tx, "INSERT OR REPLACE INTO session_progress(session, record) VALUES(?, ?)", p.Session, p)
}

func readState(tx *store.Tx, s *keep.State) error {
	err := tx.Query("SELECT meta, payload FROM retained", nil, func(scan store.Scan) error {
		return scanMessage(scan, false, &s.Retained)
	})
	if err != nil {
		return fmt.Errorf("retained messages: %w", err)
	}
	err = tx.Query("SELECT number, record FROM session ORDER BY number", nil, func(scan store.Scan) error {
		var one keep.Session
		if err := scanRecord(scan, &one.Number, &one); err != nil {
			return err
		}
		s.Sessions = append(s.Sessions, one)
		return nil
	})
	if err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	return nil
}

func scanRecord(scan store.Scan, id *int64, v any) error {
	var text string
	if err := scan(id, &text); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), v)
}

func scanMessage(scan store.Scan, withID bool, to *[]keep.Message) error {
	var id int64
	var text string
	var payload []byte
	columns := []any{&text, &payload}
	if withID {
		columns = append([]any{&id}, columns...)
	}
	if err := scan(columns...); err != nil {
		return err
	}
	m, err := decode(id, text, payload)
	if err != nil {
		return err
	}
	*to = append(*to, m)
	return nil
}

// readLog reads what waits for known sessions and removes what ended ones have
// left: rows that were committed after the end of their session.
func readLog(tx *store.Tx, s *keep.State, known map[int64]bool) error {
	stale := make(map[int64]bool)
	err := tx.Query("SELECT id, meta, payload FROM session_message ORDER BY id", nil, func(scan store.Scan) error {
		return scanMessage(scan, true, &s.Messages)
	})
	if err != nil {
		return fmt.Errorf("messages of sessions: %w", err)
	}
	err = tx.Query("SELECT session, record FROM session_progress", nil, func(scan store.Scan) error {
		var p keep.Progress
		if err := scanRecord(scan, &p.Session, &p); err != nil {
			return err
		}
		stale[p.Session] = stale[p.Session] || !known[p.Session]
		s.Progress = append(s.Progress, p)
		return nil
	})
	if err != nil {
		return fmt.Errorf("progress of sessions: %w", err)
	}
	err = tx.Query("SELECT session, packet FROM session_exchange", nil, func(scan store.Scan) error {
		var x keep.Exchange
		var packet int64
		if err := scan(&x.Session, &packet); err != nil {
			return err
		}
		x.PacketID = uint16(packet)
		stale[x.Session] = stale[x.Session] || !known[x.Session]
		s.Inbound = append(s.Inbound, x)
		return nil
	})
	if err != nil {
		return fmt.Errorf("exchanges of sessions: %w", err)
	}
	for n, gone := range stale {
		if !gone {
			continue
		}
		for _, text := range []string{"DELETE FROM session_progress WHERE session=?", "DELETE FROM session_exchange WHERE session=?"} {
			if _, err := tx.Exec(text, n); err != nil {
				return err
			}
		}
	}
	return nil
}
