package clock

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// syncMarker is touched by systemd-timesyncd at its first synchronisation.
const syncMarker = "/run/systemd/timesync/synchronized"

// System is the host's clock.
type System struct {
	boot    string
	started time.Time
	upStart time.Duration
}

// NewSystem reads the host's boot id once.
func NewSystem() *System {
	s := &System{boot: "000000", started: time.Now()}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		s.boot = strings.ReplaceAll(string(id), "-", "")[:6]
	}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		s.upStart = time.Duration(ts.Nano())
	}
	return s
}

// Now is the wall clock.
func (s *System) Now() time.Time { return time.Now() }

// Up is the time since boot: the boot clock at NewSystem plus the monotonic
// time since, so that a simulated world can move it.
func (s *System) Up() time.Duration { return s.upStart + time.Since(s.started) }

// Boot is the first 6 characters of the kernel's boot id.
func (s *System) Boot() string { return s.boot }

// Synced asks the kernel (adjtimex without the unsynchronised flag) and the
// marker of systemd-timesyncd (telemetry.md section 5).
func (s *System) Synced() bool {
	var tx unix.Timex
	if state, err := unix.Adjtimex(&tx); err == nil && state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0 {
		return true
	}
	_, err := os.Stat(syncMarker)
	return err == nil
}
