package config

import "time"

// Profile is what an upstream engine can do (upstream.md section 2).
type Profile struct {
	Name      string
	KeepAlive time.Duration
	// Inflight, Rate, Bytes and StartJitter are what `drain: auto` means; 0 is
	// no limit, Inflight 0 the adaptive window.
	Inflight    int
	Rate, Bytes float64
	StartJitter time.Duration
	// MaxPayload in bytes is checked before sending.
	MaxPayload   int
	ReconnectMax time.Duration
	// Service says that the far side serves the shadow topics of AWS.
	Service bool
	// Status says that the retained status topic and last will are used.
	Status bool
	// MaxTopicLevels, MaxTopicBytes, MaxSubscriptions: 0 is no limit.
	MaxTopicLevels, MaxTopicBytes, MaxSubscriptions int
	// MaxQoS of one message.
	MaxQoS byte
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// profiles is the table of upstream.md section 2; generic is the default.
var profiles = []Profile{
	{Name: UplinkGeneric, KeepAlive: time.Minute, Inflight: 20, Rate: 100, StartJitter: 30 * time.Second, MaxPayload: 128 * kib,
		ReconnectMax: time.Minute, Status: true, MaxQoS: 2},
	{Name: UplinkAWS, KeepAlive: time.Minute, Inflight: 100, Rate: 100, Bytes: 512 * kib, StartJitter: time.Minute, MaxPayload: 128 * kib,
		ReconnectMax: 128 * time.Second, Service: true, MaxTopicLevels: 8, MaxTopicBytes: 256, MaxSubscriptions: 50, MaxQoS: 1},
	{Name: UplinkTidehold, KeepAlive: time.Minute, MaxPayload: 128 * kib,
		ReconnectMax: time.Minute, Service: true, Status: true, MaxTopicLevels: 8, MaxTopicBytes: 256, MaxSubscriptions: 50, MaxQoS: 2},
	{Name: UplinkMosquitto, KeepAlive: time.Minute, Inflight: 20, Rate: 500, StartJitter: 30 * time.Second, MaxPayload: mib,
		ReconnectMax: time.Minute, Status: true, MaxQoS: 2},
	{Name: UplinkEMQX, KeepAlive: time.Minute, Inflight: 32, Rate: 1000, StartJitter: 30 * time.Second, MaxPayload: mib,
		ReconnectMax: time.Minute, Status: true, MaxQoS: 2},
	{Name: UplinkHiveMQ, KeepAlive: time.Minute, Inflight: 10, StartJitter: 30 * time.Second, MaxPayload: 5 * mib,
		ReconnectMax: time.Minute, Status: true, MaxQoS: 2},
	{Name: UplinkNATS, KeepAlive: time.Minute, Inflight: 100, Rate: 2000, StartJitter: 30 * time.Second, MaxPayload: mib - 4*kib,
		ReconnectMax: time.Minute, Status: true, MaxQoS: 2},
}

func profileOf(name string) (Profile, bool) {
	for _, p := range profiles {
		if p.Name == name {
			return p, true
		}
	}
	return profiles[0], false
}

func profileNames() []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return names
}
