package shadow

import (
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
)

// Schema is this room's tables in state.db.
//
//	shadow         one row for each document or tombstone; body is doc's storage
//	               form, keep_s the time until which a tombstone stays
//	shadow_sync    one opaque record for each uplink and shadow; the record with
//	               an empty thing is the uplink's own
//	shadow_answer  what was answered to tokens that begin with `gw:`
//	shadow_change  the last changes of each shadow; id is 64 times that of
//	               its row, plus the version modulo changesPerShadow, so that a
//	               new change takes an old one's place and those of a shadow lie
//	               together. They go with the shadow's row
func Schema() store.Schema {
	return store.Schema{Room: "shadow", Steps: []string{`
CREATE TABLE shadow(
	id INTEGER PRIMARY KEY,
	thing TEXT NOT NULL, name TEXT NOT NULL,
	version INTEGER NOT NULL, deleted INTEGER NOT NULL,
	changed_s INTEGER NOT NULL, keep_s INTEGER NOT NULL,
	body BLOB NOT NULL,
	UNIQUE(thing, name)) STRICT;
CREATE INDEX shadow_tombstone ON shadow(keep_s) WHERE deleted=1;
CREATE TABLE shadow_sync(
	uplink TEXT NOT NULL, thing TEXT NOT NULL, name TEXT NOT NULL,
	record BLOB NOT NULL,
	PRIMARY KEY(uplink, thing, name)) STRICT;
CREATE INDEX shadow_sync_key ON shadow_sync(thing, name);
CREATE TABLE shadow_answer(
	id INTEGER PRIMARY KEY,
	client TEXT NOT NULL, token TEXT NOT NULL,
	request BLOB NOT NULL, version INTEGER NOT NULL, made_s INTEGER NOT NULL,
	UNIQUE(client, token)) STRICT;`, `
CREATE TABLE shadow_change(
	id INTEGER PRIMARY KEY,
	thing TEXT NOT NULL, name TEXT NOT NULL, slot INTEGER NOT NULL,
	version INTEGER NOT NULL, at_ms INTEGER NOT NULL, deleted INTEGER NOT NULL,
	who TEXT NOT NULL, state BLOB,
	UNIQUE(thing, name, slot)) STRICT;`, `
DROP TABLE shadow_change;
CREATE TABLE shadow_change(
	id INTEGER PRIMARY KEY,
	version INTEGER NOT NULL, at_ms INTEGER NOT NULL, deleted INTEGER NOT NULL,
	who TEXT NOT NULL, state BLOB) STRICT;
CREATE TRIGGER shadow_gone AFTER DELETE ON shadow BEGIN
	DELETE FROM shadow_change WHERE id BETWEEN old.id*64 AND old.id*64+63;
END;`}}
}

func decode(key iot.ShadowKey, body []byte) (*doc.Shadow, error) {
	d, err := doc.Decode(body)
	if err != nil {
		return nil, fmt.Errorf("read shadow %q: %w; restore a backup or delete the shadow", key, err)
	}
	return d, nil
}

// readDoc gives the stored document or tombstone and the length of its storage
// form, nil when there is none.
func readDoc(tx *store.Tx, key iot.ShadowKey) (*doc.Shadow, int, error) {
	var body []byte
	found, err := tx.QueryRow("SELECT body FROM shadow WHERE thing=? AND name=?",
		[]any{string(key.Thing), string(key.Shadow)}, &body)
	if err != nil || !found {
		return nil, 0, err
	}
	d, err := decode(key, body)
	return d, len(body), err
}

// writeDoc stores d; a tombstone is kept for tombstoneAge.
func writeDoc(tx *store.Tx, key iot.ShadowKey, d *doc.Shadow, body []byte) error {
	deleted := 0
	if d.Deleted {
		deleted = 1
	}
	_, err := tx.Exec(`INSERT INTO shadow(thing, name, version, deleted, changed_s, keep_s, body) VALUES(?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(thing, name) DO UPDATE SET version=excluded.version, deleted=excluded.deleted,
		changed_s=excluded.changed_s, keep_s=excluded.keep_s, body=excluded.body`,
		string(key.Thing), string(key.Shadow), d.Version, deleted, d.Time, d.Time+int64(tombstoneAge/time.Second), body)
	return err
}

// forgetDoc removes the row of a shadow and its history.
func forgetDoc(tx *store.Tx, key iot.ShadowKey) error {
	_, err := tx.Exec("DELETE FROM shadow WHERE thing=? AND name=?", string(key.Thing), string(key.Shadow))
	return err
}

// tombstoneExpired reports whether the tombstone of key may be forgotten: its
// time is over and no uplink keeps a record of it (shadow.md section 7).
func tombstoneExpired(tx *store.Tx, key iot.ShadowKey, now time.Time) (bool, error) {
	var one int
	kept, err := tx.QueryRow(`SELECT 1 FROM shadow s WHERE thing=? AND name=? AND (keep_s > ?
		OR EXISTS(SELECT 1 FROM shadow_sync y WHERE y.thing=s.thing AND y.name=s.name))`,
		[]any{string(key.Thing), string(key.Shadow), now.Unix()}, &one)
	return !kept, err
}

func sweepTombstones(tx *store.Tx, now time.Time) error {
	_, err := tx.Exec(`DELETE FROM shadow WHERE deleted=1 AND keep_s <= ?
		AND NOT EXISTS(SELECT 1 FROM shadow_sync y WHERE y.thing=shadow.thing AND y.name=shadow.name)`, now.Unix())
	return err
}

func countDocs(tx *store.Tx) (live int64, err error) {
	_, err = tx.QueryRow("SELECT count(*) FROM shadow WHERE deleted=0", nil, &live)
	return live, err
}

func listNames(tx *store.Tx, thing iot.ThingName, after iot.ShadowName, limit int) (names []iot.ShadowName, err error) {
	err = tx.Query("SELECT name FROM shadow WHERE thing=? AND name>? AND deleted=0 ORDER BY name LIMIT ?",
		[]any{string(thing), string(after), limit}, func(scan store.Scan) error {
			var name string
			err := scan(&name)
			names = append(names, iot.ShadowName(name))
			return err
		})
	return names, err
}

func readKeys(tx *store.Tx, each func(KeyState) error) error {
	return tx.Query("SELECT thing, name, version, deleted, changed_s FROM shadow ORDER BY changed_s DESC, id DESC", nil, func(scan store.Scan) error {
		var thing, name string
		var k KeyState
		var changed int64
		if err := scan(&thing, &name, &k.Version, &k.Deleted, &changed); err != nil {
			return err
		}
		k.Key = iot.ShadowKey{Thing: iot.ThingName(thing), Shadow: iot.ShadowName(name)}
		k.Changed = time.Unix(changed, 0)
		return each(k)
	})
}

func readRecord(tx *store.Tx, uplink string, key iot.ShadowKey) (record []byte, err error) {
	_, err = tx.QueryRow("SELECT record FROM shadow_sync WHERE uplink=? AND thing=? AND name=?",
		[]any{uplink, string(key.Thing), string(key.Shadow)}, &record)
	return record, err
}

func readRecords(tx *store.Tx, uplink string, each func(iot.ShadowKey, []byte) error) error {
	return tx.Query("SELECT thing, name, record FROM shadow_sync WHERE uplink=? AND thing<>'' ORDER BY thing, name",
		[]any{uplink}, func(scan store.Scan) error {
			var thing, name string
			var record []byte
			if err := scan(&thing, &name, &record); err != nil {
				return err
			}
			return each(iot.ShadowKey{Thing: iot.ThingName(thing), Shadow: iot.ShadowName(name)}, record)
		})
}

// writeRecord stores a record; an empty one is removed, and a tombstone that it
// kept stays for tombstoneAge more (shadow-sync.md 2.5).
func writeRecord(tx *store.Tx, uplink string, key iot.ShadowKey, record []byte, now time.Time) error {
	if len(record) > 0 {
		_, err := tx.Exec(`INSERT INTO shadow_sync(uplink, thing, name, record) VALUES(?, ?, ?, ?)
			ON CONFLICT(uplink, thing, name) DO UPDATE SET record=excluded.record`,
			uplink, string(key.Thing), string(key.Shadow), record)
		return err
	}
	_, err := tx.Exec("DELETE FROM shadow_sync WHERE uplink=? AND thing=? AND name=?", uplink, string(key.Thing), string(key.Shadow))
	if err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE shadow SET keep_s=max(keep_s, ?) WHERE thing=? AND name=? AND deleted=1",
		now.Add(tombstoneAge).Unix(), string(key.Thing), string(key.Shadow))
	return err
}

// dropRecords forgets everything of an uplink.
func dropRecords(tx *store.Tx, uplink string, now time.Time) error {
	_, err := tx.Exec(`UPDATE shadow SET keep_s=max(keep_s, ?) WHERE deleted=1
		AND EXISTS(SELECT 1 FROM shadow_sync y WHERE y.uplink=? AND y.thing=shadow.thing AND y.name=shadow.name)`,
		now.Add(tombstoneAge).Unix(), uplink)
	if err != nil {
		return err
	}
	if _, err = tx.Exec("DELETE FROM shadow_sync WHERE uplink=?", uplink); err != nil {
		return err
	}
	_, err = tx.Exec("DELETE FROM shadow_answer WHERE client=?", uplinkClient(uplink))
	return err
}

// recall gives what was answered to that very request of a client, if it is
// still remembered.
func recall(tx *store.Tx, client, token string, request []byte, since time.Time) (made doc.Stamp, found bool, err error) {
	found, err = tx.QueryRow("SELECT version, made_s FROM shadow_answer WHERE client=? AND token=? AND request=? AND made_s>=?",
		[]any{client, token, request, since.Unix()}, &made.Version, &made.Time)
	return made, found, err
}

func remember(tx *store.Tx, client, token string, request []byte, made doc.Stamp) error {
	_, err := tx.Exec("INSERT OR REPLACE INTO shadow_answer(client, token, request, version, made_s) VALUES(?, ?, ?, ?, ?)",
		client, token, request, made.Version, made.Time)
	return err
}

// trimAnswers leaves the last answersPerClient of one client.
func trimAnswers(tx *store.Tx, client string) error {
	_, err := tx.Exec(`DELETE FROM shadow_answer WHERE client=? AND id NOT IN
		(SELECT id FROM shadow_answer WHERE client=? ORDER BY id DESC LIMIT ?)`, client, client, answersPerClient)
	return err
}

// sweepAnswers drops what is too old, and the oldest beyond answersMax.
func sweepAnswers(tx *store.Tx, since time.Time) error {
	_, err := tx.Exec(`DELETE FROM shadow_answer WHERE made_s < ? OR id <=
		coalesce((SELECT id FROM shadow_answer ORDER BY id DESC LIMIT 1 OFFSET ?), -1)`, since.Unix(), answersMax)
	return err
}
