package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// preset is edge with the figures in which aws and none differ (contract section
// 5); that the words of the file become these figures is proven in config.
func preset(change func(*Limits)) func(*Config) {
	return func(c *Config) {
		if change != nil {
			change(&c.Limits)
		}
	}
}

var presets = map[string]func(*Config){
	"edge": preset(nil),
	"aws":  preset(func(l *Limits) { l.MaxQoS = 1 }),
	"none": preset(func(l *Limits) {
		l.MaxPayload, l.MaxTopicLevels, l.MaxTopicBytes, l.MaxInflight = 16<<20, 0, 65535, 1000
		l.MaxSubscriptionsPerClient, l.MaxFiltersPerSubscribe = 0, 0
	}),
}

// ended is the reason of the DISCONNECT that follows a packet, 0 when the
// connection goes on.
func (w *world) ended(pk packets.Packet) byte {
	w.t.Helper()
	p := w.client(5, "c")
	p.send(pk)
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	for {
		got, err := p.next(10 * time.Second)
		switch {
		case err != nil:
			w.t.Fatal(err)
		case got.FixedHeader.Type == packets.Disconnect:
			return got.ReasonCode
		case got.FixedHeader.Type == packets.Pingresp:
			return 0
		}
	}
}

// T5, T7: each figure of each preset holds to the last byte, and nothing below
// it is refused.
func TestLimits_FiguresOfThePresets(t *testing.T) {
	levels := func(n int) string { return strings.TrimSuffix(strings.Repeat("l/", n), "/") }
	for name, set := range presets {
		t.Run(name, func(t *testing.T) {
			w := serve(t, set, nil)
			l := w.cfg.Limits
			at := func(limit, over int) int { // where there is no limit, far over that of edge
				if limit == 0 {
					return 60 + over
				}
				return limit + over
			}
			code := func(limit int, code byte) byte {
				if limit == 0 {
					return 0
				}
				return code
			}
			for what, c := range map[string]struct {
				pk   packets.Packet
				want byte
			}{
				"payload":           {message("t", strings.Repeat("x", l.MaxPayload), 0, 0), 0},
				"payload and one":   {message("t", strings.Repeat("x", l.MaxPayload+1), 0, 0), 0x95},
				"levels":            {message(levels(at(l.MaxTopicLevels, 0)), "x", 0, 0), 0},
				"levels and one":    {message(levels(at(l.MaxTopicLevels, 1)), "x", 0, 0), code(l.MaxTopicLevels, 0x90)},
				"topic":             {message(strings.Repeat("t", l.MaxTopicBytes), "x", 0, 0), 0},
				"highest QoS":       {message("t", "x", l.MaxQoS, 1), 0},
				"QoS 2 where 1 was": {message("t", "x", 2, 1), code(int(2-l.MaxQoS), 0x9b)},
			} {
				if got := w.ended(c.pk); got != c.want {
					t.Errorf("%s: ended with %#x, want %#x", what, got, c.want)
				}
			}
			if l.MaxTopicBytes < 65535 {
				if got := w.ended(message(strings.Repeat("t", l.MaxTopicBytes+1), "x", 0, 0)); got != 0x90 {
					t.Errorf("topic and one: ended with %#x", got)
				}
			}
			_, connack := w.connect(5, "c", nil)
			if got := connack.Properties.ReceiveMaximum; int(got) != l.MaxInflight {
				t.Errorf("receive maximum %d, want %d", got, l.MaxInflight)
			}
		})
	}
}

// T7: subscriptions of a client and filters of a SUBSCRIBE.
func TestLimits_SubscriptionsOfThePresets(t *testing.T) {
	for preset, set := range presets {
		t.Run(preset, func(t *testing.T) {
			w := serve(t, set, nil)
			l := w.cfg.Limits
			c := w.client(5, "c")
			total, atOnce := l.MaxSubscriptionsPerClient, l.MaxFiltersPerSubscribe
			none := total == 0
			if none {
				total, atOnce = 200, 40
			}
			subscribe := func(n, from int) []byte {
				var subs packets.Subscriptions
				for i := range n {
					subs = append(subs, packets.Subscription{Filter: name(from + i), Qos: 1})
				}
				return c.subscribeWith(subs...)
			}
			refused := func(codes []byte) (n int) {
				for _, code := range codes {
					if code == 0x97 {
						n++
					}
				}
				return n
			}
			if got := refused(subscribe(atOnce+1, 0)); !none && got != atOnce+1 || none && got != 0 {
				t.Errorf("%d of %d filters in one packet refused", got, atOnce+1)
			}
			granted := 0
			for from := 1000; granted < total; from += atOnce {
				n := min(atOnce, total-granted)
				if got := refused(subscribe(n, from)); got != 0 {
					t.Fatalf("%d refused after %d", got, granted)
				}
				granted += n
			}
			if got := refused(subscribe(1, 5000)); !none && got != 1 || none && got != 0 {
				t.Errorf("one more than %d: %d refused", total, got)
			}
		})
	}
}
