package broker

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// The values of disconnectReason (shadow.md section 11).
const (
	reasonAuth        = "AUTH_ERROR"
	reasonClient      = "CLIENT_INITIATED_DISCONNECT"
	reasonClientError = "CLIENT_ERROR"
	reasonLost        = "CONNECTION_LOST"
	reasonDuplicate   = "DUPLICATE_CLIENTID"
	reasonKeepAlive   = "MQTT_KEEP_ALIVE_TIMEOUT"
	reasonServer      = "SERVER_INITIATED_DISCONNECT"
	reasonThrottled   = "THROTTLED"
	reasonAPI         = "API_INITIATED_DISCONNECT"
)

const eventPrefix = "$aws/events/"

// event is the JSON of the lifecycle events.
type event struct {
	ClientID   iot.ClientID `json:"clientId"`
	Timestamp  int64        `json:"timestamp"` // ms
	EventType  string       `json:"eventType"`
	Failure    string       `json:"connectFailureReason,omitempty"`
	ByClient   *bool        `json:"clientInitiatedDisconnect,omitempty"`
	Session    string       `json:"sessionIdentifier"`
	Principal  string       `json:"principalIdentifier"`
	IP         string       `json:"ipAddress,omitempty"`
	Reason     string       `json:"disconnectReason,omitempty"`
	Version    *int64       `json:"versionNumber,omitempty"`
	TopicsList []string     `json:"topics,omitempty"`
}

// emit hands an event to the house. Client ids that would make the topic a
// filter have none.
func (b *Broker) emit(kind string, c *client, fill func(*event)) {
	if strings.ContainsAny(string(c.public.ID), "+#") || c.public.ID == "" {
		return
	}
	now := b.clk.Now()
	e := event{
		ClientID: c.public.ID, Timestamp: now.UnixMilli(), EventType: kind[strings.LastIndexByte(kind, '/')+1:],
		Session: c.public.Session, Principal: principalText(c.public.Principal),
	}
	fill(&e)
	payload, err := json.Marshal(e)
	if err != nil {
		panic("broker: marshal an event: " + err.Error()) // strings and numbers only
	}
	b.house.Accept(iot.Message{
		Topic: eventPrefix + kind + "/" + string(c.public.ID), Payload: payload, QoS: 1, Arrived: now,
		Origin: iot.Origin{Principal: iot.Principal{Kind: iot.House}, Source: "sys/events"},
	}, ignore)
}

func principalText(p iot.Principal) string {
	if p.ID == "" && p.Kind == iot.Local {
		return "local"
	}
	return p.ID
}

func (b *Broker) connectedEvent(c *client, version int64) {
	b.emit("presence/connected", c, func(e *event) { e.IP, e.Version = c.public.RemoteIP, &version })
}

func (b *Broker) disconnectedEvent(c *client, version int64) {
	byClient := c.end.event == reasonClient
	b.emit("presence/disconnected", c, func(e *event) {
		e.ByClient, e.Reason, e.Version = &byClient, c.end.event, &version
	})
}

func (b *Broker) connectFailedEvent(c *client) {
	b.emit("presence/connect_failed", c, func(e *event) {
		e.Failure, e.IP = "AUTHORIZATION_FAILED", c.public.RemoteIP
	})
}

func (b *Broker) subscriptionEvent(kind string, c *client, topics []string) {
	b.emit("subscriptions/"+kind, c, func(e *event) { e.TopicsList = topics })
}

const (
	presenceFor = time.Hour // versionNumber restarts so long after the client went
	presenceMax = 20000     // client ids remembered
)

// presence numbers the connections of a client id.
type presence struct {
	mu   sync.Mutex
	seen map[iot.ClientID]*visits
}

type visits struct {
	next   int64
	open   int
	forget time.Time // when open is 0
}

func newPresence() *presence { return &presence{seen: make(map[iot.ClientID]*visits)} }

// come gives the version number of a new connection.
func (p *presence) come(id iot.ClientID, now time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.seen[id]
	if v == nil || v.open == 0 && now.After(v.forget) {
		if len(p.seen) >= presenceMax {
			p.purge(now)
		}
		v = &visits{}
		p.seen[id] = v
	}
	v.open++
	v.next++
	return v.next - 1
}

// purge forgets those whose time is over, and when all are young, one of them.
func (p *presence) purge(now time.Time) {
	for id, v := range p.seen {
		if v.open == 0 && now.After(v.forget) {
			delete(p.seen, id)
		}
	}
	for id, v := range p.seen {
		if len(p.seen) < presenceMax {
			return
		}
		if v.open == 0 {
			delete(p.seen, id)
		}
	}
}

// leave ends a connection whose session lives on for expiry.
func (p *presence) leave(id iot.ClientID, now time.Time, expiry time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.seen[id]; v != nil {
		v.open--
		v.forget = now.Add(max(expiry, presenceFor))
	}
}
