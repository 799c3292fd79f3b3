package schedule

import (
	"testing"
	"time"
)

func at(t testing.TB, text string, zone *time.Location) time.Time {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02 15:04:05", text, zone)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNext_FiresWhenEventBridgeWould(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text, after, want string
		zone              *time.Location
	}{
		{"rate(5 minutes)", "2024-01-01 00:07:30", "2024-01-01 00:10:00", time.UTC},
		{"rate(5 minutes)", "2024-01-01 00:10:00", "2024-01-01 00:15:00", time.UTC},
		{"rate(1 day)", "2024-01-01 00:10:00", "2024-01-02 00:00:00", time.UTC},
		{"rate(1 hour)", "1969-12-31 23:10:00", "1970-01-01 00:00:00", time.UTC},
		{"cron(0 7 * * ? *)", "2024-01-01 07:00:00", "2024-01-02 07:00:00", berlin},
		{"cron(15 10 ? * MON-FRI *)", "2024-01-05 10:15:00", "2024-01-08 10:15:00", time.UTC},
		{"cron(0/15 8-9 * * ? *)", "2024-01-01 08:50:00", "2024-01-01 09:00:00", time.UTC},
		{"cron(0 8 1 * ? *)", "2024-01-01 09:00:00", "2024-02-01 08:00:00", time.UTC},
		{"cron(0 8 L 2 ? *)", "2024-01-01 09:00:00", "2024-02-29 08:00:00", time.UTC},
		{"cron(0 8 15W 6 ? 2024)", "2024-01-01 09:00:00", "2024-06-14 08:00:00", time.UTC},
		{"cron(0 8 1W 6 ? 2024)", "2024-01-01 09:00:00", "2024-06-03 08:00:00", time.UTC},
		{"cron(0 8 30W 6 ? 2024)", "2024-01-01 09:00:00", "2024-06-28 08:00:00", time.UTC},
		{"cron(0 8 ? * 6L *)", "2024-01-01 09:00:00", "2024-01-26 08:00:00", time.UTC},
		{"cron(0 8 ? * TUE#2 *)", "2024-01-01 09:00:00", "2024-01-09 08:00:00", time.UTC},
		{"cron(0 8 ? * L *)", "2024-01-01 09:00:00", "2024-01-06 08:00:00", time.UTC},
		{"cron(0,30 0 1 JAN,JUL ? 2025)", "2024-01-01 09:00:00", "2025-01-01 00:00:00", time.UTC},
		{"cron(30 2 * * ? *)", "2024-03-31 00:00:00", "2024-04-01 02:30:00", berlin}, // 02:30 does not exist
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, ok := s.Next(at(t, c.after, c.zone))
		if want := at(t, c.want, c.zone); !ok || !got.Equal(want) {
			t.Errorf("%s after %s: got %v, want %v", c.text, c.after, got, want)
		}
	}
}

func TestNext_EndsWithTheLastYear(t *testing.T) {
	s, err := Parse("cron(0 0 30 2 ? *)")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Next(at(t, "2024-01-01 00:00:00", time.UTC)); ok {
		t.Errorf("30 February: got %v", got)
	}
	if got, ok := (Schedule{}).Next(time.Unix(0, 0)); ok {
		t.Errorf("the zero Schedule fires at %v", got)
	}
}

func TestParse_RefusesOtherForms(t *testing.T) {
	for _, text := range []string{
		"", "rate", "rate(5)", "rate(0 minutes)", "rate(1 minutes)", "rate(5 minute)", "rate(5 weeks)", "cron(* * * * *)", "every(5 minutes)",
		"cron(0 0 * * * *)", "cron(0 0 ? * ? *)", "cron(60 0 * * ? *)", "cron(0 24 * * ? *)", "cron(0 0 32 * ? *)", "cron(0 0 * 13 ? *)",
		"cron(0 0 ? * 8 *)", "cron(0 0 * * ? 1900)", "cron(5-1 0 * * ? *)", "cron(0/0 0 * * ? *)", "cron(a 0 * * ? *)", "cron(? 0 * * ? *)",
		"cron(0 0 ? * MON#6 *)", "cron(0 0 5L * ? *)", "cron(0 0 ? * 2W *)", "cron(0 0 xW * ? *)", "rate(5 minutes",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q: want an error", text)
		}
	}
}
