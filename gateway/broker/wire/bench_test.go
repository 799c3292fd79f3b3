package wire

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The traffic of a broker, PUBLISH and its acknowledgements, is read and written
// without allocations.
func TestCodec_TrafficNeedsNoAllocations(t *testing.T) {
	for name, f := range traffic() {
		if n := testing.AllocsPerRun(1000, f); n > 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	for name, f := range traffic() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// traffic is each packet of QoS 1, read and written once.
func traffic() map[string]func() {
	payload, buf := make([]byte, 256), make([]byte, 0, 512)
	total, remaining := PublishSize("dt/device/temperature", 1, nil, payload)
	publish := AppendPublish(nil, 0x32, remaining, "dt/device/temperature", 7, nil, payload)
	body := publish[total-remaining:]
	ack := AppendAck(nil, packets.Puback, 7, 4, CodeSuccess)
	return map[string]func(){
		"read PUBLISH": func() {
			if p, err := ParsePublish(body, 1, 4); err != nil || p.ID != 7 {
				panic("PUBLISH is not read")
			}
		},
		"write PUBLISH": func() {
			_, remaining := PublishSize("dt/device/temperature", 1, nil, payload)
			buf = AppendPublish(buf[:0], 0x32, remaining, "dt/device/temperature", 7, nil, payload)
		},
		"read PUBACK": func() {
			if id, _, err := ParseAck(ack[2:]); err != nil || id != 7 {
				panic("PUBACK is not read")
			}
		},
		"write PUBACK": func() { buf = AppendAck(buf[:0], packets.Puback, 7, 4, CodeSuccess) },
	}
}
