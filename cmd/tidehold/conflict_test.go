package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// faulty is a proxy between the gateway and its upstream that can be cut.
type faulty struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newFaulty(t *testing.T, to string) *faulty {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{listener: l, to: to, conns: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.set(true)
		running.Wait()
	})
	return f
}

// set cuts the link, or lets connections through again.
func (f *faulty) set(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
	for c := range f.conns {
		c.Close()
	}
}

func (f *faulty) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer far.Close()
	if !f.hold(near, far) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, near); far.Close() })
	both.Go(func() { _, _ = io.Copy(near, far); near.Close() })
	both.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, near)
	delete(f.conns, far)
}

func (f *faulty) hold(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		f.conns[c] = true
	}
	return !f.cut
}

// conflict is what the journal has to say of one place.
type conflict struct{ thing, path, local, upstream, winner string }

// TestSync_ConflictsAreWonAsConfiguredAndWrittenDown edits 30 things on both
// sides in each outage, and kills a side while both become one: the documents
// are equal within 60 s of healing, the cloud wins in desired and the gateway in
// reported, the journal has every conflict, and an edit costs at most two writes.
func TestSync_ConflictsAreWonAsConfiguredAndWrittenDown(t *testing.T) {
	gwtest.Slow(t, "takes a quarter of a minute")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := &contest{t: t, random: rand.New(rand.NewPCG(seed, 0)), cloud: newSite(t, "cloud", "")}
	w.cloud.start()
	w.link = newFaulty(t, w.cloud.at())
	w.edge = newSite(t, "edge", fmt.Sprintf(`uplinks:
  - {name: up, profile: tidehold, endpoint: "tcp://%s", reconnect_max: 1s, shadows: {max_per_second: 0}}
`, w.link.listener.Addr()))
	w.edge.start()
	w.want = make(map[string]sections)
	for range gwtest.Rounds(1, 50) {
		w.round()
	}
	w.checkJournal()
	w.checkWrites()
	w.checkSeen()
	t.Logf("%d edits, %d conflicts", w.edits, len(w.conflicts))
	w.edge.stop()
	w.cloud.stop()
}

type contest struct {
	t           *testing.T
	random      *rand.Rand
	cloud, edge *site
	link        *faulty
	edits, last int
	want        map[string]sections
	conflicts   []conflict
}

// round is one outage, and how it ends.
func (w *contest) round() {
	w.link.set(true)
	for i := range 30 {
		thing := fmt.Sprintf("thing-%d", i)
		want := w.want[thing]
		want.Desired.N = w.edit(thing, "desired", want.Desired.N)
		want.Reported.N = w.edit(thing, "reported", want.Reported.N)
		w.want[thing] = want
	}
	w.link.set(false)
	time.Sleep(time.Duration(w.random.IntN(400)) * time.Millisecond)
	side := []*site{w.edge, w.cloud}[w.random.IntN(2)]
	side.process.Kill()
	side.start()
	w.healed()
}

// edit lets one side or both write a section, and tells what it must become.
func (w *contest) edit(thing, section string, now int) int {
	here, there := 0, 0
	if who := w.random.IntN(3); who != 1 {
		here = w.set(w.edge, thing, section)
	} else {
		there = w.set(w.cloud, thing, section)
	}
	if here != 0 && w.random.IntN(2) == 0 {
		there = w.set(w.cloud, thing, section)
	}
	switch {
	case here != 0 && there != 0:
		c := conflict{thing, "/" + section + "/N", fmt.Sprint(here), fmt.Sprint(there), "cloudWins"}
		if section == "reported" {
			c.winner = "localWins"
		}
		w.conflicts = append(w.conflicts, c)
		if section == "reported" {
			return here
		}
		return there
	case here != 0:
		return here
	case there != 0:
		return there
	}
	return now
}

func (w *contest) set(s *site, thing, section string) int {
	w.last++
	w.edits++
	s.do("shadow", "set", thing, fmt.Sprintf(`{"state":{"%s":{"N":%d}},"clientToken":"edit-%d"}`, section, w.last, w.last))
	return w.last
}

// healed waits until both sides hold what they must.
func (w *contest) healed() {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for thing, want := range w.want {
		var here, there sections
		for {
			here, there = sectionsOf(w.t, w.edge, thing), sectionsOf(w.t, w.cloud, thing)
			if reflect.DeepEqual(here, want) && reflect.DeepEqual(there, want) {
				break
			}
			if time.Now().After(deadline) {
				w.t.Fatalf("%s a minute after healing: edge %+v, cloud %+v, want %+v", thing, here, there, want)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// checkJournal looks for every conflict; one that a kill interrupted may be
// there twice.
func (w *contest) checkJournal() {
	w.t.Helper()
	told, named := make(map[conflict]bool), 0
	for thing := range w.want {
		var entries []struct {
			Thing, Path, Local, Upstream, Winner, Writer string
			At                                           time.Time
		}
		if err := json.Unmarshal([]byte(w.edge.do("sync", "conflicts", thing, "-o", "json")), &entries); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries {
			told[conflict{e.Thing, e.Path, e.Local, e.Upstream, e.Winner}] = true
			if e.Writer == "edit-"+e.Upstream {
				named++
			} else if !strings.HasPrefix(e.Writer, "upstream, version ") || e.At.IsZero() {
				w.t.Errorf("the journal does not say who wrote, or when: %+v", e)
			}
		}
	}
	w.t.Logf("the journal has %d conflicts; of %d entries the writer is known by its token", len(told), named)
	for _, c := range w.conflicts {
		if !told[c] {
			w.t.Errorf("the journal lacks %+v", c)
		}
	}
	if len(told) > len(w.conflicts) {
		w.t.Errorf("the journal has %d conflicts, want %d", len(told), len(w.conflicts))
	}
}

// checkSeen reads from outside how the shadows do.
func (w *contest) checkSeen() {
	w.t.Helper()
	gwtest.Eventually(w.t, "every shadow is told as synced", func() bool {
		var all map[string][]struct {
			State     string
			Conflicts int
			Winner    string
			Age       float64 `json:"age_s"`
		}
		if err := json.Unmarshal([]byte(w.edge.do("sync", "list", "-o", "json")), &all); err != nil {
			w.t.Fatal(err)
		}
		for _, s := range all["up"] {
			if s.State != "synced" || s.Conflicts > 0 && s.Winner == "" {
				return false
			}
		}
		return len(all["up"]) == len(w.want)
	})
	var links []struct{ Shadows map[string]int }
	if err := json.Unmarshal([]byte(w.edge.do("uplink", "status", "-o", "json")), &links); err != nil {
		w.t.Fatal(err)
	}
	if len(links) != 1 || links[0].Shadows["synced"] == 0 {
		w.t.Errorf("uplink status shows no synced shadow: %+v", links)
	}
	var status struct {
		Components map[string]struct{ State string }
	}
	if err := json.Unmarshal([]byte(w.edge.do("status", "-o", "json")), &status); err != nil {
		w.t.Fatal(err)
	}
	if got := status.Components["sync/up"].State; got != "ok" {
		w.t.Errorf("health of sync/up is %q", got)
	}
}

// checkWrites compares the versions of both sides with the edits.
func (w *contest) checkWrites() {
	w.t.Helper()
	writes := -w.edits
	for thing := range w.want {
		for _, s := range []*site{w.edge, w.cloud} {
			var document struct{ Version int }
			if err := json.Unmarshal([]byte(s.do("shadow", "get", thing, "-o", "json")), &document); err != nil {
				w.t.Fatal(err)
			}
			writes += document.Version
		}
	}
	w.t.Logf("%d writes by sync", writes)
	if writes > 2*w.edits {
		w.t.Errorf("%d writes by sync for %d edits; more than two each", writes, w.edits)
	}
}
