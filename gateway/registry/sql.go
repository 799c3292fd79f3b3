package registry

// The registry's tables; their names appear in this file alone.
const (
	createAccessKeys = `CREATE TABLE access_key (
		id         TEXT PRIMARY KEY,
		secret     TEXT NOT NULL,
		policy     TEXT NOT NULL,
		created_ms INTEGER NOT NULL
	) WITHOUT ROWID`
	countAccessKeys = `SELECT count(*) FROM access_key`
	insertAccessKey = `INSERT INTO access_key (id, secret, policy, created_ms) VALUES (?, ?, ?, ?)`
	selectAccessKey = `SELECT secret, policy FROM access_key WHERE id = ?`
)
