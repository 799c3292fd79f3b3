package chip

import "time"

// SCD4x is Sensirion's SCD40 (datasheet SCD4x): it measures every 5 s once it
// was started, and while it does it knows few commands.
func SCD4x(w World) *Commands {
	c := &Commands{Width: 2}
	var startedAt time.Time
	taken := 0
	measurements := func() int {
		if startedAt.IsZero() {
			return 0
		}
		return int(time.Since(startedAt) / (5 * time.Second))
	}
	idle, measuring := map[uint16]Command{}, map[uint16]Command{}
	c.Started = func() { startedAt, c.Table = time.Time{}, idle }
	stop := Command{Takes: 500 * time.Millisecond, Do: func([]byte) []byte { startedAt, c.Table = time.Time{}, idle; return nil }}
	ready := Command{Takes: time.Millisecond, Do: func([]byte) []byte {
		if measurements() > taken {
			return Words(0xff, 0x8006)
		}
		return Words(0xff, 0x8000)
	}}
	idle[0x3682] = Command{Takes: time.Millisecond, Identity: true, Do: func([]byte) []byte { return Words(0xff, 0xf896, 0x9f07, 0x3bbe) }}
	idle[0x2416], idle[0x2427] = Command{Takes: time.Millisecond}, Command{Takes: time.Millisecond}
	idle[0x21b1] = Command{Do: func([]byte) []byte { startedAt, taken, c.Table = time.Now(), 0, measuring; return nil }}
	idle[0x3f86], idle[0xe4b8] = stop, ready
	measuring[0x3f86], measuring[0xe4b8] = stop, ready
	measuring[0xec05] = Command{Takes: time.Millisecond, Do: func([]byte) []byte {
		taken = measurements()
		return Words(0xff, uint16(Scale(w("co2"), 40000)), celsius(w), uint16(Scale(w("humidity")*65535, 65535)))
	}}
	c.Table = idle
	return c
}

// SGP40 is Sensirion's sensor of volatile compounds: a raw word, 30 ms after
// the command with its compensation.
func SGP40(w World) *Commands {
	return &Commands{Width: 2, Table: map[uint16]Command{
		0x260f: {Takes: 25 * time.Millisecond, Do: func([]byte) []byte { return Words(0xff, uint16(Scale(w("raw"), 65535))) }},
		0x3682: {Takes: 500 * time.Microsecond, Identity: true, Do: func([]byte) []byte { return Words(0xff, 0, 0x0123, 0x4567) }},
		0x3615: {Takes: time.Millisecond},
	}}
}
