package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/telemetry/desk"
)

// disk is an ext4 file system on a loop device of its own, at the state folder
// of a site: its device counts every write to the medium, those of the file
// system's journal too, and those of nobody else (telemetry.md 14.3).
type disk struct {
	t      testing.TB
	dir    string
	device string // its name in /sys/block
}

// newDisk mounts one for a site that was not started yet. It needs root.
func newDisk(t testing.TB, s *site) *disk {
	t.Helper()
	gwtest.Need(t, "mkfs.ext4", "losetup", "mount", "umount", "sync")
	gwtest.NeedRoot(t)
	d := &disk{t: t, dir: filepath.Join(s.dir, "state")}
	image := filepath.Join(s.dir, "disk")
	file, err := os.Create(image)
	if err == nil {
		err = file.Truncate(1 << 30)
	}
	if err == nil {
		err = file.Close()
	}
	if err == nil {
		err = os.Mkdir(d.dir, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
	device := d.run("losetup", "--find", "--show", image)
	t.Cleanup(func() { d.run("losetup", "--detach", device) })
	d.device = filepath.Base(device)
	d.run("mount", device, d.dir)
	t.Cleanup(func() { d.run("umount", d.dir) })
	return d
}

func (d *disk) run(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// written is how many bytes the device has written, after everything that the
// file system holds back was.
func (d *disk) written() int64 {
	d.t.Helper()
	d.run("sync", "--file-system", d.dir)
	text, err := os.ReadFile(filepath.Join("/sys/block", d.device, "stat"))
	if err != nil {
		d.t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	sectors, err := strconv.ParseInt(fields[6], 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return 512 * sectors
}

// readings publishes n messages of 130 bytes, one each time pace has passed, and
// waits until all are acknowledged.
func readings(t testing.TB, at string, n int, pace time.Duration) {
	t.Helper()
	c := gwtest.Connect(t, at, "meter", gwtest.ClientOptions{})
	defer c.Close()
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	var open []<-chan error
	for i := range n {
		time.Sleep(time.Until(start.Add(time.Duration(i) * pace)))
		text := fmt.Sprintf(`{"meter":"hall-7","n":%08d,"u":%.3f,"i":%.3f,"p":%.3f,"f":%.4f,"t":%.2f,"state":"running","q":"good"}`,
			i, 225+10*random.Float64(), 10+8*random.Float64(), 1000+900*random.Float64(), 49.9+random.Float64()/5, 20+9*random.Float64())
		open = append(open, c.TryPublish("dt/meter", fmt.Appendf(nil, "%-130s", text), 1))
	}
	for _, done := range open {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// flash are the patterns of telemetry.md 14.2: the bound of their bytes per
// message, and what was measured when this was written. Below 100 per second
// the bound is that of a commit, 25 KiB: there are few messages in each.
var flash = []struct {
	name            string
	profile         string // saver elides however late the upstream answers on a busy machine
	online          bool
	n               int
	pace            time.Duration
	bound, measured float64
}{
	{"connected, 500 per second", "saver", true, 3072, 2 * time.Millisecond, 100, 64},
	{"offline, 12 per second", "balanced", false, 72, 80 * time.Millisecond, 25 << 10, 6800},
	{"offline, 100 per second", "balanced", false, 900, 10 * time.Millisecond, 1 << 10, 800},
	{"offline, 500 per second", "balanced", false, 2000, 2 * time.Millisecond, 1 << 10, 700},
}

// TestFlash_AMessageCostsNoMoreThanItsBudget counts what reaches the medium over
// the whole life of messages: taken in, sent, acknowledged, deleted.
//
// T-38.
func TestFlash_AMessageCostsNoMoreThanItsBudget(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	s := newSite(t, "gw", fmt.Sprintf(`uplinks:
  - name: plant
    profile: mosquitto
    endpoint: "tcp://%s"
    reconnect_max: 1s
    drain: {rate: 0, bytes: 0, inflight: 0, start_jitter: 0s}
    telemetry: [{name: all, from: "dt/#"}]
`, upstream.Address))
	d := newDisk(t, s)
	base, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		u := askAt[spoolStats](s, "spool", "stats").Uplinks[0]
		return u.Delivered > 0 && u.Pending == 0
	}
	for i, p := range flash {
		if i == 0 || p.profile != flash[i-1].profile {
			if i > 0 {
				s.stop()
			}
			s.write(fmt.Sprintf("%stelemetry: {profile: %s}\n", base, p.profile))
			s.start()
		}
		readings(t, s.at(), 20, 0) // the last of them are elided
		gwtest.Eventually(t, "nothing is pending", gone)
		s.blocksGone()
		before := d.written()
		if !p.online {
			s.do("uplink", "cut")
		}
		readings(t, s.at(), p.n, p.pace)
		stored := d.written()
		if !p.online {
			s.do("uplink", "restore")
			gwtest.Eventually(t, "the backlog is gone", gone)
			s.blocksGone()
		}
		each := float64(d.written()-before) / float64(p.n)
		t.Logf("%s: %.0f bytes per message, %.0f of them to store it", p.name, each, float64(stored-before)/float64(p.n))
		if each > 1.25*p.measured || p.measured > p.bound {
			t.Errorf("%s: %.0f bytes per message; they were %.0f, and may never be more than %.0f", p.name, each, p.measured, p.bound)
		}
	}
	s.stop()
}

// blocksGone waits until what was delivered is deleted.
func (s *site) blocksGone() {
	s.t.Helper()
	gwtest.Eventually(s.t, "what was delivered is deleted", func() bool {
		return askAt[desk.Report](s, "spool", "verify").Records == 0
	})
}
