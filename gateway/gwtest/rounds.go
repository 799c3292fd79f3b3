package gwtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Rounds says how often a test repeats: ci times, or long times under
// `./scripts/test --long` (TIDEHOLD_LONG=true).
func Rounds(ci, long int) int {
	if os.Getenv("TIDEHOLD_LONG") == "true" {
		return long
	}
	return ci
}

// Slow leaves a test out of `./scripts/test --short`, and says why. Under
// CI=true nothing is left out.
func Slow(t testing.TB, why string) {
	t.Helper()
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip(why)
	}
}

// Need stops the test when one of the tools is missing: a failure under
// CI=true, where the test script has installed it, a skip elsewhere.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			absent(t, tool+" is not installed")
		}
	}
}

// Python is Debian's Python with these modules, under the same rule as Need.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	const python = "/usr/bin/python3"
	Need(t, python)
	for _, module := range modules {
		if exec.Command(python, "-c", "import "+module).Run() != nil {
			absent(t, python+" has no module "+module)
		}
	}
	return python
}

// Examples is the folder scripts/examples of the repository, found from a
// test's working folder, with these npm packages in it, under the same rule as
// Need.
func Examples(t testing.TB, packages ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && !exists(filepath.Join(dir, "go.mod")) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	dir = filepath.Join(dir, "scripts", "examples")
	for _, name := range packages {
		if !exists(filepath.Join(dir, "node_modules", name, "package.json")) {
			absent(t, name+" is missing: run npm ci in scripts/examples")
		}
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func absent(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (scripts/test installs it)", why)
	}
	t.Skip(why)
}

// NeedRoot stops a test that only root can do, under the same rule as Need.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		absent(t, "needs root")
	}
}
