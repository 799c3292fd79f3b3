// Package lifecycle words the events of clients coming, going and subscribing
// (shadow.md section 11) and numbers the connections of each client id.
//
// Words are pure functions. Presence may be used by several goroutines, never
// blocks, and remembers a bounded number of client ids.
package lifecycle

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// The values of disconnectReason that occur here (shadow.md section 11).
const (
	Auth        = "AUTH_ERROR"
	Client      = "CLIENT_INITIATED_DISCONNECT"
	ClientError = "CLIENT_ERROR"
	Lost        = "CONNECTION_LOST"
	Duplicate   = "DUPLICATE_CLIENTID"
	KeepAlive   = "MQTT_KEEP_ALIVE_TIMEOUT"
	Server      = "SERVER_INITIATED_DISCONNECT"
	Throttled   = "THROTTLED"
	API         = "API_INITIATED_DISCONNECT"
)

const prefix = "$aws/events/"

// Subject is the connection that an event is about.
type Subject struct {
	ID        iot.ClientID
	Principal iot.Principal
	Session   string // unique per connection
	IP        string
	Version   int64 // from Presence
}

// event is the JSON of all kinds.
type event struct {
	ClientID  iot.ClientID `json:"clientId"`
	Timestamp int64        `json:"timestamp"` // ms
	EventType string       `json:"eventType"`
	Failure   string       `json:"connectFailureReason,omitempty"`
	ByClient  *bool        `json:"clientInitiatedDisconnect,omitempty"`
	Session   string       `json:"sessionIdentifier"`
	Principal string       `json:"principalIdentifier"`
	IP        string       `json:"ipAddress,omitempty"`
	Reason    string       `json:"disconnectReason,omitempty"`
	Version   *int64       `json:"versionNumber,omitempty"`
	Topics    []string     `json:"topics,omitempty"`
}

// Connected is the event of an accepted connection.
func Connected(s Subject, now time.Time) (iot.Message, bool) {
	return word("presence/connected", s, now, event{IP: s.IP, Version: &s.Version})
}

// Disconnected is the event of its end, with one of the reasons above.
func Disconnected(s Subject, reason string, now time.Time) (iot.Message, bool) {
	byClient := reason == Client
	return word("presence/disconnected", s, now, event{ByClient: &byClient, Reason: reason, Version: &s.Version})
}

// ConnectFailed is the event of a connection, or its will, that is not authorised.
func ConnectFailed(s Subject, now time.Time) (iot.Message, bool) {
	return word("presence/connect_failed", s, now, event{IP: s.IP, Failure: "AUTHORIZATION_FAILED"})
}

// Subscribed is the event of one SUBSCRIBE packet.
func Subscribed(s Subject, topics []string, now time.Time) (iot.Message, bool) {
	return word("subscriptions/subscribed", s, now, event{Topics: topics})
}

// Unsubscribed is the event of one UNSUBSCRIBE packet.
func Unsubscribed(s Subject, topics []string, now time.Time) (iot.Message, bool) {
	return word("subscriptions/unsubscribed", s, now, event{Topics: topics})
}

// word fills in what all kinds have. False: a client id that would make the
// topic a filter has no events.
func word(kind string, s Subject, now time.Time, e event) (iot.Message, bool) {
	if s.ID == "" || strings.ContainsAny(string(s.ID), "+#") {
		return iot.Message{}, false
	}
	e.ClientID, e.Timestamp, e.EventType = s.ID, now.UnixMilli(), kind[strings.IndexByte(kind, '/')+1:]
	e.Session, e.Principal = s.Session, s.Principal.ID
	if e.Principal == "" && s.Principal.Kind == iot.Local {
		e.Principal = "local"
	}
	payload, err := json.Marshal(e)
	if err != nil {
		panic("lifecycle: marshal an event: " + err.Error()) // strings and numbers only
	}
	return iot.Message{
		Topic: prefix + kind + "/" + string(s.ID), Payload: payload, QoS: 1, Arrived: now,
		Origin: iot.Origin{Principal: iot.Principal{Kind: iot.House}, Source: "sys/events"},
	}, true
}

const (
	rememberFor = time.Hour // Version restarts so long after the client went
	rememberMax = 20000     // client ids
	// forgetAtOnce is how many places a look for room frees.
	forgetAtOnce = rememberMax / 8
)

// Presence numbers the connections of each client id.
type Presence struct {
	mu   sync.Mutex
	seen map[iot.ClientID]*visits
}

type visits struct {
	next   int64
	open   int
	forget time.Time // when open is 0
}

// NewPresence has seen nobody.
func NewPresence() *Presence { return &Presence{seen: make(map[iot.ClientID]*visits)} }

// Come gives the version number of a new connection of id.
func (p *Presence) Come(id iot.ClientID, now time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.seen[id]
	if v == nil || v.open == 0 && now.After(v.forget) {
		if len(p.seen) >= rememberMax {
			p.purge(now)
		}
		v = &visits{}
		p.seen[id] = v
	}
	v.open++
	v.next++
	return v.next - 1
}

// purge forgets those whose time is over and, when that does not make room for
// forgetAtOnce, those whose time is over next: many at once, so that clients with
// ever new names do not pay for a look at all others each.
func (p *Presence) purge(now time.Time) {
	away := make([]iot.ClientID, 0, len(p.seen))
	for id, v := range p.seen {
		switch {
		case v.open > 0:
		case now.After(v.forget):
			delete(p.seen, id)
		default:
			away = append(away, id)
		}
	}
	slices.SortFunc(away, func(x, y iot.ClientID) int { return p.seen[x].forget.Compare(p.seen[y].forget) })
	over := len(p.seen) - (rememberMax - forgetAtOnce)
	for _, id := range away[:max(0, min(over, len(away)))] {
		delete(p.seen, id)
	}
}

// Leave ends a connection whose session lives on for expiry.
func (p *Presence) Leave(id iot.ClientID, now time.Time, expiry time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.seen[id]; v != nil {
		v.open--
		v.forget = now.Add(max(expiry, rememberFor))
	}
}
