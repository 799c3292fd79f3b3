package telemetry

import (
	"math"
	"time"
)

// The notice of a spool that fills (telemetry.md 8.2).
const (
	noticeAt    = 0.8 // of the bound
	noticeAgain = 0.7 // below which the next one may come
	levelEvery  = time.Minute
	levelsMax   = 60 // the rate is that of the last hour
)

// level is how full the spool was at a time since boot.
type level struct {
	up   time.Duration
	used int64
}

// filling tells when the spool will be full. The zero value has seen nothing.
type filling struct {
	levels []level // one a minute, at most levelsMax and the newest
	said   bool
}

// take takes in how full the spool is. It gives the seconds until it is full at
// the rate of the last hour, +Inf when it does not fill, and whether that is to be
// said now: once for each time that it comes to 80 %.
func (f *filling) take(up time.Duration, used, limit int64) (seconds float64, say bool) {
	now := level{up, used}
	if n := len(f.levels); n == 0 || up-f.levels[n-1].up >= levelEvery {
		f.levels = append(f.levels, now)
		if len(f.levels) > levelsMax+1 {
			f.levels = f.levels[1:]
		}
	}
	first := f.levels[0]
	grown, over := float64(used-first.used), (up - first.up).Seconds()
	seconds = math.Inf(1)
	switch {
	case used >= limit:
		seconds = 0
	case grown > 0 && over > 0:
		seconds = float64(limit-used) * over / grown
	}
	share := float64(used) / float64(limit)
	say = share >= noticeAt && !f.said
	f.said = share >= noticeAgain && (f.said || say)
	return seconds, say
}

// noticeRecord says that the spool fills; without UntilFull it does not grow now.
type noticeRecord struct {
	What       string   `json:"what"`
	Bytes      int64    `json:"bytes"`
	LimitBytes int64    `json:"limit_bytes"`
	UntilFull  *float64 `json:"seconds_until_full,omitempty"`
}

// watchLevel looks how full the spool is and tells it upstream when that matters.
func (s *Spool) watchLevel(f *filling) {
	used, limit := s.log.Level()
	seconds, say := f.take(s.clk.Up(), used, limit)
	s.fig.untilFull.Set(seconds)
	if !say {
		return
	}
	body := noticeRecord{What: "spool_filling", Bytes: used, LimitBytes: limit}
	if !math.IsInf(seconds, 0) {
		body.UntilFull = &seconds
	}
	s.slog.Warn("spool is filling: the oldest messages will be folded, then dropped", "count", used)
	s.sayToAll(sysNotice, body)
}
