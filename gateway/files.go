package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/presence"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/rules"
	"github.com/tidehold/tidehold/gateway/session"
	"github.com/tidehold/tidehold/gateway/shadow"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/shadowsync/dispute"
)

// files are the SQLite files of the gateway (contract section 6).
type files struct {
	state, messages, tables *store.DB
	// dir is where they lie.
	dir string
	// volatile says why the files lie in memory; nil when they are where they
	// should be.
	volatile error
	// salvaged is set when the message log was damaged and had to be salvaged.
	salvaged bool
	// scratch is the folder of volatile files, removed at the end.
	scratch string
}

// openFiles opens the three files in the storage directory. Where that cannot
// be written the gateway runs in memory: it serves what it can, acknowledges
// nothing that must last, and says so in its health.
func (g *Gateway) openFiles(ctx context.Context) (*files, error) {
	dir := g.cfg.Storage.Dir
	f, err := g.openIn(ctx, dir)
	if err == nil {
		g.metrics.Health.Set("storage", metrics.OK, nil, g.env.Clock.Now())
		return f, nil
	}
	err = fmt.Errorf("storage: %s cannot be used: %w; running in memory only, nothing survives a restart: make the folder writable and restart", dir, err)
	g.log.Error("storage failed", "err", err)
	g.metrics.Health.Set("storage", metrics.Degraded, err, g.env.Clock.Now())
	scratch, scratchErr := os.MkdirTemp(memoryFolder(), "tidehold-")
	if scratchErr != nil {
		return nil, errors.Join(err, scratchErr)
	}
	if f, scratchErr = g.openIn(ctx, scratch); scratchErr != nil {
		return nil, errors.Join(err, scratchErr, os.RemoveAll(scratch))
	}
	f.volatile, f.scratch = err, scratch
	return f, nil
}

// memoryFolder is a folder in memory where there is one.
func memoryFolder() string {
	for _, dir := range []string{os.Getenv("RUNTIME_DIRECTORY"), "/dev/shm"} {
		if facts, err := os.Stat(dir); dir != "" && err == nil && facts.IsDir() {
			return dir
		}
	}
	return os.TempDir()
}

// openIn opens the files in one folder. A damaged message log is set aside and
// salvaged (package messages): it never takes the state with it.
func (g *Gateway) openIn(ctx context.Context, dir string) (*files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &files{dir: dir}
	var err error
	if f.state, err = g.open(ctx, dir, "state.db", shadow.Schema(), registry.Schema(), rules.Schema(), memorySchema(), session.StateSchema(), dispute.Schema(), presence.Schema()); err != nil {
		return nil, err
	}
	var opened messages.Opened
	o := g.options(dir, "messages.db", session.MessagesSchema())
	o.CheckpointPages = g.messagesConfig().CheckpointPages()
	if f.messages, opened, err = messages.Open(ctx, o); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.salvaged = opened.SetAside != ""; f.salvaged {
		g.log.Error("the message log was damaged and has been salvaged", "aside", opened.SetAside, "blocks", opened.Blocks, "messages", opened.Records)
	}
	if f.tables, err = g.open(ctx, dir, "tables.db"); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (g *Gateway) open(ctx context.Context, dir, name string, schemas ...store.Schema) (*store.DB, error) {
	return store.Open(ctx, g.options(dir, name, schemas...))
}

func (g *Gateway) options(dir, name string, schemas ...store.Schema) store.Options {
	durability := store.Full
	if g.cfg.Storage.Durability == config.DurabilityNormal {
		durability = store.Normal
	}
	return store.Options{
		Path: filepath.Join(dir, name), Durability: durability, Schemas: schemas,
		Metrics: g.metrics, Log: g.log, Clock: g.env.Clock,
	}
}

// close finishes what is queued and closes the files.
func (f *files) close() error {
	var all []error
	for _, db := range []*store.DB{f.tables, f.messages, f.state} {
		if db != nil {
			all = append(all, db.Close())
		}
	}
	if f.scratch != "" {
		all = append(all, os.RemoveAll(f.scratch))
	}
	return errors.Join(all...)
}
