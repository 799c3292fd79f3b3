package tree

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/spelling"
)

// Required is the default of a key that must be written.
const Required = "(required)"

// EntriesMax bounds a list of maps.
const EntriesMax = 10_000

// Entry describes one key, for people.
type Entry struct {
	Key     string // entries of lists as []
	Form    string // duration, size, "one of full, normal", ...
	Default string // in the notation of the file; Required; or empty
}

// run is what all cursors of one pass share.
type run struct {
	report  *Report
	explain bool
	entries []Entry
}

// Map is a cursor on a mapping that may be absent: every key then has its
// default. It is used by one goroutine.
type Map struct {
	run   *run
	node  *Node // nil or Null: absent
	pos   Pos
	path  string // with names: uplinks[cloud]
	shape string // without: uplinks[]
	asked []string
}

// Read gives a cursor on a whole document; problems go to r.
func Read(root *Node, r *Report) *Map {
	return &Map{run: &run{report: r}, node: root, pos: root.Pos}
}

// Explain runs read on an empty document and gives every key it asks for.
func Explain(read func(*Map)) []Entry {
	m := &Map{run: &run{report: &Report{}, explain: true}}
	read(m)
	return m.run.entries
}

// Has reports whether a key is written and not empty. It does not make the key
// known.
func (m *Map) Has(key string) bool {
	n := m.node.get(key)
	return n != nil && n.Kind != Null
}

// Kind is the kind of a key's value, Null when it is absent.
func (m *Map) Kind(key string) Kind {
	if n := m.node.get(key); n != nil {
		return n.Kind
	}
	return Null
}

// Keys lists the keys that are written.
func (m *Map) Keys() []string {
	if m.node == nil {
		return nil
	}
	var keys []string
	for _, k := range m.node.Keys {
		keys = append(keys, k.Text)
	}
	return keys
}

// Fail reports an error at a path below m, `bus` or `readings.x.filters[1]`:
// at the deepest part of it that exists. The empty path is m itself.
func (m *Map) Fail(path, message, hint string) { m.note(SeverityError, path, message, hint) }

// Warn is Fail with a warning.
func (m *Map) Warn(path, message, hint string) { m.note(SeverityWarning, path, message, hint) }

func (m *Map) note(severity, path, message, hint string) {
	if m.run.explain {
		return
	}
	at := m.Pos(path)
	m.run.report.Add(Problem{severity, at.File, at.Line, at.Column, join(m.path, path), message, hint})
}

// Pos is the place of a path below m, as Fail takes it.
func (m *Map) Pos(path string) Pos {
	at, n := m.pos, m.node
	for _, part := range split(path) {
		next := n.get(part)
		if i, err := strconv.Atoi(part); err == nil && n != nil && n.Kind == List && i < len(n.Values) {
			next = n.Values[i]
		}
		if next == nil {
			return at
		}
		at, n = next.Pos, next
	}
	return at
}

// Member is the path of a member below path; a name with dots stands in
// brackets.
func Member(path, name string) string {
	if strings.ContainsAny(name, ".[]") {
		return path + "[" + name + "]"
	}
	return join(path, name)
}

// split takes a path apart: parts end at a dot or a bracket, and what stands
// in brackets is one part.
func split(path string) (parts []string) {
	for path != "" {
		if inner, ok := strings.CutPrefix(path, "["); ok {
			part, rest, _ := strings.Cut(inner, "]")
			parts, path = append(parts, part), strings.TrimPrefix(rest, ".")
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			return append(parts, path)
		}
		parts = append(parts, path[:end])
		path = strings.TrimPrefix(path[end:], ".")
	}
	return parts
}

func join(path, key string) string {
	if path == "" || key == "" {
		return path + key
	}
	return path + "." + key
}

// ask makes a key known, lists it when explaining, and gives its node; nil
// means the default holds. A missing required key is reported.
func (m *Map) ask(key, form, def string) *Node {
	m.asked = append(m.asked, key)
	if m.run.explain {
		m.run.entries = append(m.run.entries, Entry{join(m.shape, key), form, def})
		return nil
	}
	n := m.node.get(key)
	if n != nil && n.Kind != Null {
		return n
	}
	if def == Required {
		m.run.report.fail(m.pos, join(m.path, key), fmt.Sprintf("key %q is missing", key), "it has no default")
	}
	return nil
}

// Done reports the keys that nobody asked for.
func (m *Map) Done() {
	if m.node == nil || m.node.Kind != Mapping {
		return
	}
	for _, k := range m.node.Keys {
		if slices.Contains(m.asked, k.Text) {
			continue
		}
		hint := "known here: " + strings.Join(m.asked, ", ")
		if near, ok := spelling.Nearest(k.Text, m.asked); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		m.run.report.fail(k.Pos, join(m.path, k.Text), fmt.Sprintf("unknown key %q", k.Text), hint)
	}
}

// Map gives a cursor on a member; an absent one has every default.
func (m *Map) Map(key string) *Map {
	m.asked = append(m.asked, key)
	sub := &Map{run: m.run, pos: m.pos, path: join(m.path, key), shape: join(m.shape, key)}
	n := m.node.get(key)
	if n == nil || n.Kind == Null {
		return sub
	}
	sub.pos = n.Pos
	if n.Kind != Mapping {
		m.wrongKind(n, key, "a map")
		return sub
	}
	sub.node = n
	return sub
}

// Empty gives a cursor on nothing: every key has its default.
func (m *Map) Empty() *Map { return &Map{run: m.run, pos: m.pos, path: m.path, shape: m.shape} }

// Optional is Map that also tells whether the member is written; explaining,
// it always is.
func (m *Map) Optional(key string) (*Map, bool) {
	sub := m.Map(key)
	return sub, sub.node != nil || m.run.explain
}

// Each reads the entries of a list of maps, in order; explaining, one of them.
// It tells whether the list is written.
func (m *Map) Each(key string, read func(*Map)) bool {
	if m.run.explain {
		m.asked = append(m.asked, key)
		read(&Map{run: m.run, shape: join(m.shape, key) + "[]"})
		return false
	}
	n := m.ask(key, "list", "")
	if n == nil {
		return false
	}
	if n.Kind != List {
		m.wrongKind(n, key, "a list")
		return false
	}
	if len(n.Values) > EntriesMax {
		m.run.report.fail(n.Pos, join(m.path, key), fmt.Sprintf("%d entries; at most %d", len(n.Values), EntriesMax), "")
		return true
	}
	labels := n.labels()
	for i, item := range n.Values {
		sub := &Map{run: m.run, node: item, pos: item.Pos, path: fmt.Sprintf("%s[%s]", join(m.path, key), labels[i])}
		if item.Kind != Mapping {
			m.run.report.fail(item.Pos, sub.path, fmt.Sprintf("want a map, got %s", item.Kind), "")
			continue
		}
		read(sub)
	}
	return true
}

// labels names the entries of a list: by name where it is plain and unique,
// else by index.
func (n *Node) labels() []string {
	count := make(map[string]int)
	for _, item := range n.Values {
		count[item.name()]++
	}
	labels := make([]string, len(n.Values))
	for i, item := range n.Values {
		labels[i] = strconv.Itoa(i)
		if name := item.name(); name != "" && len(name) <= 64 && count[name] == 1 && !strings.ContainsAny(name, "[]. \n") {
			labels[i] = name
		}
	}
	return labels
}

func (m *Map) wrongKind(n *Node, key, want string) {
	m.run.report.fail(n.Pos, join(m.path, key), fmt.Sprintf("want %s, got %s", want, n.Kind), "")
}
