package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// The whole house in a bubble (architecture section 8, L3): real brokers, real
// SQLite files, real paho, a network in memory and virtual time.

const (
	edgeAt  = "127.0.0.1:1883"
	cloudAt = "127.0.0.1:2883"
	// linkAt is the cloud's door for the gateway alone, so that it can be cut.
	linkAt = "127.0.0.1:2884"
)

// sections are the values in desired and reported.
type sections map[string]map[string]int

// street is a gateway and the gateway that is its upstream.
type street struct {
	t     *testing.T
	wires *gwtest.Wires
	// device is a client of the gateway, app one of the upstream.
	device, app *gwtest.Client
	// health hears $GW/health of the gateway.
	health *gwtest.Client
	// met is when the link was last dialled with success.
	met   time.Time
	asked int
}

func newStreet(t *testing.T, uplink string) *street {
	s := &street{t: t, wires: gwtest.NewWires()}
	s.house("cloud", fmt.Sprintf("{name: local, bind: %q, auth: loopback}, {name: link, bind: %q, auth: loopback}", cloudAt, linkAt), "", gateway.Env{Listen: s.wires.Listen, Dial: s.wires.Dial})
	s.house("edge", fmt.Sprintf("{name: local, bind: %q, auth: loopback}", edgeAt), fmt.Sprintf("uplinks:\n  - {name: up, endpoint: \"tcp://%s\", %s}\n", linkAt, uplink),
		gateway.Env{Listen: s.wires.Listen, Dial: s.dial})
	s.device = gwtest.Connect(t, edgeAt, "device", gwtest.ClientOptions{Wires: s.wires})
	s.app = gwtest.Connect(t, cloudAt, "app", gwtest.ClientOptions{Wires: s.wires})
	for _, c := range []*gwtest.Client{s.device, s.app} {
		c.Subscribe("$aws/things/+/shadow/get/accepted", "$aws/things/+/shadow/get/rejected")
	}
	s.health = gwtest.Connect(t, edgeAt, "doctor", gwtest.ClientOptions{Wires: s.wires})
	s.health.Subscribe("$GW/health")
	return s
}

func (s *street) house(id, listeners, more string, env gateway.Env) {
	s.t.Helper()
	serve(s.t, fmt.Sprintf(`version: 1
gateway: {id: %s}
storage: {dir: %s, durability: normal}
mqtt: {listeners: [%s]}
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
%s`, id, s.t.TempDir(), listeners, more), env)
}

// dial is the gateway's way to its upstream.
func (s *street) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.wires.Dial(ctx, network, address)
	if err == nil {
		s.met = time.Now()
	}
	return c, err
}

// set writes one section of a shadow.
func (s *street) set(c *gwtest.Client, thing, section string, n int) {
	s.t.Helper()
	c.Publish("$aws/things/"+thing+"/shadow/update", fmt.Sprintf(`{"state":{%q:{"n":%d}}}`, section, n), 1)
}

// state is what a side tells of a shadow, nil when it has none.
func (s *street) state(c *gwtest.Client, thing string) sections {
	s.t.Helper()
	s.asked++
	token := fmt.Sprintf("%q", fmt.Sprint("ask-", s.asked)) // others get answers on the same topics
	c.Publish("$aws/things/"+thing+"/shadow/get", `{"clientToken":`+token+`}`, 1)
	m := c.Await("the shadow of "+thing, func(m gwtest.Message) bool { return bytes.Contains(m.Payload, []byte(token)) })
	var answer struct{ State map[string]json.RawMessage }
	if err := json.Unmarshal(m.Payload, &answer); err != nil {
		s.t.Fatalf("%s: %s: %v", m.Topic, m.Payload, err)
	}
	out := make(sections)
	for _, section := range []string{"desired", "reported"} {
		var values map[string]int
		if json.Unmarshal(answer.State[section], &values) == nil {
			out[section] = values
		}
	}
	return out
}

// converge waits until both sides of all shadows are as wanted, and tells when
// that was.
func (s *street) converge(want map[string]sections) time.Time {
	s.t.Helper()
	deadline := time.Now().Add(10 * time.Minute)
	for thing, must := range want {
		for !reflect.DeepEqual(s.state(s.device, thing), must) || !reflect.DeepEqual(s.state(s.app, thing), must) {
			if time.Now().After(deadline) {
				s.t.Fatalf("%s: edge %v, cloud %v, want %v", thing, s.state(s.device, thing), s.state(s.app, thing), must)
			}
			time.Sleep(time.Second)
		}
	}
	return time.Now()
}

// TestBubble_ADayOfOutageIsMadeGoodWithinAMinute edits 100 things on both sides
// all through 24 h without a link. Within 60 s of the new connection all are
// equal, at the default pace: upstream wins in desired, the gateway in reported.
func TestBubble_ADayOfOutageIsMadeGoodWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const things, day = 100, 24 * time.Hour
		s := newStreet(t, "profile: tidehold, shadows: {}")
		want := make(map[string]sections)
		for i := range things {
			thing := fmt.Sprintf("thing-%d", i)
			want[thing] = sections{"reported": {"n": i}}
			s.set(s.device, thing, "reported", i)
		}
		s.converge(want)
		s.cut()
		for n := range 4 * things { // every thing four times: each section on each side
			thing, i := fmt.Sprintf("thing-%d", n%things), n%things
			time.Sleep(day / (4 * things))
			switch n / things {
			case 0:
				s.set(s.device, thing, "desired", i+1000) // loses
			case 1:
				s.set(s.app, thing, "reported", i+2000) // loses
			case 2:
				s.set(s.app, thing, "desired", i+3000)
			case 3:
				s.set(s.device, thing, "reported", i+4000)
			}
			want[thing] = sections{"desired": {"n": i + 3000}, "reported": {"n": i + 4000}}
		}
		s.wires.Mend(linkAt)
		done := s.converge(want)
		took := done.Sub(s.met)
		t.Logf("%d things edited 4 times in %v of outage agree %v after the new connection", things, day, took)
		if took > time.Minute {
			t.Errorf("agreement took %v, more than a minute", took)
		}
		s.expect("uplink/up", "ok")
	})
}

// cut cuts the link and waits until the gateway says so. What it said of the
// time before, when the link first came up, is not taken for it.
func (s *street) cut() {
	s.t.Helper()
	for old := true; old; {
		_, old = s.health.Poll(time.Second)
	}
	s.wires.Cut(linkAt)
	s.expect("uplink/up", "degraded")
}

// expect reads $GW/health until a component has this state; a minute of
// silence ends the test.
func (s *street) expect(component, state string) {
	s.t.Helper()
	for {
		m, ok := s.health.Poll(time.Minute)
		var health struct {
			Components map[string]struct{ State string }
		}
		if !ok || json.Unmarshal(m.Payload, &health) != nil {
			s.t.Fatalf("no health that says %s is %s", component, state)
		}
		if health.Components[component].State == state {
			return
		}
	}
}

// T-33: a backlog that fills its line delays a shadow by a second at most.
func TestBubble_ADrainDelaysAShadowByASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const backlog, size, perSecond = 1500, 1000, 64 << 10 // 23 s of line
		s := newStreet(t, `profile: tidehold, shadows: {}, drain: {start_jitter: 0s}, telemetry: [{name: all, from: "dt/#"}]`)
		s.app.Subscribe("$aws/things/+/shadow/update/documents", "gw/#")
		s.set(s.device, "pump", "reported", 0)
		s.converge(map[string]sections{"pump": {"reported": {"n": 0}}})
		s.cut()
		text := strings.Repeat("x", size)
		for range backlog {
			s.device.Publish("dt/x", text, 1)
		}
		s.wires.Slow(linkAt, perSecond)
		s.wires.Mend(linkAt)
		s.expect("uplink/up", "ok")
		worst := time.Duration(0)
		for n := 1; n <= 15; n++ {
			time.Sleep(time.Second)
			asked := time.Now()
			s.set(s.device, "pump", "reported", n)
			s.app.Await("the new value", func(m gwtest.Message) bool {
				return strings.HasSuffix(m.Topic, "/documents") && bytes.Contains(m.Payload, fmt.Appendf(nil, `"n":%d}`, n))
			})
			worst = max(worst, time.Since(asked))
		}
		waits := 0
		for _, m := range s.app.Heard() {
			if strings.HasPrefix(m.Topic, "gw/") {
				waits++
			}
		}
		t.Logf("worst delay %v; %d of %d messages of the backlog had come by then", worst, waits, backlog)
		if waits == 0 || waits >= backlog {
			t.Errorf("%d of %d: the line was not full of the backlog all the time", waits, backlog)
		}
		if worst > time.Second {
			t.Errorf("the shadow was delayed by %v, more than a second", worst)
		}
	})
}
