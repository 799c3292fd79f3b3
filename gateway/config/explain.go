package config

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/tidehold/tidehold/gateway/config/tree"
)

//go:embed meanings.txt
var meanings string

// Explain is the reference of every key as text: key, form, default, meaning.
// It is made by the readers themselves, so it cannot differ from what they do.
func Explain() string {
	said := meaningOf()
	var b strings.Builder
	for _, e := range keys() {
		fmt.Fprintf(&b, "%s\n    %s", e.Key, e.Form)
		if e.Default != "" {
			fmt.Fprintf(&b, "; default %s", strings.TrimPrefix(e.Default, "default "))
		}
		fmt.Fprintf(&b, "\n    %s\n", said[e.Key])
	}
	return b.String()
}

// keys lists every key there is, in the order of the file.
func keys() []tree.Entry {
	l := newLoader("tidehold.yaml", Options{Environ: []string{}, Hostname: "HOSTNAME"})
	return tree.Explain(l.read)
}

// meaningOf reads the table of meanings: KEY, a tab, a sentence.
func meaningOf() map[string]string {
	said := make(map[string]string)
	for line := range strings.Lines(meanings) {
		key, sentence, _ := strings.Cut(strings.TrimSpace(line), "\t")
		said[key] = strings.TrimSpace(sentence)
	}
	return said
}
