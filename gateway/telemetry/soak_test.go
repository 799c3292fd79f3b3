package telemetry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages/audit"
	"github.com/tidehold/tidehold/gateway/messages/block"
	"github.com/tidehold/tidehold/gateway/telemetry/judge"
)

// scrape reads the sum check from the metrics alone: what every uplink was given
// must be accounted for.
func (h *house) scrape() {
	h.t.Helper()
	answer := httptest.NewRecorder()
	h.figs.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	line := regexp.MustCompile(`^tidehold_spool_(allocated_total|delivered_total|pending|lost_total|folded_total|skipped_total)\{.*uplink="([^"]*)".*\} (\S+)$`)
	left, read := map[string]float64{}, map[string]int{}
	for text := range strings.Lines(answer.Body.String()) {
		m := line.FindStringSubmatch(strings.TrimSpace(text))
		if m == nil {
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			h.t.Fatal(err)
		}
		if m[1] != "allocated_total" {
			v = -v
		}
		left[m[2]] += v
		read[m[2]]++
	}
	if len(read) != len(h.cfg.Uplinks) {
		h.t.Errorf("the metrics tell of %d uplinks", len(read))
	}
	for name, v := range left {
		if v != 0 || read[name] < 6 {
			h.t.Errorf("uplink %s: %d figures, %g of what was allocated are not accounted for", name, read[name], v)
		}
	}
}

// forget lets go of what only a judge would need.
func (f *flapping) forget() {
	for _, c := range f.clouds {
		c.mu.Lock()
		c.got, c.judge = nil, judge.New()
		c.mu.Unlock()
	}
	f.mu.Lock()
	clear(f.durable)
	f.mu.Unlock()
}

// handles counts the process's open files.
func handles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestSoak_DaysOfFaultsLeaveNothingBehindAndEveryScrapeAddsUp is T-39 and T-40:
// links that flap and lose, a disk that fails, crashes; 72 hours in long mode, a
// quarter of an hour else. Open files and goroutines are at the end what they
// were at the beginning, memory does not grow, and the sum check holds at every
// scrape.
func TestSoak_DaysOfFaultsLeaveNothingBehindAndEveryScrapeAddsUp(t *testing.T) {
	minutes := gwtest.Rounds(15, 72*60)
	bubble(t, func(t *testing.T) {
		f := enterFlapping(t, 39)
		files, routines, memory := 0, 0, uint64(0)
		end, i := time.Now().Add(time.Duration(minutes)*time.Minute), 0
		for warm := end.Add(-time.Duration(minutes) * time.Minute * 2 / 3); time.Now().Before(end); i++ {
			f.publish(i)
			f.stumble()
			rest(time.Duration(f.pick(1500)) * time.Millisecond)
			f.scrape()
			f.forget()
			if files == 0 && time.Now().After(warm) {
				files, routines, memory = handles(t), runtime.NumGoroutine(), heap()
			}
		}
		f.heal()
		f.scrape()
		f.connect()
		synctest.Wait()
		grown := int64(heap()) - int64(memory)
		if n := handles(t); n > files {
			t.Errorf("%d open files, there were %d", n, files)
		}
		if n := runtime.NumGoroutine(); n > routines+2 {
			t.Errorf("%d goroutines, there were %d", n, routines)
		}
		if grown > 4<<20 {
			t.Errorf("memory grew by %d bytes", grown)
		}
		f.halt()
		f.leave()
	})
}

// TestSaver_APowerCutLosesAtMostItsWindow is T-27: 200 power cuts at random
// moments. Whatever was published more than a window and a commit before is
// there.
func TestSaver_APowerCutLosesAtMostItsWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{t: t, path: filepath.Join(t.TempDir(), "messages.db"), clk: wall{}, cfg: Config{Gateway: "gw-1", Profile: Saver, Uplinks: oneUplink}}
		h.rng = rand.New(rand.NewPCG(27, 27))
		h.open()
		lost, most := 0, time.Duration(0)
		for cut := range 200 {
			said := map[string]time.Time{}
			for until := time.Now().Add(time.Duration(h.rng.Int64N(int64(25 * time.Second)))); time.Now().Before(until); {
				name := fmt.Sprintf("c%d/%d", cut, len(said))
				said[name] = time.Now()
				h.s.Append(iot.Message{Topic: name, Payload: []byte(`{}`), QoS: 1, Origin: iot.Origin{Source: "dev/a"}, Arrived: time.Now()}, func(error) {})
				rest(time.Duration(h.rng.Int64N(int64(3 * time.Second))))
			}
			now := time.Now()
			h.crash()
			err := audit.Scan(context.Background(), h.db, func(r *block.Record) error { delete(said, r.Topic); return nil })
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range said {
				lost, most = lost+1, max(most, now.Sub(at))
			}
			if _, err := h.log.Drop(context.Background(), 1, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		if lost == 0 || most > saverGap {
			t.Errorf("%d were lost, the oldest %v before its cut; the window is %v", lost, most, saverGap)
		}
		h.leave()
	})
}
