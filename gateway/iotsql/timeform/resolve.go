package timeform

import (
	"strings"
	"time"
)

// fields are the values read so far, by pattern letter.
type fields struct {
	values  [128]int64
	present [128]bool
	zone    *time.Location
}

// aliases maps letters of one meaning onto one.
var aliases = map[byte]byte{'y': 'u', 'L': 'M'}

// set gives a field its value; a second one must agree with the first.
func (f *fields) set(letter byte, n int64) bool {
	if a, ok := aliases[letter]; ok {
		letter = a
	}
	if f.present[letter] {
		return f.values[letter] == n
	}
	f.values[letter], f.present[letter] = n, true
	return true
}

func (f *fields) get(letter byte, otherwise int64) int64 {
	if f.present[letter] {
		return f.values[letter]
	}
	return otherwise
}

// word reads a piece that is text: a name or a zone.
func (c *cursor) word(s step) bool {
	switch s.letter {
	case 'M', 'L':
		return c.name('M', s.count == 4, 12, func(i int) string { return time.Month(i + 1).String() })
	case 'E':
		return c.name('E', s.count == 4, 7, func(i int) string { return time.Weekday((i + 1) % 7).String() })
	case 'a':
		return c.oneOf('a', "AM", "PM")
	case 'G':
		if s.count == 4 {
			return c.oneOf('G', "Before Christ", "Anno Domini")
		}
		return c.oneOf('G', "BC", "AD")
	}
	return c.zone(s)
}

// name reads the name of a month or weekday; its number starts at 1.
func (c *cursor) name(letter byte, full bool, count int, nameOf func(int) string) bool {
	for i := range count {
		name := nameOf(i)
		if !full {
			name = name[:3]
		}
		if strings.HasPrefix(c.text[c.at:], name) {
			c.at += len(name)
			return c.fields.set(letter, int64(i+1))
		}
	}
	return false
}

func (c *cursor) oneOf(letter byte, zero, one string) bool {
	for i, word := range []string{zero, one} {
		if strings.HasPrefix(c.text[c.at:], word) {
			c.at += len(word)
			return c.fields.set(letter, int64(i))
		}
	}
	return false
}

// zone reads a zone or an offset.
func (c *cursor) zone(s step) bool {
	rest := c.text[c.at:]
	switch {
	case s.letter == 'V', s.letter == 'z':
		return c.zoneName(rest)
	case s.letter == 'O', s.letter == 'Z' && s.count == 4:
		after, ok := strings.CutPrefix(rest, "GMT")
		if !ok {
			return false
		}
		c.at += len("GMT")
		seconds, length := offset(after)
		return c.setOffset(seconds, length)
	case s.letter == 'X' || s.letter == 'Z' && s.count == 5:
		if strings.HasPrefix(rest, "Z") {
			return c.setOffset(0, 1)
		}
	}
	seconds, length := offset(rest)
	return length > 0 && offsetForm(s, rest[:length]) && c.setOffset(seconds, length)
}

// offsetForm reports whether an offset is written the way s wants it.
func offsetForm(s step, text string) bool {
	colon := s.count == 3 || s.count == 5
	if s.letter == 'Z' && s.count < 4 {
		colon = false
	}
	switch {
	case s.count == 1 && s.letter != 'Z':
		return len(text) == 3 || len(text) == 5 && text[3] != ':'
	case colon:
		return len(text) == 6 && text[3] == ':' || s.count == 5 && len(text) == 9
	}
	return len(text) == 5 && text[3] != ':' || s.count == 4 && len(text) == 7
}

func (c *cursor) setOffset(seconds, length int) bool {
	c.at += length
	c.fields.zone = time.FixedZone("", seconds)
	return true
}

// zoneName reads the longest zone at the start of s: a name, an abbreviation
// or an offset with or without UTC, GMT or UT.
func (c *cursor) zoneName(s string) bool {
	end := 0
	for end < len(s) && (short(s[end:end+1]) || s[end] == '/' || s[end] == ':') {
		end++
	}
	for ; end > 0; end-- {
		name := s[:end]
		if region, ok := regions[name]; ok {
			name = region
		} else if end < 3 || strings.HasSuffix(name, "/") {
			continue
		}
		if z, err := ParseZone(name); err == nil {
			c.at += end
			c.fields.zone = z.Location
			return true
		}
	}
	return false
}

// limits are the least and greatest values of fields that have fixed ones.
var limits = map[byte][2]int64{
	'M': {1, 12}, 'd': {1, 31}, 'D': {1, 366}, 'H': {0, 24}, 'k': {1, 24}, 'K': {0, 11}, 'h': {1, 12},
	'm': {0, 59}, 's': {0, 59}, 'n': {0, 999_999_999}, 'A': {0, 86_399_999}, 'N': {0, 86_399_999_999_999},
	'u': {-999_999, 999_999},
}

// resolve makes an instant of the fields.
func (f *fields) resolve() (int64, error) {
	for letter, limit := range limits {
		if n := f.get(letter, limit[0]); n < limit[0] || n > limit[1] {
			return 0, ErrText
		}
	}
	date, ok := f.date()
	if !ok {
		return 0, ErrText
	}
	nanos, ok := f.timeOfDay()
	if !ok {
		return 0, ErrText
	}
	local := date.Add(time.Duration(nanos))
	if f.zone == nil {
		return local.UnixMilli(), nil
	}
	return instant(local, f.zone).UnixMilli(), nil
}

// date is midnight of the day, as if in UTC.
func (f *fields) date() (time.Time, bool) {
	year := f.get('u', 0)
	if f.present['G'] && f.values['G'] == 0 {
		year = 1 - year
	}
	month, day := f.get('M', 1), f.get('d', 1)
	switch {
	case !f.present['u']:
		return time.Time{}, false
	case f.present['M'] && f.present['d']:
	case f.present['D']:
		day = f.values['D']
	default:
		return time.Time{}, false
	}
	date := time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, time.UTC)
	switch {
	case int64(date.Year()) != year,
		f.present['M'] && int64(date.Month()) != month,
		f.present['d'] && int64(date.Day()) != f.values['d'],
		f.present['D'] && int64(date.YearDay()) != f.values['D'],
		f.present['E'] && int64((date.Weekday()+6)%7)+1 != f.values['E']:
		return time.Time{}, false
	}
	return date, true
}

// timeOfDay is the nanoseconds since midnight; 24:00 is the end of the day.
func (f *fields) timeOfDay() (int64, bool) {
	switch {
	case f.present['N']:
		return f.values['N'], true
	case f.present['A']:
		return f.values['A']*1e6 + f.get('n', 0)%1e6, true
	}
	hour := f.hour()
	rest := (f.get('m', 0)*60+f.get('s', 0))*1e9 + f.get('n', 0)
	if hour == 24 && rest != 0 {
		return 0, false
	}
	return hour*3600e9 + rest, true
}

// hour is the hour of the day; a half day without AM or PM is the first one.
func (f *fields) hour() int64 {
	switch {
	case f.present['H']:
		return f.values['H']
	case f.present['k']:
		return f.values['k'] % 24
	case f.present['K']:
		return f.values['K'] + 12*f.get('a', 0)
	case f.present['h']:
		return f.values['h']%12 + 12*f.get('a', 0)
	}
	return 0
}

// instant is when a clock in zone shows local: the earlier time when it shows
// it twice; when it never does, as many hours later as the clock was put
// forward.
func instant(local time.Time, zone *time.Location) time.Time {
	before := offsetAt(local.Add(-24*time.Hour), zone)
	after := offsetAt(local.Add(24*time.Hour), zone)
	for _, o := range []time.Duration{before, after} {
		if t := local.Add(-o); offsetAt(t, zone) == o {
			return t
		}
	}
	return local.Add(-before)
}

func offsetAt(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}
