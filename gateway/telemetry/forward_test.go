package telemetry

import (
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// ruled is a message that a rule made.
func ruled(topic string, qos byte) iot.Message {
	return iot.Message{Topic: topic, Payload: []byte(`{"n":1}`), QoS: qos, Origin: iot.Origin{Source: "rule/r"}, Arrived: time.Now()}
}

func TestForward_TakesTheClassOfItsPriority(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, c := enter(t, Config{Uplinks: oneUplink}), newCloud(t)
		stop := h.drain("cloud", c)
		for _, priority := range []string{"critical", "normal", "bulk", ""} {
			if err := h.s.Forward("cloud", priority, ruled("up/"+priority+"x", 0), func(err error) {
				if err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Error(err)
			}
		}
		rest(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		want := map[string]string{"up/criticalx": `"cls":0`, "up/normalx": `"cls":1`, "up/bulkx": `"cls":2`, "up/x": `"cls":2`}
		for _, m := range c.got {
			if text := want[m.Topic]; text != "" && !strings.Contains(string(m.Payload), text+",") {
				t.Errorf("%s: %s", m.Topic, m.Payload)
			}
			delete(want, m.Topic)
		}
		if len(want) > 0 {
			t.Errorf("did not come: %v", want)
		}
		h.leave()
	})
}

func TestForward_RefusesWhatCannotGoUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := enter(t, Config{Uplinks: oneUplink})
		never := func(error) { t.Error("done was called") }
		for _, c := range []struct{ uplink, priority, topic, want string }{
			{"moon", "", "a", `uplink "moon" does not exist`}, {"", "", "$aws/things/t", "never go up"}, {"", "high", "a", "want critical"}, {"", "", "a/+", "wildcard"},
		} {
			if err := h.s.Forward(c.uplink, c.priority, ruled(c.topic, 0), never); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: %v", c, err)
			}
		}
		h.leave()
		alone := enter(t, Config{})
		if err := alone.s.Forward("", "", ruled("a", 0), never); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("without an uplink: %v", err)
		}
		alone.leave()
	})
}

// The levels of Basic Ingest are not counted against the far side's limits.
func TestIngest_GoesUpAsItCameOnTheTopicOfTheRule(t *testing.T) {
	bubble(t, func(t *testing.T) {
		narrow := oneUplink[0]
		narrow.MaxTopicLevels, narrow.MaxTopicBytes = 3, 5
		h, c := enter(t, Config{Uplinks: []Uplink{narrow}}), newCloud(t)
		stop := h.drain("cloud", c)
		for _, name := range []string{"a/b/c", ""} {
			m := ruled(name, 0)
			m.Retain = true
			if err := h.s.Ingest("cloud", "fans", m, func(err error) {
				if err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Error(err)
			}
		}
		rest(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		found := 0
		for _, m := range c.got {
			if !strings.HasPrefix(m.Topic, "$aws/rules/fans") {
				continue
			}
			found++
			if string(m.Payload) != `{"n":1}` || m.QoS != 1 || m.Retain {
				t.Errorf("%+v %s", m, m.Payload)
			}
		}
		if found != 2 {
			t.Errorf("%d came of 2", found)
		}
		h.leave()
	})
}
