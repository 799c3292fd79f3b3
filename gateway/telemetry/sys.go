package telemetry

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tidehold/tidehold/gateway/messages"
)

// The gateway's own records on their way up (telemetry.md section 4): topic
// gw/{gateway}/sys/{what}, native form, class 0.
const (
	sysStart  = "start"
	sysMark   = "mark"
	sysLoss   = "loss"
	sysNotice = "notice"
)

const markEvery = 10 * time.Minute

// startRecord says where numbers begin, and which ones a crash left unused.
type startRecord struct {
	Inc         string `json:"inc"`
	FirstSeq    uint64 `json:"first_seq"`
	SkippedFrom uint64 `json:"skipped_from,omitempty"`
	SkippedTo   uint64 `json:"skipped_to,omitempty"`
}

// markRecord says that every number up to Upto that was meant for this uplink,
// N of them, was delivered or is in a record already sent.
type markRecord struct {
	Inc  string `json:"inc"`
	Upto uint64 `json:"upto"`
	N    uint64 `json:"n"`
}

// lossRecord says that Count of the numbers From..To will not come.
type lossRecord struct {
	Reason string `json:"reason"`
	Class  int    `json:"cls"`
	Inc    string `json:"inc"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Count  uint64 `json:"count"`
	// Folded messages more are lost: aggregates stood for them.
	Folded uint64 `json:"folded,omitempty"`
	Bytes  int64  `json:"bytes"`
}

// sys makes one of our own records.
func (s *Spool) sys(what string, body any, to []string) messages.Record {
	payload, _ := json.Marshal(body) // our own structs always have a form
	return messages.Record{Topic: "sys/" + what, Payload: payload, QoS: 1, Source: "sys/" + what, Class: messages.Critical,
		Boot: s.clk.Boot(), Up: s.clk.Up(), Wall: s.clk.Now(), Synced: s.synced.Load(), To: to}
}

// enabledNames are the uplinks that get what is stored now.
func (s *Spool) enabledNames() (to []string) {
	for _, u := range s.uplinks {
		if u.Enabled {
			to = append(to, u.Name)
		}
	}
	return to
}

// sayToAll stages one of our own records for every uplink.
func (s *Spool) sayToAll(what string, body any) {
	to := s.enabledNames()
	if len(to) == 0 {
		return
	}
	s.log.Append(messages.Batch{Records: []messages.Record{s.sys(what, body, to)}, Urgent: true}, func(err error) {
		if err != nil {
			s.slog.Warn("own record not stored", "name", what, "err", err)
		}
	})
}

// sayStart stages the start record for every uplink, one per skipped range.
func (s *Spool) sayStart() {
	to := s.enabledNames()
	if len(to) == 0 {
		return
	}
	began := s.log.Started()
	skips := began.Skips
	if len(skips) == 0 {
		skips = []messages.Range{{}}
	}
	var recs []messages.Record
	for _, skip := range skips {
		recs = append(recs, s.sys(sysStart, startRecord{began.Inc, began.FirstSeq, skip.From, skip.To}, to))
	}
	s.log.Append(messages.Batch{Records: recs, Urgent: true, StartSent: true}, func(err error) {
		if err != nil {
			s.slog.Warn("start record not stored", "err", err)
		}
	})
}

// announce stages what an uplink must be told: its losses, and, when everything
// has been delivered, a mark. It is called while the uplink is connected, so
// that these records never fill the spool.
func (s *Spool) announce(ctx context.Context, u *uplink, k *messages.Cursor) {
	u.mu.Lock()
	busy := u.announcing
	u.announcing = true
	u.mu.Unlock()
	if busy {
		return
	}
	at := k.Standing() // before the losses: a mark must not come before one of them
	losses, err := s.log.Losses(ctx, u.Name, true)
	switch {
	case err != nil:
		s.slog.Warn("losses not read", "err", err)
	case len(losses) > 0:
		s.sayLosses(u, losses)
		return
	default:
		if s.sayMark(u, at) {
			return
		}
	}
	u.announced(nil)
}

func (u *uplink) announced(error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.announcing = false
}

func (s *Spool) sayLosses(u *uplink, losses []messages.Loss) {
	var recs []messages.Record
	for _, x := range losses {
		recs = append(recs, s.sys(sysLoss, lossRecord{x.Reason, x.Class, x.Inc, x.From, x.To, x.Count, x.Folded, x.Bytes}, []string{u.Name}))
	}
	s.log.Append(messages.Batch{Records: recs, Urgent: true, LossSent: losses}, u.announced)
}

// sayMark stages a mark when one is due, nothing is pending, and something came
// since the last one.
func (s *Spool) sayMark(u *uplink, at messages.Standing) bool {
	u.mu.Lock()
	due := u.markDue || time.Since(u.lastMark) >= markEvery
	if !due || at.Pending > 0 || at.Unnoted || at.LastSeq == u.markedSeq {
		u.mu.Unlock()
		return false
	}
	u.markDue, u.lastMark, u.markedSeq = false, time.Now(), at.LastSeq+1
	u.mu.Unlock()
	body := markRecord{s.log.Started().Inc, at.LastSeq, at.Allocated - at.Skipped - at.Inherited}
	s.log.Append(messages.Batch{Records: []messages.Record{s.sys(sysMark, body, []string{u.Name})}, Urgent: true}, u.announced)
	return true
}
