package registry

import (
	"crypto/rand"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/registry/accesskey"
	"github.com/tidehold/tidehold/gateway/store"
)

func open(t *testing.T, path string) (*Registry, *store.DB) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path, Schemas: []store.Schema{Schema()}, Metrics: metrics.New(), Clock: clock.NewSystem()})
	if err != nil {
		t.Fatal(err)
	}
	things := []Thing{{Name: "pump"}, {Name: "climate", Type: "bme280"}}
	return New(things, db, clock.NewSystem(), ids.New(rand.Reader)), db
}

func TestAccessKey_SurvivesARestartAndHasAWSsForm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	r, db := open(t, path)
	key, err := r.AccessKeys().Create(t.Context(), "reader")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(key.ID) || len(key.Secret) != 40 {
		t.Errorf("key %q with a secret of %d characters", key.ID, len(key.Secret))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r, db = open(t, path)
	defer db.Close()
	if got, err := r.AccessKeys().Find(t.Context(), key.ID); err != nil || got != key {
		t.Errorf("after a restart: %+v, %v; want %+v", got, err, key)
	}
	if _, err := r.AccessKeys().Find(t.Context(), "AKIANOBODY"); iot.CodeOf(err) != iot.NotFound {
		t.Errorf("unknown key: %v, want NotFound", err)
	}
}

func TestAccessKey_TheLastUseIsToldAndStoredOnceAnHour(t *testing.T) {
	r, db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	key, err := r.AccessKeys().Create(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	last := func() *time.Time {
		t.Helper()
		all, err := r.AccessKeys().List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0].Used
	}
	if last() != nil {
		t.Error("used before it was")
	}
	for _, id := range []string{key.ID, "AKIANOBODY"} {
		if err := r.AccessKeys().Used(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if last() == nil {
		t.Fatal("not told")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.AccessKeys().Used(t.Context(), key.ID); err != nil {
		t.Errorf("a second use within the hour went to the disk: %v", err)
	}
}

func TestAccessKey_TheirNumberIsBounded(t *testing.T) {
	r, db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	for range accesskey.Max {
		if _, err := r.AccessKeys().Create(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.AccessKeys().Create(t.Context(), ""); iot.CodeOf(err) != iot.Conflict {
		t.Errorf("one more: %v, want Conflict", err)
	}
}

func TestThings_AreSortedAndFound(t *testing.T) {
	r, db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	if err := r.Load(t.Context(), Config{}); err != nil {
		t.Fatal(err)
	}
	if all, err := r.ListThings(t.Context(), ThingQuery{Limit: 10}); err != nil || len(all) != 2 || all[0].Name != "climate" {
		t.Errorf("things: %+v, %v", all, err)
	}
	if _, ok := r.Thing("pump"); !ok {
		t.Error("pump is not found")
	}
	if _, ok := r.Thing("ghost"); ok {
		t.Error("ghost is found")
	}
}

func TestAccessKey_IsGoneWhenItIsDeleted(t *testing.T) {
	r, db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	told := 0
	r.Watch(func(c Change) {
		if c.Kind == AccessKeyChange {
			told++
		}
	})
	key, err := r.AccessKeys().Create(t.Context(), "reader")
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.AccessKeys().List(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != key.ID || all[0].Secret != "" || all[0].Policy != "reader" || !all[0].Created.Equal(key.Created) {
		t.Errorf("list: %+v, %v", all, err)
	}
	if err := r.DeleteAccessKey(t.Context(), key.ID); err != nil || told != 1 {
		t.Errorf("delete: %v, told %d times", err, told)
	}
	if err := r.DeleteAccessKey(t.Context(), key.ID); iot.CodeOf(err) != iot.NotFound || told != 1 {
		t.Errorf("delete again: %v, told %d times", err, told)
	}
	if _, err := r.AccessKeys().Find(t.Context(), key.ID); iot.CodeOf(err) != iot.NotFound {
		t.Errorf("find: %v", err)
	}
}
