package topic

import "strings"

// Trie finds all values whose filter covers a name, in time that depends on
// the name's levels and not on the number of filters. The zero Trie is empty
// and ready. One filter may hold several values.
type Trie[V comparable] struct {
	root node[V]
	size int
}

type node[V comparable] struct {
	children map[string]*node[V]
	values   []V
}

// Add puts v under f. The same pair twice counts once.
func (t *Trie[V]) Add(f Filter, v V) {
	n := &t.root
	for level := range strings.SplitSeq(string(f), "/") {
		if n.children == nil {
			n.children = make(map[string]*node[V])
		}
		next := n.children[level]
		if next == nil {
			next = &node[V]{}
			n.children[level] = next
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
	child := n.children[levels[0]]
	if child == nil {
		return
	}
	t.remove(child, levels[1:], v)
	if len(child.values) == 0 && len(child.children) == 0 {
		delete(n.children, levels[0])
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
	if hash := n.children["#"]; hash != nil && !reserved {
		for _, v := range hash.values {
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
	if plus := n.children["+"]; plus != nil && !reserved {
		plus.each(tail, more, false, f)
	}
	if level == "+" || level == "#" {
		return // a name holds no wildcard; never take one for a literal twice
	}
	if child := n.children[level]; child != nil {
		child.each(tail, more, false, f)
	}
}
