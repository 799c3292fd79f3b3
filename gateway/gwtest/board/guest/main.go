// Command guest is PID 1 of the emulated board: it mounts the pseudo file
// systems, loads the kernel modules of the initramfs in the order of
// /modules, brings the network up, and then does what the test asks for over
// TCP, one JSON request and one JSON answer per line. It never ends; the test
// ends the machine.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Port is where the guest listens.
const port = 7

func main() {
	mounts()
	console()
	modules()
	if err := network("10.0.2.15/24", "10.0.2.2"); err != nil {
		say("network: %v", err)
	}
	appears("/dev/i2c-0", 15*time.Second)
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		say("listen: %v", err)
		select {}
	}
	say("ready")
	programs := newPrograms()
	for {
		c, err := l.Accept()
		if err != nil {
			say("accept: %v", err)
			continue
		}
		go answer(c, programs)
	}
}

func answer(c net.Conn, p *programs) {
	defer func() { _ = c.Close() }()
	out := json.NewEncoder(c)
	for lines := bufio.NewScanner(c); lines.Scan(); {
		var q Request
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			_ = out.Encode(Answer{Error: err.Error()})
			continue
		}
		_ = out.Encode(p.do(q))
	}
}

// say writes a line to the console, which the test shows when it fails.
func say(format string, a ...any) { fmt.Printf("GUEST "+format+"\n", a...) }

func mounts() {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"tmpfs", "/var/lib"}} {
		_ = os.MkdirAll(m[1], 0o755)
		if err := syscall.Mount(m[0], m[1], m[0], 0, ""); err != nil && err != syscall.EBUSY {
			say("mount %s: %v", m[1], err)
		}
	}
	_ = syscall.Mount("debugfs", "/sys/kernel/debug", "debugfs", 0, "")
}

// console takes the console that exists now: the kernel may have opened none
// when the driver of the serial port is a module.
func console() {
	f, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		return
	}
	for fd := range 3 {
		_ = syscall.Dup3(int(f.Fd()), fd, 0)
	}
}

func modules() {
	list, err := os.ReadFile("/modules")
	if err != nil {
		say("modules: %v", err)
		return
	}
	for _, path := range strings.Fields(string(list)) {
		if err := load(path); err != nil {
			say("module %s: %v", filepath.Base(path), err)
		}
	}
}

// appears waits for a device behind USB, which comes some time after its driver.
func appears(path string, most time.Duration) {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	say("%s is not there", path)
}
