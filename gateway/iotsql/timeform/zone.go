// Package timeform writes times in Joda-Time patterns and reads them in
// java.time patterns, the two forms of rule SQL's parse_time and
// time_to_epoch. Names are English. The time zone database is linked in.
//
// Patterns are worked off field by field: neither form has Go layouts. A
// compiled Joda or Reader may be shared by goroutines; nothing blocks. Looking
// up a zone reads the host's zone files where there are any, so callers keep
// the Zone.
package timeform

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones on hosts that have none
)

// Zone is a time zone with the name it was asked for by.
type Zone struct {
	Name     string
	Location *time.Location
}

// UTC is the zone of patterns without one.
func UTC() Zone { return Zone{"UTC", time.UTC} }

// ErrZone means that a zone is not known.
var ErrZone = errors.New("timeform: unknown zone")

// zoneBytesMax is longer than every name of the database.
const zoneBytesMax = 64

// ParseZone reads an IANA name, ±hh:mm, or UTC, GMT or UT with or without an
// offset.
func ParseZone(name string) (Zone, error) {
	if name == "" || len(name) > zoneBytesMax {
		return Zone{}, ErrZone
	}
	if name == "UTC" || name == "Z" {
		return Zone{name, time.UTC}, nil
	}
	rest := name
	for _, prefix := range []string{"UTC", "GMT", "UT"} {
		if after, ok := strings.CutPrefix(name, prefix); ok && after != "" && (after[0] == '+' || after[0] == '-') {
			rest = after
			break
		}
	}
	if rest[0] == '+' || rest[0] == '-' {
		seconds, length := offset(rest)
		if length != len(rest) {
			return Zone{}, fmt.Errorf("%w %q", ErrZone, name)
		}
		return Zone{name, time.FixedZone(name, seconds)}, nil
	}
	if name == "Local" || !strings.Contains(name, "/") && !short(name) {
		return Zone{}, fmt.Errorf("%w %q", ErrZone, name)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return Zone{}, fmt.Errorf("%w %q", ErrZone, name)
	}
	return Zone{name, location}, nil
}

// short reports whether name may be one of the database's names without a
// slash, such as EST5EDT, Japan or GMT-0.
func short(name string) bool {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '+' || c == '_') {
			return false
		}
	}
	return true
}

// offset reads ±h, ±hh, ±hhmm, ±hh:mm or ±hh:mm:ss at the start of s. length
// is 0 when there is none, or one beyond 18 hours.
func offset(s string) (seconds, length int) {
	if len(s) < 2 || s[0] != '+' && s[0] != '-' {
		return 0, 0
	}
	hours, at := digits(s, 1, 2)
	seconds = hours * 3600
	for _, unit := range []int{60, 1} {
		next := at
		if next < len(s) && s[next] == ':' {
			next++
		}
		part, end := digits(s, next, 2)
		if end != next+2 || part > 59 {
			break
		}
		seconds, at = seconds+part*unit, end
	}
	if at == 1 || seconds > 18*3600 {
		return 0, 0
	}
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, at
}

// digits reads up to most digits of s from at.
func digits(s string, at, most int) (n, end int) {
	for end = at; end < len(s) && end < at+most && s[end] >= '0' && s[end] <= '9'; end++ {
		n = n*10 + int(s[end]-'0')
	}
	return n, end
}

// regions are the zones that an abbreviation stands for when a time is read.
var regions = map[string]string{
	"UTC": "UTC", "GMT": "GMT", "UT": "UTC", "Z": "UTC",
	"EST": "America/New_York", "EDT": "America/New_York", "CST": "America/Chicago", "CDT": "America/Chicago",
	"MST": "America/Denver", "MDT": "America/Denver", "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles",
	"AKST": "America/Anchorage", "AKDT": "America/Anchorage", "HST": "Pacific/Honolulu",
	"WET": "Europe/Lisbon", "WEST": "Europe/Lisbon", "CET": "Europe/Paris", "CEST": "Europe/Paris",
	"EET": "Europe/Bucharest", "EEST": "Europe/Bucharest", "BST": "Europe/London", "MSK": "Europe/Moscow",
	"IST": "Asia/Kolkata", "JST": "Asia/Tokyo", "KST": "Asia/Seoul", "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney",
	"NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland",
}

// fullNames are the long names of abbreviations that the database gives.
var fullNames = map[string]string{
	"UTC": "Coordinated Universal Time", "GMT": "Greenwich Mean Time",
	"EST": "Eastern Standard Time", "EDT": "Eastern Daylight Time", "CST": "Central Standard Time",
	"CDT": "Central Daylight Time", "MST": "Mountain Standard Time", "MDT": "Mountain Daylight Time",
	"PST": "Pacific Standard Time", "PDT": "Pacific Daylight Time", "AKST": "Alaska Standard Time",
	"AKDT": "Alaska Daylight Time", "HST": "Hawaii Standard Time",
	"WET": "Western European Time", "WEST": "Western European Summer Time", "CET": "Central European Time",
	"CEST": "Central European Summer Time", "EET": "Eastern European Time", "EEST": "Eastern European Summer Time",
	"BST": "British Summer Time", "MSK": "Moscow Standard Time", "IST": "India Standard Time",
	"JST": "Japan Standard Time", "KST": "Korea Standard Time", "AEST": "Australian Eastern Standard Time",
	"AEDT": "Australian Eastern Daylight Time", "NZST": "New Zealand Standard Time", "NZDT": "New Zealand Daylight Time",
}

// appendOffset writes ±hh, minutes and, when asked for or there, seconds.
func appendOffset(dst []byte, seconds int, colon bool) []byte {
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	dst = appendNumber(append(dst, sign), int64(seconds/3600), 2)
	if colon {
		dst = append(dst, ':')
	}
	return appendNumber(dst, int64(seconds/60%60), 2)
}

// appendNumber writes n with at least width digits.
func appendNumber(dst []byte, n int64, width int) []byte {
	text := fmt.Appendf(nil, "%d", n)
	if n < 0 {
		dst, text = append(dst, '-'), text[1:]
	}
	for range width - len(text) {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}
