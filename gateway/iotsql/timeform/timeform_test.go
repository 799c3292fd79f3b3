package timeform

import (
	"strings"
	"testing"
	"time"
)

func zone(t testing.TB, name string) Zone {
	t.Helper()
	z, err := ParseZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestJoda_EveryLetter(t *testing.T) {
	const ms = 1_709_251_505_078 // Fri 2024-03-01 00:05:05.078 UTC
	for _, c := range []struct{ pattern, zone, want string }{
		{"G C Y x w", "UTC", "AD 20 2024 2024 9"},
		{"e E EEE EEEE D DDD", "UTC", "5 Fri Fri Friday 61 061"},
		{"y yy yyy yyyyy YY xx", "UTC", "2024 24 2024 02024 24 24"},
		{"M MM MMM MMMM d dd", "UTC", "3 03 Mar March 1 01"},
		{"a K h H k m s", "UTC", "AM 0 12 0 24 5 5"},
		{"KK hh HH kk mm ss", "Asia/Tokyo", "09 09 09 09 05 05"},
		{"S SS SSS SSSS", "UTC", "0 07 078 0780"},
		{"z zzzz Z ZZ ZZZ", "Europe/Berlin", "CET Central European Time +0100 +01:00 Europe/Berlin"},
		{"z Z ZZZ", "-03:30", "-03:30 -0330 -03:30"},
		{"z zzzz", "Etc/GMT+5", "-05 -05"},
		{"'it''s' yyyy", "UTC", "it's 2024"},
		{"yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "Asia/Kolkata", "2024-03-01T05:35:05.078+05:30"},
		{"HH:mm", "UTC+2", "02:05"},
		{"", "UTC", ""},
		{"é.", "UTC", "é."},
	} {
		j, err := NewJoda(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		if got := j.Format(ms, zone(t, c.zone)); got != c.want {
			t.Errorf("%q in %s: got %q, want %q", c.pattern, c.zone, got, c.want)
		}
	}
}

func TestJoda_BeforeChrist(t *testing.T) {
	j, _ := NewJoda("G Y yyyy")
	ms := time.Date(-43, 3, 15, 0, 0, 0, 0, time.UTC).UnixMilli()
	if got := j.Format(ms, UTC()); got != "BC 44 -0043" {
		t.Errorf("got %q", got)
	}
}

func TestJoda_BadPatternsAreRefused(t *testing.T) {
	for _, p := range []string{"yyyy 'open", "b", "yyyy-MM-ddTHH", "U", strings.Repeat("y", 65), strings.Repeat("-", 2000)} {
		if _, err := NewJoda(p); err == nil {
			t.Errorf("%.20q: want an error", p)
		}
	}
}

func TestParseZone_KnowsNamesAndOffsets(t *testing.T) {
	for name, want := range map[string]int{
		"UTC": 0, "Z": 0, "+05:30": 19800, "-0330": -12600, "+2": 7200, "GMT+1": 3600, "UT-02:00": -7200, "EST5EDT": -18000,
		"Asia/Tokyo": 32400, "+18:00": 64800, "Etc/UTC": 0, "+01:02:03": 3723,
	} {
		_, got := time.Unix(0, 0).In(zone(t, name).Location).Zone()
		if got != want {
			t.Errorf("%s is %d s off, want %d", name, got, want)
		}
	}
	for _, name := range []string{"", "Local", "No/Such", "+19:00", "+1:", "UTC+", "../etc/passwd", "a b", strings.Repeat("A", 100), "+05:61"} {
		if z, err := ParseZone(name); err == nil {
			t.Errorf("ParseZone(%q) = %v, want an error", name, z)
		}
	}
}

func TestReader_ReadsWhatJavaReads(t *testing.T) {
	for _, c := range []struct{ pattern, text, want string }{
		{"yyyy-MM-dd", "2024-02-29", "2024-02-29T00:00:00Z"},
		{"uuuuMMddHHmmssSSS", "20240229235958123", "2024-02-29T23:59:58.123Z"},
		{"yyMMdd", "991231", "2099-12-31T00:00:00Z"},
		{"d/M/y H:m:s", "1/2/2024 3:4:5", "2024-02-01T03:04:05Z"},
		{"EEEE, d MMMM yyyy", "Thursday, 29 February 2024", "2024-02-29T00:00:00Z"},
		{"EEE d LLL uuuu", "Thu 29 Feb 2024", "2024-02-29T00:00:00Z"},
		{"yyyy-DDD", "2024-060", "2024-02-29T00:00:00Z"},
		{"yyyy-MM-dd hh:mm a", "2024-02-29 12:05 AM", "2024-02-29T00:05:00Z"},
		{"yyyy-MM-dd KK a", "2024-02-29 11 PM", "2024-02-29T23:00:00Z"},
		{"yyyy-MM-dd kk", "2024-02-29 24", "2024-02-29T00:00:00Z"},
		{"yyyy-MM-dd HH:mm", "2024-02-29 24:00", "2024-03-01T00:00:00Z"},
		{"yyyy-MM-dd A", "2024-02-29 3600000", "2024-02-29T01:00:00Z"},
		{"yyyy-MM-dd N", "2024-02-29 3600000000000", "2024-02-29T01:00:00Z"},
		{"yyyy-MM-dd ss n", "2024-02-29 01 500000000", "2024-02-29T00:00:01.5Z"},
		{"yyyy-MM-dd HH X", "2024-02-29 12 Z", "2024-02-29T12:00:00Z"},
		{"yyyy-MM-dd HHX", "2024-02-29 12+05", "2024-02-29T07:00:00Z"},
		{"yyyy-MM-dd HHXX", "2024-02-29 12+0530", "2024-02-29T06:30:00Z"},
		{"yyyy-MM-dd HHxxx", "2024-02-29 12-05:30", "2024-02-29T17:30:00Z"},
		{"yyyy-MM-dd HHXXXXX", "2024-02-29 12+01:00:30", "2024-02-29T10:59:30Z"},
		{"yyyy-MM-dd HHZ", "2024-02-29 12+0100", "2024-02-29T11:00:00Z"},
		{"yyyy-MM-dd HHZZZZ", "2024-02-29 12GMT+01:00", "2024-02-29T11:00:00Z"},
		{"yyyy-MM-dd HH O", "2024-02-29 12 GMT-8", "2024-02-29T20:00:00Z"},
		{"yyyy-MM-dd HHZZZZZ", "2024-02-29 12Z", "2024-02-29T12:00:00Z"},
		{"yyyy-MM-dd HH VV", "2024-07-01 12 Europe/Berlin", "2024-07-01T10:00:00Z"},
		{"yyyy-MM-dd HH z", "2024-07-01 12 PDT", "2024-07-01T19:00:00Z"},
		{"yyyy-MM-dd['T'HH:mm[:ss]]", "2024-02-29", "2024-02-29T00:00:00Z"},
		{"yyyy-MM-dd['T'HH:mm[:ss]]", "2024-02-29T10:11", "2024-02-29T10:11:00Z"},
		{"yyyy-MM-dd['T'HH:mm[:ss]]", "2024-02-29T10:11:12", "2024-02-29T10:11:12Z"},
		{"G yyyy-MM-dd", "AD 2024-02-29", "2024-02-29T00:00:00Z"},
		{"yyyy-MM-dd", "+12024-01-01", "12024-01-01T00:00:00Z"},
		{"y-M-d", "-1-1-1", "-0001-01-01T00:00:00Z"},
		{"yyyy 'o''clock' MM dd", "2024 o'clock 01 02", "2024-01-02T00:00:00Z"},
		// The clock is put forward at 02:00, and back at 03:00.
		{"yyyy-MM-dd HH:mm VV", "2024-03-31 02:30 Europe/Berlin", "2024-03-31T01:30:00Z"},
		{"yyyy-MM-dd HH:mm VV", "2024-10-27 02:30 Europe/Berlin", "2024-10-27T00:30:00Z"},
	} {
		r, err := NewReader(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		ms, err := r.Epoch(c.text)
		if got := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z07:00"); err != nil || got != c.want {
			t.Errorf("%q with %q: got %s, want %s (%v)", c.text, c.pattern, got, c.want, err)
		}
	}
}

func TestReader_RefusesWhatDoesNotMatchOrIsNoDate(t *testing.T) {
	for _, c := range []struct{ pattern, text string }{
		{"yyyy-MM-dd", "2023-02-29"}, {"yyyy-MM-dd", "2024-13-01"}, {"yyyy-MM-dd", "2024-1-01"}, {"yyyy-MM-dd", "2024-01-01 "},
		{"yyyy-MM-dd", "12024-01-01"}, {"yyyy-MM", "2024-01"}, {"MM-dd", "01-01"}, {"yyyy-MM-dd HH:mm", "2024-01-01 24:01"},
		{"EEE yyyy-MM-dd", "Mon 2024-02-29"}, {"d MMM yyyy", "1 mar 2024"}, {"d MMM yyyy", "1 März 2024"}, {"yyyy-MM-dd HH", "2024-01-01 25"},
		{"yyyy-MM-dd mm", "2024-01-01 60"}, {"yyyy-DDD", "2023-366"}, {"yyyy-MM-dd VV", "2024-01-01 No/Such"}, {"yyyy-MM-dd XXX", "2024-01-01 +0100"},
		{"yyyy-MM-dd a", "2024-01-01 am"}, {"yyyy-MM-dd yyyy", "2024-01-01 2025"}, {"yyyy-MM-dd", ""}, {"yyyy-MM-dd X", "2024-01-01 +25"},
	} {
		r, err := NewReader(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		if ms, err := r.Epoch(c.text); err == nil {
			t.Errorf("%q with %q gives %s, want an error", c.text, c.pattern, time.UnixMilli(ms).UTC())
		}
	}
	for _, p := range []string{"yyyy'", "b", "ddd", "SSSSSSSSSS", "V", "OO", "]", "{", "MMMMMM", "HHH", "aa", "e"} {
		if _, err := NewReader(p); err == nil {
			t.Errorf("pattern %q: want an error", p)
		}
	}
}

// FuzzReader writes times and reads them again, and must not fall over.
func FuzzReader(f *testing.F) {
	f.Add("yyyy-MM-dd HH:mm:ss.SSS Z", "2024-02-29 01:02:03.004 +0100", int64(1_700_000_000_000))
	f.Add("['x'yy]D'", "x", int64(-1))
	f.Fuzz(func(t *testing.T, pattern, text string, ms int64) {
		if r, err := NewReader(pattern); err == nil {
			_, _ = r.Epoch(text)
		}
		if j, err := NewJoda(pattern); err == nil {
			j.Format(ms%1e15, UTC())
		}
		const both = "yyyy-MM-dd HH:mm:ss.SSS"
		if ms < 0 || ms > 4e13 {
			return
		}
		j, _ := NewJoda(both)
		r, _ := NewReader(both)
		if got, err := r.Epoch(j.Format(ms, UTC())); err != nil || got != ms {
			t.Errorf("%d is written %q and read as %d (%v)", ms, j.Format(ms, UTC()), got, err)
		}
	})
}
