package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
)

var update = flag.Bool("update", false, "rewrite golden files")

// oneDriver is a table with one part.
type oneDriver struct{}

func (oneDriver) Driver(name string) (drivers.Driver, bool) {
	return bme280.Driver{}, name == "bme280"
}

func (oneDriver) Names() []string { return []string{"bme280"} }

// Each bad file has its list of problems beside it, as `check` prints them.
func TestLoad_BadFilesGiveTheirProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("bad files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			opt := quiet()
			opt.Parts = oneDriver{}
			cfg, problems := Load(file, opt)
			var lines []string
			for _, p := range problems {
				lines = append(lines, strings.NewReplacer(cfg.Folder, "FOLDER", "testdata/bad/", "").Replace(p.String())+"\n")
				if p.Line < 1 || p.Column < 1 || p.File != file || p.Message == "" {
					t.Errorf("a problem without a place: %+v", p)
				}
			}
			compare(t, strings.TrimSuffix(file, ".yaml")+".want", strings.Join(lines, ""))
			if !HasErrors(problems) {
				t.Error("no error")
			}
		})
	}
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%swant\n%s", golden, got, want)
	}
}
