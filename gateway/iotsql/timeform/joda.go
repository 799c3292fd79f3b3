package timeform

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrPattern means that a pattern has an unknown letter or an open quote.
var ErrPattern = errors.New("timeform: bad pattern")

// patternBytesMax and widthMax bound the work for a pattern from a message.
const (
	patternBytesMax = 1024
	widthMax        = 64
)

// piece is a run of one pattern letter, or a literal text.
type piece struct {
	letter byte // 0: literal
	count  int
	text   string
}

// cut takes a pattern apart; letters says which letters have a meaning.
func cut(pattern, letters string) ([]piece, error) {
	if len(pattern) > patternBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrPattern, len(pattern), patternBytesMax)
	}
	var pieces []piece
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c == '\'':
			text, length := quoted(pattern[i:])
			if length == 0 {
				return nil, fmt.Errorf("%w %q: open quote", ErrPattern, pattern)
			}
			pieces = append(pieces, piece{text: text})
			i += length
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			count := 1
			for i+count < len(pattern) && pattern[i+count] == c {
				count++
			}
			if strings.IndexByte(letters, c) < 0 || count > widthMax {
				return nil, fmt.Errorf("%w %q: letter %c", ErrPattern, pattern, c)
			}
			pieces = append(pieces, piece{letter: c, count: count})
			i += count
		default:
			pieces = append(pieces, piece{text: pattern[i : i+1]})
			i++
		}
	}
	return pieces, nil
}

// quoted reads 'text' at the start of s; ” stands for a quote, alone or
// inside. length is 0 when the end is missing.
func quoted(s string) (text string, length int) {
	if strings.HasPrefix(s, "''") {
		return "'", 2
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		return b.String(), i + 1
	}
	return "", 0
}

// Joda is a compiled pattern of Joda-Time's DateTimeFormat.
type Joda struct{ pieces []piece }

// jodaLetters are the letters of DateTimeFormat.
const jodaLetters = "GCYxweEyDMdaKhHkmsSzZ"

// NewJoda compiles pattern.
func NewJoda(pattern string) (*Joda, error) {
	pieces, err := cut(pattern, jodaLetters)
	if err != nil {
		return nil, err
	}
	return &Joda{pieces}, nil
}

// Format writes the time ms milliseconds after the Unix epoch in zone.
func (j *Joda) Format(ms int64, zone Zone) string {
	t := time.UnixMilli(ms).In(zone.Location)
	var dst []byte
	for _, p := range j.pieces {
		if p.letter == 0 {
			dst = append(dst, p.text...)
			continue
		}
		dst = appendField(dst, p, t, zone)
	}
	return string(dst)
}

func appendField(dst []byte, p piece, t time.Time, zone Zone) []byte {
	switch p.letter {
	case 'G':
		if t.Year() <= 0 {
			return append(dst, "BC"...)
		}
		return append(dst, "AD"...)
	case 'E':
		return appendName(dst, t.Weekday().String(), p.count)
	case 'a':
		return append(dst, t.Format("PM")...)
	case 'M':
		if p.count >= 3 {
			return appendName(dst, t.Month().String(), p.count)
		}
	case 'S':
		return appendFraction(dst, t, p.count)
	case 'z', 'Z':
		return appendZone(dst, p, t, zone)
	case 'y', 'Y', 'x':
		return appendYear(dst, p, t)
	}
	return appendNumber(dst, number(p.letter, t), p.count)
}

func appendName(dst []byte, name string, count int) []byte {
	if count < 4 {
		name = name[:3]
	}
	return append(dst, name...)
}

// number is the value of a field that is written in digits.
func number(letter byte, t time.Time) int64 {
	hour := t.Hour()
	switch letter {
	case 'C':
		return int64(yearOfEra(t.Year()) / 100)
	case 'w':
		_, week := t.ISOWeek()
		return int64(week)
	case 'e':
		return int64((t.Weekday()+6)%7) + 1
	case 'D':
		return int64(t.YearDay())
	case 'M':
		return int64(t.Month())
	case 'd':
		return int64(t.Day())
	case 'K':
		return int64(hour % 12)
	case 'h':
		return int64((hour+11)%12 + 1)
	case 'H':
		return int64(hour)
	case 'k':
		return int64((hour+23)%24 + 1)
	case 'm':
		return int64(t.Minute())
	}
	return int64(t.Second())
}

func yearOfEra(year int) int {
	if year <= 0 {
		return 1 - year
	}
	return year
}

// appendYear writes a year; two letters write its last two digits.
func appendYear(dst []byte, p piece, t time.Time) []byte {
	year := t.Year()
	switch p.letter {
	case 'Y':
		year = yearOfEra(year)
	case 'x':
		year, _ = t.ISOWeek()
	}
	if p.count == 2 {
		return appendNumber(dst, int64(max(year, -year)%100), 2)
	}
	return appendNumber(dst, int64(year), p.count)
}

// appendFraction writes the first count digits of the second's fraction.
func appendFraction(dst []byte, t time.Time, count int) []byte {
	fraction := appendNumber(nil, int64(t.Nanosecond()/1e6), 3)
	for len(fraction) < count {
		fraction = append(fraction, '0')
	}
	return append(dst, fraction[:count]...)
}

func appendZone(dst []byte, p piece, t time.Time, zone Zone) []byte {
	abbreviation, seconds := t.Zone()
	switch {
	case p.letter == 'Z' && p.count < 3:
		return appendOffset(dst, seconds, p.count == 2)
	case p.letter == 'Z':
		return append(dst, zone.Name...)
	case p.count >= 4 && fullNames[abbreviation] != "":
		return append(dst, fullNames[abbreviation]...)
	}
	return append(dst, abbreviation...)
}
