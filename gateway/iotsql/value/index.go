package value

import "unicode/utf8"

// Index is where the members of a text's objects stand: the text is walked
// over once, whoever asks for whatever afterwards. Objects inside arrays are not
// in it, for no path leads there. The zero Index is ready for Scan, which uses
// the room of the scan before.
type Index struct {
	text  string
	nodes []node
}

// node is a member of an object: the inside of its name, its value, and the
// node behind it and all its own members, which follow it.
type node struct {
	key, keyEnd, at, next int32
	escaped               bool // the name holds a backslash
}

// nodesKept is for how many members an Index keeps its room.
const nodesKept = 1024

// Scan takes a text and reports whether Valid would accept it. It allocates
// only for more members than any text had before.
func (x *Index) Scan(text string) bool {
	if cap(x.nodes) > nodesKept {
		x.nodes = nil
	}
	x.text, x.nodes = text, x.nodes[:0]
	if !utf8.ValidString(text) {
		return false
	}
	s := scanner{text: text}
	s.space()
	if s.peek() != '{' {
		return s.skip(0) && s.end()
	}
	return x.members(&s, 1) && s.end()
}

// members walks over an object as scanner.skipAll does, and notes its members.
func (x *Index) members(s *scanner, depth int) bool {
	s.at++
	s.space()
	if s.take('}') {
		return true
	}
	for {
		i, start := len(x.nodes), s.at
		if s.peek() != '"' {
			return false
		}
		escaped, ok := s.skipText()
		if !ok {
			return false
		}
		x.nodes = append(x.nodes, node{key: int32(start + 1), keyEnd: int32(s.at - 1), escaped: escaped})
		s.space()
		if !s.take(':') {
			return false
		}
		x.nodes[i].at = int32(s.at)
		if !x.member(s, depth) {
			return false
		}
		x.nodes[i].next = int32(len(x.nodes))
		s.space()
		if s.take(',') {
			continue
		}
		return s.take('}')
	}
}

func (x *Index) member(s *scanner, depth int) bool {
	if s.peek() == '{' {
		return depth < DepthMax && x.members(s, depth+1)
	}
	return s.skip(depth)
}

// Find follows path through the objects of a text that Scan has accepted;
// Undefined when a member is missing; of repeated keys the last one wins. Only
// what is found is made a Value. For whole see Number.
func (x *Index) Find(path []string, whole bool) Value {
	from, to, at := 0, len(x.nodes), 0
	for _, key := range path {
		found := -1
		for i := from; i < to; i = int(x.nodes[i].next) {
			n := &x.nodes[i]
			if name := x.text[n.key:n.keyEnd]; !n.escaped && name == key || n.escaped && unescape(name) == key {
				found = i
			}
		}
		if found < 0 {
			return Value{}
		}
		from, to, at = found+1, int(x.nodes[found].next), int(x.nodes[found].at)
	}
	s := scanner{text: x.text, at: at, whole: whole}
	s.space()
	return s.value()
}
