package pwm

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/drivers"
)

// class is a fake /sys/class/pwm.
type class struct {
	t   *testing.T
	dir string
}

func newClass(t *testing.T) class { return class{t, t.TempDir()} }

func (c class) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// chip adds a chip with one exported channel 0, whose files say what they hold.
func (c class) chip(name, device string, files map[string]string) string {
	c.t.Helper()
	at := filepath.Join(c.dir, "devices", device)
	c.must(os.MkdirAll(filepath.Join(at, "of_node"), 0o755))
	chip := filepath.Join(c.dir, name)
	c.must(os.MkdirAll(filepath.Join(chip, "pwm0"), 0o755))
	c.must(os.Symlink(at, filepath.Join(chip, "device")))
	for _, f := range []string{"period", "duty_cycle", "enable"} {
		text := files[f]
		if text == "" {
			text = "0"
		}
		c.must(os.WriteFile(filepath.Join(chip, "pwm0", f), []byte(text+"\n"), 0o644))
	}
	return chip
}

func (c class) read(chip, file string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(chip, "pwm0", file))
	c.must(err)
	return strings.TrimSpace(string(b))
}

func level(v float64) *float64 { return &v }

func TestOpen_StartsAChannelAtItsFirstLevel(t *testing.T) {
	c := newClass(t)
	chip := c.chip("pwmchip0", "1f00098000.pwm", nil)
	l, err := Open(c.dir, drivers.PWMConfig{Chip: "1f00098000.pwm", Frequency: 25_000}, level(30))
	c.must(err)
	if p, d, e := c.read(chip, "period"), c.read(chip, "duty_cycle"), c.read(chip, "enable"); p != "40000" || d != "12000" || e != "1" {
		t.Errorf("period %s, duty cycle %s, enable %s", p, d, e)
	}
	c.must(l.Set(75))
	if got, err := l.Level(); err != nil || math.Abs(got-75) > 0.01 {
		t.Errorf("read back %v, %v", got, err)
	}
	c.must(l.Close())
	if c.read(chip, "duty_cycle") != "30000" || c.read(chip, "enable") != "1" {
		t.Error("closing changed the pin")
	}
}

func TestOpen_KeepsTheLevelOfAChannelThatRuns(t *testing.T) {
	c := newClass(t)
	chip := c.chip("pwmchip0", "a.pwm", map[string]string{"period": "100000", "duty_cycle": "60000", "enable": "1"})
	l, err := Open(c.dir, drivers.PWMConfig{Frequency: 25_000}, nil)
	c.must(err)
	if got, _ := l.Level(); math.Abs(got-60) > 0.01 || c.read(chip, "period") != "40000" {
		t.Errorf("level %v at a period of %s; want the same share of the new period", got, c.read(chip, "period"))
	}
	c.chip("pwmchip7", "b.pwm", map[string]string{"period": "40000", "duty_cycle": "20000"})
	l, err = Open(c.dir, drivers.PWMConfig{Chip: "pwmchip7", Frequency: 25_000}, nil)
	c.must(err)
	if got, _ := l.Level(); got != 0 {
		t.Errorf("a channel that does not run was taken as %v", got)
	}
}

func TestOpen_FindsAChipByItsNameInTheDeviceTree(t *testing.T) {
	c := newClass(t)
	c.chip("pwmchip0", "a.pwm", nil)
	chip := c.chip("pwmchip3", "b.pwm", nil)
	c.must(os.WriteFile(filepath.Join(chip, "device/of_node/label"), []byte("fan-pwm\x00"), 0o644))
	l, err := Open(c.dir, drivers.PWMConfig{Chip: "fan-pwm", Frequency: 100}, level(0))
	c.must(err)
	if l.dir != filepath.Join(chip, "pwm0") {
		t.Errorf("found %s", l.dir)
	}
}

func TestOpen_SaysWhatIsWrong(t *testing.T) {
	c := newClass(t)
	open := func(chip string, channel int, hz int64) error {
		_, err := Open(c.dir, drivers.PWMConfig{Chip: chip, Channel: channel, Frequency: hz}, level(0))
		return err
	}
	if err := open("", 0, 100); !errors.Is(err, drivers.ErrUnplugged) || !strings.Contains(err.Error(), "no hardware PWM") {
		t.Errorf("no chip: %v", err)
	}
	c.chip("pwmchip0", "a.pwm", nil)
	c.chip("pwmchip1", "b.pwm", nil)
	if err := open("", 0, 100); err == nil || !strings.Contains(err.Error(), "2 chips fit") {
		t.Errorf("two chips: %v", err)
	}
	if err := open("fan", 0, 100); !errors.Is(err, drivers.ErrUnplugged) || !strings.Contains(err.Error(), "a.pwm") {
		t.Errorf("unknown chip: %v; want the ones that are there", err)
	}
	if err := open("a.pwm", 5, 100); !errors.Is(err, drivers.ErrUnplugged) {
		t.Errorf("no such channel: %v", err)
	}
	if err := open("a.pwm", 0, 0); err == nil {
		t.Error("no frequency was taken")
	}
}
