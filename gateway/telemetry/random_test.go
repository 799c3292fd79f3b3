package telemetry

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/store"
)

// TestSpool_NothingAcknowledgedIsLost publishes while the link flaps, loses and
// doubles acknowledgements, the disk fails now and then, and the process
// crashes. Judge is the reference consumer: every message whose done came must
// arrive or be in a loss that arrived; the sum check holds all the while. SEED
// and RUNS replay and prolong.
//
// T-01 without the network: the sum check holds after every crash.
func TestSpool_NothingAcknowledgedIsLost(t *testing.T) {
	runs, first := 8, uint64(1)
	if testing.Short() {
		runs = 3
	}
	if n, err := strconv.Atoi(os.Getenv("RUNS")); err == nil {
		runs = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		first, runs = n, 1
	}
	for i := range runs {
		seed := first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { bubble(t, func(t *testing.T) { flappingRun(t, seed) }) })
	}
}

// flapping is one run: a house, its two clouds, and what was acknowledged.
type flapping struct {
	*house
	clouds map[string]*cloud
	stops  []func() error

	mu      sync.Mutex // guards rng and below
	failing float64
	durable map[string]bool
	dead    *Spool // crashed: what it says is not heard any more
}

func (f *flapping) chance(p float64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64() < p
}

func (f *flapping) pick(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(n)
}

func (f *flapping) fail(p float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = p
}

func (f *flapping) disk(p store.FaultPoint, _ uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p != store.FaultCheckpoint && f.rng.Float64() < f.failing {
		return fmt.Errorf("injected: %w", store.ErrDiskFull)
	}
	return nil
}

func enterFlapping(t *testing.T, seed uint64) *flapping {
	rng := rand.New(rand.NewPCG(seed, 1))
	up := []Uplink{
		{Name: "cloud", Required: true, Enabled: true, Inflight: 1 + rng.IntN(50), Routes: []Route{{Name: "all", From: "#", Form: FormNative, QoS: 1}}},
		{Name: "plant", Required: true, Enabled: true, StartJitter: 10 * time.Second, Routes: []Route{{Name: "a", From: "a/#", Form: FormInject, QoS: 1}}},
	}
	f := &flapping{durable: map[string]bool{}, clouds: map[string]*cloud{"cloud": newCloud(t), "plant": newCloud(t)},
		house: &house{t: t, path: filepath.Join(t.TempDir(), "messages.db"), clk: wall{}, rng: rng, max: 1 << 20,
			cfg: Config{Gateway: "gw-1", Profile: []string{Strict, Balanced}[rng.IntN(2)], Order: []string{LiveFirst, FIFO}[rng.IntN(2)], Uplinks: up}}}
	f.fault = f.disk
	for _, c := range f.clouds {
		c.lose = func(Outgoing) (arrives, acked, doubled, cut bool) {
			if f.chance(.01) {
				return f.chance(.5), false, false, true
			}
			return true, true, f.chance(.02), false
		}
	}
	f.open()
	f.connect()
	return f
}

func (f *flapping) connect() {
	f.stops = []func() error{f.drain("cloud", f.clouds["cloud"]), f.drain("plant", f.clouds["plant"])}
}

// halt ends the drains and the connections.
func (f *flapping) halt() {
	for _, stop := range f.stops {
		if err := stop(); err != nil {
			f.t.Error(err)
		}
	}
	for _, c := range f.clouds {
		c.cut()
	}
}

func (f *flapping) publish(i int) {
	name := fmt.Sprint([]string{"a/", "b/"}[f.pick(2)], i)
	m := iot.Message{Topic: name, Payload: fmt.Appendf(nil, `{"n":%q,"pad":"%s%d"}`, name, strings.Repeat("x", 200), f.pick(1<<40)),
		QoS: byte(f.pick(2)), Origin: iot.Origin{Source: "dev/x"}, Arrived: time.Now()}
	s := f.s
	s.Append(m, func(err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err == nil && s != f.dead {
			f.durable[name] = true
		}
	})
}

// stumble lets something happen, mostly time.
func (f *flapping) stumble() {
	switch n := f.pick(300); {
	case n == 0:
		f.fail([]float64{0, .5}[f.pick(2)])
	case n < 3:
		c := f.clouds[[]string{"cloud", "plant"}[n%2]]
		c.set(!c.up)
	case n == 3:
		f.fail(0)
		synctest.Wait()
		f.mu.Lock()
		f.dead = f.s
		f.mu.Unlock()
		f.powerCut(func() error { f.halt(); return nil })
		f.connect()
	default:
		rest(time.Duration(f.pick(60)) * time.Millisecond)
	}
}

// heal ends all faults and lets everything come to its end.
func (f *flapping) heal() {
	f.fail(0)
	for _, c := range f.clouds {
		c.mu.Lock()
		c.lose = nil
		c.mu.Unlock()
		c.set(true)
	}
	rest(10 * time.Minute)
	f.halt()
}

func flappingRun(t *testing.T, seed uint64) {
	f := enterFlapping(t, seed)
	for i := range 1500 {
		f.publish(i)
		f.stumble()
		f.check()
	}
	f.heal()
	f.check()
	for _, u := range f.s.Stats().Uplinks {
		judgeRun(t, f.clouds[u.Name], u, f.durable)
	}
	f.leave()
}

// judgeRun finds every durable message at the cloud, or as many losses as there
// are missing. A message may be both: when the link broke twice behind it, it
// arrived and was taken for poison.
func judgeRun(t *testing.T, c *cloud, u UplinkStats, durable map[string]bool) {
	if u.Pending != 0 {
		t.Errorf("%s: %+v", u.Name, u)
	}
	arrived := map[string]bool{}
	for _, m := range c.got {
		arrived[strings.TrimPrefix(m.Topic, "gw/gw-1/t/")] = true
	}
	missing := 0
	for name := range durable {
		if !arrived[name] && (u.Name == "cloud" || strings.HasPrefix(name, "a/")) {
			missing++
		}
	}
	for key, v := range c.judge.Verdicts() {
		v.Holes = nil // numbers for the other uplink
		if v.Changed != 0 || v.Lost != u.Lost || !v.Marked || v.Missing > 0 || v.Missing < -int64(v.Lost) || v.Skipped != u.Skipped {
			t.Errorf("%s %s: %+v, %+v", u.Name, key, v, u)
		}
		if uint64(missing) > v.Lost {
			t.Errorf("%s: %d acknowledged messages did not come, the losses say %d", u.Name, missing, v.Lost)
		}
	}
}
