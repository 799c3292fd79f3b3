package folder

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
)

func open(t testing.TB, most int64) (*Folder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "buckets")
	f := New(dir, most)
	t.Cleanup(func() { f.Close() })
	return f, dir
}

func read(t testing.TB, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}

func TestPut_WritesAndReplacesWholeObjects(t *testing.T) {
	f, dir := open(t, 0)
	for _, content := range []string{"one", "two, longer"} {
		if err := f.Put("b/2024/01/x.json", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, dir, "b/2024/01/x.json"); got != content {
			t.Errorf("got %q", got)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "b/2024/01/*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

func TestPut_NoNameLeadsOut(t *testing.T) {
	f, dir := open(t, 0)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.MkdirAll(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Put("b/ok", nil); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"b/link": outside, "b/up": "../..", "b/file": filepath.Join(outside, "x")} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "../x", "b/../../x", "/etc/x", "b//x", "b/./x", "b/x/", "b/\x00", `b\..\x`, "b/link/x", "b/up/x", "b/ok/x",
		strings.Repeat("x", 300), strings.Repeat("x/", 600) + "x", "b/.writing-1",
	} {
		if err := f.Put(name, []byte("evil")); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("%.30q: got %v", name, err)
		}
		if err := f.Append(name, []byte("evil\n"), Lines{MaxBytes: 1 << 20, Keep: 1}); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("append %.30q: got %v", name, err)
		}
	}
	if err := f.Append("b/file", []byte("evil\n"), Lines{MaxBytes: 1 << 20, Keep: 1}); err == nil {
		t.Error("a line went through a link")
	}
	// A link as the object itself is replaced, its target untouched.
	if err := f.Put("b/file", []byte("own")); err != nil {
		t.Error(err)
	}
	found, err := os.ReadDir(outside)
	if err != nil || len(found) != 0 {
		t.Errorf("outside there is %v, %v", found, err)
	}
}

func TestPut_BucketsAreBounded(t *testing.T) {
	f, dir := open(t, 100)
	if err := f.Put("b/a", make([]byte, 60)); err != nil {
		t.Fatal(err)
	}
	if err := f.Put("b/b", make([]byte, 60)); iot.CodeOf(err) != iot.TooLarge {
		t.Errorf("got %v", err)
	}
	if err := f.Put("b/a", make([]byte, 90)); err != nil {
		t.Errorf("replacing: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b", temporary+"7"), make([]byte, 90), 0o600); err != nil {
		t.Fatal(err)
	}
	again := New(dir, 100) // counts anew, and clears up
	defer again.Close()
	if err := again.Put("b/c", make([]byte, 10)); err != nil {
		t.Error(err)
	}
	if err := again.Put("b/d", make([]byte, 1)); iot.CodeOf(err) != iot.TooLarge {
		t.Errorf("got %v", err)
	}
	if got := read(t, dir, "b", temporary+"7"); !strings.Contains(got, "no such file") {
		t.Error("a half written object stays")
	}
}

func TestAppend_RotatesAtItsSize(t *testing.T) {
	f, dir := open(t, 0)
	l, err := Lines{MaxBytes: 1024, Keep: 2, Head: []byte("head\n")}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := f.Append("log/x.csv", fmt.Appendf(nil, "%046d\n", i), l); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "log"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v, %v", files, err)
	}
	all := ""
	for _, name := range []string{"x.csv.2", "x.csv.1", "x.csv"} {
		text := read(t, dir, "log", name)
		if !strings.HasPrefix(text, "head\n") || len(text) > 1024 {
			t.Errorf("%s begins %.20q and has %d bytes", name, text, len(text))
		}
		all += strings.TrimPrefix(text, "head\n")
	}
	if lines := strings.Fields(all); strings.TrimLeft(lines[len(lines)-1], "0") != "99" || len(lines) < 42 {
		t.Errorf("%d lines, the last %s", len(lines), lines[len(lines)-1])
	}
}

func TestAppend_LinesOfManyWritersStayWhole(t *testing.T) {
	f, dir := open(t, 0)
	l, err := Lines{}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			line := append(bytes.Repeat([]byte{byte('a' + i)}, 100), '\n')
			for range 50 {
				if err := f.Append("x", line, l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	lines := strings.Fields(read(t, dir, "x"))
	if len(lines) != 400 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if line != strings.Repeat(line[:1], 100) {
			t.Fatalf("line %q", line)
		}
	}
	if _, err := (Lines{MaxBytes: 5}).WithDefaults(); err == nil {
		t.Error("five bytes are enough")
	}
}

func TestSecret_IsReadByItsOwnerAlone(t *testing.T) {
	f, dir := open(t, 0)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"good": 0o600, "open": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("s3cret"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := f.Secret("good"); err != nil || string(got) != "s3cret" {
		t.Errorf("got %s, %v", got, err)
	}
	for id, want := range map[string]iot.Code{"open": iot.Forbidden, "absent": iot.NotFound, "../x": iot.InvalidRequest, "a/b": iot.InvalidRequest} {
		if _, err := f.Secret(id); iot.CodeOf(err) != want || strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%s: got %v", id, err)
		}
	}
}
