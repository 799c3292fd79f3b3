package config

import (
	"encoding/json"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/config/value"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Auto stands in a figure that is derived at run time, by whoever knows the
// memory or the disk of the host; the field says from what.
const Auto = -1

// Config is a whole configuration with every default filled in. It is a plain
// tree: nothing in it changes after Load, anybody may read it.
type Config struct {
	// File is the path given to Load, Folder where relative paths start.
	File, Folder string

	Gateway  Gateway
	Storage  Storage
	Log      Log
	MQTT     MQTT
	HTTP     HTTP
	TLS      TLS
	Shadow   Shadow
	Security Security

	// Buses, Sensors, Inputs and Outputs are the parts (drivers.md section 2).
	Buses   []drivers.BusConfig
	Sensors []drivers.SensorConfig
	Inputs  []drivers.InputConfig
	Outputs []drivers.OutputConfig

	// Things, Rules and Tables are read-only in the API: they come from the file.
	Things []Thing
	Rules  []Rule
	Tables []Table
	// Roles, Actions and Functions are what the actions of rules work with.
	Roles     []Role
	Actions   []NamedAction
	Functions []Function

	Telemetry Telemetry
	Uplinks   []Uplink
}

// Gateway is `gateway`: who this house is.
type Gateway struct {
	// ID is required: 1..36 of [A-Za-z0-9_-]. It is the thing name of the
	// gateway and `{gateway}` in templates.
	ID iot.ThingName
	// Labels are free texts; default none.
	Labels map[string]string
	// Endpoint is the bare host name that DescribeEndpoint answers; default
	// <hostname>.local.
	Endpoint string
	// AllowSimUpstream lets simulated readings go upstream; default true while
	// every part is simulated, else false.
	AllowSimUpstream bool
	AWS              AWS
}

// AWS is `gateway.aws`: how local ARNs are built and matched.
type AWS struct {
	Region    string // default us-east-1
	AccountID string // 12 digits, default 000000000000
	// AcceptAnyAccount ignores region and account of a policy's ARNs; default
	// false (security.md 1.2).
	AcceptAnyAccount bool
}

// Storage is `storage`.
type Storage struct {
	// Dir holds all files of the gateway; default $STATE_DIRECTORY, else
	// /var/lib/tidehold. Absolute.
	Dir string
	// Durability is full (default: acknowledged survives a power cut) or normal
	// (a crash only).
	Durability string
	// RulesCheckpoint is the time between two stores of what rules remember;
	// default 10s, 0: in memory only.
	RulesCheckpoint time.Duration
}

// Log is `log`.
type Log struct {
	Level  string // debug, info (default), warn or error
	Format string // auto (default: journal under systemd, text on a terminal), text or json
}

// MQTT is `mqtt`: the local broker.
type MQTT struct {
	Limits Limits
	// SessionExpiry is the most for a persistent session, and the value for
	// 3.1.1; default 168h.
	SessionExpiry time.Duration
	// MaxKeepAlive is imposed on clients of MQTT 5 that ask for more; whole
	// seconds, 0 is no limit, default 20m as in AWS.
	MaxKeepAlive time.Duration
	Queue        Queue
	// Listeners replace the default ones, `local` and `mtls`, when written.
	Listeners []Listener
}

// Limits is `mqtt.limits`, the figures of the preset with what the file
// replaces. 0 is no limit.
type Limits struct {
	Preset         string // edge (default), aws or none
	MaxPayload     int    // bytes; edge 128KiB
	MaxTopicLevels int    // edge 8
	MaxTopicBytes  int    // edge 256
	// MaxSubscriptionsPerClient; edge 50. MaxFiltersPerSubscribe; edge 8.
	MaxSubscriptionsPerClient, MaxFiltersPerSubscribe int
	MaxQoS                                            byte // edge 2
	// PublishRate (messages per second) and PublishBytes (bytes per second)
	// bound one connection; edge 1000/s and 4MiB/s.
	PublishRate, PublishBytes float64
	// RateOnLoopback applies both on `loopback` listeners too: preset aws, or a
	// rate that is written in the file.
	RateOnLoopback bool
	MaxInflight    int // unacknowledged messages of one connection; edge 100
	// MaxConnections is Auto unless written: by memory (security.md T11).
	MaxConnections   int
	ConnectTimeout   time.Duration // from accept to a complete CONNECT; 5s
	MaxRetained      int           // messages; 5000
	MaxRetainedBytes int64         // 16MiB
}

// Queue is `mqtt.queue`: what waits for one persistent session that is away.
// A full queue never delays a publisher. 0 is no limit.
type Queue struct {
	MaxMessages int           // default 1000
	MaxBytes    int64         // default 4MiB
	MaxAge      time.Duration // default 168h
	WhenFull    string        // drop-newest (default) or drop-oldest
}

// Listener is an entry of `mqtt.listeners`.
type Listener struct {
	Name string // required
	// Binds are addresses to listen on; the built-in `local` has two of them,
	// for IPv4 and IPv6. Empty: off, or Socket is set.
	Binds []value.Bind
	// Socket names a socket of systemd (LISTEN_FDNAMES) in place of Binds.
	Socket string
	TLS    bool // default false
	// Auth is required: loopback (no credentials, identity `local`),
	// certificate, password or sigv4 (WebSocket).
	Auth string
	// Protocol is mqtt (default), ws or auto (by ALPN, security.md 2.5).
	Protocol string
	// BuiltIn marks a listener of the default list: one that cannot open
	// because the host lacks IPv6 is no failure.
	BuiltIn bool
}

// HTTP is `http`. Each address may be off.
type HTTP struct {
	DataPlane value.Bind // default :8443, HTTPS with client certificates
	Control   value.Bind // default 127.0.0.1:8444, both AWS APIs and the console
	Metrics   value.Bind // default 127.0.0.1:9464, metrics and health
}

// TLS is `tls`.
type TLS struct {
	// RequireSNI refuses clients that name no server, as AWS does; default off.
	RequireSNI bool
	Server     ServerTLS
}

// ServerTLS is `tls.server`.
type ServerTLS struct {
	// Names are added to the names that are found: hostname, addresses.
	Names []string
	// Cert and Key replace the certificate of the local CA; default none. Both
	// or neither.
	Cert, Key value.Secret
}

// Shadow is `shadow` (shadow.md section 9).
type Shadow struct {
	RequireThing bool    // a shadow only for a registered thing; default false
	MaxBytes     int     // of desired plus reported; default 8KiB, to 30KiB
	MaxDepth     int     // container levels; default 8
	MaxInFlight  int     // requests of one connection without answer; default 10, 0 = none
	MaxRate      float64 // requests per second and shadow; default 0 = none
}

// Security is `security`.
type Security struct {
	OnDenied string // aws (default: close the connection) or lenient (security.md 1.6)
	// ConnackCode answers a refused CONNECT of MQTT 3.1.1: 5 (default), or 7 as
	// AWS does (security.md 1.6).
	ConnackCode byte
	// SubackCode answers a refused filter of MQTT 5: 135 (default), or 128 for
	// clients that know no other code.
	SubackCode byte
	// Policies hold device-default and local-default first, unless the file
	// replaces them, then those of the file.
	Policies []Policy
	Users    []User
	// StrictClientID refuses client ids with + # / and control characters always,
	// not only where a policy uses them; default off.
	StrictClientID bool
	Provisioning   Provisioning
}

// Provisioning is `security.provisioning` (security.md 2.3).
type Provisioning struct {
	// AutoActivate is the policy that a certificate gets, and is ACTIVE with, when
	// its CA with automatic registration has no template; default none: it waits.
	AutoActivate string
	// AllowLists are pre-provisioning hooks, beside the local functions.
	AllowLists []AllowList
}

// AllowList is an entry of `security.provisioning.allow_lists`.
type AllowList struct {
	Name      string   // required: what a hook's targetArn names
	Parameter string   // of the template; default SerialNumber
	Values    []string // required: the devices that may come in
}

// Policy is an entry of `security.policies`.
type Policy struct {
	Name     string // required, 1..128 of [A-Za-z0-9_+=,.@-]
	Document string // required: JSON text without white space
	BuiltIn  bool   // not from the file
}

// User is an entry of `security.users`, for `auth: password`.
type User struct {
	Name     string       // required
	Password value.Secret // required: an argon2id or bcrypt hash
	Policies []string     // names, default none: nothing is allowed
}

// Thing is an entry of `things`.
type Thing struct {
	Name       iot.ThingName // required
	Type       string        // default none
	Attributes map[string]string
	Groups     []string
	Policies   []string // attached to certificates made for the thing
	// Writable lists the keys of `desired` that upstream may set; nil is all.
	Writable []string
}

// Rule is an entry of `rules`: a name and AWS's topicRulePayload.
type Rule struct {
	Name             string // required, 1..128 of [A-Za-z0-9_]
	SQL              string // required
	AWSIoTSQLVersion string // default 2016-03-23
	Disabled         bool   // default false
	Description      string
	// Actions are objects with one member as JSON, required; a missing roleArn
	// means edge-default.
	Actions     []json.RawMessage
	ErrorAction json.RawMessage // nil: none
}

// Table is an entry of `tables`: a table of rule actions.
type Table struct {
	Name string   // required
	Key  []string // names of columns; empty: a row number
}

// Telemetry is `telemetry`, for all uplinks together (telemetry.md section 15).
type Telemetry struct {
	Profile string // balanced (default), strict or saver
	Store   Store
	Order   string // live-first (default), fifo or newest-first
	// StoreQoS0 stores QoS 0 messages too; default true.
	StoreQoS0 bool
	// Classes: the first that matches; nil: QoS 1 and drivers class 1, QoS 0
	// class 2.
	Classes []Class
	// Drain holds the figures as written, Auto where the profile of an uplink
	// decides; Uplink.Drain has them resolved.
	Drain Drain
	Clock Clock
}

// Store is `telemetry.store`: bounds of the spool on disk, in bytes.
type Store struct {
	// MaxBytes; Auto unless written: the smaller of 256MiB and 10% of the file
	// system.
	MaxBytes int64
	// MinFree stays free; Auto unless written: the larger of 200MiB and 5%.
	MinFree int64
	// WearDailyBudget is bytes written per day; default 1GiB, 0 = none.
	WearDailyBudget int64
}

// Class is an entry of `telemetry.classes`.
type Class struct {
	Name  string         // required
	Match []topic.Filter // required, on local topics
	Class uint8          // `cls`: 0 critical, 1 normal (default), 2 bulk, 3 latest
	TTL   time.Duration  // default 0: never expires
	// Fold replaces the oldest by aggregates; default true for classes 1 and 2
	// with the overflow fold-then-drop-oldest.
	Fold bool
	// Overflow is fold-then-drop-oldest (default of 1 and 2), drop-oldest
	// (default of 0 and 3), drop-newest or reject.
	Overflow string
}

// Drain is `drain`: how fast the spool empties. 0 is none, Auto by profile.
type Drain struct {
	Rate     float64 // messages per second, live and backlog together
	Bytes    float64 // bytes per second
	Inflight int     // messages without PUBACK; 0 = adaptive window
	// LiveReserve is the share of Rate that the backlog may use only while
	// nothing is live, 0..1; default 0.5.
	LiveReserve float64
	// StartJitter is the most the backlog waits after a connect.
	StartJitter time.Duration
}

// Clock is `telemetry.clock`.
type Clock struct {
	// Hold is how long messages wait for a set clock after the start; default 120s.
	Hold time.Duration
	// TrustDeviceTime takes the time of a message from its payload; default false.
	TrustDeviceTime bool
}

// Uplink is an entry of `uplinks`.
type Uplink struct {
	Name    string // required
	Profile Profile
	// Enabled false: no connection, and nothing new is stored for it; default true.
	Enabled  bool
	Endpoint Endpoint
	// Others are further nodes of the same upstream, when endpoint is a list.
	Others   []Endpoint
	ClientID string // default gateway.id
	// Username, Password, Cert and Key are none by default, CA is the system's
	// pool. Cert and Key: both or neither.
	Username, Password, CA, Cert, Key value.Secret
	// Proxy is the URL of an HTTP CONNECT or SOCKS5 proxy; none by default.
	Proxy value.Secret
	// Status is the topic of the retained state and last will, `{gateway}`
	// filled in; default shadow/{gateway}/status, aws-iot-core: empty = off.
	Status string
	// Required keeps a message until this uplink has it; default true.
	Required bool
	// Drain has every figure: of this uplink, else telemetry.drain, else the
	// profile.
	Drain        Drain
	ReconnectMax time.Duration // cap of the back-off; default 60s, aws-iot-core 128s
	// Shadows is nil: nothing is synced.
	Shadows   *ShadowSync
	Telemetry []Route
	Commands  []Command
}

// Endpoint is where an uplink connects to.
type Endpoint struct {
	Scheme    string // tcp, tls, ws or wss
	Host      string // name or address, without brackets
	Port      int    // default 1883, 8883, 80, 443 by scheme
	TLS       bool   // tls and wss
	WebSocket bool   // ws and wss
	// ALPN is what TLS offers: x-amzn-mqtt-ca for aws-iot-core on port 443.
	ALPN string
}

// ShadowSync is `uplinks[].shadows`.
type ShadowSync struct {
	// Things and Names are patterns; default `*` each. `~` is the classic
	// shadow, `*` includes it.
	Things, Names []string
	Mode          string // service or plain; auto is resolved by profile
	SyncPolicy
	MaxPerSecond float64 // default 10
	// Marker leaves the number of each push in desired.$gw and reported.$gw, so
	// that what became of a push whose answer was lost can always be read there.
	Marker bool
	// Root is the topic of mode plain, `{gateway}` filled in; default
	// shadow/{gateway}.
	Root string
	// Overrides: the first whose Things and Names fit replaces the policy.
	Overrides []SyncOverride
}

// SyncPolicy is how one shadow is synced.
type SyncPolicy struct {
	Direction string // both (default), up or down
	// Desired and Reported say who wins a conflict: cloudWins, localWins or
	// latest; default cloudWins and localWins.
	Desired, Reported string
	OnDelete          string        // updateWins (default) or deleteWins
	MinInterval       time.Duration // between two pushes of one shadow; default 200ms
}

// SyncOverride is an entry of `uplinks[].shadows.overrides`; what it does not
// give is taken from the map around it.
type SyncOverride struct {
	Things, Names []string // default `*` each
	SyncPolicy
}

// Route is an entry of `uplinks[].telemetry`: the first that fits a message
// takes it.
type Route struct {
	Name   string       // required
	From   topic.Filter // required, on local topics, never `$`
	To     string       // template; default gw/{gateway}/t/{topic}
	QoS    byte         // default 1
	Retain bool         // default false
	// Form is auto (default: native for readings and rule output, raw for
	// device publishes), raw, inject or native.
	Form string
	// BatchMax native messages go in one, after BatchEvery at the latest; 0: none.
	BatchMax   int
	BatchEvery time.Duration
}

// Command is an entry of `uplinks[].commands`: what comes down.
type Command struct {
	From topic.Filter // upstream, `{gateway}` and `{name}` filled in; default gw/{gateway}/cmd/#
	To   string       // local template; default cmd/{rest}
	QoS  byte         // default 1
}
