package i2cdev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's structures: i2c_msg is three 16-bit numbers and a pointer,
// i2c_rdwr_ioctl_data a pointer and a 32-bit number. The emulated boards prove
// both sizes on real kernels.
func TestLayout_FollowsThePointer(t *testing.T) {
	word := unsafe.Sizeof(uintptr(0))
	if got := unsafe.Sizeof(message{}); got != 8+word {
		t.Errorf("i2c_msg has %d bytes", got)
	}
	if got := unsafe.Offsetof(messages{}.count); got != word {
		t.Errorf("nmsgs stands at %d", got)
	}
}

func TestOpen_WhatIsNoAdapterIsAnErrorWithItsErrno(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "i2c-9"), time.Second); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent node: %v", err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(plain, time.Second); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("plain file: %v", err)
	}
}

func TestTx_RefusesWhatTheKernelWould(t *testing.T) {
	c := &Conn{}
	if err := c.Tx(0x76, make([]byte, MessageMax+1), nil); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("got %v", err)
	}
	if err := c.Tx(0x76, nil, nil); err != nil {
		t.Errorf("an empty transaction: %v", err)
	}
}
