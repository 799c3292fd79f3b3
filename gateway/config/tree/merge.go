package tree

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Merge lays over on base: maps member by member, lists of named entries by
// name, everything else replaced. Neither is changed.
func Merge(base, over *Node) *Node {
	switch {
	case base == nil || base.Kind == Null:
		return over
	case over == nil || over.Kind == Null:
		return base
	case base.Kind == Mapping && over.Kind == Mapping:
		return mergeMaps(base, over)
	case base.Kind == List && over.Kind == List && allNamed(base) && allNamed(over):
		return mergeNamed(base, over)
	}
	return over
}

func mergeMaps(base, over *Node) *Node {
	merged := base.copy()
	for i, k := range over.Keys {
		merged.set(k, Merge(base.get(k.Text), over.Values[i]))
	}
	return merged
}

func mergeNamed(base, over *Node) *Node {
	merged := base.copy()
	for _, entry := range over.Values {
		at := slices.IndexFunc(base.Values, func(n *Node) bool { return n.name() == entry.name() })
		if at < 0 {
			merged.Values = append(merged.Values, entry)
			continue
		}
		merged.Values[at] = Merge(base.Values[at], entry)
	}
	return merged
}

func allNamed(list *Node) bool {
	return !slices.ContainsFunc(list.Values, func(n *Node) bool { return n.name() == "" })
}

// copy is shallow: members can be set without touching the original.
func (n *Node) copy() *Node {
	c := *n
	c.Keys, c.Values = slices.Clone(n.Keys), slices.Clone(n.Values)
	return &c
}

// EnvPrefix begins the variables that override keys.
const EnvPrefix = "TIDEHOLD__"

// Override applies TIDEHOLD__A__B=VALUE variables of environ, sorted by name:
// each names a key by its path, entries of lists by name or index; letter case
// does not count and `_` stands for `-`. A value that begins with `[` or `{` is
// YAML, everything else a scalar.
func Override(root *Node, environ []string, r *Report) *Node {
	var ours []string
	for _, entry := range environ {
		if strings.HasPrefix(entry, EnvPrefix) && strings.Contains(entry, "=") {
			ours = append(ours, entry)
		}
	}
	slices.Sort(ours)
	for _, entry := range ours {
		name, text, _ := strings.Cut(entry, "=")
		at := Pos{"env:" + name, 1, 1}
		path := strings.Split(strings.TrimPrefix(name, EnvPrefix), "__")
		if len(path) > DepthMax || slices.Contains(path, "") {
			r.fail(at, "", "a part of the path is empty", "like "+EnvPrefix+"MQTT__LIMITS")
			continue
		}
		root = put(root, path, envValue(at, text, r), r)
	}
	return root
}

func envValue(at Pos, text string, r *Report) *Node {
	if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			r.fail(syntaxError(at.File, []byte(text), err))
			return &Node{Kind: Null, Pos: at}
		}
		c := converter{file: at.File, report: r, open: make(map[*yaml.Node]bool)}
		return c.node(doc.Content[0], 0)
	}
	scalar := yaml.Node{Kind: yaml.ScalarNode, Value: text}
	n := &Node{Kind: Scalar, Pos: at, Text: text, tag: scalar.ShortTag()}
	if text == "" {
		n.tag = "!!str"
	}
	return n
}

func put(n *Node, path []string, value *Node, r *Report) *Node {
	if len(path) == 0 {
		return value
	}
	if n == nil || n.Kind == Null || n.Kind == Scalar {
		n = &Node{Kind: Mapping, Pos: value.Pos}
	}
	changed := n.copy()
	if n.Kind == List {
		at := n.find(path[0])
		if at < 0 {
			r.fail(value.Pos, "", fmt.Sprintf("no entry %q in the list", strings.ToLower(path[0])), "name an entry of the file, or its index from 0")
			return n
		}
		changed.Values[at] = put(n.Values[at], path[1:], value, r)
		return changed
	}
	key := Key{strings.ToLower(path[0]), value.Pos}
	for _, k := range n.Keys {
		if sameWord(k.Text, path[0]) {
			key.Text = k.Text
		}
	}
	changed.set(key, put(n.get(key.Text), path[1:], value, r))
	return changed
}

// find gives the index of a list's entry by name or number.
func (n *Node) find(word string) int {
	at := slices.IndexFunc(n.Values, func(v *Node) bool { return sameWord(v.name(), word) })
	if at >= 0 {
		return at
	}
	if i, err := strconv.Atoi(word); err == nil && i >= 0 && i < len(n.Values) {
		return i
	}
	return -1
}

func sameWord(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, "-", "_"), b)
}
