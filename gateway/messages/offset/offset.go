// Package offset is the tables of clocks: for each boot, how far the true time is
// ahead of the time since boot, so that what was captured without a trusted
// clock gets its time later; and between which true times each boot began, for
// those that never learned more (telemetry.md section 5).
//
// Every function works inside the transaction of its caller and promises what
// that one does. Limit: the newest bootsMax boots are kept in each.
package offset

import (
	"time"

	"github.com/tidehold/tidehold/gateway/store"
)

const bootsMax = 1000

// Put notes a boot's offset at a true time. Boots before it that never learned
// theirs had ended when this one began.
func Put(tx *store.Tx, boot string, offset time.Duration, at time.Time) error {
	_, err := tx.Exec(`INSERT INTO clock(boot, offset_ms, at_ms) VALUES(?, ?, ?)
		ON CONFLICT(boot) DO UPDATE SET offset_ms=excluded.offset_ms, at_ms=excluded.at_ms`,
		boot, offset.Milliseconds(), at.UnixMilli())
	if err == nil {
		_, err = tx.Exec("DELETE FROM clock WHERE boot NOT IN (SELECT boot FROM clock ORDER BY at_ms DESC LIMIT ?)", bootsMax)
	}
	if err == nil {
		_, err = tx.Exec("UPDATE boot SET ceil_ms=? WHERE ceil_ms=0 AND boot<>?", offset.Milliseconds(), boot)
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

// Begin notes that a boot began, after every true time that was noted before.
// Repeated calls change nothing.
func Begin(tx *store.Tx, boot string) error {
	_, err := tx.Exec(`INSERT OR IGNORE INTO boot(boot, floor_ms)
		SELECT ?, max(coalesce((SELECT max(at_ms) FROM clock), 0), coalesce((SELECT max(floor_ms) FROM boot), 0))`, boot)
	if err == nil {
		_, err = tx.Exec("DELETE FROM boot WHERE boot NOT IN (SELECT boot FROM boot ORDER BY floor_ms DESC, boot=? DESC LIMIT ?)", boot, bootsMax)
	}
	return err
}

// Span is between which true times a boot began; a zero end is not known.
type Span struct{ Floor, Ceil time.Time }

// Spans gives them by boot.
func Spans(tx *store.Tx) (map[string]Span, error) {
	all := make(map[string]Span)
	err := tx.Query("SELECT boot, floor_ms, ceil_ms FROM boot", nil, func(scan store.Scan) error {
		var boot string
		var floor, ceil int64
		err := scan(&boot, &floor, &ceil)
		all[boot] = Span{timeOf(floor), timeOf(ceil)}
		return err
	})
	return all, err
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
