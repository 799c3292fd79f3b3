package config

import (
	"path/filepath"
	"testing"
)

// quiet is an environment in which nothing is set.
func quiet() Options {
	return Options{Environ: []string{"HOME=/root"}, Hostname: "pi"}
}

func TestLoad_EveryExampleHasNoErrors(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range files {
		_, problems := Load(file, quiet())
		for _, p := range problems {
			if p.Severity == SeverityError {
				t.Error(p)
			}
			t.Log(p)
		}
	}
}
