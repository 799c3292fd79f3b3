package table

import (
	"context"
	"encoding/json"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

// createSeries makes the table of a time series: one row per attribute, a
// second write of the same record replaces the first, as with Timestream.
const createSeries = ` (
	time INTEGER NOT NULL, "database" TEXT NOT NULL, dims TEXT NOT NULL, measure TEXT NOT NULL, value,
	PRIMARY KEY ("database", dims, measure, time)) WITHOUT ROWID`

// Dimension is one name and value of a series.
type Dimension struct{ Name, Value string }

// Record is what one message adds to a series: a row per top-level member of
// the result that is not null.
type Record struct {
	Database, Table string
	Dimensions      []Dimension
	// TimeMS is in milliseconds since the Unix epoch.
	TimeMS int64
	Result []byte
}

// Append stores the rows of r, all or none.
func (t *Tables) Append(ctx context.Context, r Record) error {
	columns, values, err := item(r.Result)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		return iot.Errorf(iot.InvalidRequest, "the result has no member to store")
	}
	dims := make(map[string]string, len(r.Dimensions))
	for _, d := range r.Dimensions {
		dims[d.Name] = d.Value
	}
	text, err := json.Marshal(dims) // sorted by name: equal dimensions are equal texts
	if err != nil {
		return err
	}
	return t.db.Write(ctx, "rule series append", func(tx *store.Tx) error {
		if _, err := tx.Exec("CREATE TABLE IF NOT EXISTS " + quoted(r.Table) + createSeries); err != nil {
			return err
		}
		statement := "INSERT OR REPLACE INTO " + quoted(r.Table) + ` (time, "database", dims, measure, value) VALUES (?, ?, ?, ?, ?)`
		for i, measure := range columns {
			if values[i] == nil {
				continue
			}
			if _, err := tx.Exec(statement, r.TimeMS, r.Database, string(text), measure, values[i]); err != nil {
				return err
			}
		}
		return nil
	})
}
