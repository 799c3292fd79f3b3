// Package loss is the table of what will not be delivered: ranges of numbers,
// by cursor and reason, until they were told to the far side and for a while
// after.
//
// Every function works inside the transaction of its caller and promises what
// that one does. Losses of one kind that were not announced are one row.
// Limits: the newest rowsMax announced rows and quarantineBytes of poison
// messages are kept.
package loss

import (
	"time"

	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/store"
)

const (
	quarantineBytes = 1 << 20 // of poison messages
	rowsMax         = 1000    // of losses already announced
)

// The reasons of a loss (telemetry.md section 12), and one of ours.
const (
	Evicted    = "evicted"    // the bound of bytes
	Released   = "released"   // every required cursor had it, an optional one not yet
	Quarantine = "quarantine" // the far side cannot take it
	Unreadable = "crc"        // the file was damaged there
	Operator   = "operator"   // somebody dropped it
	Expired    = "expired"    // too old when its turn came
)

// Loss is a range of messages that a cursor will not deliver.
type Loss struct {
	ID       int64
	Cursor   string
	Reason   string
	Class    int
	Inc      string
	From, To uint64
	// Count of the numbers in the range were lost.
	Count uint64
	// Folded messages were lost besides: aggregates among the lost stood for them.
	Folded uint64
	Bytes  int64
	At     time.Time
	Sent   bool
}

// Write puts a loss down.
func Write(tx *store.Tx, x Loss) error {
	if x.Reason != Quarantine {
		res, err := tx.Exec(`UPDATE loss SET from_seq=min(from_seq, ?), to_seq=max(to_seq, ?), count=count+?, folded=folded+?, bytes=bytes+?, at_ms=?
			WHERE cursor=? AND reason=? AND cls=? AND inc=? AND sent=0`,
			int64(x.From), int64(x.To), int64(x.Count), int64(x.Folded), x.Bytes, x.At.UnixMilli(), x.Cursor, x.Reason, x.Class, x.Inc)
		if err != nil || res.RowsAffected > 0 {
			return err
		}
	}
	_, err := tx.Exec(`INSERT INTO loss(cursor, reason, cls, inc, from_seq, to_seq, count, folded, bytes, at_ms, sent)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		x.Cursor, x.Reason, x.Class, x.Inc, int64(x.From), int64(x.To), int64(x.Count), int64(x.Folded), x.Bytes, x.At.UnixMilli())
	return err
}

// Announce marks a loss as announced. What was added to it after x was read
// becomes a loss of its own.
func Announce(tx *store.Tx, x Loss) error {
	var count int64
	found, err := tx.QueryRow("SELECT count FROM loss WHERE id=? AND sent=0", []any{x.ID}, &count)
	if err != nil || !found {
		return err
	}
	_, err = tx.Exec(`INSERT INTO loss(cursor, reason, cls, inc, from_seq, to_seq, count, folded, bytes, at_ms, sent)
		SELECT cursor, reason, cls, inc, from_seq, to_seq, count-?2, max(0, folded-?4), max(0, bytes-?3), at_ms, 0 FROM loss WHERE id=?1 AND count>?2`,
		x.ID, int64(x.Count), x.Bytes, int64(x.Folded))
	if err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE loss SET count=?, folded=?, bytes=?, sent=1 WHERE id=?", int64(x.Count), int64(x.Folded), x.Bytes, x.ID)
	return err
}

// List gives the losses of a cursor, or of all when it is empty, oldest first;
// only those not announced yet when unsent is set.
func List(tx *store.Tx, cursor string, unsent bool) (list []Loss, err error) {
	err = tx.Query(`SELECT id, cursor, reason, cls, inc, from_seq, to_seq, count, folded, bytes, at_ms, sent FROM loss
		WHERE (?1='' OR cursor=?1) AND (NOT ?2 OR sent=0) ORDER BY id`, []any{cursor, unsent}, func(scan store.Scan) error {
		var x Loss
		var at int64
		err := scan(&x.ID, &x.Cursor, &x.Reason, &x.Class, &x.Inc, &x.From, &x.To, &x.Count, &x.Folded, &x.Bytes, &at, &x.Sent)
		x.At = time.UnixMilli(at).UTC()
		list = append(list, x)
		return err
	})
	return list, err
}

// Trim bounds the tables of what is only kept to be looked at.
func Trim(tx *store.Tx, losses, quar int) error {
	if losses > 0 {
		_, err := tx.Exec(`DELETE FROM loss WHERE sent=1 AND id <= (SELECT max(id) FROM loss) - ?`, rowsMax)
		if err != nil {
			return err
		}
	}
	if quar == 0 {
		return nil
	}
	for {
		var total int64
		if _, err := tx.QueryRow("SELECT coalesce(sum(length(body)), 0) FROM quar", nil, &total); err != nil || total <= quarantineBytes {
			return err
		}
		if _, err := tx.Exec("DELETE FROM quar WHERE id = (SELECT min(id) FROM quar)"); err != nil {
			return err
		}
	}
}

// Quarantined is a message that the far side cannot take.
type Quarantined struct {
	ID     int64 // of its row
	Cursor string
	Why    string
	At     time.Time
	Record block.Record
}

// WriteQuarantined puts a poison message down.
func WriteQuarantined(tx *store.Tx, q *Quarantined) error {
	_, err := tx.Exec("INSERT INTO quar(cursor, inc, seq, why, at_ms, body) VALUES(?, ?, ?, ?, ?, ?)",
		q.Cursor, q.Record.Inc, int64(q.Record.Seq), q.Why, time.Now().UnixMilli(), block.AppendRecord(nil, &q.Record, 0))
	return err
}

// ListQuarantined gives the poison messages, oldest first.
func ListQuarantined(tx *store.Tx) (list []Quarantined, err error) {
	err = tx.Query("SELECT id, cursor, inc, why, at_ms, body FROM quar ORDER BY id", nil, func(scan store.Scan) error {
		var q Quarantined
		var inc string
		var at int64
		var body []byte
		if err := scan(&q.ID, &q.Cursor, &inc, &q.Why, &at, &body); err != nil {
			return err
		}
		var err error
		q.Record, _, err = block.DecodeRecord(body)
		q.Record.Inc, q.At = inc, time.UnixMilli(at).UTC()
		list = append(list, q)
		return err
	})
	return list, err
}

// DropQuarantined forgets a poison message; false when there is none with that
// id.
func DropQuarantined(tx *store.Tx, id int64) (bool, error) {
	res, err := tx.Exec("DELETE FROM quar WHERE id=?", id)
	return res.RowsAffected > 0, err
}
