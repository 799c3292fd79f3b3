package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Limits of a file of lines.
const (
	DefaultLinesBytes = 10 << 20
	DefaultKeep       = 5
	KeepMax           = 100
	linesBytesMin     = 1 << 10
)

// Lines says how a file of lines is kept.
type Lines struct {
	// MaxBytes is the size at which the file is put aside as NAME.1, 10 MiB
	// when 0.
	MaxBytes int64
	// Keep is how many files put aside are kept, 5 when 0.
	Keep int
	// Head is written first into every new file.
	Head []byte
}

// WithDefaults fills in zero values, and reports one out of range.
func (l Lines) WithDefaults() (Lines, error) {
	if l.MaxBytes == 0 {
		l.MaxBytes = DefaultLinesBytes
	}
	if l.Keep == 0 {
		l.Keep = DefaultKeep
	}
	if l.MaxBytes < linesBytesMin || l.Keep < 1 || l.Keep > KeepMax {
		return l, iot.Errorf(iot.InvalidRequest, "maxBytes %d, keep %d: want at least %d, and 1 to %d", l.MaxBytes, l.Keep, linesBytesMin, KeepMax)
	}
	return l, nil
}

// Append adds a line, which ends with a line feed, to a file.
func (f *Folder) Append(name string, line []byte, l Lines) error {
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
	size, err := f.room(root, name, int64(len(line)), l)
	if err != nil {
		return escape(name, err)
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return escape(name, err)
	}
	if size == 0 {
		line = append(append([]byte(nil), l.Head...), line...)
	}
	_, err = file.Write(line)
	if err != nil { // no half line stays behind
		err = errors.Join(err, file.Truncate(size))
	}
	return errors.Join(err, file.Close())
}

// room gives the size of the file that a line of n bytes joins, after putting
// a full one aside. A file that is already full of one line stays.
func (f *Folder) room(root *os.Root, name string, n int64, l Lines) (int64, error) {
	facts, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !facts.Mode().IsRegular() {
		return 0, iot.Errorf(iot.InvalidRequest, "path %q is no file", clip(name))
	}
	if facts.Size() == 0 || facts.Size()+n <= l.MaxBytes {
		return facts.Size(), nil
	}
	for i := l.Keep; i > 1; i-- {
		if err := ignoreMissing(root.Rename(aside(name, i-1), aside(name, i))); err != nil {
			return 0, err
		}
	}
	return 0, root.Rename(name, aside(name, 1))
}

func aside(name string, i int) string { return fmt.Sprintf("%s.%d", name, i) }

const secretMax = 64 << 10

// Secret reads a secret: a file whose name is its id, which nobody but its
// owner can read. The value is never part of an error.
func (f *Folder) Secret(id string) ([]byte, error) {
	if CheckName(id) != nil || strings.Contains(id, "/") {
		return nil, iot.Errorf(iot.InvalidRequest, "secret %q: want the name of a file", clip(id))
	}
	root, err := f.open()
	if err != nil {
		return nil, err
	}
	facts, err := root.Stat(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, iot.Errorf(iot.NotFound, "secret %q does not exist", id)
	case err != nil:
		return nil, err
	case facts.Mode().Perm()&0o077 != 0:
		return nil, iot.Errorf(iot.Forbidden, "secret %q: others can read its file; chmod 600 it", id)
	case facts.Size() > secretMax || !facts.Mode().IsRegular():
		return nil, iot.Errorf(iot.TooLarge, "secret %q: want a file of at most %d bytes", id, secretMax)
	}
	return root.ReadFile(id)
}
