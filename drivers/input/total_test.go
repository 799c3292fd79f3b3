package input

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// torn is a memory that forgets what is saved after the crash.
type torn struct {
	*shelf
	crashed bool
}

func (c *torn) Save(part string, state []byte) error {
	if c.crashed {
		return nil
	}
	return c.shelf.Save(part, state)
}

// Property: however pulses, unplugging, stops and crashes follow each other, a
// total that was told never decreases while the process lives, one that was
// saved never decreases at all, a clean stop loses nothing, and a crash loses
// no more than the pulses of one persist.
func TestTotal_NeverDecreasesWhateverHappens(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 11))
			kept := &shelf{state: map[string][]byte{}}
			c := drivers.InputConfig{Edge: "rising", Counter: &drivers.CounterConfig{PerUnit: 1, Unit: "L", Persist: 10 * time.Second}}
			memory := &torn{shelf: kept}
			r := launch(t, c, memory)
			total, saved := 0.0, uint64(0)
			var pulses []time.Time
			look := func(what string) {
				synctest.Wait()
				now := r.record.last().Meter.Total
				if now < total {
					t.Fatalf("seed %d: %s: the total went from %v to %v", seed, what, total, now)
				}
				total = now
				var s struct {
					Pulses uint64 `json:"pulses"`
				}
				kept.mu.Lock()
				state := kept.state["door"]
				kept.mu.Unlock()
				if state != nil && json.Unmarshal(state, &s) == nil {
					if s.Pulses < saved {
						t.Fatalf("seed %d: %s: saved %d after %d", seed, what, s.Pulses, saved)
					}
					saved = s.Pulses
				}
			}
			for range 60 {
				switch rnd.IntN(8) {
				case 0: // a clean stop
					r.stop()
					look("stop")
					r = launch(t, c, memory)
					if now := r.record.last().Meter.Total; now != float64(saved) {
						t.Fatalf("seed %d: after a stop %v, saved %d", seed, now, saved)
					}
					total = float64(saved)
				case 1: // kill -9
					memory.crashed = true
					r.stop()
					memory = &torn{shelf: kept}
					r = launch(t, c, memory)
					young := 0
					for _, at := range pulses {
						if time.Since(at) <= c.Counter.Persist {
							young++
						}
					}
					if now := r.record.last().Meter.Total; total-now > float64(young) {
						t.Fatalf("seed %d: a crash took %v of %v, only %d pulses were younger than persist", seed, total-now, total, young)
					}
					total, pulses = r.record.last().Meter.Total, nil
				default:
					n := rnd.IntN(30)
					for range n {
						r.line.Drive(true)
						pulses = append(pulses, time.Now())
						time.Sleep(5 * time.Millisecond)
						r.line.Drive(false)
						time.Sleep(5 * time.Millisecond)
					}
					time.Sleep(time.Duration(rnd.IntN(4000)) * time.Millisecond)
					look("pulses")
				}
			}
			r.stop()
		})
	}
}
