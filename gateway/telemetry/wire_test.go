package telemetry

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/topic"
)

func wired(routes ...Route) (*Spool, *uplink) {
	s := &Spool{cfg: Config{Gateway: "gw-1"}, offsets: map[string]time.Duration{"known1": 1_000_000 * time.Second}}
	u := &uplink{Uplink: Uplink{Name: "cloud", Routes: routes}}
	for i := range u.Routes {
		if err := u.Routes[i].prepare(); err != nil {
			panic(err)
		}
	}
	s.uplinks = []*uplink{u}
	return s, u
}

func record(source, name, payload string) *messages.Record {
	return &messages.Record{Inc: "abcdefgh", Seq: 42, Topic: name, Payload: []byte(payload), QoS: 1, Source: source, Class: 1,
		Boot: "b00b1e", Up: 1500 * time.Millisecond, Wall: time.UnixMilli(1_700_000_000_123), Synced: true}
}

func TestOutgoing_FormsAreThoseOfTheSpecification(t *testing.T) {
	const head = `{"id":"gw-1:abcdefgh:42","gw":"gw-1","inc":"abcdefgh","seq":42,"ts":"2023-11-14T22:13:20.123Z","cq":"sync",`
	for _, c := range []struct{ form, source, name, payload, want string }{
		{"auto", "drv/bme280/climate", "c/t", `{"t":21.50}`, head + `"src":"drv/bme280/climate","t":"c/t","cls":1,"lane":"live","m":{"t":21.50}}`},
		{"auto", "rule/hot", "a", ` {"x":1} `, head + `"src":"rule/hot","t":"a","cls":1,"lane":"live","m":{"x":1}}`},
		{"auto", "dev/x", "a", `{"x": 1}`, `{"x": 1}`},
		{"native", "dev/x", "a", "21.5", head + `"src":"dev/x","t":"a","cls":1,"lane":"live","raw":"MjEuNQ=="}`},
		{"native", "dev/x", "a", "{bad", head + `"src":"dev/x","t":"a","cls":1,"lane":"live","raw":"e2JhZA=="}`},
		{"native", "dev/x", "a", "", head + `"src":"dev/x","t":"a","cls":1,"lane":"live","raw":""}`},
		{"raw", "drv/a/b", "a", `{"x":1}`, `{"x":1}`},
		{"inject", "dev/x", "a", `{"x":1}`, `{"x":1,"_gw":{"id":"gw-1:abcdefgh:42","ts":"2023-11-14T22:13:20.123Z","cq":"sync","lane":"live"}}`},
		{"inject", "dev/x", "a", "{ }\n", "{ " + `"_gw":{"id":"gw-1:abcdefgh:42","ts":"2023-11-14T22:13:20.123Z","cq":"sync","lane":"live"}` + "}\n"},
		{"inject", "dev/x", "a", `{"_gw":1}`, `{"_gw":1}`},
		{"inject", "dev/x", "a", `[1,2]`, `[1,2]`},
		{"inject", "dev/x", "a", "\x00\xff", "\x00\xff"},
	} {
		s, u := wired(Route{Name: "all", From: "#", Form: c.form, QoS: 1})
		r := record(c.source, c.name, c.payload)
		out, _ := s.outgoing(u, r, s.stampOf(r), false)
		if string(out.Payload) != c.want || out.Topic != "gw/gw-1/t/"+c.name || out.Seq != 42 || out.QoS != 1 {
			t.Errorf("%s %s %q: %s %s\nwant %s", c.form, c.source, c.payload, out.Topic, out.Payload, c.want)
		}
	}
}

// Topics and payloads that other stores change come through byte by byte
// (T-36).
func TestOutgoing_OddTopicsAndPayloadsStayAsTheyAre(t *testing.T) {
	s, u := wired(Route{Name: "all", From: "#", To: "{topic}", QoS: 1})
	for _, name := range []string{"007", "1e3", " 5 ", "a//b", "𝄞/x"} {
		for _, payload := range []string{"", "a\x00b", "𝄞", "\xff\xfe"} {
			r := record("dev/x", name, payload)
			out, _ := s.outgoing(u, r, s.stampOf(r), true)
			if out.Topic != name || !bytes.Equal(out.Payload, []byte(payload)) {
				t.Errorf("%q %q became %q %q", name, payload, out.Topic, out.Payload)
			}
		}
	}
}

func TestOutgoing_TheFirstFittingEntryDecides(t *testing.T) {
	s, u := wired(
		Route{Name: "one", From: "plant/+/temp", To: "t/{gateway}/{name}/{2}", QoS: 1, Retain: true},
		Route{Name: "two", From: "plant/#", To: "$aws/rules/r/{rest}", QoS: 0})
	for name, want := range map[string]string{"plant/7/temp": "t/gw-1/one/7", "plant/7/hum": "$aws/rules/r/7/hum", "gone": "gw/gw-1/t/gone"} {
		r := record("dev/x", name, "x")
		out, _ := s.outgoing(u, r, s.stampOf(r), false)
		if out.Topic != want || out.Retain != (name == "plant/7/temp") || out.QoS == 0 != (name == "plant/7/hum") {
			t.Errorf("%s goes out as %+v", name, out)
		}
	}
}

func TestStamp_SaysHowFarTheTimeIsToBeTrusted(t *testing.T) {
	s, _ := wired()
	r := record("drv/a/b", "a", "{}")
	r.Synced = false
	if st := s.stampOf(r); st.cq != clockMono || !st.ts.Equal(r.Wall) {
		t.Errorf("unknown boot: %+v", st)
	}
	r.Boot = "known1"
	if st := s.stampOf(r); st.cq != clockEst || st.ts.UnixMilli() != 1_000_001_500 {
		t.Errorf("known boot: %+v", st)
	}
	if p := s.native(r, s.stampOf(r), true); !strings.Contains(string(p), `"boot":"known1","up":1500`) || !strings.Contains(string(p), `"lane":"back"`) {
		t.Errorf("%s", p)
	}
}

func FuzzForms(f *testing.F) {
	f.Add("a/b", "dev/x", []byte(`{"a":1}`))
	f.Add("\"", "drv/\xff", []byte("{}"))
	f.Fuzz(func(t *testing.T, name, source string, payload []byte) {
		s, _ := wired()
		r := record(source, name, string(payload))
		if p := s.native(r, s.stampOf(r), false); !json.Valid(p) {
			t.Errorf("native is no JSON: %q", p)
		}
		if p := s.inject(r, s.stampOf(r), false); json.Valid(payload) && !json.Valid(p) {
			t.Errorf("%q became %q", payload, p)
		}
	})
}

func TestOutgoing_AnAggregateIsNativeAndSaysWhatItStandsFor(t *testing.T) {
	s, u := wired(Route{Name: "all", From: "#", QoS: 1, Form: FormRaw})
	r := record("dev/a", "t", `{"/v":{"count":7,"first":1,"last":2}}`)
	r.Seq, r.Fold = 108, &messages.Folded{Level: 1, From: 100, N: 8, Bad: 1, Left: 3}
	out, _ := s.outgoing(u, r, stamp{ts: r.Wall, cq: clockSync}, true)
	for _, want := range []string{`:f1-100-108"`, `"n":8`, `"agg":{"level":1,"window_s":60,"from":100,"to":108,"bad":1,"left_out":3}`, `"m":{"/v":`} {
		if !strings.Contains(string(out.Payload), want) {
			t.Errorf("%s lacks %s", out.Payload, want)
		}
	}
}

func TestFold_WhatMustStayStays(t *testing.T) {
	s, _ := wired()
	s.cfg.Classes = []Class{{Match: []topic.Filter{"raw/#"}, Class: 1}, {Match: []topic.Filter{"#"}, Class: 1, Fold: true}}
	var recs []messages.Record
	for i, name := range []string{"a", "raw/a", "a", "raw/a", "alarm", "alarm", "sys/loss", "sys/loss"} {
		r := *record("dev/a", name, `{"v":1}`)
		r.Seq, r.Synced, r.Class = uint64(i+1), true, messages.Normal
		if name == "alarm" {
			r.Class = messages.Critical
		}
		if name == "sys/loss" {
			r.Source = name
		}
		recs = append(recs, r)
	}
	var ids []string
	for _, r := range s.fold(recs) {
		ids = append(ids, r.ID("g"))
	}
	got := strings.Join(ids, " ")
	inc := recs[0].Inc
	want := strings.ReplaceAll("g:INC:2 g:INC:f1-1-3 g:INC:4 g:INC:5 g:INC:6 g:INC:7 g:INC:8", "INC", inc)
	if got != want {
		t.Errorf("left are\n%s, want\n%s", got, want)
	}
}
