// Command testcount reads `go test -json` from standard input, prints what
// failed with its output, every skip with its reason, and one closing line
// `testcount: N passed, N failed, N skipped`. It exits 1 when anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of test2json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// count collects the outcome of a run.
type count struct {
	passed, failed, skipped int
	output                  map[string]*strings.Builder
}

func main() {
	c := count{output: make(map[string]*strings.Builder)}
	if err := c.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testcount:", err)
		os.Exit(1)
	}
	fmt.Printf("testcount: %d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	if c.failed > 0 {
		os.Exit(1)
	}
}

func (c *count) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text()) // a build error arrives as plain text
			continue
		}
		c.take(e, out)
	}
	return lines.Err()
}

func (c *count) take(e event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if c.output[key] == nil {
			c.output[key] = &strings.Builder{}
		}
		c.output[key].WriteString(e.Output)
	case "build-fail":
		c.failed++
		fmt.Fprint(out, c.text(key))
	case "pass", "fail", "skip":
		c.close(e, key, out)
	}
}

func (c *count) close(e event, key string, out io.Writer) {
	if e.Test == "" { // a whole package
		fmt.Fprintf(out, "%-4s %7.2fs %s\n", e.Action, e.Elapsed, e.Package)
		if e.Action == "fail" {
			c.failed++
			fmt.Fprint(out, c.text(key))
		}
		return
	}
	switch e.Action {
	case "pass":
		c.passed++
	case "fail":
		c.failed++
		fmt.Fprint(out, c.text(key))
	case "skip":
		c.skipped++
		fmt.Fprint(out, c.text(key))
	}
	delete(c.output, key)
}

func (c *count) text(key string) string {
	if b := c.output[key]; b != nil {
		return b.String()
	}
	return ""
}
