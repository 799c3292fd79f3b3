package sift

import "testing"

// reading is a payload of about 300 bytes.
const reading = `{"device":"climate-1","site":"hall-7","ts":1732456789123,"temperature":21.5,"humidity":41.25,"pressure":1013.25,` +
	`"battery":{"voltage":3.71,"percent":87,"charging":false},"gps":{"lat":52.520008,"lon":13.404954,"alt":34},"tags":["indoor","east","second-floor"],"status":"ok","firmware":"2.14.3"}`

func BenchmarkRejects(b *testing.B) {
	for name, where := range map[string]string{"number": "temperature > 24.5 AND status = 'ok'", "text": "status = 'bad'", "absent": "nosuch > 1"} {
		b.Run(name, func(b *testing.B) {
			s := sieve(b, where)
			b.ReportAllocs()
			for b.Loop() {
				if !s.Rejects(reading) {
					b.Fatal("not rejected")
				}
			}
		})
	}
}
