package telemetry_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// open are the numbers of telemetry.md section 16 that no test bears, and why.
// A test that comes for one takes it out of here.
var open = map[string]string{
	"T-02": "no file layer that forgets what was not synced; what a torn log does is T-03",
	"T-05": "the file system going read-only while it runs needs a mount of its own; at a start it is tested (TestRun_AReadOnlyStateFolderServesFromMemoryAndSaysSo)",
	"T-19": "a bench, not a test: `tidehold bench uplink` drains one million messages",
	"T-23": "hold by configuration is not built; MQTT 3.1.1 has no word for a denied topic but the end of the connection, which is T-22",
}

var number = regexp.MustCompile(`\bT-\d\d\b`)

// borne gives, by number, the tests whose comment names it.
func borne(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, is := decl.(*ast.FuncDecl)
			if !is || !strings.HasPrefix(f.Name.Name, "Test") && !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			for _, n := range number.FindAllString(f.Doc.Text(), -1) {
				all[n] = append(all[n], f.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNumbers_EveryTestOfTheSpecificationIsThereOrSaysWhyNot: a test of
// telemetry.md section 16 has its number in its comment, whatever its name.
func TestNumbers_EveryTestOfTheSpecificationIsThereOrSaysWhyNot(t *testing.T) {
	tests := borne(t)
	for i := 1; i <= 40; i++ {
		n := fmt.Sprintf("T-%02d", i)
		switch why := open[n]; {
		case why == "" && len(tests[n]) == 0:
			t.Errorf("%s: no test has it in its comment", n)
		case why != "" && len(tests[n]) > 0:
			t.Errorf("%s: %v bears it and the list of open ones says %q", n, tests[n], why)
		}
		delete(tests, n)
	}
	for n, names := range tests {
		t.Errorf("%s in %v: the specification has no such test", n, names)
	}
}
