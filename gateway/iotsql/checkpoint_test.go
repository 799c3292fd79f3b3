package iotsql

import "testing"

func TestEmitsOnce_ForSpansThatEnd(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT * FROM 'a'":                                                  false,
		"SELECT prev(x) AS p FROM 'a'":                                       false,
		"SELECT * FROM 'a' WHERE x > 1 FOR 5m":                               true,
		"SELECT count(*) AS n FROM 'a' WINDOW TUMBLING(1m)":                  true,
		"SELECT count(*) AS n FROM 'a' WINDOW HOPPING(1m, 10s)":              true,
		"SELECT count(*) AS n FROM 'a' WINDOW SESSION(30s)":                  true,
		"SELECT count(*) AS n FROM 'a' WINDOW SLIDING(1m)":                   false,
		"SELECT count(*) AS n FROM 'a' WINDOW COUNT(10)":                     false,
		"SELECT count(*) AS n FROM 'a' WINDOW TUMBLING(1m) ON ts LATE 5s":    true,
		"SELECT last(t) AS t FROM 'a' GROUP BY topic(2) WINDOW SESSION(30s)": true,
	} {
		s, err := Parse(sql, Version2016)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if got := s.EmitsOnce(); got != want {
			t.Errorf("%s: got %v", sql, got)
		}
	}
}
