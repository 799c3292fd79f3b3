package gateway_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The house rules as tests: doors, arrows, pure rooms, package comments, no
// init, no package-level state, ceilings of size, and a committed list of what
// the daemon links (architecture sections 2 to 4).

var update = flag.Bool("update", false, "rewrite golden files")

const module = "github.com/tidehold/tidehold/"

// doors lists who may import a module; a trailing slash means everything below.
var doors = map[string][]string{
	"github.com/mochi-mqtt/server/v2":     {"gateway/broker", "gateway/broker/"},
	"github.com/eclipse/paho.mqtt.golang": {"gateway/uplink", "gateway/gwtest", "gateway/bench", "scripts/examples/paho-go"},
	"modernc.org/sqlite":                  {"gateway/store"},
	"database/sql":                        {"gateway/store"},
	"periph.io/x/conn/v3":                 {"drivers", "drivers/"},
	"periph.io/x/devices/v3":              {"drivers/bme280"},
	"github.com/prometheus/client_golang": {"gateway/metrics"},
	"go.yaml.in/yaml/v3":                  {"gateway/config", "gateway/config/", "cmd/tidehold/ctl"},
	"github.com/spf13/cobra":              {"cmd/tidehold", "cmd/tidehold/ctl", "cmd/tidehold/hw", "cmd/tidehold/local"},
	"github.com/gorilla/websocket":        {"gateway/broker", "gateway/broker/", "gateway/uplink"},
	"github.com/dlclark/regexp2":          {"gateway/iotsql", "gateway/iotsql/"},
	"golang.org/x/crypto":                 {"gateway/access"},
}

// pure rooms decide: no network, no files, no lock, no clock, no goroutine.
var pure = []string{
	"gateway/iot", "gateway/topic", "gateway/topic/template", "gateway/spelling", "gateway/policy", "gateway/iotsql", "gateway/iotsql/",
	"gateway/shadow/doc", "gateway/sigv4", "gateway/ban", "gateway/bucket", "gateway/provision/cbor", "gateway/registry/table", "gateway/telemetry/judge", "gateway/telemetry/fold", "gateway/uplink/profile", "drivers/filter", "drivers/formula", "drivers/bus/verdict", "shadowsync/pace",
	"shadowsync/patch",
}

// impure is what a pure room may not import from the standard library.
var impure = []string{"net", "net/http", "os", "os/exec", "sync", "syscall", "database/sql"}

// arrows lists, for each room, the rooms of this module it may import.
var arrows = map[string][]string{
	"gateway/iot":                {},
	"gateway/topic":              {"gateway/iot"},
	"gateway/topic/template":     {"gateway/iot", "gateway/topic"},
	"gateway/policy":             {"gateway/iot", "gateway/topic"},
	"gateway/spelling":           {},
	"gateway/iotsql":             {"gateway/iot", "gateway/topic", "gateway/spelling", "gateway/iotsql/"},
	"gateway/shadow/doc":         {"gateway/iot"},
	"gateway/sigv4":              {"gateway/iot"},
	"gateway/clock":              {},
	"gateway/ids":                {},
	"gateway/metrics":            {},
	"gateway/config":             {"gateway/iot", "gateway/topic", "gateway/topic/template", "gateway/iotsql", "gateway/spelling", "gateway/uplink/profile", "gateway/config/", "drivers", "drivers/filter"},
	"gateway/store":              {"gateway/clock", "gateway/metrics"},
	"gateway/messages":           {"gateway/iot", "gateway/store", "gateway/clock", "gateway/metrics", "gateway/ids", "gateway/messages/"},
	"gateway/ban":                {},
	"gateway/bucket":             {},
	"gateway/registry/row":       {"gateway/store"},
	"gateway/access":             {"gateway/ban", "gateway/iot", "gateway/policy", "gateway/registry", "gateway/metrics", "gateway/clock"},
	"gateway/shadow":             {"gateway/iot", "gateway/topic", "gateway/shadow/doc", "gateway/store", "gateway/clock", "gateway/metrics"},
	"gateway/rules":              {"gateway/iot", "gateway/topic", "gateway/iotsql", "gateway/iotsql/", "gateway/policy", "gateway/registry", "gateway/store", "gateway/metrics", "gateway/clock", "gateway/ids", "gateway/function", "gateway/rules/"},
	"gateway/registry":           {"gateway/iot", "gateway/policy", "gateway/pki", "gateway/store", "gateway/ids", "gateway/clock", "gateway/metrics", "gateway/registry/row", "gateway/registry/table", "gateway/registry/accesskey", "gateway/registry/memo"},
	"gateway/registry/accesskey": {"gateway/iot", "gateway/store", "gateway/ids", "gateway/clock"},
	"gateway/pki":                {"gateway/iot", "gateway/ids"},
	"gateway/pki/local":          {"gateway/pki", "gateway/clock", "gateway/ids", "gateway/metrics"},
	"gateway/provision":          {"gateway/iot", "gateway/topic", "gateway/pki", "gateway/registry", "gateway/ids", "gateway/bucket", "gateway/clock", "gateway/provision/cbor"},
	"gateway/httpapi/route":      {},
	"gateway/presence":           {"gateway/iot", "gateway/store", "gateway/metrics"},
	"gateway/httpapi/control":    {"gateway/httpapi/route", "gateway/iot", "gateway/ids", "gateway/pki", "gateway/policy", "gateway/presence", "gateway/registry", "gateway/topic"},
	"gateway/telemetry":          {"gateway/iot", "gateway/topic", "gateway/topic/template", "gateway/messages", "gateway/telemetry/fold", "gateway/store", "gateway/clock", "gateway/metrics", "gateway/ids"},
	"gateway/telemetry/judge":    {},
	"gateway/binding":            {"gateway/iot", "gateway/shadow/doc", "gateway/clock", "gateway/metrics", "drivers", "drivers/"},
	"gateway/session":            {"gateway/iot", "gateway/store", "gateway/metrics", "gateway/broker/keep"},
	"gateway/broker/wire":        {"gateway/ban", "gateway/bucket", "gateway/iot", "gateway/metrics", "gateway/topic"},
	"gateway/broker":             {"gateway/iot", "gateway/topic", "gateway/sigv4", "gateway/messages", "gateway/store", "gateway/metrics", "gateway/clock", "gateway/ids", "gateway/broker/"},
	"gateway/uplink":             {"gateway/uplink/profile", "gateway/uplink/proxy", "gateway/iot", "gateway/topic", "gateway/metrics", "gateway/clock", "gateway/ids"},
	"gateway/uplink/profile":     {},
	"gateway/uplink/proxy":       {},
	"gateway/console":            {},
	"drivers":                    {"gateway/iot"},
	"drivers/expander":           {"drivers"},
	"drivers/bus":                {"drivers", "drivers/expander", "drivers/bus/"},
	"drivers/bus/shared":         {"drivers", "drivers/bus/verdict", "gateway/metrics"},
	"drivers/bus/verdict":        {},
	"drivers/sim":                {"drivers", "drivers/sim/chip"},
	"drivers/sim/chip":           {"drivers"},
	"drivers/sheet":              {"drivers"},
	"drivers/survey":             {"drivers"},
	"drivers/filter":             {},
	"drivers/formula":            {},
	"drivers/sampler":            {"drivers", "drivers/filter", "gateway/clock", "gateway/metrics"},
	"shadowsync/selection":       {"gateway/iot", "shadowsync"},
	"shadowsync":                 {"gateway/iot", "gateway/topic", "gateway/shadow/doc", "gateway/clock", "gateway/metrics", "gateway/ids", "shadowsync/pace", "shadowsync/home", "shadowsync/status", "shadowsync/patch"},
	"shadowsync/pace":            {},
	"shadowsync/patch":           {"gateway/shadow/doc"},
	"shadowsync/home":            {"gateway/iot", "gateway/shadow/doc"},
	"shadowsync/status":          {"gateway/iot", "gateway/metrics"},
	"shadowsync/dispute":         {"gateway/iot", "gateway/metrics", "gateway/store"},
}

// testOnly may be imported by tests alone.
var testOnly = []string{"gateway/gwtest", "shadowsync/sim", "drivers/proof"}

// topLevel is all that may stand at the top of the repository beside dot-files.
var topLevel = []string{
	"cmd", "gateway", "drivers", "shadowsync", "configs", "systemd", "scripts",
	"go.mod", "go.sum", "README.md", "LICENSE",
}

const (
	fileLinesMax     = 600
	packageLinesMax  = 3000
	functionLinesMax = 70
)

// room is what the rules look at of a package.
type room struct {
	ImportPath, Dir, Name string
	Imports               []string
	GoFiles               []string
}

func (r room) name() string { return strings.TrimPrefix(r.ImportPath, module) }

func rooms(t *testing.T) []room {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Imports,GoFiles", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []room
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var r room
		err := dec.Decode(&r)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return s == name || strings.HasSuffix(s, "/") && strings.HasPrefix(name, s)
	})
}

func brokenDoors(all []room) (broken []string) {
	for _, r := range all {
		for _, imported := range r.Imports {
			for door, keepers := range doors {
				if (imported == door || strings.HasPrefix(imported, door+"/")) && !listed(keepers, r.name()) {
					broken = append(broken, fmt.Sprintf("%s imports %s; its door is %v", r.name(), imported, keepers))
				}
			}
		}
	}
	return broken
}

func brokenArrows(all []room) (broken []string) {
	for _, r := range all {
		allowed, ruled := arrows[r.name()]
		for _, imported := range r.Imports {
			target, ours := strings.CutPrefix(imported, module)
			if listed(pure, r.name()) && slices.Contains(impure, imported) {
				broken = append(broken, fmt.Sprintf("pure room %s imports %s", r.name(), imported))
			}
			if !ours {
				continue
			}
			if ruled && !listed(allowed, target) {
				broken = append(broken, fmt.Sprintf("%s imports %s; it may import %v", r.name(), target, allowed))
			}
			if listed(testOnly, target) && !listed(testOnly, r.name()) && !strings.HasPrefix(r.name(), "gateway/gwtest/") {
				broken = append(broken, fmt.Sprintf("%s is shipped and imports %s", r.name(), target))
			}
			if strings.HasPrefix(r.name(), "drivers") && strings.HasPrefix(target, "gateway/") &&
				!slices.Contains([]string{"gateway/iot", "gateway/clock", "gateway/metrics"}, target) {
				broken = append(broken, fmt.Sprintf("%s imports %s; drivers stand below the gateway", r.name(), target))
			}
		}
	}
	return broken
}

// brokenSource looks at the text of one package: comment, init, package-level
// variables, clocks and goroutines of pure rooms, ceilings.
func brokenSource(r room) (broken []string, err error) {
	fset := token.NewFileSet()
	lines, commented := 0, false
	for _, name := range r.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(r.Dir, name), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		commented = commented || file.Doc.Text() != ""
		length := fset.File(file.Pos()).LineCount()
		lines += length
		at := r.name() + "/" + name
		if length > fileLinesMax {
			broken = append(broken, fmt.Sprintf("%s has %d lines; at most %d", at, length, fileLinesMax))
		}
		broken = append(broken, brokenDecls(fset, at, file, listed(pure, r.name()))...)
	}
	if !commented {
		broken = append(broken, r.name()+" has no package comment")
	}
	if lines > packageLinesMax {
		broken = append(broken, fmt.Sprintf("%s has %d lines; at most %d", r.name(), lines, packageLinesMax))
	}
	return broken, nil
}

func brokenDecls(fset *token.FileSet, at string, file *ast.File, isPure bool) (broken []string) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			length := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line + 1
			if length > functionLinesMax {
				broken = append(broken, fmt.Sprintf("%s: %s has %d lines; at most %d", at, d.Name.Name, length, functionLinesMax))
			}
			if d.Name.Name == "init" && d.Recv == nil {
				broken = append(broken, at+": has an init function")
			}
			if d.Name.IsExported() && d.Doc.Text() == "" && (d.Recv == nil || exportedReceiver(d)) {
				broken = append(broken, fmt.Sprintf("%s: exported %s has no comment", at, d.Name.Name))
			}
		case *ast.GenDecl:
			broken = append(broken, brokenGen(at, d)...)
		}
	}
	if isPure {
		broken = append(broken, impureText(fset, at, file)...)
	}
	return broken
}

func exportedReceiver(d *ast.FuncDecl) bool {
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	ident, ok := t.(*ast.Ident)
	return ok && ident.IsExported()
}

// brokenGen finds package-level variables that are no error, table, compiled
// pattern or embedded file, and exported types without a comment.
func brokenGen(at string, d *ast.GenDecl) (broken []string) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc.Text() == "" && s.Doc.Text() == "" {
				broken = append(broken, fmt.Sprintf("%s: exported type %s has no comment", at, s.Name.Name))
			}
		case *ast.ValueSpec:
			if d.Tok == token.VAR && !constantValue(d, s) {
				broken = append(broken, fmt.Sprintf("%s: package-level variable %s", at, s.Names[0].Name))
			}
		}
	}
	return broken
}

// constantValue accepts `_ I = T{}` proofs, tables (composite literals),
// errors and compiled values (calls), and embedded files.
func constantValue(d *ast.GenDecl, s *ast.ValueSpec) bool {
	if strings.Contains(d.Doc.Text()+s.Doc.Text(), "go:embed") || hasEmbed(d, s) {
		return true
	}
	if s.Names[0].Name == "_" {
		return true
	}
	if len(s.Values) == 0 {
		return false
	}
	switch s.Values[0].(type) {
	case *ast.CompositeLit, *ast.CallExpr, *ast.BasicLit, *ast.FuncLit:
		return true
	case *ast.SelectorExpr: // an error of another room under a name of ours
		return strings.HasPrefix(s.Names[0].Name, "Err")
	case *ast.UnaryExpr:
		return true
	}
	return false
}

func hasEmbed(d *ast.GenDecl, s *ast.ValueSpec) bool {
	for _, group := range []*ast.CommentGroup{d.Doc, s.Doc} {
		if group == nil {
			continue
		}
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:embed") {
				return true
			}
		}
	}
	return false
}

func impureText(fset *token.FileSet, at string, file *ast.File) (broken []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.GoStmt:
			broken = append(broken, fmt.Sprintf("%s:%d: a pure room starts a goroutine", at, fset.Position(x.Pos()).Line))
		case *ast.SelectorExpr:
			ident, ok := x.X.(*ast.Ident)
			if ok && ident.Name == "time" && slices.Contains([]string{"Now", "Sleep", "After", "NewTimer", "Since", "Until"}, x.Sel.Name) {
				broken = append(broken, fmt.Sprintf("%s:%d: a pure room reads the clock", at, fset.Position(x.Pos()).Line))
			}
		}
		return true
	})
	return broken
}

func TestHouse_DoorsAndArrowsHold(t *testing.T) {
	all := rooms(t)
	for _, b := range append(brokenDoors(all), brokenArrows(all)...) {
		t.Error(b)
	}
}

func TestHouse_SourceKeepsTheRules(t *testing.T) {
	for _, r := range rooms(t) {
		broken, err := brokenSource(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range broken {
			t.Error(b)
		}
	}
}

func TestHouse_TopLevelIsExactlyTheTree(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(topLevel, e.Name()) && e.Name() != "dist" {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

func TestHouse_DependenciesOfTheDaemonAreCommitted(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/tidehold")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	list := strings.Fields(string(out))
	slices.Sort(list)
	got := strings.Join(list, "\n") + "\n"
	golden := filepath.Join("..", "cmd", "tidehold", "testdata", "dependencies.txt")
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("what the daemon links has changed; look at it, then run: go test ./gateway -run Dependencies -update\n%s",
			difference(strings.Fields(string(want)), list))
	}
}

func difference(want, got []string) string {
	var b strings.Builder
	for _, s := range got {
		if !slices.Contains(want, s) {
			fmt.Fprintf(&b, "+ %s\n", s)
		}
	}
	for _, s := range want {
		if !slices.Contains(got, s) {
			fmt.Fprintf(&b, "- %s\n", s)
		}
	}
	return b.String()
}

// TestHouse_EveryRuleCanFail breaks each rule on purpose: a rule that cannot
// fail is none.
func TestHouse_EveryRuleCanFail(t *testing.T) {
	doorBreaker := room{ImportPath: module + "gateway/rules", Imports: []string{"github.com/mochi-mqtt/server/v2/packets"}}
	if len(brokenDoors([]room{doorBreaker})) == 0 {
		t.Error("rules importing mochi must break a door")
	}
	for _, r := range []room{
		{ImportPath: module + "gateway/rules", Imports: []string{module + "gateway/broker"}},
		{ImportPath: module + "gateway/shadow/doc", Imports: []string{"os"}},
		{ImportPath: module + "gateway", Imports: []string{module + "gateway/gwtest"}},
		{ImportPath: module + "drivers/sht3x", Imports: []string{module + "gateway/store"}},
	} {
		if len(brokenArrows([]room{r})) == 0 {
			t.Errorf("%s importing %v must break an arrow", r.name(), r.Imports)
		}
	}
	dir := t.TempDir()
	bad := "package topic\n\nimport \"time\"\n\nvar state int\n\nfunc init() { go func() { _ = time.Now() }() }\n\nfunc Exported() {}\n\ntype Open struct{}\n"
	if err := os.WriteFile(filepath.Join(dir, "bad.go"), []byte(bad+"func long() {"+strings.Repeat("\n", 601)+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken, err := brokenSource(room{ImportPath: module + "gateway/topic", Dir: dir, GoFiles: []string{"bad.go"}})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(broken, "\n")
	for _, want := range []string{
		"no package comment", "init function", "variable state", "starts a goroutine", "reads the clock",
		"Exported has no comment", "type Open has no comment", "at most 70", "at most 600",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no complaint %q in:\n%s", want, text)
		}
	}
}
