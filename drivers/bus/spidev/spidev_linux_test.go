package spidev

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The size is part of the request's number; the offsets are those of
// include/uapi/linux/spi/spidev.h.
func TestLayout_IsTheKernelsOnEveryWordSize(t *testing.T) {
	if got, want := unsafe.Sizeof(transfer{}), uintptr(requestMessage>>16)&0x3fff; got != want {
		t.Errorf("a transfer has %d bytes, want %d", got, want)
	}
	for what, c := range map[string][2]uintptr{
		"rx_buf": {unsafe.Offsetof(transfer{}.rx), 8}, "len": {unsafe.Offsetof(transfer{}.length), 16},
		"speed_hz": {unsafe.Offsetof(transfer{}.speed), 20}, "delay": {unsafe.Offsetof(transfer{}.delay), 24},
		"bits_per_word": {unsafe.Offsetof(transfer{}.bits), 26}, "cs_change": {unsafe.Offsetof(transfer{}.csChange), 27},
	} {
		if c[0] != c[1] {
			t.Errorf("%s at %d, want %d", what, c[0], c[1])
		}
	}
}

func TestOpen_WhatIsNoSPIDeviceIsRefusedWithTheErrno(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spidev0.0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, 0, 500_000); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(path+"x", 0, 500_000); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestTx_RefusesWhatTheKernelWouldCut(t *testing.T) {
	c := &Conn{}
	for _, n := range [][2]int{{1, 2}, {TransferMax + 1, TransferMax + 1}} {
		if err := c.Tx(make([]byte, n[0]), make([]byte, n[1])); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("%v: %v", n, err)
		}
	}
	if err := c.Tx(nil, nil); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
}
