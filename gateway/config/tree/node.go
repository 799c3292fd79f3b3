package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of one document.
const (
	DepthMax = 64
	NodesMax = 200_000
)

// Kind is the kind of a Node.
type Kind int

// The kinds of nodes.
const (
	Scalar Kind = iota
	Null        // a scalar without value
	List
	Mapping
)

// String names the kind for people.
func (k Kind) String() string {
	return [...]string{"a single value", "nothing", "a list", "a map"}[k]
}

// Pos is a place in a file; lines and columns count from 1.
type Pos struct {
	File         string
	Line, Column int
}

// Node is a piece of the configuration. Nodes are not changed once built;
// merging makes new ones.
type Node struct {
	Kind Kind
	Pos  Pos
	// Text is a scalar as written, quotes and escapes resolved.
	Text string
	// tag is YAML's short tag of a scalar: !!int, !!str, ...
	tag string
	// Keys belong to Values in a mapping; a list has Values alone.
	Keys   []Key
	Values []*Node
}

// Key is a key of a mapping.
type Key struct {
	Text string
	Pos  Pos
}

// get finds the value of a key; nil when there is none.
func (n *Node) get(key string) *Node {
	if n == nil || n.Kind != Mapping {
		return nil
	}
	for i, k := range n.Keys {
		if k.Text == key {
			return n.Values[i]
		}
	}
	return nil
}

// name is the text of the member `name`, which identifies an entry of a list.
func (n *Node) name() string {
	if v := n.get("name"); v != nil && v.Kind == Scalar {
		return v.Text
	}
	return ""
}

var (
	// lineOfError finds the line in an error of the YAML parser.
	lineOfError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	// lineTooSmall are the errors whose line the parser counts from 0.
	lineTooSmall = regexp.MustCompile(`^did not find expected (<|'-'|key|node content|',')`)
	// unknownAnchor has no line at all.
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
	control       = regexp.MustCompile(`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]`)
)

// Parse reads one YAML document; an empty one is an empty mapping. What is
// wrong goes to r; nil when nothing could be read.
func Parse(file string, text []byte, r *Report) *Node {
	empty := &Node{Kind: Mapping, Pos: Pos{file, 1, 1}}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return empty
	}
	if err != nil {
		r.fail(syntaxError(file, text, err))
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		r.fail(Pos{file, max(second.Line, 1), max(second.Column, 1)}, "", "a second document in the file", "one file holds one document: remove the line ---")
	} else if !errors.Is(err, io.EOF) {
		r.fail(syntaxError(file, text, err))
	}
	c := converter{file: file, report: r, open: make(map[*yaml.Node]bool)}
	n := c.node(doc.Content[0], 0)
	if n.Kind == Null {
		return empty
	}
	if n.Kind != Mapping {
		r.fail(n.Pos, "", fmt.Sprintf("the file holds %s, not a map of keys", n.Kind), "begin with version: 1")
		return nil
	}
	return n
}

// syntaxError turns an error of the YAML parser into a problem with a place.
func syntaxError(file string, text []byte, err error) (at Pos, key, message, hint string) {
	sentence := err.Error()
	at = Pos{file, 1, 1}
	if m := lineOfError.FindStringSubmatch(sentence); m != nil {
		sentence = strings.TrimPrefix(sentence, m[0])
		line, _ := strconv.Atoi(m[1])
		if lineTooSmall.MatchString(sentence) {
			line++
		}
		at.Line = max(line, 1)
	}
	if offset := offender(text, sentence); offset >= 0 {
		at.Line = 1 + bytes.Count(text[:offset], []byte("\n"))
	}
	lines := bytes.Split(text, []byte("\n"))
	at.Line = min(at.Line, len(lines))
	line := lines[at.Line-1]
	if blank := len(line) - len(bytes.TrimLeft(line, " ")); blank < len(line) {
		at.Column = blank + 1
	}
	return at, "", "not readable: " + sentence, "YAML: check indentation, colons and quotes at and above this line"
}

// offender finds what the parser complains of without naming a line; -1 when
// it names one.
func offender(text []byte, sentence string) int {
	switch m := unknownAnchor.FindStringSubmatch(sentence); {
	case m != nil:
		return bytes.Index(text, []byte("*"+m[1]))
	case strings.HasPrefix(sentence, "control characters"):
		if at := control.FindIndex(text); at != nil {
			return at[0]
		}
	case strings.Contains(sentence, "UTF-8"):
		for i := 0; i < len(text); {
			c, size := utf8.DecodeRune(text[i:])
			if c == utf8.RuneError && size == 1 {
				return i
			}
			i += size
		}
	}
	return -1
}

// converter turns YAML's nodes into ours: aliases and merge keys expanded,
// double keys refused, size bounded.
type converter struct {
	file   string
	report *Report
	count  int
	// open are the nodes around the current one: an alias to one of them never ends.
	open map[*yaml.Node]bool
	over bool
}

func (c *converter) pos(y *yaml.Node) Pos { return Pos{c.file, max(y.Line, 1), max(y.Column, 1)} }

func (c *converter) node(y *yaml.Node, depth int) *Node {
	n := &Node{Kind: Null, Pos: c.pos(y), tag: "!!null"}
	if c.count++; c.count > NodesMax || depth > DepthMax {
		c.refuse(y, depth)
		return n
	}
	c.open[y] = true
	defer delete(c.open, y)
	switch y.Kind {
	case yaml.AliasNode:
		if c.open[y.Alias] {
			c.refuse(y, depth)
			return n
		}
		return c.node(y.Alias, depth+1)
	case yaml.ScalarNode:
		n.Text, n.tag = y.Value, y.ShortTag()
		if n.tag != "!!null" {
			n.Kind = Scalar
		}
	case yaml.SequenceNode:
		n.Kind = List
		for _, item := range y.Content {
			n.Values = append(n.Values, c.node(item, depth+1))
		}
	case yaml.MappingNode:
		n.Kind = Mapping
		c.members(n, y, depth)
	}
	return n
}

// refuse reports once per file what is too large, too deep or endless.
func (c *converter) refuse(y *yaml.Node, depth int) {
	if c.over {
		return
	}
	c.over = true
	message := fmt.Sprintf("more than %d values", NodesMax)
	switch {
	case y.Kind == yaml.AliasNode:
		message = "an alias refers to what it stands in"
	case depth > DepthMax:
		message = fmt.Sprintf("more than %d levels", DepthMax)
	}
	c.report.fail(c.pos(y), "", message, "")
}

func (c *converter) members(n *Node, y *yaml.Node, depth int) {
	first := make(map[string]Pos)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], c.node(y.Content[i+1], depth+1)
		if key.ShortTag() == "!!merge" {
			n.inherit(value)
			continue
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			c.report.fail(c.pos(key), "", "a key is not a word", "")
			continue
		}
		if at, twice := first[key.Value]; twice {
			c.report.fail(c.pos(key), key.Value, fmt.Sprintf("key %q stands twice", key.Value), fmt.Sprintf("first in line %d", at.Line))
			continue
		}
		first[key.Value] = c.pos(key)
		n.set(Key{key.Value, c.pos(key)}, value)
	}
}

// set replaces or adds a member.
func (n *Node) set(k Key, value *Node) {
	for i := range n.Keys {
		if n.Keys[i].Text == k.Text {
			n.Keys[i], n.Values[i] = k, value
			return
		}
	}
	n.Keys, n.Values = append(n.Keys, k), append(n.Values, value)
}

// inherit adds the members of a merge key (`<<`) that n does not have.
func (n *Node) inherit(from *Node) {
	if from.Kind == List {
		for _, one := range from.Values {
			n.inherit(one)
		}
		return
	}
	for i, k := range from.Keys {
		if from.Kind == Mapping && n.get(k.Text) == nil {
			n.set(k, from.Values[i])
		}
	}
}
