package iotsql

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Golden files hold one case a line, `SQL ## payload => result`, each result
// checked by hand against rules.md when it was written. An expression alone
// stands for SELECT expression AS r FROM '#'; `15` in front means 2015-10-08.
func TestStatements_GiveWhatTheGoldenFilesSay(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) { golden(t, name) })
	}
}

func golden(t *testing.T, name string) {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		question, want, ok := strings.Cut(line, " => ")
		got := answer(question)
		if *update {
			lines[i] = question + " => " + got
		} else if !ok || got != want {
			t.Errorf("line %d: %s\ngives %s\nwant  %s", i+1, question, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// answer runs one case, on the topic a/b/c.
func answer(question string) string {
	version := Version2016
	if rest, old := strings.CutPrefix(question, "15 "); old {
		version, question = Version2015, rest
	}
	sql, payload, given := strings.Cut(question, " ## ")
	if !given {
		payload = "{}"
	}
	if words := strings.Fields(sql); !slices.Contains([]string{"SELECT", "SET"}, words[0]) {
		sql = "SELECT " + sql + " AS r FROM '#'"
	}
	s, err := Parse(sql, version)
	if err != nil {
		return "refused: " + err.Error()
	}
	out, err := s.Eval(contextOf("a/b/c", payload))
	switch {
	case err != nil:
		return "fails: " + err.Error()
	case !out.Fired:
		return "nothing"
	}
	doubts := ""
	for _, w := range s.Warnings() {
		doubts += fmt.Sprintf(" (%d:%d %s)", w.Line, w.Column, w.Message)
	}
	return string(out.Payload) + doubts
}
