package dispute

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
)

func open(t *testing.T, path string) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), store.Options{Path: path, Schemas: []store.Schema{Schema()}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestJournal_KeepsTheNewestConflictsOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	j := New(db, 3, metrics.New(), slog.New(slog.DiscardHandler))
	at := time.UnixMilli(1_700_000_000_123).UTC()
	for n := range 5 {
		j.Add(Entry{At: at, Uplink: "cloud", Thing: "pump", Path: "/desired/on", Local: fmt.Sprint(n), Upstream: "9", Winner: "cloudWins", Writer: "app"})
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	defer db.Close()
	j = New(db, 3, metrics.New(), slog.New(slog.DiscardHandler))
	all, err := j.List(context.Background(), "pump", 10)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d entries, %v; want the newest 3", len(all), err)
	}
	want := Entry{ID: 5, At: at, Uplink: "cloud", Thing: "pump", Path: "/desired/on", Local: "4", Upstream: "9", Winner: "cloudWins", Writer: "app"}
	if all[0] != want {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
	if other, err := j.List(context.Background(), "fan", 10); err != nil || len(other) != 0 {
		t.Errorf("another thing has %d entries, %v", len(other), err)
	}
}
