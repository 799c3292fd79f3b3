package value

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// each runs parse on good texts, whose values print as given, and bad ones.
func each[T any](t *testing.T, parse func(string) (T, error), good map[string]string, bad ...string) {
	t.Helper()
	for text, want := range good {
		got, err := parse(text)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: got %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range bad {
		if got, err := parse(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestParseDuration_WantsAUnit(t *testing.T) {
	each(t, ParseDuration, map[string]string{"200ms": "200ms", "20s": "20s", "5m": "5m0s", "168h": "168h0m0s", "1h30m": "1h30m0s", "0": "0s", "1.5s": "1.5s"},
		"", "5", "7d", "-1s", "1 s", "1e9h", "s", "9999999999h")
}

func TestParseSize_KnowsBinaryUnits(t *testing.T) {
	each(t, ParseSize, map[string]string{"8KiB": "8192", "4MiB": "4194304", "1GiB": "1073741824", "17": "17", "17B": "17", "0": "0", "1.5KiB": "1536"},
		"", "4MB", "4M", "4kb", "-1KiB", "KiB", "1e3", "1.1B", "99999999GiB", " 4KiB", "1..2KiB")
}

func TestParseRate_IsPerSecond(t *testing.T) {
	each(t, ParseRate, map[string]string{"100/s": "100", "0": "0", "512KiB/s": "524288", "30/m": "0.5", "3600/h": "1", "10": "10", "0.5/s": "0.5"},
		"", "fast", "/s", "1/d", "-1/s", "NaN", "1/s/s")
}

func TestParseShare_IsAtMostTheWhole(t *testing.T) {
	each(t, ParseShare, map[string]string{"50%": "0.5", "0%": "0", "100%": "1", "0.25": "0.25"}, "", "101%", "2", "-1%", "%", "half")
}

func TestParseHertz_KnowsItsPrefixes(t *testing.T) {
	each(t, ParseHertz, map[string]string{"100kHz": "100000", "25kHz": "25000", "1MHz": "1000000", "50Hz": "50", "400000": "400000"}, "", "fast", "1GHz", "kHz", "-1Hz", "10k")
}

func TestParseBool_KnowsOnAndOff(t *testing.T) {
	each(t, ParseBool, map[string]string{"on": "true", "off": "false", "true": "true", "False": "false", "ON": "true"}, "", "yes", "1", "o n")
}

func TestParseInteger_KeepsItsBounds(t *testing.T) {
	parse := func(s string) (int64, error) { return ParseInteger(s, -5, 200) }
	each(t, parse, map[string]string{"0": "0", "0x76": "118", "-5": "-5", "200": "200"}, "", "201", "-6", "1.0", "1_0", "0o7", "1e2", "99999999999999999999")
}

func TestParseBind_Forms(t *testing.T) {
	each(t, ParseBind, map[string]string{":8883": ":8883", "127.0.0.1:0": "127.0.0.1:0", "[::1]:1883": "[::1]:1883", "off": "", "pi.local:80": "pi.local:80"},
		"", "8883", ":", ":x", ":65536", "::1:80", "a b:1", "127.0.0.1", "https://a:1", ":+1", ":01")
}

func TestBind_LoopbackIsOnlyThisHost(t *testing.T) {
	for text, want := range map[string]bool{"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "192.168.0.1:1": false, "localhost.evil:1": false} {
		if b, err := ParseBind(text); err != nil || b.Loopback() != want {
			t.Errorf("%s: got %v, %v", text, b.Loopback(), err)
		}
	}
}

func TestBind_Clashes(t *testing.T) {
	for pair, want := range map[[2]Bind]bool{
		{":1", ":1"}: true, {":1", "127.0.0.1:1"}: true, {"0.0.0.0:1", "127.0.0.1:1"}: true, {"0.0.0.0:1", "[::1]:1"}: false, {"[::]:1", "10.0.0.1:1"}: true,
		{"127.0.0.1:1", "[::1]:1"}: false, {"127.0.0.1:1", "localhost:1"}: true, {":0", ":0"}: false, {":1", ":2"}: false, {Off, Off}: false,
	} {
		if pair[0].Clashes(pair[1]) != want || pair[1].Clashes(pair[0]) != want {
			t.Errorf("%v: want %v", pair, want)
		}
	}
}

func TestSecret_FormsAndSources(t *testing.T) {
	dir := t.TempDir()
	creds := filepath.Join(dir, "creds")
	if err := os.Mkdir(creds, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{dir + "/a.pass": "from file\r\n", creds + "/key": "from cred"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"P": "from env", "CREDENTIALS_DIRECTORY": creds}[name]
		return v, ok
	}
	for text, want := range map[string]string{"file:a.pass": "from file", "file:" + dir + "/a.pass": "from file", "env:P": "from env", "cred:key": "from cred", "plain": "plain"} {
		s, err := ParseSecret(text, Place{Folder: dir, Env: env})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Resolve()
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}
	if s, err := ParseSecret("a.pass", Place{Folder: dir, Path: true}); err != nil || s.Path() != filepath.Join(dir, "a.pass") {
		t.Errorf("path: got %v, %v", s, err)
	}
}

func TestSecret_ErrorsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	nothing := func(string) (string, bool) { return "", false }
	for text, want := range map[string]string{"file:none": "no such file", "env:NONE": "variable is not set", "cred:x": "LoadCredential", "file:.": "no plain file"} {
		s, err := ParseSecret(text, Place{Folder: dir, Env: nothing})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Resolve(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if _, err := (Secret{}).Resolve(); !errors.Is(err, ErrNoSecret) {
		t.Errorf("none: got %v", err)
	}
	if err := os.WriteFile(dir+"/large", make([]byte, SecretBytesMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FileSecret(dir + "/large").Resolve(); err == nil {
		t.Error("a large file was read")
	}
	for _, text := range []string{"file:", "env:", "cred:", "cred:../x", "cred:a/b"} {
		if _, err := ParseSecret(text, Place{}); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestSecret_KeyThatOthersMayReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // root's own files pass: it placed them there
		if err := os.Chown(path, 1234, 1234); err != nil {
			t.Fatal("chown:", err)
		}
	}
	if _, err := FileSecret(path).Resolve(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
	cert, _ := ParseSecret(path, Place{Path: true, Public: true})
	if _, err := cert.Resolve(); err != nil {
		t.Errorf("a certificate is no secret: %v", err)
	}
}

func TestSecret_IsNeverPrinted(t *testing.T) {
	s := PlainSecret("hunter2")
	text, _ := s.MarshalText()
	if all := fmt.Sprintf("%v %+v %#v %s %s", s, s, s, s, text); strings.Contains(all, "hunter2") {
		t.Errorf("got %s", all)
	}
	if !s.IsSet() || (Secret{}).IsSet() || s.Source() != Plain {
		t.Error("a plain secret is set")
	}
}

func FuzzScalars(f *testing.F) {
	for _, s := range []string{"5s", "8KiB", "512KiB/s", "50%", "100kHz", ":8883", "[::1]:1", "0x76", "file:a", "1e999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); err == nil && (d < 0 || d > 100*366*24*time.Hour) {
			t.Errorf("duration %q: %v", s, d)
		}
		if n, err := ParseSize(s); err == nil && n < 0 {
			t.Errorf("size %q: %v", s, n)
		}
		if r, err := ParseRate(s); err == nil && !(r >= 0) {
			t.Errorf("rate %q: %v", s, r)
		}
		if b, err := ParseBind(s); err == nil && b != Off {
			if again, err := ParseBind(string(b)); err != nil || again != b {
				t.Errorf("bind %q: %v, then %v, %v", s, b, again, err)
			}
		}
		_, _ = ParseSecret(s, Place{})
	})
}
