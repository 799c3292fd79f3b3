package survey

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Check is one look at the host.
type Check struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Hint says what to do when it is not OK.
	Hint string `json:"hint,omitempty"`
}

// Person is who looks: what the groups mean depends on it.
type Person struct {
	Root   bool
	Groups []string
}

// Doctor looks at a host whose root folder is root. What hardware this board
// does not have is OK and said; what is there and cannot be used is not.
func Doctor(root fs.FS, who Person) []Check {
	h := host{root}
	checks := []Check{h.board()}
	checks = append(checks, h.i2c()...)
	checks = append(checks, h.nodes("GPIO chips", "dev/gpiochip*", "gpio", who))
	checks = append(checks, h.nodes("I2C nodes", "dev/i2c-*", "i2c", who))
	checks = append(checks, h.nodes("SPI nodes", "dev/spidev*", "spi", who))
	return append(checks, h.bound(), h.pwm(), h.power(), h.overlays())
}

// host is the file system of a machine.
type host struct{ root fs.FS }

func (h host) text(name string) string {
	b, err := fs.ReadFile(h.root, name)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b), "\x00\n ")
}

func (h host) glob(pattern string) []string {
	all, err := fs.Glob(h.root, pattern)
	if err != nil {
		return nil
	}
	return all
}

func (h host) board() Check {
	model := h.text("proc/device-tree/model")
	if model == "" {
		model = "no device tree: not a board with fixed pins"
	}
	return Check{Check: "board", OK: true, Detail: model}
}

// i2c looks at the adapters: on a plain Debian nobody loads i2c-dev, and the
// BCM2835's controller cuts a stretched clock short (hardware-facts section 2).
func (h host) i2c() []Check {
	adapters := h.glob("sys/bus/i2c/devices/i2c-*")
	if len(adapters) == 0 {
		hint := ""
		if strings.Contains(h.text("proc/device-tree/model"), "Raspberry Pi") {
			hint = "enable it: dtparam=i2c_arm=on in config.txt, then reboot"
		}
		return []Check{{Check: "I2C adapters", OK: hint == "", Detail: "none", Hint: hint}}
	}
	var names []string
	c := Check{Check: "I2C adapters", OK: true}
	stretch := Check{}
	for _, a := range adapters {
		number, name := strings.TrimPrefix(path.Base(a), "i2c-"), h.text(path.Join(a, "name"))
		names = append(names, fmt.Sprintf("%s (%s)", number, name))
		if _, err := fs.Stat(h.root, "dev/i2c-"+number); err != nil {
			c.OK, c.Hint = false, "there is no /dev/i2c-"+number+": load the module i2c-dev (modprobe i2c-dev; the package installs modules-load.d/tidehold.conf)"
		}
		if strings.HasPrefix(name, "bcm2835") {
			stretch = Check{Check: "clock stretching", OK: true, Detail: "adapter " + number + " is a BCM2835: it corrupts transfers of chips that stretch the clock (SCD4x, BNO055, some others); put these on i2c-gpio or a USB adapter"}
		}
	}
	c.Detail = strings.Join(names, ", ")
	if stretch.Check == "" {
		return []Check{c}
	}
	return []Check{c, stretch}
}

// nodes looks whether somebody may open the nodes of one kind.
func (h host) nodes(check, pattern, group string, who Person) Check {
	all := h.glob(pattern)
	c := Check{Check: check, OK: true, Detail: "none"}
	if len(all) == 0 {
		return c
	}
	for i := range all {
		all[i] = "/" + all[i]
	}
	c.Detail = strings.Join(all, ", ")
	if who.Root {
		return c
	}
	for _, g := range who.Groups {
		if g == group {
			return c
		}
	}
	c.OK = false
	c.Hint = fmt.Sprintf("you are not in group %s: usermod -aG %s $USER and log in again; the service has it by SupplementaryGroups", group, group)
	return c
}

// bound lists what kernel drivers hold.
func (h host) bound() Check {
	var all []string
	for _, link := range h.glob("sys/bus/i2c/devices/*-*/driver") {
		device := path.Base(path.Dir(link))
		number, addr, ok := strings.Cut(device, "-")
		at, err := strconv.ParseUint(addr, 16, 16)
		if ok && err == nil {
			all = append(all, fmt.Sprintf("bus %s 0x%02x (%s)", number, at, h.text(path.Join(path.Dir(link), "name"))))
		}
	}
	c := Check{Check: "addresses of the kernel", OK: true, Detail: "none"}
	if len(all) > 0 {
		c.Detail = strings.Join(all, ", ") + ": a part there needs driver hwmon or iio, or the overlay removed"
	}
	return c
}

func (h host) pwm() Check {
	var all []string
	for _, chip := range h.glob("sys/class/pwm/pwmchip*") {
		all = append(all, fmt.Sprintf("%s with %s channels", path.Base(chip), h.text(path.Join(chip, "npwm"))))
	}
	c := Check{Check: "PWM chips", OK: true, Detail: "none"}
	if len(all) > 0 {
		c.Detail = strings.Join(all, ", ")
	}
	return c
}

// power reads the under-voltage flag of a Raspberry Pi: what looks like a bad
// sensor is often a bad supply.
func (h host) power() Check {
	c := Check{Check: "supply voltage", OK: true, Detail: "not measured by this board"}
	for _, name := range h.glob("sys/class/hwmon/hwmon*/name") {
		if h.text(name) != "rpi_volt" {
			continue
		}
		c.Detail = "no under-voltage seen"
		if h.text(path.Join(path.Dir(name), "in0_lcrit_alarm")) == "1" {
			c.OK, c.Detail, c.Hint = false, "under-voltage", "the 5 V supply sags below 4.63 V: use a stronger supply and a shorter cable before you look for other causes"
		}
	}
	return c
}

// overlays lists what the boot configuration of a Raspberry Pi switches on.
func (h host) overlays() Check {
	c := Check{Check: "overlays", OK: true, Detail: "no config.txt"}
	for _, file := range []string{"boot/firmware/config.txt", "boot/config.txt"} {
		text := h.text(file)
		if text == "" {
			continue
		}
		var on []string
		for _, line := range strings.Split(text, "\n") {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "dtoverlay=") || strings.HasPrefix(line, "dtparam=") {
				on = append(on, line)
			}
		}
		c.Detail = "/" + file + ": " + strings.Join(on, ", ")
		return c
	}
	return c
}
