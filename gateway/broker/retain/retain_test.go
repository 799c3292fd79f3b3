package retain

import (
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
)

func TestStore_CountsPerPrincipal(t *testing.T) {
	store := New(Limits{PerPrincipal: 1})
	device := iot.Principal{Kind: iot.CertificateKind, ID: "c"}
	keep := func(topic, payload string) {
		store.Keep(&Message{Message: iot.Message{Topic: topic, Payload: []byte(payload), Origin: iot.Origin{Principal: device}}}, func(bool) {})
	}
	keep("a", "x")
	if store.Fits("b", 1, device) {
		t.Error("a second message of one certificate fits where one is allowed")
	}
	if !store.Fits("b", 1, iot.Principal{Kind: iot.Local}) {
		t.Error("local clients have no such limit")
	}
	keep("a", "")
	if !store.Fits("b", 1, device) || store.bytes != 0 {
		t.Errorf("after the message is gone: %d bytes", store.bytes)
	}
}
