package gwtest

import (
	"os"
	"os/exec"
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

// Need stops the test when one of the tools is missing: a failure under
// CI=true, where the test script has installed it, a skip elsewhere.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: scripts/test installs it", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
}
