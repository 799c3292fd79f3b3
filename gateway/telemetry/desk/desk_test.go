package desk

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
)

func sample() messages.Record {
	return messages.Record{Inc: "abc", Seq: 7, Topic: "t/ü", Payload: []byte{0, 1, 255}, QoS: 1, Retain: true, Source: "dev/d", ClientID: "d", Class: messages.Bulk,
		Boot: "b00t", Up: 1500 * time.Millisecond, Wall: time.UnixMilli(1_700_000_000_123).UTC(), Synced: true, Sim: true,
		Properties: &iot.Properties{ContentType: "x", User: []iot.UserProperty{{Key: "k", Value: "v"}}}}
}

func TestParseLine_GivesBackWhatWasExported(t *testing.T) {
	r := sample()
	text, err := json.Marshal(lineOf("gw", &r, true))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseLine("gw", text)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("got %+v, %v; want %+v", got, err, r)
	}
}

func TestParseLine_AnotherGatewaysRecordKeepsItsId(t *testing.T) {
	r := sample()
	text, _ := json.Marshal(lineOf("one", &r, true))
	got, err := ParseLine("two", text)
	if err != nil || got.Inc != "one:abc" || got.ID("two") != "one:abc:7" {
		t.Fatalf("%q %q %v", got.Inc, got.ID("two"), err)
	}
	carried, _ := json.Marshal(lineOf("two", &got, true))
	if third, err := ParseLine("three", carried); err != nil || third.ID("three") != "one:abc:7" {
		t.Fatalf("carried twice: %q %v", third.ID("three"), err)
	}
}

func TestParseLine_RefusesWhatIsNoExportedMessage(t *testing.T) {
	for _, text := range []string{
		``, `[]`, `{}`, `{"id":"gw:abc","t":"x"}`, `{"id":"gw:abc:0","t":"x"}`, `{"id":"gw:a b:1","t":"x"}`, `{"id":":abc:1","t":"x"}`,
		`{"id":"gw:abc:1","t":"a/#"}`, `{"id":"gw:abc:1","t":"x","cls":3}`, `{"id":"gw:abc:1","t":"x","qos":3}`, `{"id":"gw:abc:1","t":"x","up":-1}`,
	} {
		if r, err := ParseLine("gw", []byte(text)); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("%s: got %+v, %v", text, r, err)
		}
	}
}

func TestParseTime_TakesATimeOrADurationAgo(t *testing.T) {
	now := time.Unix(1000, 0)
	for text, want := range map[string]time.Time{"": {}, "10s": time.Unix(990, 0), "0s": now, "1970-01-01T00:00:05Z": time.Unix(5, 0)} {
		if got, err := ParseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-1s", "12"} {
		if _, err := ParseTime(text, now); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	r := sample()
	text, _ := json.Marshal(lineOf("gw", &r, true))
	f.Add(text)
	f.Add([]byte(`{"id":"a:b:1","t":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseLine("gw", text)
		if err != nil {
			return
		}
		again, err := json.Marshal(lineOf("gw", &r, true))
		if err != nil {
			return // a year that has no form
		}
		if back, err := ParseLine("gw", again); err != nil || back.ID("gw") != r.ID("gw") || back.Topic != r.Topic {
			t.Fatalf("%q became %q: %v", text, again, err)
		}
	})
}
