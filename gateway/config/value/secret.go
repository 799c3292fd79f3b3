package value

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// SecretBytesMax bounds what Resolve reads.
const SecretBytesMax = 1 << 20

// ErrNoSecret is in the chain of Resolve's error when none is configured.
var ErrNoSecret = errors.New("no secret is configured")

// Source says where a secret is.
type Source int

// The sources of a secret.
const (
	None       Source = iota // not configured
	File                     // file:PATH, or a plain PATH where one is expected
	Env                      // env:NAME
	Credential               // cred:NAME, a file below $CREDENTIALS_DIRECTORY
	Plain                    // the text itself
)

// Secret refers to a secret; the zero Secret is none. It holds no secret text
// unless the file holds it, and never prints one.
type Secret struct {
	source Source
	// name is the path, the variable's name, or the text of a plain secret.
	name string
	// label is the reference as written, for people.
	label string
	// env looks variables up.
	env func(string) (string, bool)
	// open lets a file be readable by others: certificates.
	open bool
}

// Place is what a reference needs to know of its surroundings.
type Place struct {
	Folder string // where relative paths start
	Env    func(string) (string, bool)
	// Path takes a text without prefix as a path; otherwise it is the secret.
	Path bool
	// Public is set for what is no secret: certificates.
	Public bool
}

// ParseSecret reads file:PATH, env:NAME, cred:NAME, or a text.
func ParseSecret(text string, p Place) (Secret, error) {
	s := Secret{label: text, env: p.Env, open: p.Public}
	prefix, rest, found := strings.Cut(text, ":")
	switch {
	case found && prefix == "file":
		s.source, s.name = File, absolute(p.Folder, rest)
	case found && prefix == "env":
		s.source, s.name = Env, rest
	case found && prefix == "cred":
		s.source, s.name = Credential, rest
		if strings.ContainsAny(rest, "/\x00") || rest == "." || rest == ".." {
			return Secret{}, fmt.Errorf("%q: a credential's name holds no slash", text)
		}
	case p.Path:
		s.source, s.name, rest = File, absolute(p.Folder, text), text
	default:
		return Secret{source: Plain, name: text, label: "(plain text)"}, nil
	}
	if rest == "" || strings.ContainsRune(rest, 0) {
		return Secret{}, fmt.Errorf("%q names nothing: want file:PATH, env:NAME or cred:NAME", text)
	}
	return s, nil
}

func absolute(folder, path string) string {
	if path == "" || filepath.IsAbs(path) || folder == "" {
		return path
	}
	return filepath.Join(folder, path)
}

// PlainSecret is a secret with its text at hand, for tests and the demo.
func PlainSecret(text string) Secret {
	return Secret{source: Plain, name: text, label: "(plain text)"}
}

// FileSecret refers to a file.
func FileSecret(path string) Secret {
	return Secret{source: File, name: path, label: "file:" + path}
}

// IsSet reports whether there is a reference.
func (s Secret) IsSet() bool { return s.source != None }

// Source says where the secret is.
func (s Secret) Source() Source { return s.source }

// Path is the file of the secret; empty when it is in none. For a credential it
// is known only where $CREDENTIALS_DIRECTORY is.
func (s Secret) Path() string {
	switch s.source {
	case File:
		return s.name
	case Credential:
		if folder, ok := s.lookup("CREDENTIALS_DIRECTORY"); ok && folder != "" {
			return filepath.Join(folder, s.name)
		}
	}
	return ""
}

// String is the reference as written, never the secret.
func (s Secret) String() string { return s.label }

// GoString keeps a plain text out of %#v too.
func (s Secret) GoString() string { return "Secret(" + s.label + ")" }

// MarshalText is String: dumps of a configuration hold no secrets.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.label), nil }

// Resolve gives the secret, one line break at the end removed. It reads the
// file each time, so that a rotated secret is seen; a key or password that
// others may read is refused (security.md 2.7).
func (s Secret) Resolve() ([]byte, error) {
	switch s.source {
	case None:
		return nil, ErrNoSecret
	case Plain:
		return []byte(s.name), nil
	case Env:
		text, ok := s.lookup(s.name)
		if !ok {
			return nil, fmt.Errorf("secret %s: the variable is not set", s.label)
		}
		return []byte(text), nil
	}
	path := s.Path()
	if path == "" {
		return nil, fmt.Errorf("secret %s: $CREDENTIALS_DIRECTORY is not set; credentials come from systemd (LoadCredential=)", s.label)
	}
	text, err := s.read(path)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", s.label, err)
	}
	return text, nil
}

func (s Secret) lookup(name string) (string, bool) {
	if s.env == nil {
		return os.LookupEnv(name)
	}
	return s.env(name)
}

func (s Secret) read(path string) ([]byte, error) {
	// A pipe must not hold us up before guard has seen it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := s.guard(f); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, SecretBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > SecretBytesMax {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, SecretBytesMax)
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	return bytes.TrimSuffix(text, []byte("\r")), nil
}

// guard refuses what is no plain file, and a secret that others may read unless
// root placed it there.
func (s Secret) guard(f *os.File) error {
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if !stat.Mode().IsRegular() {
		return fmt.Errorf("%s is no plain file", f.Name())
	}
	owner, known := stat.Sys().(*syscall.Stat_t)
	if s.open || s.source == Credential || stat.Mode().Perm()&0o077 == 0 || known && owner.Uid == 0 {
		return nil
	}
	return fmt.Errorf("%s may be read by others (mode %04o): chmod 600 it", f.Name(), stat.Mode().Perm())
}
