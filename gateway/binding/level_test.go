package binding

import (
	"fmt"
	"testing"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/iot"
)

func dimmable(t *testing.T) *Table {
	return table(t, Part{Name: "fan", Kind: Output, Levels: true, Target: drivers.Target{Thing: "t", Key: "fan"}},
		Part{Name: "pump", Kind: Output, Target: drivers.Target{Thing: "t", Key: "pump"}})
}

func text(w drivers.Wish) string {
	level := "none"
	if w.Level != nil {
		level = fmt.Sprint(*w.Level)
	}
	return fmt.Sprintf("%s on=%v level=%s invalid=%v", w.Part, w.On, level, w.Invalid)
}

func TestDelta_LevelIsAWishOfAnOutputThatHasLevels(t *testing.T) {
	for document, want := range map[string]string{
		`{"fan":{"level":40}}`:             "fan on=true level=40 invalid=false",
		`{"fan":{"level":0}}`:              "fan on=false level=0 invalid=false",
		`{"fan":{"level":40,"on":false}}`:  "fan on=true level=40 invalid=false",
		`{"fan":{"level":"x"}}`:            "fan on=false level=0 invalid=true",
		`{"fan":{"level":null,"on":true}}`: "fan on=true level=none invalid=false",
		`{"pump":{"on":true,"level":40}}`:  "pump on=true level=none invalid=false",
	} {
		wishes := dimmable(t).Delta(iot.ShadowKey{Thing: "t"}, []byte(document))
		if len(wishes) != 1 || text(wishes[0]) != want {
			t.Errorf("%s: got %v, want %s", document, wishes, want)
		}
	}
	if wishes := dimmable(t).Delta(iot.ShadowKey{Thing: "t"}, []byte(`{"pump":{"level":40}}`)); len(wishes) != 0 {
		t.Errorf("a pump has no level: %v", wishes)
	}
}

func TestCommandAndDrive_TakeALevel(t *testing.T) {
	tab := dimmable(t)
	w, ok := tab.Command("t", "fan", []byte(`{"level":55.5}`))
	if !ok || text(w) != "fan on=true level=55.5 invalid=false" {
		t.Errorf("command: %s", text(w))
	}
	w, err := tab.Drive("fan", "", "rule/x", []byte(`{"level":12}`))
	if err != nil || text(w) != "fan on=true level=12 invalid=false" || w.Cause != "rule/x" {
		t.Errorf("rule: %s, %v", text(w), err)
	}
	if _, err := tab.Drive("fan", "set", "rule/x", []byte(`{"level":"high"}`)); err == nil {
		t.Error("a level that is no number was taken")
	}
}

func TestOutput_TheLevelIsReported(t *testing.T) {
	tab, level := dimmable(t), 40.0
	tab.Output(0, "fan", drivers.OutputReport{Known: true, On: true, Level: &level, Since: t0, Cause: "desired"})
	patches, _ := due(tab, batchWindow)
	expect(t, "patches", patches, `t {"state":{"reported":{"fan":{"cause":"desired","level":40,"on":true,"refused":null,"since":1760000000}}}}`)
}
