package tail

import (
	"testing"
	"time"
)

func TestPace_AStreamWaitsForEnoughAndAPublisherThatWaitsDoesNot(t *testing.T) {
	ms := func(n int) time.Time { return t0.Add(time.Duration(n) * time.Millisecond) }
	p := Pace{Least: 100 * time.Millisecond, Most: time.Second}
	for _, c := range []struct {
		what         string
		pace         Pace
		held         Load
		last, newest int
		want         int
	}{
		{"one after a long pause", p, Load{Records: 1}, -5000, 0, -4000},
		{"one whose publisher waits for it", p, Load{Records: 1}, 0, 1, 151},
		{"a stream that pauses", p, Load{Records: 20}, 0, 200, 350},
		{"a stream", p, Load{Records: enough - 1}, 0, 990, 1000},
		{"a fast stream", p, Load{Records: enough}, 0, 40, 100},
		{"no stretch", Pace{Least: 100 * time.Millisecond}, Load{Records: 1}, 0, 50, 100},
		{"no pace", Pace{}, Load{Records: 1}, 0, 50, 0},
	} {
		if got := c.pace.Due(c.held, ms(c.last), ms(c.newest)); !got.Equal(ms(c.want)) {
			t.Errorf("%s: due after %v, want %d ms", c.what, got.Sub(t0), c.want)
		}
	}
	for _, full := range []Load{{Records: fullRecords}, {Records: 1, Bytes: fullBytes}} {
		if got := p.Due(full, t0, t0); !got.IsZero() {
			t.Errorf("%+v waits until %v", full, got)
		}
	}
}
