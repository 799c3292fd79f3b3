// Package board boots an emulated board: a real Linux kernel in QEMU with a
// real I2C adapter and real GPIO lines, on which a test runs the real binary.
//
// The adapter is a USB one whose bus lives in the test (Adapter, any
// drivers.Bus); the lines are those of a PL061 controller, watched and driven
// from outside (Lines). The test commands the guest over TCP: it writes files,
// starts programs, signals them. The host's loopback is 10.0.2.2 in the guest.
//
// It needs qemu-system-arm and a Debian kernel, which scripts/board-kernel
// fetches once. Nothing here needs root or KVM. Boot fails the test when a part
// is missing; every process ends with the test.
package board

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// Machine is a kind of board.
type Machine struct {
	qemu   string
	args   []string
	Debian string   // Debian's name of the architecture
	Go     []string // GOARCH and GOARM for its programs
}

// ARM64 has a Cortex-A53 and Debian's arm64 kernel.
func ARM64() Machine {
	return Machine{qemu: "qemu-system-aarch64", Debian: "arm64", Go: []string{"GOARCH=arm64"},
		args: []string{"-M", "virt,gic-version=2", "-cpu", "cortex-a53"}}
}

// ARM32 has a Cortex-A15 and Debian's armhf kernel; it runs the binary of the
// oldest boards (GOARM=6).
func ARM32() Machine {
	return Machine{qemu: "qemu-system-arm", Debian: "armhf", Go: []string{"GOARCH=arm", "GOARM=6"},
		args: []string{"-M", "virt,gic-version=2,highmem=off", "-cpu", "cortex-a15"}}
}

// Config is what a board is made of.
type Config struct {
	Machine Machine
	// Bus is what hangs on the USB I2C adapter.
	Bus drivers.Bus
	// Files are copied into the board: by path there, from path here.
	Files map[string]string
	// Ports are forwarded from the host's loopback: by the board's port.
	Ports []int
}

// Board is a running board.
type Board struct {
	t       testing.TB
	Adapter *Adapter
	Lines   *Lines
	ports   map[int]int
	guest   net.Conn
	replies *bufio.Scanner
	asking  sync.Mutex
}

// bootMost bounds the time from power-on until the guest answers; it takes
// five to ten seconds on a quiet machine.
const bootMost = 3 * time.Minute

// guestPort is where the guest listens.
const guestPort = 7

// Boot makes the board and waits until its guest answers.
func Boot(t testing.TB, c Config) *Board {
	t.Helper()
	dir := t.TempDir()
	b := &Board{t: t, Adapter: &Adapter{bus: c.Bus}, ports: map[int]int{}}
	usb, err := net.Listen("unix", filepath.Join(dir, "usb"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = usb.Close() })
	go b.Adapter.serve(usb)
	kernel := kernelOf(t, c.Machine)
	ird := filepath.Join(dir, "initrd.gz")
	if err := os.WriteFile(ird, initramfs(t, dir, kernel, c), 0o600); err != nil {
		t.Fatal(err)
	}
	b.power(dir, kernel, ird, c)
	b.Lines = watchLines(t, b.dial("unix", filepath.Join(dir, "qtest")))
	b.connect()
	return b
}

// kernelOf fetches the kernel package of the machine when it is not here yet.
func kernelOf(t testing.TB, m Machine) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(root(t), "scripts", "board-kernel"), m.Debian).Output()
	if err != nil {
		t.Fatalf("kernel of %s: %v", m.Debian, err)
	}
	return strings.TrimSpace(string(out))
}

// root is the module's folder.
func root(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func initramfs(t testing.TB, dir, kernel string, c Config) []byte {
	t.Helper()
	order, err := loadOrder(filepath.Join(kernel, "lib/modules"), []string{"i2c-dev", "virtio_pci", "virtio_net", "xhci-pci", "i2c-tiny-usb"})
	if err != nil {
		t.Fatal(err)
	}
	a := newArchive()
	for _, d := range []string{"proc", "sys", "dev", "tmp", "run", "etc", "var/lib"} {
		a.folder(d)
	}
	a.entry("dev/console", 0o020600, nil, 5, 1)
	a.file("etc/passwd", []byte("root:x:0:0:root:/tmp:/bin/sh\n"))
	files := map[string]string{"/init": build(t, dir, c.Machine)}
	var list []string
	for _, m := range order {
		path := "/lib/modules/" + filepath.Base(m)
		files[path] = m
		list = append(list, path)
	}
	a.file("modules", []byte(strings.Join(list, "\n")))
	for path, from := range c.Files {
		files[path] = from
	}
	for path, from := range files {
		if err := a.copy(from, path); err != nil {
			t.Fatal(err)
		}
	}
	b, err := a.compressed()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// build makes PID 1 for the machine.
func build(t testing.TB, dir string, m Machine) string {
	t.Helper()
	out := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./gateway/gwtest/board/guest")
	cmd.Dir = root(t)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"), m.Go...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build of the guest: %v\n%s", err, b)
	}
	return out
}

// power starts QEMU; its console is shown when the test fails.
func (b *Board) power(dir, kernel, ird string, c Config) {
	b.t.Helper()
	images, _ := filepath.Glob(filepath.Join(kernel, "boot/vmlinuz-*"))
	if len(images) == 0 {
		b.t.Fatalf("no kernel in %s", kernel)
	}
	forward := ""
	for _, port := range append([]int{guestPort}, c.Ports...) {
		b.ports[port] = freePort(b.t)
		forward += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-10.0.2.15:%d", b.ports[port], port)
	}
	args := append(c.Machine.args, "-m", "512M", "-smp", "1", "-accel", "tcg", "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none",
		"-kernel", images[len(images)-1], "-initrd", ird, "-append", "console=ttyAMA0 panic=-1 quiet loglevel=3",
		"-device", "qemu-xhci,id=xhci", "-chardev", "socket,id=usb,path="+filepath.Join(dir, "usb"), "-device", "usb-redir,chardev=usb,bus=xhci.0",
		"-netdev", "user,id=net"+forward, "-device", "virtio-net-pci,netdev=net,romfile=",
		"-qtest", "unix:"+filepath.Join(dir, "qtest")+",server=on,wait=off", "-qtest-log", "none")
	cmd := exec.Command(c.Machine.qemu, args...)
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.t.Fatalf("%s: %v; install qemu-system-arm", c.Machine.qemu, err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: its state says nothing
		if b.t.Failed() {
			b.t.Logf("console of the board:\n%s", console.String())
		}
	})
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// dial connects to a socket that QEMU is about to make.
func (b *Board) dial(network, addr string) net.Conn {
	b.t.Helper()
	for end := time.Now().Add(bootMost); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			b.t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if time.Now().After(end) {
			b.t.Fatalf("board: %v", err)
		}
	}
}

// connect waits for the guest: the forwarded port is open before it listens.
func (b *Board) connect() {
	b.t.Helper()
	for end := time.Now().Add(bootMost); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", b.Address(guestPort), time.Second)
		if err != nil {
			continue
		}
		b.guest, b.replies = c, bufio.NewScanner(c)
		b.replies.Buffer(nil, 1<<20)
		if _, err := b.ask(map[string]any{"write": "/tmp/hello", "content": "hello"}); err == nil {
			b.t.Cleanup(func() { _ = c.Close() })
			return
		}
		_ = c.Close()
	}
	b.t.Fatal("board: the guest did not come up")
}

// Address is where the board's port is found on the host.
func (b *Board) Address(port int) string { return fmt.Sprintf("127.0.0.1:%d", b.ports[port]) }

type answer struct {
	Output string
	Code   int
	Error  string
}

func (b *Board) ask(question map[string]any) (answer, error) {
	b.asking.Lock()
	defer b.asking.Unlock()
	var a answer
	if err := b.guest.SetDeadline(time.Now().Add(bootMost)); err != nil {
		return a, err
	}
	if err := json.NewEncoder(b.guest).Encode(question); err != nil {
		return a, err
	}
	if !b.replies.Scan() {
		return a, fmt.Errorf("guest: no answer (%v)", b.replies.Err())
	}
	if err := json.Unmarshal(b.replies.Bytes(), &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, fmt.Errorf("guest: %s", a.Error)
	}
	return a, nil
}

func (b *Board) must(question map[string]any) answer {
	b.t.Helper()
	a, err := b.ask(question)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// Pulse drives an input line high for a time and low again. It waits until the
// kernel's interrupt thread, which goes before every program, has run: an
// emulated processor may stand still for longer than a pulse lasts, which a
// real one does not, and two edges would then be one event.
func (b *Board) Pulse(line int, high time.Duration) {
	b.t.Helper()
	for _, level := range []bool{true, false} {
		b.Lines.Drive(line, level)
		time.Sleep(high)
		b.Lines.taken()
		b.Write("/tmp/hello", "hello")
	}
}

// Run runs a program to its end and gives its output and exit code.
func (b *Board) Run(args ...string) (string, int) {
	b.t.Helper()
	a := b.must(map[string]any{"run": args})
	return a.Output, a.Code
}

// Start starts a program under a name; its output goes to the console.
func (b *Board) Start(name string, args ...string) {
	b.t.Helper()
	b.must(map[string]any{"start": name, "run": args})
}

// End sends a signal to a started program and waits until it ended; it gives
// the exit code, -1 when the signal ended it.
func (b *Board) End(name string, s syscall.Signal) int {
	b.t.Helper()
	return b.must(map[string]any{"signal": name, "number": int(s), "wait": true}).Code
}

// Signal sends a signal to a started program.
func (b *Board) Signal(name string, s syscall.Signal) {
	b.t.Helper()
	b.must(map[string]any{"signal": name, "number": int(s)})
}

// Write makes a file on the board.
func (b *Board) Write(path, content string) {
	b.t.Helper()
	b.must(map[string]any{"write": path, "content": content})
}
