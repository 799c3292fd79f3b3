// Package schedule reads the schedules of rules, rate(…) and cron(…) as
// EventBridge writes them, and says when they fire next (rules.md section 11).
//
// Pure: no clock is read; a Schedule never changes. rate is aligned to the
// Unix epoch; cron follows the time zone of the time it is asked about.
package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrForm means that a text is no schedule.
var ErrForm = errors.New("want rate(5 minutes) or cron(minutes hours day-of-month month day-of-week year)")

// Schedule is a checked schedule.
type Schedule struct {
	every time.Duration // of rate
	cron  *cron
}

// units are the words of rate, singular for one.
var units = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

// Parse reads rate(n unit) or cron(six fields).
func Parse(text string) (Schedule, error) {
	kind, rest, _ := strings.Cut(strings.TrimSpace(text), "(")
	inside, ok := strings.CutSuffix(rest, ")")
	fields := strings.Fields(inside)
	switch {
	case !ok:
		return Schedule{}, ErrForm
	case kind == "rate" && len(fields) == 2:
		return parseRate(fields[0], fields[1])
	case kind == "cron" && len(fields) == 6:
		c, err := parseCron(fields)
		return Schedule{cron: c}, err
	}
	return Schedule{}, ErrForm
}

const rateMax = 100_000

func parseRate(count, unit string) (Schedule, error) {
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > rateMax {
		return Schedule{}, fmt.Errorf("rate: want a number from 1 to %d, got %q", rateMax, count)
	}
	length, ok := units[strings.TrimSuffix(unit, "s")]
	if !ok || (n == 1) == strings.HasSuffix(unit, "s") {
		return Schedule{}, fmt.Errorf("rate: want minute, hour or day, in the plural above 1, got %q", unit)
	}
	return Schedule{every: time.Duration(n) * length}, nil
}

// Next is the first time after after when s fires; false when it never does
// again.
func (s Schedule) Next(after time.Time) (time.Time, bool) {
	if s.cron != nil {
		return s.cron.next(after)
	}
	if s.every <= 0 {
		return time.Time{}, false
	}
	ms, step := after.UnixMilli(), s.every.Milliseconds()
	k := ms / step
	if ms < 0 && ms%step != 0 {
		k--
	}
	return time.UnixMilli((k + 1) * step).In(after.Location()), true
}
