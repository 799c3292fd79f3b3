package recent

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

func message(topic, payload string) *iot.Message {
	return &iot.Message{Topic: topic, Payload: []byte(payload)}
}

func TestMessages_RememberTheLatestOfEachTopic(t *testing.T) {
	var r Messages
	for i := range 3 {
		r.Sample(message("a", fmt.Sprint(i)), time.Second)
	}
	r.Sample(message("b", "x"), time.Second)
	if all := r.All(""); len(all) != 2 || all[0].Topic != "b" || string(all[1].Payload) != "2" {
		t.Errorf("got %v", all)
	}
	if all := r.All("a"); len(all) != 1 {
		t.Errorf("the filter lets %d pass", len(all))
	}
	if m, ok := r.Find(func(name string) bool { return name == "a" }); !ok || string(m.Payload) != "2" {
		t.Errorf("found %s, %v", m.Payload, ok)
	}
}

func TestMessages_OfManyTopicsTheOldestGoes(t *testing.T) {
	var r Messages
	for i := range 2 * Max {
		r.Sample(message(fmt.Sprint("t", i), ""), time.Duration(i)*time.Second)
	}
	if all := r.All(""); len(all) != Max || all[len(all)-1].Topic != fmt.Sprint("t", Max) {
		t.Errorf("%d remembered, the oldest of %s", len(all), all[len(all)-1].Topic)
	}
	r.Sample(&iot.Message{Topic: "long", Payload: make([]byte, BytesMax+1)}, time.Hour)
	if len(r.All("long")) > 0 {
		t.Error("a long payload must not be remembered")
	}
}

func TestMessages_OfABurstNotEveryOneIsRemembered(t *testing.T) {
	var r Messages
	for i := range 10 * sampleBurst {
		r.Sample(message("a", fmt.Sprint(i)), 0)
	}
	if m, _ := r.Find(func(string) bool { return true }); string(m.Payload) != fmt.Sprint(sampleBurst) {
		t.Errorf("the last one remembered is %s", m.Payload)
	}
}
