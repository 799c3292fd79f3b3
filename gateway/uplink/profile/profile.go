// Package profile is the table of upstream engines: how to behave with each kind
// of broker (upstream.md section 2). It is data that the link, the spool and the
// check of the configuration read, and one question: may this message go up?
package profile

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Names of the profiles (contract section 5).
const (
	AWSIoTCore = "aws-iot-core"
	Tidehold   = "tidehold"
	Mosquitto  = "mosquitto"
	EMQX       = "emqx"
	HiveMQ     = "hivemq"
	NATS       = "nats"
	Generic    = "generic"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// ErrRefused: the profile's limits forbid a message; sending it again can never
// help.
var ErrRefused = errors.New("message is outside the limits of the upstream profile")

// Profile is how to behave with one kind of upstream engine (upstream.md
// section 2). It is data: the link, the spool and `tidehold check` read it.
type Profile struct {
	Name string
	// KeepAlive is the interval of pings; ReconnectMax the cap of the back-off;
	// ConnectTimeout the time for one attempt up to CONNACK.
	KeepAlive, ReconnectMax, ConnectTimeout time.Duration
	// Inflight is the window of QoS 1; 0 = adaptive (broker-storage.md 3.5).
	Inflight int
	// Rate and Bytes are per second; 0 = unlimited.
	Rate, Bytes float64
	// MaxPayload is in bytes; 0 = unlimited.
	MaxPayload int
	// StartJitter is the most that a backlog waits after connecting
	// (telemetry.md 9.1).
	StartJitter time.Duration
	// MaxSubscriptions per connection and MaxFilters per SUBSCRIBE; 0 = none.
	MaxSubscriptions, MaxFilters int
	// MaxTopicBytes and MaxTopicLevels limit a topic; 0 = MQTT's own limits.
	MaxTopicBytes, MaxTopicLevels int
	// MaxQoS is the highest QoS the engine takes.
	MaxQoS byte
	// Forbidden are characters that no topic may hold.
	Forbidden string
	// Service: the upstream has shadows of its own (shadow-sync.md 2.3).
	Service bool
	// Status: the link has a status topic by default.
	Status bool
}

var profiles = []Profile{
	{
		MaxQoS: 2, Name: Generic, KeepAlive: 60 * time.Second, ReconnectMax: 60 * time.Second, ConnectTimeout: 10 * time.Second,
		Inflight: 20, Rate: 100, MaxPayload: 128 * kib, StartJitter: 30 * time.Second, Status: true,
	},
	{
		MaxQoS: 1, Name: AWSIoTCore, KeepAlive: 60 * time.Second, ReconnectMax: 128 * time.Second, ConnectTimeout: 10 * time.Second,
		Inflight: 100, Rate: 100, Bytes: 512 * kib, MaxPayload: 128 * kib, StartJitter: 60 * time.Second,
		MaxSubscriptions: 50, MaxFilters: 8, MaxTopicBytes: 256, MaxTopicLevels: 8, Service: true,
	},
	{
		MaxQoS: 2, Name: Tidehold, KeepAlive: 60 * time.Second, ReconnectMax: 60 * time.Second, ConnectTimeout: 10 * time.Second,
		MaxPayload: 128 * kib, MaxSubscriptions: 50, MaxFilters: 8, MaxTopicBytes: 256, MaxTopicLevels: 8, Service: true, Status: true,
	},
	{
		MaxQoS: 2, Name: Mosquitto, KeepAlive: 60 * time.Second, ReconnectMax: 60 * time.Second, ConnectTimeout: 10 * time.Second,
		Inflight: 20, Rate: 500, MaxPayload: mib, StartJitter: 30 * time.Second, Status: true,
	},
	{
		MaxQoS: 2, Name: EMQX, KeepAlive: 60 * time.Second, ReconnectMax: 60 * time.Second, ConnectTimeout: 10 * time.Second,
		Inflight: 32, Rate: 1000, MaxPayload: mib, StartJitter: 30 * time.Second, Status: true,
	},
	{
		MaxQoS: 2, Name: HiveMQ, KeepAlive: 60 * time.Second, ReconnectMax: 60 * time.Second, ConnectTimeout: 10 * time.Second,
		Inflight: 10, MaxPayload: 5 * mib, StartJitter: 30 * time.Second, Status: true,
	},
	{
		MaxQoS: 2, Name: NATS, KeepAlive: 60 * time.Second, ReconnectMax: 60 * time.Second, ConnectTimeout: 5 * time.Second,
		Inflight: 100, Rate: 2000, MaxPayload: 1_000_000, StartJitter: 30 * time.Second, Forbidden: " \t\r\n\f", Status: true,
	},
}

// All are all profiles, the default first.
func All() []Profile { return append([]Profile(nil), profiles...) }

// Of finds a profile by name.
func Of(name string) (Profile, bool) {
	for _, p := range profiles {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}

// Names are the names of all profiles, the default first.
func Names() []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return names
}

// Check says whether the profile takes a message: an error wraps ErrRefused and
// means that it never will (telemetry.md 9.3). One such message sent anyway may
// close the connection each time.
func (p Profile) Check(name string, payload int) error {
	if p.MaxPayload > 0 && payload > p.MaxPayload {
		return fmt.Errorf("publish to %q: payload of %d bytes, the profile %s takes %d: %w", name, payload, p.Name, p.MaxPayload, ErrRefused)
	}
	if why := p.badTopic(name); why != "" {
		return fmt.Errorf("publish to %q: %s (profile %s): %w", name, why, p.Name, ErrRefused)
	}
	return nil
}

func (p Profile) badTopic(name string) string {
	switch {
	case name == "" || len(name) > 65535:
		return "a topic has 1 to 65535 bytes"
	case !utf8.ValidString(name) || strings.ContainsAny(name, "+#\x00"):
		return "a topic is UTF-8 without wildcards and NUL"
	case p.Forbidden != "" && strings.ContainsAny(name, p.Forbidden):
		return "white space in a topic closes the connection"
	case p.Name == NATS && strings.HasPrefix(name, "$MQTT/"):
		return "$MQTT topics are acknowledged and not delivered"
	case p.MaxTopicBytes > 0 && len(p.counted(name)) > p.MaxTopicBytes:
		return fmt.Sprintf("the topic has more than %d bytes", p.MaxTopicBytes)
	case p.MaxTopicLevels > 0 && strings.Count(p.counted(name), "/") >= p.MaxTopicLevels:
		return fmt.Sprintf("the topic has more than %d levels", p.MaxTopicLevels)
	}
	return ""
}

// counted is the part of a topic that AWS's limits count: not the three levels
// of Basic Ingest.
func (p Profile) counted(name string) string {
	if p.Name != AWSIoTCore || !strings.HasPrefix(name, "$aws/rules/") {
		return name
	}
	_, rest, _ := strings.Cut(name[len("$aws/rules/"):], "/")
	return rest
}
