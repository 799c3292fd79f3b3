package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/config/tree"
)

// Bounds of the input.
const (
	FileBytesMax = 4 << 20 // of one file
	filesMax     = 100     // in conf.d
)

// Options is what Load needs to know of its surroundings. The zero Options
// check everything that config can check alone.
type Options struct {
	// Parts is the table of drivers; nil leaves names and options unchecked.
	Parts Parts
	// Environ holds NAME=VALUE; nil is the environment of the process.
	Environ []string
	// Hostname without domain; empty is the host's own.
	Hostname string
	// Actions are the kinds of rule actions there are; nil is those of this
	// version.
	Actions []string
	// CheckRule says what else is wrong with a rule of a whole file: its
	// actions' fields, roles; and which of its actions cannot work.
	CheckRule func(*Config, Rule) ([]Doubt, error)
	// CheckRole and CheckFunction say why a role or a function is refused.
	CheckRole     func(Role) error
	CheckFunction func(Function) error
	// CheckPolicy says what is wrong with a policy document; the sentences are
	// doubts about one that is right.
	CheckPolicy func(document string) (doubts []string, err error)
	// CheckSimulated says what is wrong with a sensor on a bus of type sim.
	CheckSimulated func(drivers.SensorConfig, drivers.Info) []drivers.Problem
	// CheckInput and CheckOutput say what the packages that run them refuse.
	CheckInput  func(drivers.InputConfig) []drivers.Problem
	CheckOutput func(drivers.OutputConfig) []drivers.Problem
}

// Load reads the file at path, conf.d/*.yaml beside it in order of their names,
// and the environment. Every problem is listed; the Config is not to be used
// when one of them is an error (HasErrors), but it is never nil.
func Load(path string, opt Options) (*Config, []Problem) {
	l := newLoader(path, opt)
	text, err := readFile(path)
	if err != nil {
		l.unreadable(path, err)
		return &Config{File: path}, l.report.Problems()
	}
	root := l.parse(path, text)
	unread := root == nil
	for _, extra := range l.dropIns() {
		text, err := readFile(extra)
		if err != nil {
			l.unreadable(extra, err)
			continue
		}
		over := l.parse(extra, text)
		unread = unread || over == nil
		root = tree.Merge(root, over)
	}
	if unread {
		return l.cfg, l.report.Problems()
	}
	return l.finish(root)
}

// LoadBytes is Load for a text; name stands for the file's path, from which
// relative paths start. There is no conf.d.
func LoadBytes(name string, text []byte, opt Options) (*Config, []Problem) {
	l := newLoader(name, opt)
	if len(text) > FileBytesMax {
		l.unreadable(name, errTooLarge)
		return &Config{File: name}, l.report.Problems()
	}
	root := l.parse(name, text)
	if root == nil {
		return l.cfg, l.report.Problems()
	}
	return l.finish(root)
}

var errTooLarge = fmt.Errorf("larger than %d bytes", FileBytesMax)

// loader is one pass over one configuration.
type loader struct {
	opt    Options
	env    []string
	file   string
	folder string
	files  []string // in the order they were read
	report tree.Report
	cfg    *Config
	// after holds the checks across keys, run when everything is read.
	after []func()
	// sites remember the cursors of entries for those checks.
	sites sites
}

func newLoader(path string, opt Options) *loader {
	l := &loader{opt: opt, env: opt.Environ, file: path, folder: filepath.Dir(path)}
	if abs, err := filepath.Abs(l.folder); err == nil {
		l.folder = abs
	}
	if l.env == nil {
		l.env = os.Environ()
	}
	if l.opt.Actions == nil {
		l.opt.Actions = actionKinds
	}
	l.cfg = &Config{File: path, Folder: l.folder}
	return l
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, FileBytesMax+1))
	if err == nil && len(text) > FileBytesMax {
		err = errTooLarge
	}
	return text, err
}

func (l *loader) unreadable(path string, err error) {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	hint := ""
	if errors.Is(err, fs.ErrNotExist) {
		hint = "name the file; the smallest one holds version: 1 and gateway: {id: NAME}"
	}
	l.report.Add(Problem{Severity: SeverityError, File: path, Line: 1, Column: 1, Message: "cannot be read: " + err.Error(), Hint: hint})
}

func (l *loader) parse(path string, text []byte) *tree.Node {
	l.files = append(l.files, path)
	return tree.Parse(path, text, &l.report)
}

// dropIns lists conf.d/*.yaml beside the file.
func (l *loader) dropIns() []string {
	folder := filepath.Join(filepath.Dir(l.file), "conf.d")
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.unreadable(folder, err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".yaml") && !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
			paths = append(paths, filepath.Join(folder, e.Name()))
		}
	}
	if len(paths) > filesMax {
		l.unreadable(folder, fmt.Errorf("%d files, at most %d", len(paths), filesMax))
		paths = paths[:filesMax]
	}
	return paths
}

// finish applies the environment, reads the tree and runs the checks.
func (l *loader) finish(root *tree.Node) (*Config, []Problem) {
	root = tree.Override(root, l.env, &l.report)
	l.read(tree.Read(root, &l.report))
	for _, check := range l.after {
		check()
	}
	problems := l.report.Problems()
	tree.Sort(problems, func(file string) int { return slices.Index(l.files, file) })
	return l.cfg, problems
}

// read is the whole file, top down.
func (l *loader) read(m *tree.Map) {
	defer m.Done()
	m.Word("version", tree.Required, "1")
	l.gateway(m.Map("gateway"))
	l.storage(m.Map("storage"))
	l.log(m.Map("log"))
	l.mqtt(m.Map("mqtt"))
	l.http(m.Map("http"))
	l.tls(m.Map("tls"))
	l.shadow(m.Map("shadow"))
	l.security(m.Map("security"))
	m.Each("buses", l.bus)
	m.Each("sensors", l.sensor)
	m.Each("inputs", l.input)
	m.Each("outputs", l.output)
	m.Each("things", l.thing)
	m.Each("rules", l.rule)
	m.Each("tables", l.table)
	m.Each("roles", l.role)
	m.Each("actions", l.namedAction)
	m.Each("functions", l.function)
	l.telemetry(m.Map("telemetry"))
	m.Each("uplinks", l.uplink)
	l.later(l.checkNames)
	l.later(l.checkParts)
	l.later(l.checkBinds)
}

// later puts a check behind everything that is read.
func (l *loader) later(check func()) { l.after = append(l.after, check) }

// getenv looks a variable up in the environment of this load.
func (l *loader) getenv(name string) (string, bool) {
	for i := len(l.env) - 1; i >= 0; i-- {
		if text, ok := strings.CutPrefix(l.env[i], name+"="); ok {
			return text, true
		}
	}
	return "", false
}

// path makes a path absolute, from the file's folder.
func (l *loader) path(text string) string {
	if text == "" || filepath.IsAbs(text) {
		return text
	}
	return filepath.Join(l.folder, text)
}
