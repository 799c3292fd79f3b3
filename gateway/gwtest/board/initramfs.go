package board

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// archive is an initramfs under construction: cpio, format "newc" (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w    bytes.Buffer
	ino  int
	dirs map[string]bool
}

func newArchive() *archive { return &archive{dirs: map[string]bool{}} }

func (a *archive) entry(name string, mode uint32, content []byte, major, minor int) {
	a.ino++
	fmt.Fprintf(&a.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.w.WriteString(name)
	a.w.WriteByte(0)
	a.pad()
	a.w.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.w.Len()%4 != 0 {
		a.w.WriteByte(0)
	}
}

func (a *archive) folder(path string) {
	path = strings.Trim(path, "/")
	if path == "" || path == "." || a.dirs[path] {
		return
	}
	a.folder(filepath.Dir(path))
	a.dirs[path] = true
	a.entry(path, 0o040755, nil, 0, 0)
}

func (a *archive) file(path string, content []byte) {
	path = strings.Trim(path, "/")
	a.folder(filepath.Dir(path))
	a.entry(path, 0o100755, content, 0, 0)
}

// copy puts a file of the host at path.
func (a *archive) copy(from, path string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	a.file(path, b)
	return nil
}

// compressed ends the archive.
func (a *archive) compressed() ([]byte, error) {
	a.entry("TRAILER!!!", 0, nil, 0, 0)
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(a.w.Bytes()); err != nil {
		return nil, err
	}
	err = w.Close() // before Bytes: it writes the rest
	return z.Bytes(), err
}

// modules orders kernel modules so that each comes after what it needs.
type modules struct {
	files map[string]string // by name with underscores
	seen  map[string]bool
	order []string
}

// loadOrder gives the module files for wanted, dependencies first. A module
// that the package does not have is built in.
func loadOrder(root string, wanted []string) ([]string, error) {
	m := modules{files: map[string]string{}, seen: map[string]bool{}}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			m.files[underscored(filepath.Base(path))] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	for _, name := range wanted {
		if err := m.visit(name); err != nil {
			return nil, err
		}
	}
	return m.order, nil
}

func underscored(name string) string {
	return strings.ReplaceAll(strings.TrimSuffix(name, ".ko"), "-", "_")
}

func (m *modules) visit(name string) error {
	name = underscored(name)
	path, there := m.files[name]
	if !there || m.seen[name] {
		return nil
	}
	m.seen[name] = true
	needs, err := dependencies(path)
	if err != nil {
		return err
	}
	for _, n := range needs {
		if err := m.visit(n); err != nil {
			return err
		}
	}
	m.order = append(m.order, path)
	return nil
}

// dependencies reads what a module says of itself in .modinfo.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, nil
	}
	b, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", path, err)
	}
	var needs []string
	for _, pair := range strings.Split(string(b), "\x00") {
		for _, key := range []string{"depends=", "softdep=pre: "} {
			if list, ok := strings.CutPrefix(pair, key); ok {
				needs = append(needs, strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })...)
			}
		}
	}
	return needs, nil
}
