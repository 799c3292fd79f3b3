package store

import "context"

// Read calls fn with a read-only snapshot: everything committed before Read
// was called, nothing later. It waits for a free reader (Options.Readers) and
// returns fn's error as it is. The end of ctx interrupts a running query.
func (db *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	c, err := db.reader(ctx)
	if err != nil {
		return db.wrap("read", err)
	}
	broken := true // until the transaction has ended well: fn may panic
	defer func() {
		if broken {
			c.close()
			c = nil
		}
		db.readers <- c
	}()
	if err := c.exec("BEGIN"); err != nil {
		return db.wrap("read", err)
	}
	tx := &Tx{c: c, ctx: ctx}
	err = fn(tx)
	broken = c.exec("ROLLBACK") != nil || tx.failed != nil
	return err
}

// reader takes a free reader and opens it when it is its first time.
func (db *DB) reader(ctx context.Context) (*conn, error) {
	db.mu.RLock()
	closed := db.closed
	db.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	var c *conn
	select {
	case c = <-db.readers:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-db.ended:
		return nil, ErrClosed
	}
	if c != nil {
		return c, nil
	}
	c, err := openConn(ctx, db.o, true)
	if err != nil {
		db.readers <- nil
		return nil, err
	}
	return c, nil
}
