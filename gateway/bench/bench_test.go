package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

type noParts struct{}

func (noParts) Driver(string) (drivers.Driver, bool) { return nil, false }
func (noParts) Names() []string                      { return nil }

// small is a quick run inside this process without a peer.
func small(report func(Cell)) Config {
	return Config{Peer: PeerNone, Rounds: 1, Duration: 100 * time.Millisecond, Parts: noParts{}, Report: report, Small: true}
}

// smoke are the cells of each scenario that a smoke run measures.
var smoke = map[string]string{
	"broker": `1to1/qos./256$|closed/50to50/qos1/64`, "stuck": `qos1`, "offline": `stay`, "ingest": `strict/(0s|8ms)/.*window64`,
	"store": `batch100$`, "conns": `1000$`, "tls": `full`, "e2e": ``, "shadow": ``, "uplink": ``,
}

// TestRun_EveryScenarioMeasures runs a little of each and looks for figures
// and for what must never happen.
func TestRun_EveryScenarioMeasures(t *testing.T) {
	gwtest.Slow(t, "starts and measures gateways")
	names, about := Names()
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			if about[i] == "" {
				t.Error("says nothing about itself")
			}
			var cells []Cell
			cfg := small(func(c Cell) { cells = append(cells, c) })
			cfg.Only = regexp.MustCompile(smoke[name])
			if err := Run(t.Context(), cfg, name); err != nil {
				t.Fatal(err)
			}
			if len(cells) == 0 {
				t.Fatal("no cell was measured")
			}
			for _, c := range cells {
				checkCell(t, c)
			}
		})
	}
}

func checkCell(t *testing.T, c Cell) {
	t.Helper()
	ownPeer := c.Scenario == "rules" // the gateway without the rule
	if len(c.Subject) == 0 || c.Scenario == "" || c.Cell == "" || (c.Peer != nil) != ownPeer {
		t.Errorf("%+v", c)
	}
	for _, fault := range faults {
		qos0 := strings.Contains(c.Cell, "qos0") && fault == lost
		if c.Subject[fault] != 0 && !qos0 {
			t.Errorf("%s/%s: %s %g", c.Scenario, c.Cell, fault, c.Subject[fault])
		}
	}
	if v, ok := c.Subject[rate]; ok && v <= 0 {
		t.Errorf("%s/%s: rate %g", c.Scenario, c.Cell, v)
	}
}

// TestRun_ComparesWithAPeer starts a real Mosquitto beside the gateway.
func TestRun_ComparesWithAPeer(t *testing.T) {
	gwtest.Slow(t, "starts and measures gateways")
	gwtest.Need(t, "/usr/sbin/mosquitto")
	var cells []Cell
	cfg := small(func(c Cell) { cells = append(cells, c) })
	cfg.Peer, cfg.Rounds, cfg.Only = PeerAuto, 2, regexp.MustCompile(`broker/closed/1to1/qos1/256`)
	if err := Run(t.Context(), cfg, "broker"); err != nil {
		t.Fatal(err)
	}
	if len(cells) != 1 || cells[0].Ratio[rate] <= 0 || cells[0].Peer[cpu] <= 0 || cells[0].PeerName != "mosquitto" || len(cells[0].Bars) == 0 {
		t.Errorf("%+v", cells)
	}
}

// TestRun_MeasuresAnotherBroker takes a gateway of ours as the other one.
func TestRun_MeasuresAnotherBroker(t *testing.T) {
	gwtest.Slow(t, "starts and measures gateways")
	b, err := prepare(small(func(Cell) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	other, err := b.subject(t.Context(), setup{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.stop(false)
	var cells []Cell
	cfg := small(func(c Cell) { cells = append(cells, c) })
	cfg.Against, cfg.Only = other.address, regexp.MustCompile(`closed/1to1/qos1/64$|1pub/window64`)
	if err := Run(t.Context(), cfg, "all"); err != nil {
		t.Fatal(err)
	}
	if len(cells) != 2 || cells[0].Name != other.address {
		t.Errorf("%+v", cells)
	}
}

func TestRun_UnknownScenarioIsNamed(t *testing.T) {
	err := Run(t.Context(), small(func(Cell) {}), "brocker")
	if err == nil || !strings.Contains(err.Error(), "brocker") || !strings.Contains(err.Error(), "broker") {
		t.Errorf("%v", err)
	}
}

func TestRun_LeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	cfg := small(func(Cell) {})
	cfg.Only = regexp.MustCompile(`window64`)
	if err := Run(t.Context(), cfg, "ingest"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestMedianOf_TakesTheMiddleAndOfFaultsTheWorst(t *testing.T) {
	got := medianOf([]Figures{{rate: 3, lost: 0}, {rate: 1, lost: 7}, {rate: 2, lost: 1, p99: 4}})
	if got[rate] != 2 || got[lost] != 7 || got[p99] != 4 {
		t.Errorf("%v", got)
	}
	if even := medianOf([]Figures{{rate: 1}, {rate: 4}}); even[rate] != 2.5 {
		t.Errorf("of two: %v", even)
	}
}

// TestRatios_ComparesRoundsThatWereNeighbours: a machine that got slower for
// both changes nothing.
func TestRatios_ComparesRoundsThatWereNeighbours(t *testing.T) {
	got := ratios([]Figures{{rate: 200, lost: 5}, {rate: 20}, {rate: 2000}}, []Figures{{rate: 100, lost: 1}, {rate: 10}, {rate: 1000}})
	if got[rate] != 2 || len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestJudge_SaysWhetherABarIsReached(t *testing.T) {
	c := Cell{Subject: Figures{rate: 10, lost: 1}, Ratio: Figures{rate: 1.5}}
	c.judge([]bar{least(rate, 1.4).ofPeer(), most(lost, 0), most(cpu, 1)})
	if len(c.Bars) != 2 || !c.Bars[0].OK || c.Bars[1].OK || c.Bars[0].Figure != "ratio rate" {
		t.Errorf("%+v", c.Bars)
	}
}

func TestWriteRow_ShowsRatiosFaultsAndBars(t *testing.T) {
	c := Cell{Scenario: "broker", Cell: "closed/1to1/qos1/256", Name: "tidehold", PeerName: "mosquitto",
		Subject: Figures{rate: 12345.6, lost: 2, duplicated: 0}, Peer: Figures{rate: 1, lost: 9}, Ratio: Figures{rate: 1.5},
		Bars: []Bar{{"lost", "<= 0", 2, false}}}
	var out bytes.Buffer
	if err := WriteRow(&out, c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"broker", "rate 12346 (x1.50)", "lost 2", "mosquitto lost 9", "[lost <= 0: MISSED]"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, &out)
		}
	}
	if strings.Contains(out.String(), "duplicated") {
		t.Errorf("a fault that did not happen is shown: %s", &out)
	}
	var members map[string]any
	if text, err := json.Marshal(c); err != nil || json.Unmarshal(text, &members) != nil || members["ratio"] == nil || members["scenario"] != "broker" {
		t.Errorf("json %v, %v", members, err)
	}
}

func TestTarget_ReadsItsProcess(t *testing.T) {
	self := &target{pid: os.Getpid()}
	if _, ok := self.cpu(); !ok {
		t.Error("no CPU time")
	}
	if size, ok := self.memory(); !ok || size < 1<<20 {
		t.Errorf("memory %d, %v", size, ok)
	}
	if _, ok := (&target{}).cpu(); ok {
		t.Error("the CPU time of no process")
	}
}
