package binding

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/iot"
)

var t0 = time.Unix(1_760_000_000, 0)

func climate() Part {
	return Part{Name: "climate", Kind: Sensor, Driver: "bme280", Poll: time.Second, Simulated: true, HealthTopic: "health/climate",
		Target: drivers.Target{Thing: "climate-1", Key: ".", ShadowEvery: 2 * time.Second, Telemetry: &drivers.TelemetryConfig{Topic: "dt/climate-1/reading", Every: time.Second}}}
}

func sample(channel string, v float64, at time.Duration, passed bool) drivers.Sample {
	return drivers.Sample{Reading: drivers.Reading{Channel: channel, Value: v, Time: t0.Add(at)}, Decimals: 1, Passed: passed, Live: true, LiveValue: v}
}

func table(t *testing.T, parts ...Part) *Table {
	t.Helper()
	tab, err := NewTable(parts, t0)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// due gives patches as `key payload` and messages as `topic payload`.
func due(tab *Table, now time.Duration) (patches, messages []string) {
	ps, ms, _, _ := tab.Due(now, false)
	for _, p := range ps {
		patches = append(patches, p.Key.String()+" "+string(p.Payload))
	}
	for _, m := range ms {
		messages = append(messages, m.Topic+" "+string(m.Payload))
	}
	return patches, messages
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) || len(got) != len(want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestTable_FirstReadingsAndHealthGoInOnePatch(t *testing.T) {
	tab := table(t, climate())
	tab.Health(0, "climate", drivers.Health{State: drivers.OK, Since: t0})
	tab.Samples(0, "climate", []drivers.Sample{sample("temperature", 21.5, 0, true), sample("humidity", 40, 0, true)})
	patches, messages := due(tab, batchWindow)
	expect(t, "patches", patches, `climate-1 {"state":{"reported":{"fault":null,"humidity":40,"ok":true,"temperature":21.5}}}`)
	expect(t, "messages", messages, `health/climate {"state":"ok","since":"`+t0.Format(time.RFC3339Nano)+`"}`,
		`dt/climate-1/reading {"ts":1760000000000,"humidity":40,"temperature":21.5}`)
}

func TestTable_ReadingsWaitForShadowEveryButTelemetryDoesNot(t *testing.T) {
	tab := table(t, climate())
	var patches, messages []string
	for i := range 7 {
		at := time.Duration(i) * time.Second
		tab.Samples(at, "climate", []drivers.Sample{sample("temperature", float64(20+i), at, i != 4)})
		p, m := due(tab, at+batchWindow)
		patches, messages = append(patches, p...), append(messages, m...)
	}
	if len(messages) != 7 {
		t.Errorf("%d messages for 7 polls: %v", len(messages), messages)
	}
	var values []string
	for _, p := range patches {
		values = append(values, p[strings.LastIndex(p, ":")+1:len(p)-3])
	}
	expect(t, "written temperatures", values, "20", "22", "23", "26") // at 0, 2, 4 and 6 s: a filter held 24 back
}

func TestTable_AFaultIsWrittenAtOnceAndTheValuesStay(t *testing.T) {
	tab := table(t, climate())
	tab.Health(0, "climate", drivers.Health{State: drivers.OK})
	tab.Samples(0, "climate", []drivers.Sample{sample("temperature", 20, 0, true)})
	due(tab, batchWindow)
	now := 3 * time.Second
	tab.Health(now, "climate", drivers.Health{State: drivers.Degraded, Cause: drivers.CauseNACK})
	if p, _ := due(tab, now+batchWindow); len(p) != 0 {
		t.Errorf("degraded is still live: %v", p)
	}
	tab.Health(now, "climate", drivers.Health{State: drivers.Fault, Cause: drivers.CauseNACK})
	p, _ := due(tab, now+batchWindow)
	expect(t, "fault", p, `climate-1 {"state":{"reported":{"fault":"nack","ok":false}}}`)
	tab.Health(now, "climate", drivers.Health{State: drivers.Fault, Cause: drivers.CauseNACK})
	if p, _ := due(tab, now+time.Hour); len(p) != 0 {
		t.Errorf("the same fault again: %v", p)
	}
}

func TestTable_PartsOfOneShadowShareAPatchUnderTheirKeys(t *testing.T) {
	target := drivers.Target{Thing: "cellar-01"}
	tab := table(t, Part{Name: "door", Kind: Input, Driver: "input", Target: target}, Part{Name: "pump", Kind: Output, Driver: "output", Target: target},
		Part{Name: "climate", Kind: Sensor, Driver: "bme280", Target: drivers.Target{Thing: "cellar-01", Shadow: "climate"}})
	tab.Input(0, "door", drivers.InputEvent{On: true, Count: 41, At: t0})
	tab.Output(0, "pump", drivers.OutputReport{Known: true, Since: t0, Cause: "desired", Refused: &drivers.Refused{Why: "min_off", Until: t0.Add(time.Minute)}})
	tab.Samples(0, "climate", []drivers.Sample{sample("temperature", 18.4, 0, true)})
	p, _ := due(tab, batchWindow)
	expect(t, "patches", p,
		`cellar-01 {"state":{"reported":{"door":{"count":41,"on":true},"pump":{"cause":"desired","on":false,"refused":{"until":1760000060,"why":"min_off"},"since":1760000000}}}}`,
		`cellar-01~climate {"state":{"reported":{"climate":{"temperature":18.4}}}}`)
	tab.Output(time.Second, "pump", drivers.OutputReport{Known: true, On: true, Since: t0, Cause: "desired"})
	p, _ = due(tab, time.Second+batchWindow)
	expect(t, "the refusal ends", p, `cellar-01 {"state":{"reported":{"pump":{"cause":"desired","on":true,"refused":null,"since":1760000000}}}}`)
}

func TestTable_ARefusedPatchIsTriedAgainUnderNewerValues(t *testing.T) {
	tab := table(t, climate())
	tab.Samples(0, "climate", []drivers.Sample{sample("temperature", 20, 0, true), sample("humidity", 40, 0, true)})
	ps, _, _, _ := tab.Due(batchWindow, false)
	tab.Samples(time.Second, "climate", []drivers.Sample{sample("temperature", 21, time.Second, true)})
	tab.Refused(time.Second, ps[0])
	if p, _ := due(tab, 1900*time.Millisecond); len(p) != 0 {
		t.Errorf("tried again too soon: %v", p)
	}
	p, _ := due(tab, 2100*time.Millisecond)
	expect(t, "second try", p, `climate-1 {"state":{"reported":{"humidity":40,"temperature":21}}}`)
}

func TestTable_AggregatesHoldEverySampleSinceTheLastMessage(t *testing.T) {
	p := climate()
	p.Telemetry = &drivers.TelemetryConfig{Topic: "dt/c", Every: 10 * time.Second, Aggregate: []string{"mean", "min", "max"}}
	tab := table(t, p)
	var messages []string
	for i := range 21 {
		at := time.Duration(i) * time.Second
		tab.Samples(at, "climate", []drivers.Sample{sample("temperature", float64(i), at, false)})
		_, m := due(tab, at)
		messages = append(messages, m...)
	}
	expect(t, "messages", messages,
		`dt/c {"ts":1760000000000,"temperature":{"count":1,"max":0,"mean":0,"min":0}}`,
		`dt/c {"ts":1760000010000,"temperature":{"count":10,"max":10,"mean":5.5,"min":1}}`,
		`dt/c {"ts":1760000020000,"temperature":{"count":10,"max":20,"mean":15.5,"min":11}}`)
	// What was gathered when the sensor fell silent is told a little late.
	tab.Samples(21*time.Second, "climate", []drivers.Sample{sample("temperature", 7, 21*time.Second, false)})
	_, _, next, ok := tab.Due(22*time.Second, false)
	if !ok || next != 33*time.Second {
		t.Errorf("looks again at %v, %v; want 33s", next, ok)
	}
	_, m := due(tab, next)
	expect(t, "the rest", m, `dt/c {"ts":1760000021000,"temperature":{"count":1,"max":7,"mean":7,"min":7}}`)
}

func TestTable_AnInputTellsEachChangeAndNotItsFirstState(t *testing.T) {
	tab := table(t, Part{Name: "door-button", Kind: Input, Driver: "input",
		Target: drivers.Target{Thing: "door-1", Key: ".", Telemetry: &drivers.TelemetryConfig{Topic: "dt/door-1/button"}}})
	tab.Input(0, "door-button", drivers.InputEvent{At: t0, First: true})
	tab.Input(time.Second, "door-button", drivers.InputEvent{On: true, Count: 1, At: t0.Add(time.Second)})
	tab.Input(time.Second, "door-button", drivers.InputEvent{Count: 1, At: t0.Add(1100 * time.Millisecond)})
	p, m := due(tab, time.Second+batchWindow)
	expect(t, "messages", m, `dt/door-1/button {"ts":1760000001000,"count":1,"on":true}`, `dt/door-1/button {"ts":1760000001100,"count":1,"on":false}`)
	expect(t, "patches", p, `door-1 {"state":{"reported":{"count":1,"on":false}}}`)
}

func TestTable_OriginNamesDriverAndPartAndMarksSimulation(t *testing.T) {
	tab := table(t, climate())
	tab.Samples(0, "climate", []drivers.Sample{sample("temperature", 20, 0, true)})
	ps, ms, _, _ := tab.Due(batchWindow, false)
	for _, o := range []iot.Origin{ps[0].Origin, ms[0].Origin} {
		if o.Source != "drv/bme280/climate" || !o.Sim || o.Principal.Kind != iot.House {
			t.Errorf("origin %+v", o)
		}
	}
	if ms[0].QoS != 1 || !ms[0].Arrived.Equal(t0) {
		t.Errorf("message %+v", ms[0])
	}
}

func TestTable_MessagesBeyondTheQueueDropTheOldest(t *testing.T) {
	tab := table(t, climate())
	for i := range messagesMax + 5 {
		at := time.Duration(i) * time.Second
		tab.Samples(at, "climate", []drivers.Sample{sample("temperature", float64(i), at, false)})
	}
	_, m, _, _ := tab.Due(0, false)
	if len(m) != messagesMax || tab.Dropped() != 5 || !strings.Contains(string(m[0].Payload), `"temperature":5`) {
		t.Errorf("%d messages, first %s", len(m), m[0].Payload)
	}
}

func pumpAndFan(t *testing.T) *Table {
	return table(t, Part{Name: "pump", Kind: Output, Driver: "output", Target: drivers.Target{Thing: "cellar-01"}},
		Part{Name: "fan", Kind: Output, Driver: "output", Target: drivers.Target{Thing: "fan-1", Key: "."}})
}

func TestDelta_FindsWishesUnderTheKeyAndInTheSection(t *testing.T) {
	for _, c := range []struct{ thing, state, want string }{
		{"cellar-01", `{"pump":{"on":true},"other":1}`, "[{pump true desired false false}]"},
		{"cellar-01", `{"on":true}`, "[]"},
		{"fan-1", `{"on":false,"speed":3}`, "[{fan false desired false false}]"},
		{"fan-1", `{"on":"yes"}`, "[{fan false desired false true}]"},
		{"fan-1", `{"on":null}`, "[]"},
		{"fan-1", `[1]`, "[]"},
		{"nobody", `{"on":true}`, "[]"},
	} {
		got := pumpAndFan(t).Delta(iot.ShadowKey{Thing: iot.ThingName(c.thing)}, []byte(c.state))
		if printed(got) != c.want {
			t.Errorf("%s %s: got %v, want %s", c.thing, c.state, got, c.want)
		}
	}
}

// A delta repeats every difference after every update, also after our own
// reported one: only a newer desired value is a wish.
func TestDelta_AValueIsTakenOnceAndOldOnesAreOld(t *testing.T) {
	tab, key := pumpAndFan(t), iot.ShadowKey{Thing: "fan-1"}
	doc := func(on bool, stamp int64) []byte {
		return fmt.Appendf(nil, `{"version":7,"timestamp":%d,"state":{"on":%v},"metadata":{"on":{"timestamp":%d}}}`, t0.Unix()+100, on, stamp)
	}
	steps := []struct {
		on    bool
		stamp int64
		want  string
	}{
		{true, t0.Unix() - 50, "[{fan true desired true false}]"},
		{true, t0.Unix() - 50, "[]"},
		{true, t0.Unix() + 5, "[{fan true desired false false}]"},
		{true, t0.Unix() + 5, "[]"},
		{false, t0.Unix() + 5, "[{fan false desired false false}]"},
		{true, t0.Unix() + 4, "[]"},
	}
	for i, s := range steps {
		if got := tab.Delta(key, doc(s.on, s.stamp)); printed(got) != s.want {
			t.Errorf("step %d: got %v, want %s", i, got, s.want)
		}
	}
}

func TestCurrent_WishesAreOldUnlessTheirMetadataSaysOtherwise(t *testing.T) {
	doc := func(stamp int64) []byte {
		return fmt.Appendf(nil, `{"state":{"desired":{"pump":{"on":true}},"reported":{}},"metadata":{"desired":{"pump":{"on":{"timestamp":%d}}}},"version":3,"timestamp":1}`, stamp)
	}
	key := iot.ShadowKey{Thing: "cellar-01"}
	for _, c := range []struct {
		document []byte
		want     string
	}{
		{doc(t0.Unix() - 1), "[{pump true desired true false}]"},
		{doc(t0.Unix() + 1), "[{pump true desired false false}]"},
		{[]byte(`{"pump":{"on":true}}`), "[{pump true desired true false}]"},
		{[]byte(`{"state":{},"version":1}`), "[]"},
	} {
		if got := pumpAndFan(t).Current(key, c.document); printed(got) != c.want {
			t.Errorf("%s: got %v, want %s", c.document, got, c.want)
		}
	}
}

func TestCommand_IsForTheOutputOfTheThing(t *testing.T) {
	tab := pumpAndFan(t)
	if w, ok := tab.Command("fan-1", "fan", []byte(`{"on":true}`)); !ok || !w.On || w.Cause != "command" {
		t.Errorf("got %+v, %v", w, ok)
	}
	if _, ok := tab.Command("fan-1", "pump", []byte(`{"on":true}`)); ok {
		t.Error("pump belongs to another thing")
	}
	if w, ok := tab.Command("fan-1", "fan", []byte(`{"on":1}`)); !ok || !w.Invalid {
		t.Errorf("got %+v, %v", w, ok)
	}
}

func FuzzDelta_NeverPanics(f *testing.F) {
	f.Add([]byte(`{"version":1,"state":{"on":true},"metadata":{"on":{"timestamp":1}}}`))
	f.Add([]byte(`{"on":{"on":[]}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		tab := pumpAndFan(t)
		tab.Delta(iot.ShadowKey{Thing: "fan-1"}, doc)
		tab.Current(iot.ShadowKey{Thing: "cellar-01"}, doc)
		tab.Command("fan-1", "fan", doc)
	})
}

func TestFlat_IsValidJSONWithTheTimeFirst(t *testing.T) {
	got := flat(t0, map[string]any{"b": 1.5, "a": map[string]any{"mean": 1}})
	if string(got) != `{"ts":1760000000000,"a":{"mean":1},"b":1.5}` || !json.Valid(got) {
		t.Errorf("got %s", got)
	}
}

func TestDrive_ReadsCommandsAndPayloadsOfRules(t *testing.T) {
	table, err := NewTable([]Part{{Name: "fan", Kind: Output, Target: drivers.Target{Thing: "fan-1"}}, {Name: "climate", Target: drivers.Target{Thing: "c"}}}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		part, command, payload string
		on                     bool
		code                   iot.Code
	}{
		{"fan", "", "true", true, 0}, {"fan", "set", `{"on":false}`, false, 0}, {"fan", "", `"on"`, true, 0}, {"fan", "", " off ", false, 0},
		{"fan", "on", "anything", true, 0}, {"fan", "off", "", false, 0},
		{"fan", "", "1", false, iot.InvalidRequest}, {"fan", "", `{"off":true}`, false, iot.InvalidRequest}, {"fan", "toggle", "true", false, iot.InvalidRequest},
		{"climate", "on", "", false, iot.NotFound}, {"moon", "on", "", false, iot.NotFound},
	} {
		w, err := table.Drive(c.part, c.command, "rule/r", []byte(c.payload))
		if failed := err != nil; failed != (c.code != 0) || failed && iot.CodeOf(err) != c.code {
			t.Errorf("%+v: %v", c, err)
		} else if !failed && (w.On != c.on || w.Part != c.part || w.Cause != "rule/r" || w.Invalid) {
			t.Errorf("%+v: %+v", c, w)
		}
	}
}
