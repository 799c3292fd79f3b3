package iot

import "time"

// PrincipalKind says how a principal proved who it is.
type PrincipalKind int

// The kinds of principal.
const (
	Anonymous       PrincipalKind = iota // nobody; may do nothing
	Local                                // a loopback listener: identity `local`
	CertificateKind                      // X.509: ID is the certificate id
	UserKind                             // password: ID is the user name
	AccessKeyKind                        // signature: ID is the access key id
	House                                // the gateway's own rooms
)

// Principal is an authenticated identity.
type Principal struct {
	Kind PrincipalKind
	ID   string
}

// Origin says where a message came from. The zero Origin is the house itself.
type Origin struct {
	ClientID  ClientID
	Principal Principal
	SourceIP  string
	// Source is `dev/<client id>`, `drv/<driver>/<part>`, `rule/<name>` or
	// `sys/<what>` (telemetry.md 3.1).
	Source string
	// Uplink names the uplink a message came down from; it never goes back there.
	Uplink string
	// TraceID is a UUID that all rules of one message share.
	TraceID string
	// Hops counts the rules a message has been through (rules.md section 8).
	Hops int
	// Protocol is the MQTT version of the publisher, 0 when it was not MQTT.
	Protocol byte
	// Will is set on a last will: the shadow service ignores it.
	Will bool
	// Exchange names the QoS 2 exchange that brought the message, to the broker
	// alone and only while it is being accepted; 0 is none.
	Exchange uint64
	// Sim is set on readings of simulated parts (drivers.md section 8).
	Sim bool
}

// UserProperty is one MQTT 5 user property; order and repetition matter.
type UserProperty struct{ Key, Value string }

// Properties are the MQTT 5 properties of a PUBLISH that travel with it.
type Properties struct {
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	// PayloadFormat is 0 (bytes) or 1 (UTF-8); it counts only when
	// HasPayloadFormat is set.
	PayloadFormat    byte
	HasPayloadFormat bool
	// MessageExpiry is in seconds; 0 means none.
	MessageExpiry uint32
	User          []UserProperty
}

// Message is an application message on its way through the house. Its payload
// and properties are shared by all who see it: nobody changes them.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Properties is nil when there are none.
	Properties *Properties
	Origin     Origin
	// Arrived is when the gateway took the message.
	Arrived time.Time
}
