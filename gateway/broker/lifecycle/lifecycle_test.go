package lifecycle

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

var now = time.UnixMilli(1700000000123)

func TestEvents_HaveTheMembersOfAWS(t *testing.T) {
	s := Subject{ID: "b", Principal: iot.Principal{Kind: iot.CertificateKind, ID: "abc"}, Session: "s", IP: "10.0.0.1", Version: 3}
	type made struct {
		m  iot.Message
		ok bool
	}
	of := func(m iot.Message, ok bool) made { return made{m, ok} }
	for topic, c := range map[string]struct {
		made made
		want string
	}{
		"presence/connected": {of(Connected(s, now)),
			`{"clientId":"b","timestamp":1700000000123,"eventType":"connected","sessionIdentifier":"s","principalIdentifier":"abc","ipAddress":"10.0.0.1","versionNumber":3}`},
		"presence/disconnected": {of(Disconnected(s, Lost, now)),
			`{"clientId":"b","timestamp":1700000000123,"eventType":"disconnected","clientInitiatedDisconnect":false,"sessionIdentifier":"s","principalIdentifier":"abc","disconnectReason":"CONNECTION_LOST","versionNumber":3}`},
		"presence/connect_failed": {of(ConnectFailed(s, now)),
			`{"clientId":"b","timestamp":1700000000123,"eventType":"connect_failed","connectFailureReason":"AUTHORIZATION_FAILED","sessionIdentifier":"s","principalIdentifier":"abc","ipAddress":"10.0.0.1"}`},
		"subscriptions/subscribed": {of(Subscribed(s, []string{"x"}, now)),
			`{"clientId":"b","timestamp":1700000000123,"eventType":"subscribed","sessionIdentifier":"s","principalIdentifier":"abc","topics":["x"]}`},
		"subscriptions/unsubscribed": {of(Unsubscribed(s, []string{"x"}, now)),
			`{"clientId":"b","timestamp":1700000000123,"eventType":"unsubscribed","sessionIdentifier":"s","principalIdentifier":"abc","topics":["x"]}`},
	} {
		m := c.made.m
		if !c.made.ok || m.Topic != "$aws/events/"+topic+"/b" || m.QoS != 1 || m.Retain || m.Origin.Principal.Kind != iot.House {
			t.Errorf("%s: %+v", topic, m)
		}
		if !same(t, string(m.Payload), c.want) {
			t.Errorf("%s:\n got %s\nwant %s", topic, m.Payload, c.want)
		}
	}
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y map[string]any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}

func TestEvents_ClientIDsThatAreFiltersHaveNone(t *testing.T) {
	for _, id := range []iot.ClientID{"a+b", "#", ""} {
		if _, ok := Connected(Subject{ID: id}, now); ok {
			t.Errorf("%q has an event", id)
		}
	}
}

func TestPresence_NumbersRestartAnHourAfterTheClientWent(t *testing.T) {
	p, at := NewPresence(), now
	for want := range int64(3) {
		if got := p.Come("c", at); got != want {
			t.Errorf("visit %d has number %d", want, got)
		}
		p.Leave("c", at, 0)
		at = at.Add(50 * time.Minute)
	}
	if got := p.Come("c", at.Add(20*time.Minute)); got != 0 {
		t.Errorf("after more than an hour: %d", got)
	}
	p.Leave("c", at, 3*time.Hour) // a persistent session counts on
	if got := p.Come("c", at.Add(2*time.Hour)); got != 1 {
		t.Errorf("within the life of the session: %d", got)
	}
}

// TestPresence_IsBounded: whoever is connected keeps its number, whoever went
// last is remembered, and one look for room frees many places.
func TestPresence_IsBounded(t *testing.T) {
	p := NewPresence()
	p.Come("here", now)
	for i := range rememberMax {
		id := iot.ClientID(strconv.Itoa(i))
		p.Come(id, now)
		p.Leave(id, now.Add(time.Duration(i)*time.Millisecond), 0)
	}
	if len(p.seen) != rememberMax-forgetAtOnce+1 {
		t.Errorf("%d client ids remembered", len(p.seen))
	}
	for id, want := range map[iot.ClientID]int64{"here": 1, "0": 0, iot.ClientID(strconv.Itoa(rememberMax - 1)): 1} {
		if got := p.Come(id, now); got != want {
			t.Errorf("%s comes for the time %d, want %d", id, got, want)
		}
	}
}

func BenchmarkPresence_EverNewNames(b *testing.B) {
	p := NewPresence()
	for i := 0; b.Loop(); i++ {
		id := iot.ClientID(strconv.Itoa(i))
		p.Come(id, now)
		p.Leave(id, now, 0)
	}
}
