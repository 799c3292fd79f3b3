package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	"modernc.org/sqlite"
)

// stmtMax bounds the prepared statements of one connection; at the bound all
// are closed and the cache starts again.
const stmtMax = 256

// conn is one SQLite connection with its prepared statements. Not safe for
// concurrent use.
type conn struct {
	db    *sql.DB
	c     *sql.Conn
	stmts map[string]*sql.Stmt
}

// openConn opens a connection and sets its pragmas (broker-storage.md 3.4).
func openConn(ctx context.Context, o Options, readOnly bool) (*conn, error) {
	connector, err := sqlite.NewConnector("file:" + (&url.URL{Path: o.Path}).EscapedPath())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	c, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, classify(err)
	}
	cn := &conn{db: db, c: c, stmts: make(map[string]*sql.Stmt)}
	for _, p := range pragmas(o, readOnly) {
		if _, err := c.ExecContext(ctx, "PRAGMA "+p); err != nil {
			cn.close()
			return nil, fmt.Errorf("pragma %s: %w", p, classify(err))
		}
	}
	return cn, nil
}

// pragmas in the order in which they must be set: auto_vacuum before the first
// table, the journal mode before what depends on it.
func pragmas(o Options, readOnly bool) []string {
	if readOnly {
		return []string{"busy_timeout=5000", "query_only=1", "temp_store=MEMORY", "cache_size=-1024"}
	}
	sync := "FULL"
	if o.Durability == Normal {
		sync = "NORMAL"
	}
	return []string{
		"busy_timeout=5000",
		fmt.Sprintf("page_size=%d", pageBytes),
		"auto_vacuum=INCREMENTAL",
		"journal_mode=WAL",
		"synchronous=" + sync,
		fmt.Sprintf("wal_autocheckpoint=%d", o.CheckpointPages),
		fmt.Sprintf("journal_size_limit=%d", o.CheckpointPages*pageBytes),
		"cache_size=-4096",
		"temp_store=MEMORY",
		"foreign_keys=ON",
	}
}

// prepare gives the cached statement of a text.
func (c *conn) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if st, ok := c.stmts[text]; ok {
		return st, nil
	}
	if len(c.stmts) >= stmtMax {
		c.forget()
	}
	st, err := c.c.PrepareContext(ctx, text)
	if err != nil {
		return nil, classify(err)
	}
	c.stmts[text] = st
	return st, nil
}

func (c *conn) forget() {
	for text, st := range c.stmts {
		st.Close()
		delete(c.stmts, text)
	}
}

// exec runs a text without arguments and without a result.
func (c *conn) exec(text string) error {
	st, err := c.prepare(context.Background(), text)
	if err != nil {
		return err
	}
	_, err = st.ExecContext(context.Background())
	return classify(err)
}

func (c *conn) close() error {
	c.forget()
	c.c.Close()
	return c.db.Close()
}
