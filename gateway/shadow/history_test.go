package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

func TestHistory_SaysWhoChangedWhatAndWhen(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	app := iot.Origin{ClientID: "app", Principal: iot.Principal{Kind: iot.CertificateKind, ID: "cert"}, Source: "dev/app", SourceIP: "10.0.0.7"}
	for _, payload := range []string{`{"state":{"desired":{"n":9007199254740993}},"clientToken":"t"}`, `{"state":{"desired":{"text":"` + strings.Repeat("x", changeBytesMax) + `"}}}`} {
		if _, err := h.Update(context.Background(), classic, []byte(payload), app); err != nil {
			t.Fatal(err)
		}
	}
	h.update(t, iot.ShadowKey{Thing: "known", Shadow: "other"}, `{"state":{}}`)
	if _, err := h.Update(context.Background(), classic, []byte(`{"state":{},"version":7}`), app); err == nil {
		t.Fatal("a stale version was accepted")
	}
	if _, err := h.Delete(context.Background(), classic, iot.Origin{Uplink: "cloud", Source: "sys/sync"}); err != nil {
		t.Fatal(err)
	}
	past, err := h.History(context.Background(), classic)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(past)
	if err != nil {
		t.Fatal(err)
	}
	who := `{"principal":"cert","clientId":"app","ipAddress":"10.0.0.7","source":"dev/app"}`
	want := `[{"version":3,"timestamp":1700000000000,"deleted":true,"changedBy":{"source":"sys/sync","uplink":"cloud"}},` +
		`{"version":2,"timestamp":1700000000000,"changedBy":` + who + `},` +
		`{"version":1,"timestamp":1700000000000,"changedBy":` + who + `,"state":{"desired":{"n":9007199254740993}}}]`
	if string(got) != want {
		t.Errorf("history\n got %s\nwant %s", got, want)
	}
}

func TestHistory_KeepsTheLastFiftyAndEndsWithTheTombstone(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	for i := range changesPerShadow + 20 {
		h.update(t, classic, fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, i))
	}
	if _, err := h.Delete(context.Background(), classic, iot.Origin{}); err != nil {
		t.Fatal(err)
	}
	past, err := h.History(context.Background(), classic)
	if err != nil || len(past) != changesPerShadow {
		t.Fatalf("%d changes, %v; want %d", len(past), err, changesPerShadow)
	}
	for i, p := range past {
		if want := int64(changesPerShadow + 21 - i); p.Version != want || p.Deleted != (i == 0) {
			t.Errorf("change %d is %+v, want version %d", i, p, want)
		}
	}
	h.clk.move(tombstoneAge)
	h.update(t, classic, `{"state":{"reported":{"n":"again"}}}`)
	if past, err := h.History(context.Background(), classic); err != nil || len(past) != 1 || past[0].Version != 1 {
		t.Errorf("after the tombstone: %+v, %v", past, err)
	}
}

// A client id is whatever a client says; it cannot speak for another member.
func TestWho_ReadsAsItWasWritten(t *testing.T) {
	for _, w := range []Who{{}, {Uplink: "cloud"}, {Principal: "p", ClientID: "a\nb\",\"c", Source: "dev/ü"}} {
		if got, err := parseWho(w.text()); err != nil || got != w {
			t.Errorf("%+v became %q and %+v, %v", w, w.text(), got, err)
		}
	}
}

func TestHistory_OfAllShadowsIsBounded(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	err := h.db.Write(context.Background(), "fill", func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO shadow(id, thing, name, version, deleted, changed_s, keep_s, body)
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?) SELECT i, 't'||i, '', 1, 0, 0, 0, x'' FROM n`, changesMax+500)
		if err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO shadow_change(id, version, at_ms, deleted, who) SELECT id*64+1, 1, id, 0, '[]' FROM shadow"); err != nil {
			return err
		}
		return h.trimChanges(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if past, err := h.History(context.Background(), iot.ShadowKey{Thing: "t500"}); err != nil || len(past) != 0 {
		t.Errorf("the oldest is still there: %v, %v", past, err)
	}
	if past, err := h.History(context.Background(), iot.ShadowKey{Thing: "t501"}); err != nil || len(past) != 1 {
		t.Errorf("a younger one is gone: %v, %v", past, err)
	}
}

func TestFollow_ShowsTheShadowThenEveryChangeInOrder(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	h.update(t, classic, `{"state":{"reported":{"n":0}}}`)
	done := errors.New("enough")
	var seen []int64
	err := h.Follow(t.Context(), classic, func(c Change) error {
		seen = append(seen, c.Version)
		switch len(seen) {
		case 1:
			h.update(t, iot.ShadowKey{Thing: "known", Shadow: "other"}, `{"state":{}}`)
			h.update(t, classic, `{"state":{"reported":{"n":1}}}`)
			h.update(t, classic, `{"state":{"reported":{"n":2}}}`)
		case 3:
			return done
		}
		return nil
	})
	if !errors.Is(err, done) || fmt.Sprint(seen) != "[1 2 3]" {
		t.Errorf("saw %v, %v", seen, err)
	}
	if n := len(*h.watchers.Load()); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
}

func TestFollow_EndsWhenItFallsBehind(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	h.update(t, classic, `{"state":{"reported":{"n":0}}}`)
	slow := false
	err := h.Follow(t.Context(), classic, func(Change) error {
		for i := 0; i < followMax+1 && !slow; i++ {
			h.update(t, classic, `{"state":{"reported":{"n":1}}}`)
		}
		slow = true
		return nil
	})
	if !errors.Is(err, ErrBehind) {
		t.Errorf("ended with %v", err)
	}
}

func TestFollow_EndsQuietlyWithItsContext(t *testing.T) {
	h := newHouse(t, Config{}, store.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Follow(ctx, classic, func(Change) error { return nil }); err != nil {
		t.Errorf("ended with %v", err)
	}
}
