package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/telemetry"
	"github.com/tidehold/tidehold/gateway/telemetry/desk"
)

// spoolDesk is the spool as people ask about it: httpapi's Spool.
type spoolDesk struct {
	desk.Desk
	log   *messages.Log
	spool *telemetry.Spool
}

// SpoolLook answers a question about what is stored. Everything is written down
// first, so that the answer is as of now.
func (d spoolDesk) SpoolLook(ctx context.Context, what string, query url.Values) (any, error) {
	if err := d.log.Flush(ctx); err != nil {
		return nil, err
	}
	switch what {
	case "ls", "peek":
		return d.List(ctx, query, what == "peek")
	case "verify":
		return d.Verify(ctx)
	case "losses":
		return d.Losses(ctx)
	case "quarantine":
		return d.Quarantine(ctx)
	}
	return nil, iot.Errorf(iot.NotFound, "spool: nothing is called %q", what)
}

// SpoolExport writes every message that fits a query.
func (d spoolDesk) SpoolExport(ctx context.Context, query url.Values, write func([]byte) error) error {
	if err := d.log.Flush(ctx); err != nil {
		return err
	}
	return d.Export(ctx, query, write)
}

// spoolRequest is what `tidehold spool` sends with its verbs.
type spoolRequest struct {
	Class  *int    `json:"cls"`
	Before string  `json:"before"`
	Uplink string  `json:"uplink"`
	Row    int64   `json:"row"` // of the quarantine
	Rate   float64 `json:"rate"`
}

// SpoolDo changes the spool.
func (d spoolDesk) SpoolDo(ctx context.Context, verb string, request []byte) (any, error) {
	if verb == "import" {
		return d.importLines(ctx, request)
	}
	var want spoolRequest
	if err := json.Unmarshal(request, &want); err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "spool %s: %v", verb, err)
	}
	switch verb {
	case "drop":
		return d.drop(ctx, want)
	case "forget":
		return d.forget(ctx, want.Uplink)
	case "release", "discard":
		return d.poison(ctx, verb == "release", want.Row)
	case "pause":
		return want, d.spool.Pause(want.Uplink)
	case "resume":
		return want, d.spool.Resume(want.Uplink)
	case "rate":
		return want, d.spool.SetRate(want.Uplink, want.Rate)
	}
	return nil, iot.Errorf(iot.NotFound, "spool: no verb %q", verb)
}

// drop loses the blocks of a class that began before a time.
func (d spoolDesk) drop(ctx context.Context, want spoolRequest) (any, error) {
	if want.Class == nil || *want.Class < messages.Critical || *want.Class > messages.Bulk {
		return nil, iot.Errorf(iot.InvalidRequest, "spool drop: want a class of 0, 1 or 2")
	}
	before, err := desk.ParseTime(want.Before, time.Now())
	if err != nil {
		return nil, err
	}
	if before.IsZero() {
		return nil, iot.Errorf(iot.InvalidRequest, "spool drop: say before when; what is older goes")
	}
	lost, err := d.log.Drop(ctx, *want.Class, before)
	return map[string]int{"lost": lost}, err
}

// forget takes away what waits for an uplink that is no longer configured
// (telemetry.md 9.5).
func (d spoolDesk) forget(ctx context.Context, uplink string) (any, error) {
	for _, c := range d.log.Stats(ctx).Cursors {
		if c.Name != uplink {
			continue
		}
		if c.Active {
			return nil, iot.Errorf(iot.Conflict, "spool forget: uplink %q is in the configuration; take it out and restart first", uplink)
		}
		return map[string]any{"uplink": uplink, "messages": c.Pending}, d.log.Forget(ctx, uplink)
	}
	return nil, iot.Errorf(iot.NotFound, "spool forget: nothing is stored for an uplink %q", uplink)
}

// poison sends a quarantined message once more, or forgets it.
func (d spoolDesk) poison(ctx context.Context, release bool, row int64) (any, error) {
	all, err := d.log.Quarantine(ctx)
	if err != nil {
		return nil, err
	}
	for _, q := range all {
		if q.ID != row {
			continue
		}
		id := q.Record.ID(d.Gateway)
		if release {
			_, err = d.log.Release(ctx, q)
		} else {
			_, err = d.log.Discard(ctx, row)
		}
		return map[string]any{"row": row, "id": id}, err
	}
	return nil, iot.Errorf(iot.NotFound, "spool quarantine: no row %d", row)
}

// importLines stores exported messages, all of a request or none.
func (d spoolDesk) importLines(ctx context.Context, request []byte) (any, error) {
	var recs []messages.Record
	for line := range bytes.Lines(request) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		r, err := desk.ParseLine(d.Gateway, line)
		if err != nil {
			return nil, err
		}
		recs = append(recs, r)
	}
	taken, skipped, err := d.spool.Import(ctx, recs)
	return map[string]int{"imported": taken, "skipped": skipped}, err
}
