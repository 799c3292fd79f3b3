package telemetry

import (
	"context"
	"math"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
)

// Import stores messages of another spool for the uplinks that want them here,
// under the ids they have (telemetry.md section 13). It returns after the
// commit; skipped are those that no uplink wants.
func (s *Spool) Import(ctx context.Context, recs []messages.Record) (taken, skipped int, err error) {
	var list []messages.Record
	for _, r := range recs {
		if r.To = s.wantedHere(&r); len(r.To) == 0 {
			skipped++
			continue
		}
		list = append(list, r)
	}
	if len(list) == 0 {
		return 0, skipped, nil
	}
	return len(list), skipped, unavailable(s.log.Adopt(ctx, list))
}

// wantedHere gives the uplinks for a stored record: all for one that chose its
// own topic upstream, and for another gateway's own records.
func (s *Spool) wantedHere(r *messages.Record) (to []string) {
	own := strings.HasPrefix(r.Source, forwarded) || strings.HasPrefix(r.Source, ingested) || strings.HasPrefix(r.Source, "sys/")
	for _, u := range s.uplinks {
		if u.Enabled && (own || u.route(r.Topic) != nil) {
			to = append(to, u.Name)
		}
	}
	return to
}

// Pause holds everything back from an uplink until Resume or restart; a message
// on its way is not called back. An unknown uplink is NotFound.
func (s *Spool) Pause(name string) error {
	return s.operate(name, func(u *uplink) { u.paused = true })
}

// Resume ends a Pause.
func (s *Spool) Resume(name string) error {
	return s.operate(name, func(u *uplink) { u.paused = false })
}

// SetRate replaces an uplink's rate in messages a second until restart; 0 is no
// limit.
func (s *Spool) SetRate(name string, perSecond float64) error {
	if perSecond < 0 || math.IsNaN(perSecond) || math.IsInf(perSecond, 0) {
		return iot.Errorf(iot.InvalidRequest, "rate %g: want messages a second, 0 for no limit", perSecond)
	}
	return s.operate(name, func(u *uplink) { u.rateNow = &perSecond })
}

func (s *Spool) operate(name string, do func(*uplink)) error {
	u := s.uplink(name)
	if u == nil {
		return iot.Errorf(iot.NotFound, "uplink %q does not exist", name)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	do(u)
	return nil
}

func (u *uplink) isPaused() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.paused
}

// rate is what the uplink may do now. The lock is held.
func (u *uplink) rate() float64 {
	if u.rateNow != nil {
		return *u.rateNow
	}
	return u.Rate
}
