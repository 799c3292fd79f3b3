package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// field is the set of values of one field of cron.
type field struct {
	any    bool // *
	none   bool // ?
	values map[int]bool
	// Days only.
	last    bool        // L: the last day of the month
	nearest int         // nW: the weekday nearest to day n
	lastOf  int         // nL: the last weekday n of the month
	nth     map[int]int // n#k: weekday n → its k-th in the month
}

type cron struct{ minute, hour, day, month, weekday, year field }

// shape is what one field may hold.
type shape struct {
	name   string
	lo, hi int
	names  string // three letters each, the first one is lo
}

var shapes = []shape{
	{"minutes", 0, 59, ""},
	{"hours", 0, 23, ""},
	{"day-of-month", 1, 31, ""},
	{"month", 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"},
	{"day-of-week", 1, 7, "SUNMONTUEWEDTHUFRISAT"},
	{"year", 1970, 2199, ""},
}

func parseCron(texts []string) (*cron, error) {
	var c cron
	for i, target := range []*field{&c.minute, &c.hour, &c.day, &c.month, &c.weekday, &c.year} {
		f, err := shapes[i].field(strings.ToUpper(texts[i]))
		if err != nil {
			return nil, fmt.Errorf("cron: %s %q: %w", shapes[i].name, texts[i], err)
		}
		*target = f
	}
	if c.day.none == c.weekday.none {
		return nil, fmt.Errorf("cron: exactly one of day-of-month and day-of-week is ?")
	}
	return &c, nil
}

func (s shape) field(text string) (field, error) {
	f := field{values: make(map[int]bool), nth: make(map[int]int)}
	days := s.name == "day-of-month" || s.name == "day-of-week"
	switch {
	case text == "*":
		f.any = true
		return f, nil
	case text == "?" && days:
		f.none = true
		return f, nil
	}
	for _, part := range strings.Split(text, ",") {
		if days && strings.ContainsAny(part, "LW#") && !strings.Contains(s.names, part) {
			if err := s.special(&f, part); err != nil {
				return f, err
			}
			continue
		}
		if err := s.span(&f, part); err != nil {
			return f, err
		}
	}
	return f, nil
}

// span reads n, n-m, */k, n/k or n-m/k.
func (s shape) span(f *field, part string) error {
	span, stepText, stepped := strings.Cut(part, "/")
	step := 1
	if stepped {
		var err error
		if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
			return fmt.Errorf("want a step above 0, got %q", stepText)
		}
	}
	from, to := s.lo, s.hi
	if span != "*" {
		low, high, ranged := strings.Cut(span, "-")
		var err error
		if from, err = s.number(low); err != nil {
			return err
		}
		switch {
		case ranged:
			if to, err = s.number(high); err != nil {
				return err
			}
		case !stepped:
			to = from
		}
	}
	if from > to {
		return fmt.Errorf("want a range that goes up, got %q", span)
	}
	for n := from; n <= to; n += step {
		f.values[n] = true
	}
	return nil
}

func (s shape) number(text string) (int, error) {
	if i := strings.Index(s.names, text); len(text) == 3 && i >= 0 && i%3 == 0 {
		return s.lo + i/3, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < s.lo || n > s.hi {
		return 0, fmt.Errorf("want %d to %d, got %q", s.lo, s.hi, text)
	}
	return n, nil
}

// special reads L, nW, nL and n#k.
func (s shape) special(f *field, part string) error {
	weekdays := s.name == "day-of-week"
	if day, k, ok := strings.Cut(part, "#"); ok && weekdays {
		n, err := s.number(day)
		count, errK := strconv.Atoi(k)
		if err != nil || errK != nil || count < 1 || count > 5 {
			return fmt.Errorf("want a weekday, # and 1 to 5, got %q", part)
		}
		f.nth[n] = count
		return nil
	}
	if part == "L" {
		if weekdays { // the last day of the week
			f.values[7] = true
		} else {
			f.last = true
		}
		return nil
	}
	n, err := s.number(strings.TrimRight(part, "LW"))
	switch {
	case err != nil:
		return err
	case weekdays && strings.HasSuffix(part, "L"):
		f.lastOf = n
	case !weekdays && strings.HasSuffix(part, "W"):
		f.nearest = n
	default:
		return fmt.Errorf("want L, a day with W or a weekday with L or #, got %q", part)
	}
	return nil
}

func (f field) has(n int) bool { return f.any || f.values[n] }

// onDay reports whether c fires on the day of t.
func (c *cron) onDay(t time.Time) bool {
	if !c.year.has(t.Year()) || !c.month.has(int(t.Month())) {
		return false
	}
	if c.day.none {
		return c.onWeekday(t)
	}
	last := lastDay(t)
	return c.day.has(t.Day()) || c.day.last && t.Day() == last ||
		c.day.nearest > 0 && t.Day() == nearestWeekday(t, min(c.day.nearest, last), last)
}

func (c *cron) onWeekday(t time.Time) bool {
	weekday := int(t.Weekday()) + 1
	return c.weekday.has(weekday) || c.weekday.lastOf == weekday && t.Day()+7 > lastDay(t) ||
		c.weekday.nth[weekday] == (t.Day()+6)/7
}

func lastDay(t time.Time) int {
	return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// nearestWeekday is the day from Monday to Friday nearest to day, in its month.
func nearestWeekday(t time.Time, day, last int) int {
	switch time.Date(t.Year(), t.Month(), day, 0, 0, 0, 0, time.UTC).Weekday() {
	case time.Saturday:
		if day == 1 {
			return day + 2
		}
		return day - 1
	case time.Sunday:
		if day == last {
			return day - 2
		}
		return day + 1
	}
	return day
}

// searchYears bounds how far ahead a firing is looked for.
const searchYears = 30

// next goes over days, then over the minutes of a day that fits. Times that
// the clock skips do not fire, times it shows twice fire once.
func (c *cron) next(after time.Time) (time.Time, bool) {
	zone := after.Location()
	// Days are counted in UTC: a zone may have days without a midnight.
	day := time.Date(after.Year(), after.Month(), after.Day(), 0, 0, 0, 0, time.UTC)
	end := after.Year() + searchYears
	for ; day.Year() <= end; day = day.AddDate(0, 0, 1) {
		if !c.onDay(day) {
			continue
		}
		for minute := range 24 * 60 {
			if !c.hour.has(minute/60) || !c.minute.has(minute%60) {
				continue
			}
			t := time.Date(day.Year(), day.Month(), day.Day(), minute/60, minute%60, 0, 0, zone)
			if t.After(after) && t.Hour() == minute/60 && t.Minute() == minute%60 {
				return t, true
			}
		}
	}
	return time.Time{}, false
}
