// Package folder keeps the files that rules write: objects of the action s3 in
// buckets, lines of edge.file and of log groups, and the secrets that
// statements read (rules.md sections 6 and 8).
//
// What it promises. No name leads out of its folder, whatever a message puts
// into it: every path is opened beneath its root, symbolic links included. An
// object is complete or absent, also after a power cut; a line is whole or, if
// the process died in it, the last of its file. Files of lines are rotated at
// their size. Buckets hold at most ObjectsBytes in all; at the limit a new
// object is refused. Calls block for the disk and may come from any goroutine;
// writes to one file exclude each other.
package folder

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Limits of names.
const (
	pathMax = 1024
	partMax = 255
	locks   = 16
)

// DefaultObjectsBytes is how much buckets hold unless told otherwise.
const DefaultObjectsBytes = 1 << 30

// Folder is one directory of files.
type Folder struct {
	dir  string
	most int64

	mu   sync.Mutex
	root *os.Root // opened by the first use
	used int64    // bytes in files; -1 while unknown

	serial  atomic.Uint64
	striped [locks]sync.Mutex
}

// New takes the directory, which need not exist, and the most bytes that Put
// may fill; 0 means DefaultObjectsBytes.
func New(dir string, most int64) *Folder {
	if most == 0 {
		most = DefaultObjectsBytes
	}
	return &Folder{dir: dir, most: most, used: -1}
}

// open gives the directory, made when missing.
func (f *Folder) open() (*os.Root, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root != nil {
		return f.root, nil
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(f.dir)
	f.root = root
	return root, err
}

// lock excludes other writers of one file.
func (f *Folder) lock(name string) *sync.Mutex {
	h := fnv.New32a()
	h.Write([]byte(name))
	m := &f.striped[h.Sum32()%locks]
	m.Lock()
	return m
}

// CheckName reports why name cannot be a path below a folder: it has 1 to 1024
// bytes, its parts are no `.` or `..` and not empty.
func CheckName(name string) error {
	if len(name) > pathMax || strings.ContainsAny(name, "\x00\\") || !fs.ValidPath(name) || name == "." {
		return iot.Errorf(iot.InvalidRequest, "path %q: want 1 to %d bytes of names separated by /, without . and ..", clip(name), pathMax)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > partMax || strings.HasPrefix(part, temporary) {
			return iot.Errorf(iot.InvalidRequest, "path %q: a name has at most %d bytes and does not begin with %s", clip(name), partMax, temporary)
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// temporary begins the names of objects that are being written.
const temporary = ".writing-"

// Put writes an object, in the place of an older one.
func (f *Folder) Put(name string, content []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	root, err := f.open()
	if err != nil {
		return err
	}
	defer f.lock(name).Unlock()
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return escape(name, err)
	}
	old := int64(0)
	if facts, err := root.Lstat(name); err == nil {
		old = facts.Size()
	}
	if err := f.reserve(root, int64(len(content))-old); err != nil {
		return err
	}
	if err := f.write(root, name, content); err != nil {
		f.release(int64(len(content)) - old)
		return escape(name, err)
	}
	return nil
}

// write makes a file aside, brings it to the disk, and gives it its name.
func (f *Folder) write(root *os.Root, name string, content []byte) error {
	aside := path.Join(path.Dir(name), fmt.Sprint(temporary, f.serial.Add(1)))
	file, err := root.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = root.Rename(aside, name)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(root.Remove(aside)))
	}
	return syncDir(root, path.Dir(name))
}

// syncDir makes a new name last.
func syncDir(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// escape makes the refusal of a path that leads out of the folder, or through
// a file, one that no attempt changes.
func escape(name string, err error) error {
	inTheWay := errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ELOOP)
	if inTheWay || strings.Contains(err.Error(), "path escapes") { // os has no name for it
		return &iot.Error{Code: iot.InvalidRequest, Message: fmt.Sprintf("path %q cannot be written", clip(name)), Err: err}
	}
	return err
}

// reserve counts bytes before they are written; the first call counts what
// there is.
func (f *Folder) reserve(root *os.Root, more int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used < 0 {
		used, err := sizeOf(root)
		if err != nil {
			return err
		}
		f.used = used
	}
	if more > 0 && f.used+more > f.most {
		return iot.Errorf(iot.TooLarge, "the buckets hold %d of at most %d bytes; remove objects", f.used, f.most)
	}
	f.used += more
	return nil
}

func (f *Folder) release(n int64) {
	f.mu.Lock()
	f.used -= n
	f.mu.Unlock()
}

// sizeOf adds up all files and removes what a crash left half written.
func sizeOf(root *os.Root) (sum int64, err error) {
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(d.Name(), temporary) {
			return ignoreMissing(root.Remove(name))
		}
		facts, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		sum += facts.Size()
		return nil
	})
	return sum, err
}

// Close gives the directory back; a later use opens it again.
func (f *Folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root == nil {
		return nil
	}
	root := f.root
	f.root = nil
	return root.Close()
}
