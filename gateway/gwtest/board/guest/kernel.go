package main

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// network brings up loopback and the first Ethernet interface.
func network(cidr, gateway string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := up(fd, "lo"); err != nil {
		return err
	}
	name := firstEthernet(10 * time.Second)
	ip, mask, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	for _, set := range []struct {
		request uint
		ip      net.IP
	}{{unix.SIOCSIFADDR, ip}, {unix.SIOCSIFNETMASK, net.IP(mask.Mask)}} {
		if err := setAddress(fd, name, set.request, set.ip); err != nil {
			return err
		}
	}
	if err := up(fd, name); err != nil {
		return err
	}
	return defaultRoute(fd, net.ParseIP(gateway))
}

func up(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

func setAddress(fd int, name string, request uint, ip net.IP) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(ip.To4()); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, request, r)
}

// defaultRoute hands the kernel a struct rtentry: an unsigned long, three
// socket addresses (destination, gateway, mask), and the flags.
func defaultRoute(fd int, gateway net.IP) error {
	word := int(unsafe.Sizeof(uintptr(0)))
	b := make([]byte, 160)
	for i, ip := range []net.IP{net.IPv4zero, gateway, net.IPv4zero} {
		at := word + 16*i
		binary.NativeEndian.PutUint16(b[at:], unix.AF_INET)
		copy(b[at+4:], ip.To4())
	}
	binary.NativeEndian.PutUint16(b[word+48:], unix.RTF_UP|unix.RTF_GATEWAY)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&b[0]))); errno != 0 {
		return errno
	}
	return nil
}

func firstEthernet(most time.Duration) string {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/net/*")
		sort.Strings(names)
		for _, path := range names {
			kind, _ := os.ReadFile(path + "/type")
			if name := filepath.Base(path); name != "lo" && strings.TrimSpace(string(kind)) == "1" {
				return name
			}
		}
	}
	return "eth0"
}
