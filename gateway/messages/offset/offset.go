// Package offset is the table of clocks: for each boot, how far the true time is
// ahead of the time since boot, so that what was captured without a trusted
// clock gets its time later (telemetry.md section 5).
//
// Every function works inside the transaction of its caller and promises what
// that one does. Limit: the newest bootsMax boots are kept.
package offset

import (
	"time"

	"github.com/tidehold/tidehold/gateway/store"
)

const bootsMax = 1000

// Put notes a boot's offset at a time.
func Put(tx *store.Tx, boot string, offset time.Duration, at time.Time) error {
	_, err := tx.Exec(`INSERT INTO clock(boot, offset_ms, at_ms) VALUES(?, ?, ?)
		ON CONFLICT(boot) DO UPDATE SET offset_ms=excluded.offset_ms, at_ms=excluded.at_ms`,
		boot, offset.Milliseconds(), at.UnixMilli())
	if err == nil {
		_, err = tx.Exec("DELETE FROM clock WHERE boot NOT IN (SELECT boot FROM clock ORDER BY at_ms DESC LIMIT ?)", bootsMax)
	}
	return err
}

// All gives the offsets by boot.
func All(tx *store.Tx) (map[string]time.Duration, error) {
	all := make(map[string]time.Duration)
	err := tx.Query("SELECT boot, offset_ms FROM clock", nil, func(scan store.Scan) error {
		var boot string
		var ms int64
		err := scan(&boot, &ms)
		all[boot] = time.Duration(ms) * time.Millisecond
		return err
	})
	return all, err
}
