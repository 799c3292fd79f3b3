package topic

import "strings"

// Trie finds all values whose filter covers a name, in time that depends on
// the name's levels and not on the number of filters. The zero Trie is empty
// and ready. One filter may hold several values.
type Trie[V comparable] struct {
	root node[V]
	size int
}

// node is one level. The wildcards stand beside the map: a name asks for both
// at every level, and most have neither.
type node[V comparable] struct {
	plus, hash *node[V]
	literals   map[string]*node[V]
	values     []V
}

func (n *node[V]) child(level string) *node[V] {
	switch level {
	case "+":
		return n.plus
	case "#":
		return n.hash
	}
	return n.literals[level]
}

// put sets the child of a level; nil takes it away.
func (n *node[V]) put(level string, child *node[V]) {
	switch {
	case level == "+":
		n.plus = child
	case level == "#":
		n.hash = child
	case child == nil:
		delete(n.literals, level)
	default:
		if n.literals == nil {
			n.literals = make(map[string]*node[V])
		}
		n.literals[level] = child
	}
}

func (n *node[V]) empty() bool {
	return n.plus == nil && n.hash == nil && len(n.literals) == 0 && len(n.values) == 0
}

// Add puts v under f. The same pair twice counts once.
func (t *Trie[V]) Add(f Filter, v V) {
	n := &t.root
	for level := range strings.SplitSeq(string(f), "/") {
		next := n.child(level)
		if next == nil {
			next = &node[V]{}
			n.put(level, next)
		}
		n = next
	}
	for _, have := range n.values {
		if have == v {
			return
		}
	}
	n.values = append(n.values, v)
	t.size++
}

// Remove takes v away from under f, and empty branches with it.
func (t *Trie[V]) Remove(f Filter, v V) {
	t.remove(&t.root, strings.Split(string(f), "/"), v)
}

func (t *Trie[V]) remove(n *node[V], levels []string, v V) {
	if len(levels) == 0 {
		for i, have := range n.values {
			if have == v {
				n.values = append(n.values[:i:i], n.values[i+1:]...)
				t.size--
				return
			}
		}
		return
	}
	child := n.child(levels[0])
	if child == nil {
		return
	}
	t.remove(child, levels[1:], v)
	if child.empty() {
		n.put(levels[0], nil)
	}
}

// Len is the number of pairs.
func (t *Trie[V]) Len() int { return t.size }

// Each calls f with every value whose filter covers name, by the rules of
// Match. A value under several filters is given several times.
func (t *Trie[V]) Each(name Name, f func(V)) {
	t.root.each(string(name), true, strings.HasPrefix(string(name), "$"), f)
}

func (n *node[V]) each(rest string, more, reserved bool, f func(V)) {
	if n.hash != nil && !reserved {
		for _, v := range n.hash.values {
			f(v)
		}
	}
	if !more {
		for _, v := range n.values {
			f(v)
		}
		return
	}
	level, tail, more := strings.Cut(rest, "/")
	if n.plus != nil && !reserved {
		n.plus.each(tail, more, false, f)
	}
	if len(n.literals) == 0 {
		return
	}
	if child := n.literals[level]; child != nil {
		child.each(tail, more, false, f)
	}
}
