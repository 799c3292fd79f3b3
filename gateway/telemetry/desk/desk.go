// Package desk is the spool as people look into it: what waits, what it says,
// what was lost, whether the file is whole, and a copy to carry away
// (telemetry.md section 13). It reads the message file of a running gateway or
// of a stopped one, and changes nothing.
//
// Every look is in time proportional to the file and holds one block of it in
// memory. Answers are values that are written as JSON. Of a running gateway it
// sees what is written down: flush the log first.
package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/messages/audit"
	"github.com/tidehold/tidehold/gateway/messages/loss"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// The number of messages that List gives.
const (
	listDefault = 100
	listMax     = 10000
)

// Desk looks into one message file.
type Desk struct {
	// Gateway is whose spool it is: the first part of the ids it numbered.
	Gateway string
	DB      *store.DB
}

// Open looks into the file of a stopped gateway.
func Open(ctx context.Context, gateway, path string) (Desk, error) {
	db, err := store.OpenReadOnly(ctx, path)
	if err != nil {
		return Desk{}, fmt.Errorf("spool file: %w", err)
	}
	return Desk{gateway, db}, nil
}

// choice is which messages a question is about.
type choice struct {
	class        int // -1: any
	filter       topic.Filter
	since, until time.Time
	n            int
}

// choose reads cls, topic, since, until and n of a query. Times are RFC 3339,
// or a duration ago. Errors are InvalidRequest.
func choose(q url.Values, now time.Time) (c choice, err error) {
	c = choice{class: -1, n: listDefault}
	if text := q.Get("cls"); text != "" {
		if c.class, err = strconv.Atoi(text); err != nil || c.class < 0 || c.class > messages.Bulk {
			return c, iot.Errorf(iot.InvalidRequest, "cls %q: want 0, 1 or 2", text)
		}
	}
	if text := q.Get("topic"); text != "" {
		if c.filter, err = topic.ParseFilter(text); err != nil {
			return c, err
		}
	}
	if text := q.Get("n"); text != "" {
		if c.n, err = strconv.Atoi(text); err != nil || c.n < 1 || c.n > listMax {
			return c, iot.Errorf(iot.InvalidRequest, "n %q: want 1 to %d", text, listMax)
		}
	}
	if c.since, err = ParseTime(q.Get("since"), now); err == nil {
		c.until, err = ParseTime(q.Get("until"), now)
	}
	return c, err
}

// ParseTime reads a time in RFC 3339, or a duration: so long ago. An empty text
// is no time. Errors are InvalidRequest.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, iot.Errorf(iot.InvalidRequest, "time %q: want 2026-01-02T15:04:05Z, or a duration such as 2h for that long ago", text)
}

func (c choice) fits(r *messages.Record) bool {
	return (c.class < 0 || int(r.Class) == c.class) && (c.filter == "" || topic.Match(c.filter, topic.Name(r.Topic))) &&
		!r.Wall.Before(c.since) && (c.until.IsZero() || r.Wall.Before(c.until))
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// List gives the first n messages that fit a query, class by class, the oldest
// first; with their payload when asked.
func (d Desk) List(ctx context.Context, q url.Values, payload bool) ([]Line, error) {
	c, err := choose(q, time.Now())
	if err != nil {
		return nil, err
	}
	list := []Line{}
	err = audit.Scan(ctx, d.DB, func(r *messages.Record) error {
		if !c.fits(r) {
			return nil
		}
		list = append(list, lineOf(d.Gateway, r, payload))
		if len(list) == c.n {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, err
}

// Export writes every message that fits a query, one JSON document each.
func (d Desk) Export(ctx context.Context, q url.Values, write func([]byte) error) error {
	c, err := choose(q, time.Now())
	if err != nil {
		return err
	}
	return audit.Scan(ctx, d.DB, func(r *messages.Record) error {
		if !c.fits(r) {
			return nil
		}
		text, err := json.Marshal(lineOf(d.Gateway, r, true))
		if err != nil {
			return err
		}
		return write(text)
	})
}

// Report is what Verify found.
type Report struct {
	OK bool `json:"ok"`
	// Blocks and Records were read, Unreadable records have a bad CRC.
	Blocks     int `json:"blocks"`
	Records    int `json:"records"`
	Unreadable int `json:"unreadable"`
	// Pending is, by uplink, what is left when every record is counted.
	Pending map[string]int64 `json:"pending"`
	// Integrity is what SQLite finds wrong.
	Integrity string `json:"integrity,omitempty"`
}

// Verify checks the file as SQLite sees it, then the CRC of every record.
func (d Desk) Verify(ctx context.Context) (Report, error) {
	r := Report{OK: true}
	if err := d.DB.Verify(ctx); err != nil {
		if !errors.Is(err, store.ErrCorrupt) {
			return r, err
		}
		r.OK, r.Integrity = false, err.Error()
	}
	f, err := audit.Verify(ctx, d.DB)
	if errors.Is(err, store.ErrCorrupt) {
		r.OK, r.Integrity = false, err.Error()
		err = nil
	}
	r.Blocks, r.Records, r.Unreadable, r.Pending = f.Blocks, f.Records, f.Unreadable, f.Pending
	r.OK = r.OK && r.Unreadable == 0
	return r, err
}

// Loss is one range of messages that an uplink will not get.
type Loss struct {
	Uplink string    `json:"uplink"`
	Reason string    `json:"reason"`
	Class  int       `json:"cls"`
	Inc    string    `json:"inc"`
	From   uint64    `json:"from"`
	To     uint64    `json:"to"`
	Count  uint64    `json:"count"`
	Bytes  int64     `json:"bytes"`
	At     time.Time `json:"at"`
	// Told is set once the uplink was sent the record of it.
	Told bool `json:"told"`
}

// Losses gives what was lost lately, the oldest first.
func (d Desk) Losses(ctx context.Context) ([]Loss, error) {
	list := []Loss{}
	err := d.DB.Read(ctx, func(tx *store.Tx) error {
		all, err := loss.List(tx, "", false)
		for _, x := range all {
			list = append(list, Loss{x.Cursor, x.Reason, x.Class, x.Inc, x.From, x.To, x.Count, x.Bytes, x.At, x.Sent})
		}
		return err
	})
	return list, err
}

// Poison is a message that an uplink could not take.
type Poison struct {
	Row    int64  `json:"row"`
	Uplink string `json:"uplink"`
	Why    string `json:"why"`
	Line
}

// Quarantine gives the poison messages, the oldest first.
func (d Desk) Quarantine(ctx context.Context) ([]Poison, error) {
	list := []Poison{}
	err := d.DB.Read(ctx, func(tx *store.Tx) error {
		all, err := loss.ListQuarantined(tx)
		for i := range all {
			q := &all[i]
			q.Record.To = []string{q.Cursor}
			list = append(list, Poison{q.ID, q.Cursor, q.Why, lineOf(d.Gateway, &q.Record, true)})
		}
		return err
	})
	return list, err
}
