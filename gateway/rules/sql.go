package rules

import (
	"github.com/tidehold/tidehold/gateway/store"
)

// The rooms' tables in state.db; their names appear here alone.
const (
	createTables = `
CREATE TABLE rule(
	name TEXT PRIMARY KEY, document TEXT NOT NULL, created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE rule_role(
	name TEXT PRIMARY KEY, document TEXT NOT NULL, changed_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE rule_state(
	name TEXT PRIMARY KEY, memory BLOB, results BLOB, fired_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT`

	putRule = `INSERT INTO rule(name, document, created_ms, changed_ms) VALUES(?1, ?2, ?3, ?3)
		ON CONFLICT(name) DO UPDATE SET document = excluded.document, changed_ms = excluded.changed_ms`
	deleteRule  = `DELETE FROM rule WHERE name = ?`
	selectRules = `SELECT name, document, created_ms FROM rule ORDER BY name`

	putRole = `INSERT INTO rule_role(name, document, changed_ms) VALUES(?1, ?2, ?3)
		ON CONFLICT(name) DO UPDATE SET document = excluded.document, changed_ms = excluded.changed_ms`
	deleteRole  = `DELETE FROM rule_role WHERE name = ?`
	selectRoles = `SELECT name, document FROM rule_role ORDER BY name`

	putState = `INSERT INTO rule_state(name, memory, results, fired_ms, at_ms) VALUES(?1, ?2, ?3, ?4, ?5)
		ON CONFLICT(name) DO UPDATE SET memory = excluded.memory, results = excluded.results, fired_ms = excluded.fired_ms, at_ms = excluded.at_ms`
	deleteState  = `DELETE FROM rule_state WHERE name = ?`
	selectStates = `SELECT name, memory, results, fired_ms, at_ms FROM rule_state`
)

// Schema is the part of rules in state.db.
func Schema() store.Schema { return store.Schema{Room: "rules", Steps: []string{createTables}} }
