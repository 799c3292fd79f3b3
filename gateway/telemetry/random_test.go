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

func flappingRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	up := []Uplink{
		{Name: "cloud", Required: true, Enabled: true, Inflight: 1 + rng.IntN(50), Routes: []Route{{Name: "all", From: "#", Form: FormNative, QoS: 1}}},
		{Name: "plant", Required: true, Enabled: true, StartJitter: 10 * time.Second, Routes: []Route{{Name: "a", From: "a/#", Form: FormInject, QoS: 1}}},
	}
	h := &house{t: t, path: filepath.Join(t.TempDir(), "messages.db"), clk: wall{}, rng: rng, max: 1 << 20,
		cfg: Config{Gateway: "gw-1", Profile: []string{Strict, Balanced}[rng.IntN(2)], Order: []string{LiveFirst, FIFO}[rng.IntN(2)], Uplinks: up}}
	var mu sync.Mutex
	chance := func(p float64) bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64() < p
	}
	pick := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	var failing float64
	fail := func(p float64) {
		mu.Lock()
		defer mu.Unlock()
		failing = p
	}
	disk := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64() < failing
	}
	h.fault = func(p store.FaultPoint, _ uint64) error {
		if p != store.FaultCheckpoint && disk() {
			return fmt.Errorf("injected: %w", store.ErrDiskFull)
		}
		return nil
	}
	h.open()
	clouds := map[string]*cloud{"cloud": newCloud(t), "plant": newCloud(t)}
	for _, c := range clouds {
		c.lose = func(Outgoing) (arrives, acked, doubled, cut bool) {
			if chance(.01) {
				return chance(.5), false, false, true
			}
			return true, true, chance(.02), false
		}
	}
	drain := func() []func() error {
		return []func() error{h.drain("cloud", clouds["cloud"]), h.drain("plant", clouds["plant"])}
	}
	stops := drain()
	halt := func() {
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
		for _, c := range clouds {
			c.cut()
		}
	}
	durable := map[string]bool{}
	var dead *Spool
	pad := strings.Repeat("x", 200)
	for i := range 1500 {
		name := fmt.Sprint([]string{"a/", "b/"}[pick(2)], i)
		m := iot.Message{Topic: name, Payload: fmt.Appendf(nil, `{"n":%q,"pad":"%s%d"}`, name, pad, pick(1<<40)), QoS: byte(pick(2)),
			Origin: iot.Origin{Source: "dev/x"}, Arrived: time.Now()}
		s := h.s
		s.Append(m, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil && s != dead {
				durable[name] = true
			}
		})
		switch n := pick(300); {
		case n == 0:
			fail([]float64{0, .5}[pick(2)])
		case n < 3:
			c := clouds[[]string{"cloud", "plant"}[n%2]]
			c.set(!c.up)
		case n == 3:
			fail(0)
			halt()
			synctest.Wait()
			mu.Lock()
			dead = h.s // what it says from now on is not heard any more
			mu.Unlock()
			h.crash()
			stops = drain()
		default:
			rest(time.Duration(pick(60)) * time.Millisecond)
		}
		h.check()
	}
	fail(0)
	for _, c := range clouds {
		c.mu.Lock()
		c.lose = nil
		c.mu.Unlock()
		c.set(true)
	}
	rest(10 * time.Minute)
	halt()
	h.check()
	for _, u := range h.s.Stats().Uplinks {
		judgeRun(t, clouds[u.Name], u, durable)
	}
	h.leave()
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
